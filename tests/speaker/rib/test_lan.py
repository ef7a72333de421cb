"""A router in the LAN of a gateway: what is taken from it, how it becomes ours, what it is told."""

from __future__ import annotations

import itertools
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speaker.plan import AllocationPlan, ImportPlan, NextHopPlan, Plan, PolicyPlan, SessionPlan, StepPlan, UplinkPlan
from speaker.rib import reasons as r
from speaker.rib.attributes import AS_SEQUENCE, GRACEFUL_SHUTDOWN, NO_ADVERTISE, NO_EXPORT, Attributes
from speaker.rib.communities import RULED_MED, RULED_PREPEND, LargeCommunity, link_bandwidth
from speaker.rib.decision import Decider, decide
from speaker.rib.export import Exporter, ExportGroup, LanRouter, View
from speaker.rib.lan import Adoption, adoption_of
from speaker.rib.local import local_source
from speaker.rib.path import Member, Path, PathSet, Source, SourceKind, Update
from speaker.rib.policy import ImportPolicy, import_policy
from speaker.rib.prefix import Family, family_of, key_of
from speaker.rib.rib import Rib
from speaker.rib.steps import CompiledPolicy
from speaker.rib.why import why
from tests.speaker.rib.given import ASN, FACTS, HUBS, LOCAL, OWN_ID, PEERS, hop, paths_of, peer
from tests.speaker.rib.given import path as path_of
from tests.speaker.test_plan import V2

LAN_AS = 65001
THEIRS = ((AS_SEQUENCE, (LAN_AS,)),)
ROUTER, OTHER = ip_address("10.1.9.2").packed, ip_address("10.1.8.2").packed
US = ip_address("10.1.9.1").packed
CORE = Source("core", SourceKind.LAN, ROUTER, ROUTER)
EDGE = Source("edge", SourceKind.LAN, OTHER, OTHER)
SITE = ((ASN, 1, 7),)
UPLINKS = (
    UplinkPlan(3, "a", "zt0", "10.42.0.3", "fd42:42::3", "fiber", 200, 8_000_000),
    UplinkPlan(4, "b", "zt1", "10.42.0.4", None, "lte", 50, 0),
)


def the_plan(**fields: Any) -> Plan:
    like = msgspec.json.decode(V2, type=Plan).sessions[0]
    one = NextHopPlan(3, "10.1.9.2", None, 200, (f"{ASN}:1:7",), 0)
    session = msgspec.structs.replace(
        like,
        peer="core",
        peer_role="lan",
        peer_asn=LAN_AS,
        peer_address="10.1.9.2",
        local_address="10.1.9.1",
        interface="lan0",
        peer_is_ours=False,
        imports=ImportPlan(
            (one,),
            (AllocationPlan("10.1.0.0/16", 24), AllocationPlan("0.0.0.0/1", 8), AllocationPlan("128.0.0.0/1", 8)),
            3,
        ),
    )
    values: dict[str, Any] = {"version": 3, "role": "spoke", "asn": ASN, "uplinks": UPLINKS, "sessions": (session,)}
    return msgspec.structs.replace(msgspec.json.decode(V2, type=Plan), **values | fields)


def lan_import(session: SessionPlan | None = None, *, down: bool = False) -> ImportPolicy:
    return import_policy(session or the_plan().sessions[0], FACTS, lan_down=down)


def judged(prefix: str, policy: ImportPolicy | None = None, **attributes: Any) -> Path:
    network = ip_network(prefix)
    policy = policy or lan_import()
    ((reason, _, marks),) = policy.verdicts(family_of(network), [key_of(network)])
    said = Attributes(**{"next_hop": ROUTER, "as_path": THEIRS, **attributes})
    return policy.path(CORE, 0, said, reason, marks)


def learnt(source: Source = CORE, **attributes: Any) -> Path:
    said = {"next_hop": source.address, "as_path": THEIRS, "local_pref": 200, "large_communities": SITE}
    return Path(source, 0, 3, Attributes(**said | attributes))  # type: ignore[arg-type]


# Import


@pytest.mark.parametrize(
    ("prefix", "attributes", "reason"),
    [
        ("10.1.50.0/24", {}, ""),
        ("10.1.50.0/25", {}, r.MORE_SPECIFIC_THAN_ALLOWED),
        ("192.0.2.0/24", {}, r.MORE_SPECIFIC_THAN_ALLOWED),
        ("2001:db8:50::/48", {}, r.PREFIX_NOT_ALLOCATED),
        ("0.0.0.0/0", {}, r.DEFAULT_ROUTE),
        ("127.0.0.0/8", {}, r.MARTIAN),
        ("10.1.50.0/24", {"next_hop": ip_address("10.1.9.3").packed}, r.NEXT_HOP_NOT_YOURS),
        ("10.1.50.0/24", {"as_path": ((AS_SEQUENCE, (65002, LAN_AS)),)}, r.FIRST_AS),
        ("10.1.50.0/24", {"as_path": ()}, r.FIRST_AS),
        ("10.1.50.0/24", {"as_path": ((AS_SEQUENCE, (LAN_AS, ASN)),)}, r.AS_LOOP),
    ],
)
def test_what_is_taken(prefix: str, attributes: dict[str, Any], reason: str) -> None:
    assert judged(prefix, **attributes).rejected == reason


@pytest.mark.parametrize("prefix", ["10.9.8.0/24", "10.9.8.128/25"])
def test_what_we_are_attached_to_is_refused_and_not_sent_on(prefix: str) -> None:
    session = the_plan().sessions[0]
    assert session.imports is not None
    wide = msgspec.structs.replace(session.imports, allocations=(AllocationPlan("10.0.0.0/8", 32),))
    path = judged(prefix, lan_import(msgspec.structs.replace(session, imports=wide)))
    assert (path.rejected, path.withheld) == (r.CONNECTED, "")


def test_nothing_is_used_while_the_lan_is_dead() -> None:
    assert judged("10.1.50.0/24", lan_import(down=True)).rejected == r.LAN_DOWN
    assert judged("2001:db8:50::/48", lan_import(down=True)).rejected == r.PREFIX_NOT_ALLOCATED
    assert lan_import(down=True) != lan_import()


def test_our_communities_are_ours_to_set() -> None:
    said: tuple[LargeCommunity, ...] = ((ASN, 1, 9), (ASN, 6, 1), (65001, 1, 1))
    path = judged("10.1.50.0/24", large_communities=said, extended_communities=(link_bandwidth(ASN, 1e9),))
    assert path.attributes.large_communities == ((ASN, 1, 7), (65001, 1, 1))
    assert path.attributes.extended_communities == ()
    assert (path.attributes.local_pref, path.attributes.as_path) == (200, THEIRS)


def test_only_so_many_are_accepted() -> None:
    rib = Rib(FACTS)
    rib.set_session(CORE, lan_import())
    for third in range(5):
        keys = [key_of(ip_network(f"10.1.{third}.0/24"))]
        rib.receive(CORE, Update(announced=[(Family.IPV4, 0, keys, learnt().attributes)]))
    state = rib.limit_state(CORE)
    assert (state.prefixes, state.waiting) == (3, 2)
    assert list(rib.hops) == [], "no uplink, and so nothing for liveness"


# Decision


def test_a_lan_comes_before_what_others_announce_and_after_our_own() -> None:
    better = path_of(HUBS[0], 5, local_pref=900)
    decision = decide([better, learnt(local_pref=0)], 8, ASN)
    assert decision.tiers == ((Member(ROUTER, 1),),)
    assert decide([learnt(), path_of(LOCAL, 3)], 8, ASN).tiers == ()
    assert decide([replace(learnt(), rejected=r.LAN_DOWN), better], 8, ASN).tiers == ((Member(hop(5), 1),),)


def test_two_lans_share_and_one_follows_the_other() -> None:
    assert decide([learnt(), learnt(EDGE)], 8, ASN).tiers == ((Member(OTHER, 1), Member(ROUTER, 1)),)
    longer = learnt(EDGE, as_path=((AS_SEQUENCE, (LAN_AS, LAN_AS)),))
    assert decide([longer, learnt()], 8, ASN).tiers == ((Member(ROUTER, 1),), (Member(OTHER, 1),))


def test_our_own_view_does_not_hide_it() -> None:
    decision = Decider(8, asn=ASN, view=lambda _: None)((learnt(), path_of(HUBS[0], 5)))
    assert decision.tiers == ((Member(ROUTER, 1),),)


def test_it_is_said_why() -> None:
    found = why([path_of(HUBS[0], 5), learnt()], 8, ASN)
    assert [(each.path.source.kind, each.step) for each in found] == [(SourceKind.LAN, ""), (SourceKind.HUB, "own")]
    assert found[1].words == "a router in this gateway's own LAN announces the prefix, and that comes first"


@given(paths_of((CORE, EDGE, LOCAL, *HUBS, *PEERS)), st.integers(1, 4))
def test_what_is_used_is_what_has_no_reason_against_it(paths: list[Path], most: int) -> None:
    found = why(paths, most, ASN)
    assert [each.path for each in found if not each.step] == list(decide(paths, most, ASN).multipath)


# As our own


def adoption(**fields: Any) -> Adoption:
    found = adoption_of(the_plan(**fields), local_source(OWN_ID))
    assert found is not None
    return found


def told(kind: SourceKind, *paths: Path, add_path: bool = True, **fields: Any) -> dict[int, Attributes]:
    return dict(Exporter(ExportGroup(kind, add_path, adoption=adoption(**fields)), FACTS).exports(paths))


def test_hubs_hear_it_once_per_uplink_as_they_hear_our_own() -> None:
    said = learnt(communities=(7,), med=5, origin=2)
    first, second = told(SourceKind.HUB, said).values()
    assert first == replace(
        said.attributes, next_hop=hop(3), local_pref=200, extended_communities=(link_bandwidth(ASN, 8_000_000),)
    )
    assert second == replace(said.attributes, next_hop=hop(4), local_pref=50)
    assert list(told(SourceKind.HUB, said)) == [3, 4]


def test_a_hubs_rules_act_on_it_as_on_the_hubs_own() -> None:
    uplinks = tuple(msgspec.structs.replace(each, policy=each.number - 2) for each in UPLINKS)
    steps = StepPlan("far", preference_add=7, med=9, prepend=1), StepPlan("not-over-this", deny=True)
    policies = tuple(PolicyPlan(number, (step,)) for number, step in enumerate(steps, 1))
    sent = told(SourceKind.PEER, learnt(), role="hub", uplinks=uplinks, policies=policies)
    assert {number: (each.local_pref, each.med) for number, each in sent.items()} == {3: (207, 9)}
    assert {(ASN, RULED_MED, 9), (ASN, RULED_PREPEND, 1)} <= set(sent[3].large_communities)


def test_a_plan_without_lan_peers_adopts_nothing() -> None:
    assert adoption_of(the_plan(sessions=()), local_source(OWN_ID)) is None


def test_ipv6_goes_over_the_uplinks_that_have_it() -> None:
    six = learnt(next_hop=ip_address("fd01::2").packed)
    assert [(n, a.next_hop) for n, a in told(SourceKind.HUB, six).items()] == [(3, ip_address("fd42:42::3").packed)]


def test_drained_and_shut_down_are_the_last_choice() -> None:
    for drained, communities in ((True, ()), (False, (GRACEFUL_SHUTDOWN,))):
        sent = told(SourceKind.HUB, learnt(communities=communities), drained=drained)
        assert {(each.local_pref, each.communities) for each in sent.values()} == {(0, (GRACEFUL_SHUTDOWN,))}


def test_one_of_several_routers_speaks_for_the_prefix_and_our_own_before_them() -> None:
    longer = learnt(EDGE, as_path=((AS_SEQUENCE, (65002, 65003)),))
    assert {each.as_path for each in told(SourceKind.HUB, longer, learnt()).values()} == {THEIRS}
    own = [path_of(LOCAL, 3), path_of(LOCAL, 4)]
    assert {each.as_path for each in told(SourceKind.HUB, learnt(), *own).values()} == {()}


def test_what_is_refused_or_not_to_be_advertised_is_not_told_and_what_hubs_say_neither() -> None:
    assert told(SourceKind.HUB, replace(learnt(), rejected=r.LAN_DOWN)) == {}
    assert told(SourceKind.HUB, learnt(communities=(NO_ADVERTISE,))) == {}
    assert told(SourceKind.HUB, path_of(HUBS[0], 5)) == {}
    assert list(told(SourceKind.HUB, learnt(communities=(NO_EXPORT,)))) == [3, 4], "hubs are in our AS"


@pytest.mark.parametrize("kind", [SourceKind.CLIENT, SourceKind.PEER])
def test_a_hubs_own_lan_is_told_to_all_as_its_own(kind: SourceKind) -> None:
    sent = told(kind, learnt(), path_of(PEERS[0], 11), role="hub")
    ours = sent[4]
    assert (ours.next_hop, ours.as_path, ours.originator_id, ours.cluster_list) == (hop(4), THEIRS, OWN_ID, ())
    assert (ASN, 4, 4) in ours.large_communities, "uplink and class, as on its own prefixes"
    assert list(sent) == [3, 4, 11]
    assert [each.next_hop for each in told(kind, learnt(), add_path=False, role="hub").values()] == [hop(3)]


def test_an_ebgp_client_of_the_hub_sees_the_fabrics_as_before_the_lans() -> None:
    group = ExportGroup(SourceKind.CLIENT, True, None, True, adoption=adoption(role="hub"), outside=frozenset({9}))
    sent = dict(Exporter(group, FACTS).exports((learnt(),)))
    assert {each.as_path for each in sent.values()} == {((AS_SEQUENCE, (ASN, LAN_AS)),)}
    assert [each.med for each in sent.values()] == [2**32 - 201, 2**32 - 51]


# What it is told


def given_to(router: str, *paths: Path, view: View | None = None) -> dict[int, Attributes]:
    group = ExportGroup(SourceKind.LAN, False, view, True, lan=LanRouter(router, US))
    return dict(Exporter(group, FACTS).exports(paths))


def test_it_hears_of_the_fabric_with_us_as_next_hop() -> None:
    remote = path_of(
        HUBS[0],
        5,
        local_pref=150,
        large_communities=((ASN, 1, 2), (65009, 1, 1)),
        communities=(7,),
        originator_id=hop(5),
        cluster_list=(hop(1),),
        extended_communities=(link_bandwidth(ASN, 1e9),),
    )
    assert given_to("core", remote) == {
        0: Attributes(
            next_hop=US,
            as_path=((AS_SEQUENCE, (ASN,)),),
            med=2**32 - 151,
            communities=(7,),
            large_communities=((65009, 1, 1),),
        )
    }


def test_the_as_path_keeps_what_is_behind_the_fabric() -> None:
    assert given_to("core", path_of(HUBS[0], 5, as_path=THEIRS))[0].as_path == ((AS_SEQUENCE, (ASN, LAN_AS)),)


def test_it_hears_the_best_only_and_our_own_before() -> None:
    paths = path_of(HUBS[0], 5, local_pref=10), path_of(HUBS[1], 6, local_pref=20)
    assert [each.med for each in given_to("core", *paths).values()] == [2**32 - 21]
    assert given_to("core", *paths, path_of(LOCAL, 3, local_pref=5))[0].med == 2**32 - 6


def test_not_its_own_nor_what_we_do_not_use_because_of_it() -> None:
    """RFC 4271 9.1.3. Told another path of its own prefix it might send to us what we send to it."""
    assert given_to("core", learnt()) == {}
    assert given_to("core", learnt(), path_of(HUBS[0], 5, local_pref=900)) == {}
    assert given_to("edge", learnt())[0].as_path == ((AS_SEQUENCE, (ASN, LAN_AS)),)


def test_no_export_is_honoured_and_hides_the_prefix() -> None:
    assert given_to("core", path_of(HUBS[0], 5, communities=(NO_EXPORT,), local_pref=9)) == {}


def test_it_sees_what_the_hub_itself_sees() -> None:
    deny = PolicyPlan(1, (StepPlan("near", large=((f"{ASN}:1:2",),), deny=True), StepPlan("far", med=7)))
    view = View(CompiledPolicy.of(deny, ASN))
    near, far = path_of(PEERS[0], 5, large_communities=((ASN, 1, 2),), local_pref=900), path_of(PEERS[1], 6)
    assert given_to("core", near, view=view) == {}
    assert given_to("core", near, far, view=view)[0].med == 7


@given(paths_of((CORE, EDGE, LOCAL, *HUBS)))
def test_the_order_of_paths_means_nothing(paths: list[Path]) -> None:
    groups = (
        ExportGroup(SourceKind.HUB, adoption=adoption()),
        ExportGroup(SourceKind.LAN, False, None, True, lan=LanRouter("core", US)),
    )
    orders: list[PathSet] = [tuple(each) for each in itertools.islice(itertools.permutations(paths), 6)]
    for group in groups:
        assert len({Exporter(group, FACTS).exports(order) for order in orders}) == 1


def test_names_of_sources_may_be_alike() -> None:
    """A LAN peer may be called as we call ourselves."""
    assert given_to("local", path_of(LOCAL, 3)) != {}
    assert peer("local", SourceKind.LAN, 9) != LOCAL
