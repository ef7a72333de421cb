"""Our own announcements, from plan to table."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import Any
from zlib import crc32

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from speaker.plan import AnnouncementPlan, Plan, PolicyPlan, PrefixRangePlan, PrefixSetPlan, StepPlan, UplinkPlan
from speaker.rib.attributes import GRACEFUL_SHUTDOWN, Attributes
from speaker.rib.communities import RULED_MED, RULED_PREPEND
from speaker.rib.export import ExportGroup
from speaker.rib.facts import facts_of
from speaker.rib.path import Path, Source, SourceKind, Update
from speaker.rib.policy import SpokeImport
from speaker.rib.prefix import Family
from speaker.rib.rib import Rib
from tests.speaker.rib.given import ASN, FACTS, HUBS, bandwidth, hop, key

FIBER = UplinkPlan(3, "fiber", "zt0", "10.42.0.3", "fd42:42::3", "fiber", 200, 1_000_000_000)
LTE = UplinkPlan(4, "lte", "zt1", "10.42.0.4", None, "lte", 100, 0)
LARGE = (f"{ASN}:1:7",)


def plan(*announcements: AnnouncementPlan, uplinks: tuple[UplinkPlan, ...] = (FIBER, LTE), **other: Any) -> Plan:
    values: dict[str, Any] = {
        "version": 1,
        "gateway": "berlin-1",
        "role": "spoke",
        "asn": ASN,
        "router_id": "10.42.0.3",
        "segments": ("10.42.0.0/16",),
        "uplinks": uplinks,
        "announcements": announcements,
        "sessions": (),
        "rejects": (),
        "max_paths": 8,
    }
    return Plan(**values | other)


def told(rib: Rib) -> dict[tuple[Family, bytes, int], Attributes]:
    """What a hub hears that has heard nothing yet."""
    changes = [change for family in Family for piece in rib.everything(family) for change in piece]
    batches = rib.batches(ExportGroup(SourceKind.HUB), changes)
    assert all(not batch.withdrawn for batch in batches)
    return {(b.family, k, path_id): sent for b in batches for path_id, sent, keys in b.announced for k in keys}


def rib_of(first: Plan) -> Rib:
    rib = Rib(facts_of(first))
    rib.originate(first)
    return rib


def test_a_drained_gateway_asks_not_to_be_used() -> None:
    rib = rib_of(plan(AnnouncementPlan(("10.1.1.0/24",), LARGE)))
    rib.originate(plan(AnnouncementPlan(("10.1.1.0/24",), LARGE), drained=True))
    assert {(sent.local_pref, sent.communities) for sent in told(rib).values()} == {(0, (GRACEFUL_SHUTDOWN,))}


def test_each_prefix_goes_out_once_per_uplink_that_has_its_family() -> None:
    rib = rib_of(plan(AnnouncementPlan(("10.1.1.0/24", "2001:db8:1::/64"), LARGE)))
    large = ((ASN, 1, 7),)
    width = (bandwidth(125_000_000),)
    assert told(rib) == {
        (Family.IPV4, key("10.1.1.0/24"), 3): Attributes(
            hop(3), local_pref=200, large_communities=large, extended_communities=width
        ),
        (Family.IPV4, key("10.1.1.0/24"), 4): Attributes(hop(4), local_pref=100, large_communities=large),
        (Family.IPV6, key("2001:db8:1::/64"), 3): Attributes(
            ip_address("fd42:42::3").packed, local_pref=200, large_communities=large, extended_communities=width
        ),
    }


def test_a_spoke_tells_its_hubs_only_its_own() -> None:
    first = plan(AnnouncementPlan(("10.1.1.0/24",), ()))
    rib = rib_of(first)
    rib.set_session(HUBS[0], SpokeImport(FACTS))
    rib.receive(HUBS[0], Update(announced=[(Family.IPV4, 9, [key("10.2.0.0/24"), key("10.1.1.0/24")], _from_hub())]))
    assert {k for _, k, _ in told(rib)} == {key("10.1.1.0/24")}
    assert rib.desired(Family.IPV4, key("10.1.1.0/24")) is None  # Ours beats all.
    assert rib.desired(Family.IPV4, key("10.2.0.0/24")) is not None


def _from_hub() -> Attributes:
    return Attributes(hop(9), local_pref=900, originator_id=hop(9))


def test_the_same_plan_again_changes_nothing() -> None:
    first = plan(AnnouncementPlan(("10.1.1.0/24",), LARGE))
    rib = rib_of(first)
    rib.take(100)
    rib.originate(first)
    assert rib.take(100) == []


def test_only_the_difference_of_two_plans_is_told() -> None:
    rib = rib_of(plan(AnnouncementPlan(("10.1.1.0/24", "10.1.2.0/24", "10.1.3.0/24"), ())))
    rib.take(100)
    rib.originate(plan(AnnouncementPlan(("10.1.1.0/24", "10.1.4.0/24"), ()), AnnouncementPlan(("10.1.2.0/24",), LARGE)))
    changed = {k: (len(old), len(new)) for _, k, old, new in rib.changes(100)}
    assert changed == {key("10.1.2.0/24"): (2, 2), key("10.1.3.0/24"): (2, 0), key("10.1.4.0/24"): (0, 2)}


def test_an_uplink_that_goes_takes_its_paths_along() -> None:
    announcement = AnnouncementPlan(("10.1.1.0/24",), ())
    rib = rib_of(plan(announcement))
    rib.originate(plan(announcement, uplinks=(FIBER,)))
    assert {path_id for _, _, path_id in told(rib)} == {3}


def test_facts_follow_from_the_plan() -> None:
    assert facts_of(plan()) == replace(
        FACTS,
        router_id=hop(3),
        cluster_id=hop(3),
        own_next_hops=frozenset({hop(3), hop(4), ip_address("fd42:42::3").packed}),
        segments=frozenset(n for n in FACTS.segments if n.version == 4),
        connected=frozenset(),
    )


announcements = st.lists(
    st.builds(
        AnnouncementPlan,
        prefixes=st.lists(st.sampled_from(("10.1.1.0/24", "10.1.2.0/24", "2001:db8::/64")), unique=True).map(tuple),
        large_communities=st.sampled_from(((), LARGE)),
    ),
    max_size=2,
)
uplinks = st.sampled_from(((FIBER,), (LTE,), (FIBER, LTE)))
plans = st.builds(lambda each, over: plan(*each, uplinks=over), announcements, uplinks)


@given(history=st.lists(plans, min_size=1, max_size=4))
def test_after_any_plans_the_table_is_as_if_only_the_last_had_been(history: list[Plan]) -> None:
    rib = rib_of(history[0])
    for later in history[1:]:
        rib.originate(later)
    assert told(rib) == told(rib_of(history[-1]))


def test_a_hubs_own_paths_carry_what_rules_ask_for() -> None:
    """A spoke's do not: its hubs say it."""
    views = PolicyPlan(1, (StepPlan("services", prefix_set=1),))
    sets = (PrefixSetPlan(1, (PrefixRangePlan("10.1.0.0/16", 24, 24),)),)
    announced = AnnouncementPlan(("10.1.1.0/24", "10.2.1.0/24"), LARGE)
    for role, large, marks in (
        ("hub", ((ASN, 1, 7), (ASN, 3, crc32(b"lte")), (ASN, 4, 4)), [(1,), ()]),
        ("spoke", ((ASN, 1, 7),), [(1,), ()]),
    ):
        rib = rib_of(plan(announced, uplinks=(LTE,), role=role, prefix_sets=sets, policies=(views,), own_view=1))
        found = [rib.lookup(Family.IPV4, key(text))[0] for text in announced.prefixes]
        assert [path.attributes.large_communities for path in found] == [large, large]
        assert [path.marks for path in found] == marks


def test_what_the_plan_says_of_an_uplink_is_not_said_twice() -> None:
    announced = AnnouncementPlan(("10.1.1.0/24",), (f"{ASN}:3:5", f"{ASN}:4:9"))
    ((path,),) = (paths for _, paths in rib_of(plan(announced, uplinks=(LTE,), role="hub")).walk(Family.IPV4))
    assert path.attributes.large_communities == ((ASN, 3, 5), (ASN, 4, 9))


def of_hub(*steps: StepPlan, **other: Any) -> Plan:
    """A hub with one policy for what it announces over fiber, none for lte."""
    sets = (PrefixSetPlan(1, (PrefixRangePlan("10.1.0.0/16", 24, 24),)),)
    uplinks = (msgspec.structs.replace(FIBER, policy=1), LTE)
    announced = AnnouncementPlan(("10.1.1.0/24", "10.2.0.0/16"), LARGE)
    policies = (PolicyPlan(1, steps),)
    return plan(announced, uplinks=uplinks, role="hub", version=3, policies=policies, prefix_sets=sets, **other)


def test_rules_act_on_what_a_hub_announces_itself() -> None:
    steps = StepPlan("prefer", prefix_set=1, preference_add=50, add=("65000:7",)), StepPlan("far", med=9, prepend=2)
    rib = rib_of(of_hub(*steps))
    sent = told(rib)
    near, other = sent[Family.IPV4, key("10.1.1.0/24"), 3], sent[Family.IPV4, key("10.2.0.0/16"), 3]
    assert (near.local_pref, near.communities, near.med) == (250, (65000 << 16 | 7,), 9)
    assert (other.local_pref, other.communities, other.med) == (200, (), 9)
    assert {(ASN, RULED_MED, 9), (ASN, RULED_PREPEND, 2)} <= set(near.large_communities) & set(other.large_communities)
    assert sent[Family.IPV4, key("10.1.1.0/24"), 4].local_pref == 100
    ours = {path.uplink: path.rules for path in rib.lookup(Family.IPV4, key("10.1.1.0/24"))}
    assert ours == {3: ("prefer", "far"), 4: ()}


def test_what_a_rule_denies_a_hub_keeps_for_itself() -> None:
    """It stays its own: no route of another site's copy comes in its place."""
    rib = rib_of(of_hub(StepPlan("not-this", prefix_set=1, deny=True)))
    assert told(rib).keys() == {
        (Family.IPV4, key("10.1.1.0/24"), 4),
        (Family.IPV4, key("10.2.0.0/16"), 3),
        (Family.IPV4, key("10.2.0.0/16"), 4),
    }
    theirs = Path(Source("b", SourceKind.PEER, hop(9), hop(9)), 9, 9, Attributes(hop(9), local_pref=900))
    paths = (*rib.lookup(Family.IPV4, key("10.1.1.0/24")), theirs)
    assert [path.kept for path in paths] == [True, False, False]
    assert rib.decide(paths).route is None


def test_a_drained_hub_stays_the_last_choice_whatever_rules_say() -> None:
    sent = told(rib_of(of_hub(StepPlan("prefer", preference=900), drained=True)))
    assert {each.local_pref for each in sent.values()} == {0}
