"""Rules at a hub's import, marks, and the guard rails that came with them."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network, ip_network
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speaker.plan import (
    AllocationPlan,
    ImportPlan,
    NextHopPlan,
    Plan,
    PolicyPlan,
    PrefixRangePlan,
    PrefixSetPlan,
    SessionPlan,
    StepPlan,
    decode,
)
from speaker.rib import reasons as r
from speaker.rib.attributes import AS_SEQUENCE, GRACEFUL_SHUTDOWN, Attributes
from speaker.rib.communities import BLACKHOLE, RULED_MED, RULED_PREPEND
from speaker.rib.denials import Portion
from speaker.rib.facts import RouterFacts, facts_of
from speaker.rib.intent import NO_INTENT, Intent, intent_of
from speaker.rib.marks import PrefixSets
from speaker.rib.path import Path
from speaker.rib.policy import ImportPolicy, import_policy
from speaker.rib.prefix import Family, Key, family_of, key_of, network_of
from tests.speaker.rib.given import ASN, FACTS, KEYS6, PEERS, hop, key
from tests.speaker.test_plan import V2

CLIENT, _, PEER, _ = PEERS
V4 = Family.IPV4
SERVICES = PrefixSetPlan(1, (PrefixRangePlan("10.1.0.0/16", 20, 24), PrefixRangePlan("2001:db8:1::/48", 64, 64)))
PHONES = PrefixSetPlan(2, (PrefixRangePlan("10.1.8.0/21", 21, 32),))
ALLOCATIONS = AllocationPlan("10.0.0.0/8", 24), AllocationPlan("2001:db8::/32", 64)


def plan_with(*policies: PolicyPlan, hop_policy: int = 0, view: int = 0, **fields: Any) -> Plan:
    """A hub with one client, whose next hop 10.42.0.3 is judged by `hop_policy`, and that looks by `view`."""
    hops = NextHopPlan(3, "10.42.0.3", None, 200, (f"{ASN}:2:7",), 0, policy=hop_policy)
    drained = NextHopPlan(4, "10.42.0.4", None, 200, (), 0, drained=True, policy=hop_policy)
    like = next(each for each in decode(V2).sessions if each.imports is not None)
    session = msgspec.structs.replace(
        like, peer_asn=ASN, local_address="10.42.0.1", imports=ImportPlan((hops, drained), ALLOCATIONS), view=view
    )
    values: dict[str, Any] = {
        "version": 3,
        "asn": ASN,
        "sessions": (session,),
        "prefix_sets": (SERVICES, PHONES),
        "policies": policies,
    }
    return msgspec.structs.replace(decode(V2), **values | fields)


def session_of(plan: Plan, **fields: Any) -> SessionPlan:
    return msgspec.structs.replace(plan.sessions[0], **fields)


def client_import(plan: Plan, facts: RouterFacts = FACTS) -> ImportPolicy:
    return import_policy(plan.sessions[0], facts, intent=intent_of(plan))


def judged(policy: ImportPolicy, text: str, attributes: Attributes | None = None) -> Path:
    network = ip_network(text)
    ((reason, keys, marks),) = policy.verdicts(family_of(network), [key_of(network)])
    assert list(keys) == [key_of(network)]
    return policy.path(CLIENT, 1, attributes or Attributes(hop(3)), reason, marks)


def test_a_rule_changes_what_a_client_announces_and_is_named() -> None:
    policy = PolicyPlan(1, (StepPlan("prefer", preference_add=50, add=("65000:7",)), StepPlan("far", prepend=2)))
    path = judged(client_import(plan_with(policy, hop_policy=1)), "10.1.1.0/24")
    assert (path.rejected, path.rules) == ("", ("prefer", "far"))
    assert path.attributes.large_communities == ((ASN, 2, 7), (ASN, RULED_PREPEND, 2))
    assert (path.attributes.local_pref, path.attributes.communities) == (250, (65000 << 16 | 7,))
    assert path.received == Attributes(hop(3))


def test_what_rules_say_to_ebgp_clients_is_on_the_path_for_every_hub_and_never_a_clients_word() -> None:
    """A MED that equals the client's own is a rule's all the same."""
    policy = PolicyPlan(1, (StepPlan("far", med=7), StepPlan("further", prepend=20), StepPlan("more", prepend=20)))
    claimed = ((ASN, RULED_MED, 1), (ASN, RULED_PREPEND, 1), (65009, RULED_MED, 1))
    attributes = Attributes(hop(3), med=7, large_communities=claimed)
    plain = judged(client_import(plan_with()), "10.1.1.0/24", attributes)
    assert plain.attributes.large_communities == ((ASN, 2, 7), (65009, RULED_MED, 1))
    path = judged(client_import(plan_with(policy, hop_policy=1)), "10.1.1.0/24", attributes)
    assert path.attributes.med == 7
    assert path.attributes.large_communities == (
        (ASN, 2, 7),
        (ASN, RULED_MED, 7),
        (ASN, RULED_PREPEND, 32),
        (65009, RULED_MED, 1),
    )


def test_a_rule_denies_and_is_named_and_guard_rails_speak_first() -> None:
    policy = client_import(plan_with(PolicyPlan(1, (StepPlan("no"), StepPlan("never", deny=True))), hop_policy=1))
    path = judged(policy, "10.1.1.0/24")
    assert (path.rejected, path.rules, path.marks) == (r.DENIED_BY_RULE, ("no", "never"), ())
    assert judged(policy, "172.16.0.0/24").rejected == r.PREFIX_NOT_ALLOCATED
    assert judged(policy, "10.1.1.0/24", Attributes(hop(9))).rejected == r.NEXT_HOP_NOT_YOURS
    assert judged(policy, "172.16.0.0/24").rules == ()


def test_what_is_drained_stays_so_whatever_rules_say() -> None:
    policy = PolicyPlan(1, (StepPlan("up", preference=900, remove=("65535:0",)),))
    path = judged(client_import(plan_with(policy, hop_policy=1)), "10.1.1.0/24", Attributes(hop(4)))
    assert (path.attributes.local_pref, path.attributes.communities) == (0, (GRACEFUL_SHUTDOWN,))


def test_rules_ask_for_what_the_hub_says_and_not_for_what_the_client_claims() -> None:
    mine, claimed = StepPlan("mine", large=((f"{ASN}:2:7",),)), StepPlan("claimed", large=((f"{ASN}:2:8",),))
    policy = client_import(plan_with(PolicyPlan(1, (mine, claimed)), hop_policy=1))
    assert judged(policy, "10.1.1.0/24", Attributes(hop(3), large_communities=((ASN, 2, 8),))).rules == ("mine",)


def test_a_path_is_marked_by_the_sets_that_views_ask_for_and_judged_by_all() -> None:
    importing = PolicyPlan(1, (StepPlan("phones", prefix_set=2, deny=True),))
    viewing = PolicyPlan(2, (StepPlan("services", prefix_set=1),))
    policy = client_import(plan_with(importing, viewing, hop_policy=1, view=2))
    keys = [key(text) for text in ("10.1.0.0/24", "10.1.9.0/24", "10.1.0.0/16", "10.9.0.0/24")]
    portions = policy.verdicts(V4, keys)
    assert portions == [
        Portion("", [keys[1]], (1, 2)),
        Portion("", [keys[0]], (1,)),
        Portion("", keys[2:], ()),
    ]
    paths = [policy.path(CLIENT, 1, Attributes(hop(3)), reason, marks) for reason, _, marks in portions]
    assert [(path.rejected, path.marks) for path in paths] == [(r.DENIED_BY_RULE, ()), ("", (1,)), ("", ())]
    assert policy.verdicts(Family.IPV6, list(KEYS6)) == [Portion("", [KEYS6[0]], (1,)), Portion("", [KEYS6[1]], ())]


def test_another_hubs_paths_are_marked_but_not_judged_again() -> None:
    importing = PolicyPlan(1, (StepPlan("phones", prefix_set=2, deny=True),))
    viewing = PolicyPlan(2, (StepPlan("services", prefix_set=1),))
    plan = plan_with(importing, viewing, hop_policy=1, view=2)
    policy = import_policy(session_of(plan, peer_role="peer", imports=None), FACTS, intent=intent_of(plan))
    ((reason, _, marks),) = policy.verdicts(V4, [key("10.1.9.0/24")])
    path = policy.path(PEER, 3, Attributes(hop(3), local_pref=70), reason, marks)
    assert (path.rejected, path.marks, path.attributes.local_pref) == ("", (1,), 70)


def test_without_sets_a_batch_is_one_portion_and_the_very_list_that_came() -> None:
    policy = client_import(plan_with(PolicyPlan(1, (StepPlan("all", med=1),)), hop_policy=1))
    keys = [key(f"10.1.{n}.0/24") for n in range(9)]
    ((reason, same, marks),) = policy.verdicts(V4, keys)
    assert (reason, marks) == ("", ())
    assert same is keys


def test_policies_that_judge_alike_are_equal_so_that_nothing_is_judged_again() -> None:
    first, second = PolicyPlan(1, (StepPlan("a", med=1),)), PolicyPlan(2, (StepPlan("b", prefix_set=1),))
    plan = plan_with(first, second, hop_policy=1)
    assert client_import(plan) == client_import(plan_with(first, hop_policy=1))
    assert client_import(plan) != client_import(plan_with(PolicyPlan(1, (StepPlan("a", med=2),)), hop_policy=1))
    assert client_import(plan) != client_import(plan_with(first, second, hop_policy=1, view=2))


def test_a_plan_without_rules_has_no_intent_and_one_with_holes_is_refused() -> None:
    assert intent_of(decode(V2)) is NO_INTENT
    with pytest.raises(ValueError, match="policy 7 is not in the plan"):
        intent_of(plan_with(PolicyPlan(1, ()), hop_policy=7))
    with pytest.raises(ValueError, match="policy 3 is not in the plan"):
        intent_of(plan_with(own_view=3))
    with pytest.raises(ValueError, match="policy 5 is not in the plan"):
        intent_of(plan_with(view=5))
    with pytest.raises(ValueError, match="prefix set 9 is not in the plan"):
        intent_of(plan_with(PolicyPlan(1, (StepPlan("a", prefix_set=9),)), hop_policy=1))


def test_intent_has_the_own_view_and_its_sets() -> None:
    policies = PolicyPlan(1, (StepPlan("a", prefix_set=2),)), PolicyPlan(2, (StepPlan("b", prefix_set=1),))
    plan = plan_with(*policies, hop_policy=1, own_view=2)
    found = intent_of(plan)
    assert isinstance(found, Intent)
    assert found.own_view == found.policies[2]
    assert [each.number for each in found.viewed.plans] == [1]


def test_a_range_without_any_length_contains_nothing() -> None:
    sets = PrefixSets((PrefixSetPlan(1, (PrefixRangePlan("10.0.0.0/8", 20, 16),)),))
    assert sets.split(V4, [key("10.1.0.0/16")]) == [((), [key("10.1.0.0/16")])]


ranges = st.builds(
    lambda text, ge, more: PrefixRangePlan(text, ge, ge + more),
    st.sampled_from(("0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.8.0/21", "10.1.9.0/25", "10.1.9.128/32")),
    st.integers(0, 26),
    st.integers(0, 6),
)
keys_of = st.lists(
    st.builds(
        lambda octets, bits: key_of(ip_network((bytes(octets), bits), strict=False)),
        st.tuples(
            st.sampled_from((10, 11)), st.sampled_from((0, 1)), st.sampled_from((8, 9)), st.sampled_from((0, 200))
        ),
        st.integers(1, 32),
    ),
    max_size=8,
)


@given(st.lists(st.lists(ranges, max_size=3), max_size=3), keys_of)
def test_marks_are_what_the_ranges_say_one_by_one(sets: list[list[PrefixRangePlan]], keys: list[Key]) -> None:
    plans = tuple(PrefixSetPlan(number, tuple(each)) for number, each in enumerate(sets, 1))
    found = {k: marks for marks, some in PrefixSets(plans).split(V4, keys) for k in some}
    for k in keys:
        network = IPv4Network(str(network_of(V4, k)))
        assert found[k] == tuple(
            plan.number
            for plan in plans
            if any(
                network.subnet_of(IPv4Network(each.prefix)) and each.ge <= network.prefixlen <= each.le
                for each in plan.ranges
            )
        )


# Guard rails

UNDERLAY = replace(FACTS, underlay=frozenset({ip_network("10.7.7.0/24"), ip_network("2001:db8:7::/48")}))


@pytest.mark.parametrize(
    ("prefix", "reason", "from_hub"),
    [
        ("10.7.7.0/24", r.UNDERLAY, r.UNDERLAY),
        ("10.7.0.0/16", r.UNDERLAY, ""),
        ("10.0.0.0/8", "", ""),  # Declared as it is. Hubs have judged what they tell.
        ("10.7.8.0/24", "", ""),
        ("2001:db8:7:1::/64", r.UNDERLAY, r.UNDERLAY),
        ("2001:db8:8::/64", "", ""),
    ],
)
def test_what_zerotier_runs_over_is_no_route(prefix: str, reason: str, from_hub: str) -> None:
    plan = plan_with()
    policies = client_import(plan, UNDERLAY), import_policy(session_of(plan, peer_role="hub"), UNDERLAY)
    network = ip_network(prefix)
    for policy, why in zip(policies, (reason, from_hub), strict=True):
        assert [each.reason for each in policy.verdicts(family_of(network), [key_of(network)])] == [why]


def test_a_hubs_default_route_is_no_underlay_address() -> None:
    spoke = import_policy(session_of(plan_with(), peer_role="hub"), UNDERLAY)
    assert [each.reason for each in spoke.verdicts(V4, [key("0.0.0.0/0"), key("10.7.7.7/32")])] == [r.UNDERLAY, ""]


def test_a_blackhole_may_be_longer_than_its_allocation_where_it_is_honoured() -> None:
    plan, asked = plan_with(), Attributes(hop(3), communities=(BLACKHOLE,))
    honouring = client_import(plan, replace(UNDERLAY, blackhole=True))
    assert judged(honouring, "10.1.1.1/32", asked).rejected == ""
    assert judged(honouring, "10.1.1.1/32").rejected == r.MORE_SPECIFIC_THAN_ALLOWED
    assert judged(honouring, "172.16.1.1/32", asked).rejected == r.PREFIX_NOT_ALLOCATED
    assert judged(honouring, "10.42.3.1/32", asked).rejected == r.INSIDE_SEGMENT
    assert judged(honouring, "10.7.7.7/32", asked).rejected == r.UNDERLAY
    assert judged(client_import(plan), "10.1.1.1/32", asked).rejected == r.MORE_SPECIFIC_THAN_ALLOWED


def test_what_is_connected_is_sent_on_only_when_nothing_else_is_wrong_with_it() -> None:
    lan = frozenset({ip_network("10.1.0.0/16"), ip_network("10.7.0.0/16")})
    policy = client_import(plan_with(), replace(UNDERLAY, connected=lan, blackhole=True))
    longer, asked = (
        judged(policy, "10.1.1.0/25"),
        judged(policy, "10.1.1.0/25", Attributes(hop(3), communities=(BLACKHOLE,))),
    )
    assert (longer.rejected, longer.withheld) == (r.MORE_SPECIFIC_THAN_ALLOWED, "")
    assert (asked.rejected, asked.withheld) == ("", r.CONNECTED)
    around = replace(UNDERLAY, connected=lan, underlay=frozenset({ip_network("10.1.9.0/25")}))
    assert judged(client_import(plan_with(), around), "10.1.9.0/24").rejected == r.UNDERLAY


def test_the_facts_of_a_plan_have_the_guard_rails() -> None:
    facts = facts_of(plan_with(underlay=("10.7.7.0/24",), blackhole=True))
    assert (facts.underlay, facts.blackhole) == (frozenset({ip_network("10.7.7.0/24")}), True)


PEERS_AS = 65010


@pytest.mark.parametrize(
    ("as_path", "reason"),
    [
        (((AS_SEQUENCE, (PEERS_AS,)),), ""),
        (((AS_SEQUENCE, (PEERS_AS, 65011)),), ""),
        (((AS_SEQUENCE, (65011, PEERS_AS)),), r.FIRST_AS),
        ((), r.FIRST_AS),
        (((AS_SEQUENCE, (PEERS_AS, ASN)),), r.AS_LOOP),
    ],
)
def test_an_ebgp_client_speaks_in_its_own_name(as_path: Any, reason: str) -> None:
    policy = import_policy(session_of(plan_with(), peer_asn=PEERS_AS, peer_is_ours=False), FACTS)
    assert judged(policy, "10.1.1.0/24", Attributes(hop(3), as_path=as_path)).rejected == reason


def test_of_an_ebgp_client_neither_preference_nor_originator_is_taken() -> None:
    policy = import_policy(session_of(plan_with(), peer_asn=PEERS_AS, peer_is_ours=False), FACTS)
    forged = Attributes(
        hop(3),
        as_path=((AS_SEQUENCE, (PEERS_AS,)),),
        local_pref=999,
        originator_id=hop(7),
        cluster_list=(hop(7),),
        med=5,
    )
    path = judged(policy, "10.1.1.0/24", forged)
    assert path.rejected == ""
    made = path.attributes
    assert (made.local_pref, made.originator_id, made.cluster_list, made.med) == (200, None, (), 5)
    assert judged(policy, "10.1.1.0/24", replace(forged, next_hop=hop(9))).rejected == r.NEXT_HOP_NOT_YOURS


def test_every_reason_has_words_and_a_number_for_ever() -> None:
    codes = {value for name, value in vars(r).items() if name.isupper() and isinstance(value, str)}
    assert codes == r.REASONS.keys() == r.REASON_NUMBERS.keys()
    assert [r.REASON_NUMBERS[code] for code in (r.NEXT_HOP_NOT_YOURS, r.DENIED, r.FIRST_AS)] == [1, 14, 18]
