"""Import policy: who may announce what, and what is made of it."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speaker.plan import AllocationPlan, ImportPlan, NextHopPlan, SessionPlan
from speaker.rib import reasons as p
from speaker.rib.attributes import AS_SEQUENCE, AS_SET, GRACEFUL_SHUTDOWN, Attributes
from speaker.rib.path import Path
from speaker.rib.policy import DenyImport, HubImport, ImportPolicy, LanImport, PeerImport, SpokeImport, import_policy
from speaker.rib.prefix import Family, Key, family_of, key_of
from speaker.rib.spans import Network, Spans, heads
from tests.speaker.rib.given import ASN, FACTS, HUBS, OWN_ID, PEERS, bandwidth, hop, key

CLIENT, _, PEER, _ = PEERS
HUB = HUBS[0]

IMPORTS = ImportPlan(
    next_hops=(
        NextHopPlan(3, "10.42.0.3", "fd42:42::3", 210, (f"{ASN}:1:7", f"{ASN}:4:3"), 1_000_000_000),
        NextHopPlan(4, "10.42.0.4", None, 100, (), 0),
    ),
    allocations=(
        AllocationPlan("10.1.0.0/16", 24),
        AllocationPlan("10.2.4.0/22", 26),
        AllocationPlan("10.2.5.0/24", 32),
        AllocationPlan("10.42.7.0/24", 24),  # No fabric would pass its checks with this one; the hub still refuses.
        AllocationPlan("10.9.0.0/16", 24),
        AllocationPlan("127.0.0.0/8", 24),
        AllocationPlan("2001:db8:1::/48", 64),
        AllocationPlan("2001:db8:9::/48", 64),
    ),
)
HUB_IMPORT = HubImport(FACTS, imports=IMPORTS)


def verdict(policy: ImportPolicy, text: str) -> str:
    network = ip_network(text)
    ((reason, keys, marks),) = policy.verdicts(family_of(network), [key_of(network)])
    assert (list(keys), marks) == ([key_of(network)], ())
    return reason


@pytest.mark.parametrize(
    ("prefix", "reason"),
    [
        ("10.1.0.0/16", ""),
        ("10.1.255.0/24", ""),
        ("10.1.0.0/25", p.MORE_SPECIFIC_THAN_ALLOWED),
        ("10.0.0.0/15", p.PREFIX_NOT_ALLOCATED),
        ("10.0.0.0/8", p.PREFIX_NOT_ALLOCATED),
        ("10.3.0.0/24", p.PREFIX_NOT_ALLOCATED),
        ("10.2.4.0/22", ""),
        ("10.2.7.192/26", ""),
        ("10.2.7.192/27", p.MORE_SPECIFIC_THAN_ALLOWED),
        ("10.2.5.1/32", ""),  # The inner allocation is wider.
        ("10.2.8.0/24", p.PREFIX_NOT_ALLOCATED),
        ("10.2.0.0/22", p.PREFIX_NOT_ALLOCATED),
        ("0.0.0.0/0", p.DEFAULT_ROUTE),
        ("::/0", p.DEFAULT_ROUTE),
        ("10.42.7.0/24", p.INSIDE_SEGMENT),
        ("127.1.0.0/24", p.MARTIAN),
        ("10.9.8.0/24", p.CONNECTED),
        ("10.9.0.0/16", ""),
        ("10.9.9.0/24", ""),
        ("2001:db8:1::/48", ""),
        ("2001:db8:1:ff::/64", ""),
        ("2001:db8:1:ff::/65", p.MORE_SPECIFIC_THAN_ALLOWED),
        ("2001:db8:2::/64", p.PREFIX_NOT_ALLOCATED),
        ("2001:db8:9:1::/64", p.CONNECTED),
    ],
)
def test_what_a_client_may_announce(prefix: str, reason: str) -> None:
    assert verdict(HUB_IMPORT, prefix) == reason


def test_a_default_route_is_accepted_where_it_is_declared_and_lets_nothing_else_in() -> None:
    spaces = AllocationPlan("0.0.0.0/0", 0), AllocationPlan("10.1.0.0/16", 24)
    policy = HubImport(FACTS, imports=ImportPlan((), spaces))
    assert verdict(policy, "0.0.0.0/0") == ""
    assert verdict(policy, "::/0") == p.DEFAULT_ROUTE
    assert verdict(policy, "0.0.0.0/1") == p.PREFIX_NOT_ALLOCATED
    assert verdict(policy, "203.0.113.0/24") == p.PREFIX_NOT_ALLOCATED
    assert verdict(policy, "10.1.1.0/24") == ""
    assert verdict(policy, "10.1.1.0/25") == p.MORE_SPECIFIC_THAN_ALLOWED


def test_a_route_that_covers_the_underlay_is_accepted_where_it_is_declared_as_it_is() -> None:
    facts = replace(FACTS, underlay=frozenset({ip_network("10.1.9.0/25"), ip_network("2001:db8:1:9::/64")}))
    spaces = AllocationPlan("10.1.0.0/16", 24), AllocationPlan("2001:db8:1::/48", 64)
    policy = HubImport(facts, imports=ImportPlan((), spaces))
    assert verdict(policy, "10.1.0.0/16") == ""
    assert verdict(policy, "2001:db8:1::/48") == ""
    assert verdict(policy, "10.1.9.0/24") == p.UNDERLAY
    assert verdict(policy, "10.1.8.0/24") == ""
    assert verdict(policy, "2001:db8:1:9::/64") == p.UNDERLAY
    among = HubImport(facts, imports=ImportPlan((), (AllocationPlan("10.1.9.0/25", 32),)))
    assert verdict(among, "10.1.9.0/25") == verdict(among, "10.1.9.1/32") == p.UNDERLAY
    for trusting in (SpokeImport(facts), PeerImport(facts)):  # Hubs have judged it; the kernel's side sets it aside.
        assert verdict(trusting, "10.1.9.0/24") == verdict(trusting, "10.0.0.0/8") == ""
        assert verdict(trusting, "10.1.9.0/25") == p.UNDERLAY


def test_of_a_router_in_the_lan_no_route_is_taken_that_would_stand_aside() -> None:
    facts = replace(FACTS, underlay=frozenset({ip_network("10.1.9.0/25")}))
    spaces = AllocationPlan("0.0.0.0/0", 0), AllocationPlan("10.1.0.0/16", 24)
    policy = LanImport(facts, imports=ImportPlan((), spaces))
    assert verdict(policy, "0.0.0.0/0") == p.DEFAULT_ROUTE
    assert verdict(policy, "10.1.0.0/16") == p.UNDERLAY
    assert verdict(policy, "10.1.1.0/24") == ""


TRUSTED = [
    ("0.0.0.0/0", ""),
    ("::/0", ""),
    ("10.0.0.0/8", ""),
    ("10.42.0.0/16", p.INSIDE_SEGMENT),
    ("10.42.0.3/32", p.INSIDE_SEGMENT),
    ("10.40.0.0/14", ""),
    ("fd42:42::/64", p.INSIDE_SEGMENT),
    ("fd42:42:0:1::/64", ""),
    ("10.9.8.0/24", p.CONNECTED),
    ("10.9.8.128/25", p.CONNECTED),
    ("10.9.8.0/23", ""),
    ("10.9.0.0/16", ""),
    ("2001:db8:9::/48", p.CONNECTED),
    ("2001:db8:9:1::/64", p.CONNECTED),
    ("2001:db8::/32", ""),
    ("127.0.0.0/8", p.MARTIAN),
    ("127.0.0.0/24", p.MARTIAN),
    ("224.0.0.0/4", p.MARTIAN),
    ("255.255.255.255/32", p.MARTIAN),
    ("169.254.0.0/16", p.MARTIAN),
    ("ff02::/16", p.MARTIAN),
    ("fe80::/64", p.MARTIAN),
    ("::1/128", p.MARTIAN),
    ("64:ff9b::/96", ""),
]


@pytest.mark.parametrize(("prefix", "reason"), TRUSTED)
@pytest.mark.parametrize("policy", [SpokeImport(FACTS), PeerImport(FACTS)], ids=["spoke", "peer"])
def test_what_a_hub_may_announce(policy: ImportPolicy, prefix: str, reason: str) -> None:
    assert verdict(policy, prefix) == reason


@pytest.mark.parametrize("policy", [SpokeImport(FACTS), HUB_IMPORT], ids=["spoke", "hub"])
def test_many_prefixes_are_sorted_out_as_each_alone_would_be(policy: ImportPolicy) -> None:
    keys = [key(text) for text, _ in TRUSTED if ":" not in text] + [key("10.1.1.0/24"), key("10.1.1.0/25")]
    together = {k: reason for reason, found, _ in policy.verdicts(Family.IPV4, keys) for k in found}
    alone = {k: policy.verdicts(Family.IPV4, [k])[0][0] for k in keys}
    assert together == alone


def judged(policy: ImportPolicy, *, path_id: int = 3, verdict: str = "", **attributes: Any) -> Path:
    received = Attributes(**{"next_hop": hop(3)} | attributes)
    source = {HubImport: CLIENT, PeerImport: PEER}.get(type(policy), HUB)
    made = policy.path(source, path_id, received, verdict)
    assert made.received is received
    assert made.path_id == path_id
    return made


def test_a_hub_says_how_good_a_clients_path_is() -> None:
    path = judged(
        HUB_IMPORT,
        path_id=99,
        local_pref=900,
        med=5,
        communities=(7,),
        large_communities=((ASN, 1, 66), (65001, 9, 9)),
        extended_communities=(bandwidth(1e12), b"\x06\x03\x02\x00\x00\x00\x00\x07", b"\x00\x02ABCDEF"),
    )
    assert path.rejected == ""
    assert path.uplink == 3  # From the next hop; the path id is the client's own business.
    assert path.attributes == Attributes(
        next_hop=hop(3),
        local_pref=210,
        med=5,
        communities=(7,),
        large_communities=((ASN, 1, 7), (ASN, 4, 3), (65001, 9, 9)),
        extended_communities=(b"\x00\x02ABCDEF", bandwidth(125_000_000)),
    )


def test_no_declared_bandwidth_no_weight() -> None:
    path = judged(HUB_IMPORT, next_hop=hop(4), extended_communities=(bandwidth(1e12),))
    assert path.attributes.extended_communities == ()
    assert path.uplink == 4


def test_the_ipv6_address_names_the_same_uplink() -> None:
    path = judged(HUB_IMPORT, next_hop=ip_address("fd42:42::3").packed)
    assert (path.uplink, path.rejected, path.attributes.local_pref) == (3, "", 210)


def test_a_drained_uplink_is_the_last_choice_whatever_the_client_says() -> None:
    hop_plan = msgspec.structs.replace(IMPORTS.next_hops[0], drained=True)
    policy = HubImport(FACTS, imports=msgspec.structs.replace(IMPORTS, next_hops=(hop_plan,)))
    judged = policy.path(CLIENT, 1, Attributes(next_hop=hop(3), local_pref=900, communities=(7,)), "").attributes
    assert (judged.local_pref, judged.communities) == (0, (7, GRACEFUL_SHUTDOWN))
    assert policy.path(CLIENT, 1, Attributes(hop(3), communities=(GRACEFUL_SHUTDOWN,)), "").attributes.communities == (
        GRACEFUL_SHUTDOWN,
    )


def test_a_hub_says_whom_it_relays_to() -> None:
    session = SessionPlan(
        peer="client-a",
        peer_role="client",
        peer_asn=ASN,
        peer_address="10.42.0.3",
        local_address="10.42.0.1",
        passive=True,
        families=("ipv4",),
        add_path=True,
        hold_time=9,
        restart_time=120,
        password="",
        imports=IMPORTS,
    )
    forged = Attributes(next_hop=hop(3), large_communities=((ASN, 6, 1), (ASN, 7, 1)))

    def relays(
        session: SessionPlan, relayed: frozenset[int], next_hop: int, labelled: frozenset[int] = frozenset()
    ) -> list[tuple[int, int, int]]:
        received = replace(forged, next_hop=hop(next_hop))
        policy = import_policy(session, FACTS, relayed, labelled)
        large = policy.path(CLIENT, 1, received, "").attributes.large_communities
        return [community for community in large if community[1] in (6, 7)]

    us = int.from_bytes(OWN_ID, "big")
    assert relays(session, frozenset({3, 99}), 3) == [(ASN, 6, us)]
    assert relays(session, frozenset({3, 99}), 4) == []
    assert relays(session, frozenset({3}), 3, frozenset({3, 4})) == [(ASN, 6, us), (ASN, 7, us)]
    assert relays(session, frozenset(), 3, frozenset({3})) == []
    assert relays(session, frozenset(), 3) == []
    assert relays(msgspec.structs.replace(session, peer_is_ours=False), frozenset({3}), 3) == []
    assert import_policy(session, FACTS, frozenset({3, 99})) == import_policy(session, FACTS, frozenset({3}))
    assert import_policy(session, FACTS, frozenset({3})) != import_policy(session, FACTS)


def test_graceful_shutdown_makes_it_the_last_choice() -> None:
    assert judged(HUB_IMPORT, communities=(GRACEFUL_SHUTDOWN,)).attributes.local_pref == 0
    assert judged(SpokeImport(FACTS), local_pref=0, communities=(GRACEFUL_SHUTDOWN,)).attributes.local_pref == 0


LOOPS = [
    ({"as_path": ((AS_SEQUENCE, (65001, ASN)),)}, p.AS_LOOP),
    ({"as_path": ((AS_SET, (ASN,)),)}, p.AS_LOOP),
    ({"cluster_list": (hop(21), OWN_ID), "originator_id": hop(3)}, p.CLUSTER_LOOP),
    ({"originator_id": OWN_ID}, p.OWN_ORIGINATOR_ID),
]


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        *LOOPS,
        ({"next_hop": hop(5)}, p.NEXT_HOP_NOT_YOURS),
        ({"next_hop": ip_address("fd42:42::4").packed}, p.NEXT_HOP_NOT_YOURS),
        ({"originator_id": hop(3)}, p.FORGED_ORIGINATOR_ID),
        ({"as_path": ((AS_SEQUENCE, (65001,)),)}, ""),
    ],
)
def test_attributes_that_a_client_may_send(attributes: dict[str, Any], reason: str) -> None:
    assert judged(HUB_IMPORT, **attributes).rejected == reason


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        *LOOPS,
        ({"next_hop": OWN_ID}, p.NEXT_HOP_IS_OURS),
        ({"next_hop": ip_address("192.0.2.1").packed}, p.NEXT_HOP_OFF_SEGMENT),
        ({"next_hop": ip_address("fd42:43::1").packed}, p.NEXT_HOP_OFF_SEGMENT),
        ({"next_hop": ip_address("fd42:42::9").packed}, ""),
        ({"originator_id": hop(3), "cluster_list": (hop(21),)}, ""),
    ],
)
@pytest.mark.parametrize("policy", [SpokeImport(FACTS), PeerImport(FACTS)], ids=["spoke", "peer"])
def test_attributes_that_a_hub_may_send(policy: ImportPolicy, attributes: dict[str, Any], reason: str) -> None:
    path = judged(policy, **attributes)
    assert path.rejected == reason
    assert path.attributes is path.received  # Trusted: nothing is rewritten.
    assert path.uplink == 3  # The path id is the uplink's number.


def test_a_connected_prefix_is_refused_by_a_spoke_and_still_sent_on_by_a_hub() -> None:
    assert judged(SpokeImport(FACTS), verdict=p.CONNECTED).rejected == p.CONNECTED
    for policy in (PeerImport(FACTS), HUB_IMPORT):
        path = judged(policy, verdict=p.CONNECTED)
        assert (path.rejected, path.withheld) == ("", p.CONNECTED)


def test_a_bad_attribute_is_named_before_a_bad_prefix() -> None:
    assert judged(HUB_IMPORT, verdict=p.MARTIAN).rejected == p.MARTIAN
    assert judged(HUB_IMPORT, verdict=p.MARTIAN, next_hop=hop(9)).rejected == p.NEXT_HOP_NOT_YOURS


def test_every_reason_code_has_words() -> None:
    codes = {value for name, value in vars(p).items() if name.isupper() and isinstance(value, str)}
    assert codes == set(p.REASONS)


SESSION = SessionPlan(
    peer="x",
    peer_role="client",
    peer_asn=ASN,
    peer_address="10.42.0.11",
    local_address="10.42.0.1",
    passive=True,
    families=("ipv4",),
    add_path=True,
    hold_time=9,
    restart_time=120,
    password="",
    imports=IMPORTS,
)


def test_the_plan_chooses_the_policy() -> None:
    def made(role: Any, imports: ImportPlan | None) -> ImportPolicy:
        values = {name: getattr(SESSION, name) for name in SESSION.__struct_fields__}
        return import_policy(SessionPlan(**values | {"peer_role": role, "imports": imports}), FACTS)

    assert made("client", IMPORTS) == HUB_IMPORT
    assert made("hub", None) == SpokeImport(FACTS) != SpokeImport(replace(FACTS, connected=frozenset()))
    assert made("peer", None) == PeerImport(FACTS)
    denied = made("client", None)
    assert denied == DenyImport(FACTS)
    assert verdict(denied, "10.1.1.0/24") == p.DENIED
    assert denied.path(CLIENT, 3, Attributes(hop(3)), p.DENIED).rejected == p.DENIED


networks4 = st.builds(
    lambda bits, length: ip_network((bits >> (32 - length) << (32 - length) if length else 0, length)),
    # Few distinct addresses, so that spans and prefixes meet.
    bits=st.sampled_from([(10 << 24) | (a << 16) | (b << 8) | c for a in (0, 1) for b in (0, 3, 5) for c in (0, 129)]),
    length=st.integers(0, 32),
)
spans4 = st.lists(st.tuples(networks4, st.integers(0, 32)).filter(lambda s: s[1] >= s[0].prefixlen), max_size=5)


def inside(network: Network, spans: list[tuple[Network, int]]) -> bool:
    return any(
        network.version == span.version and network.subnet_of(span) and network.prefixlen <= longest  # type: ignore[arg-type]
        for span, longest in spans
    )


@given(spans=spans4, prefixes=st.lists(networks4, max_size=8, unique=True))
def test_spans_agree_with_ipaddress(spans: list[tuple[Network, int]], prefixes: list[Network]) -> None:
    found = Spans(spans)
    keys: list[Key] = [key_of(network) for network in prefixes]
    expected = [key_of(network) for network in prefixes if inside(network, spans)]
    within, outside = found.split(keys)
    assert list(within) == expected
    assert list(outside) == [k for k in keys if k not in expected]
    assert not expected or found.touches(keys)
    assert [k for k in keys if k in found] == expected


def test_the_filter_lets_most_batches_pass_unseen() -> None:
    spans = Spans.covering([ip_network("10.42.0.0/16"), ip_network("10.9.8.0/24"), ip_network("127.0.0.0/8")])
    assert not spans.touches([key("10.1.0.0/24"), key("192.168.0.0/16"), key("10.0.0.0/8"), key("0.0.0.0/0")])
    assert spans.touches([key("10.1.0.0/24"), key("10.42.0.0/24")])
    assert spans.touches([key("127.0.0.0/8")])


def test_heads_of_a_span_are_the_octets_of_what_it_covers() -> None:
    assert list(heads(ip_network("10.2.4.0/22"))) == [bytes((10, 2, third)) for third in (4, 5, 6, 7)]
    assert list(heads(ip_network("0.0.0.0/0"))) == [b""]
