"""What a relayed path costs: here, and nowhere else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from speaker.plan import Plan, PolicyPlan, StepPlan
from speaker.rib.decision import Decision
from speaker.rib.export import ExportGroup
from speaker.rib.facts import facts_of
from speaker.rib.intent import intent_of
from speaker.rib.path import SourceKind, Update
from speaker.rib.policy import SpokeImport
from speaker.rib.prefix import Family
from speaker.rib.relayed import RELAYED, with_relayed
from speaker.rib.rib import Rib
from tests.speaker.rib.given import ASN, FACTS, HUBS, hop, key, path
from tests.speaker.rib.test_local import plan

PREFIX = key("10.2.1.0/24")
NEAR, FAR = 7, 8
COSTS: dict[str, Any] = {"relayed_seconds": 120, "relayed_preference": -50}


def table(wanted: Plan, **preferences: int) -> Rib:
    """A spoke that a hub has told of two ways."""
    rib = Rib(facts_of(wanted))
    rib.set_session(HUBS[0], SpokeImport(FACTS))
    near = preferences.get("near", 200)
    for number, preference in ((NEAR, near), (FAR, 180)):
        attributes = path(HUBS[0], number, local_pref=preference, large_communities=((ASN, 4, number),)).attributes
        rib.receive(HUBS[0], Update(announced=[(Family.IPV4, number, [PREFIX], attributes)], withdrawn=[]))
    rib.router_changed(rib.router, intent_of(wanted).own_view)
    return rib


def best(rib: Rib) -> set[bytes]:
    decision: Decision = rib.decide(rib.lookup(Family.IPV4, PREFIX))
    return {each.attributes.next_hop for each in decision.multipath}


def test_a_relayed_path_gives_way_to_one_that_is_nearly_as_good() -> None:
    declared = plan(**COSTS)
    assert best(table(with_relayed(declared, ()))) == {hop(NEAR)}
    assert best(table(with_relayed(declared, {NEAR}))) == {hop(FAR)}
    assert best(table(with_relayed(declared, {NEAR, FAR}))) == {hop(NEAR)}, "all relayed: nothing moves"
    assert best(table(with_relayed(declared, {NEAR}), near=300)) == {hop(NEAR)}, "still better"
    assert best(table(with_relayed(plan(), {NEAR}))) == {hop(NEAR)}, "not asked for"


def test_explain_says_why() -> None:
    rib = table(with_relayed(plan(**COSTS), {NEAR}))
    (why,) = [each for each in rib.why(rib.lookup(Family.IPV4, PREFIX)) if each.path.uplink == NEAR]
    assert (why.looks.local_pref, why.rules) == (150, (RELAYED,))


def test_the_rules_of_the_own_view_come_first() -> None:
    own = PolicyPlan(3, (StepPlan("eu-first", large=((f"{ASN}:4:{NEAR}",),), preference=190),))
    other = PolicyPlan(9, (StepPlan("of a viewer", deny=True),))
    declared = plan(role="hub", policies=(own, other), own_view=3, **COSTS)
    carried = with_relayed(declared, {NEAR})
    assert carried.policies[:2] == declared.policies
    assert [step.rule for step in carried.policies[2].steps] == ["eu-first", RELAYED]
    assert carried.own_view == carried.policies[2].number == 10
    assert best(table(carried)) == {hop(FAR)}


def test_what_others_are_told_is_what_they_were_told_before() -> None:
    declared = plan(role="hub", **COSTS)
    groups = [ExportGroup(kind) for kind in (SourceKind.HUB, SourceKind.CLIENT, SourceKind.PEER)]
    before, after = table(declared), table(with_relayed(declared, {NEAR}))
    for group in groups:
        told = [
            rib.batches(group, [c for piece in rib.everything(Family.IPV4) for c in piece]) for rib in (before, after)
        ]
        assert told[0] == told[1]


def test_it_is_lifted_without_a_trace() -> None:
    declared = plan(**COSTS)
    rib = table(with_relayed(declared, {NEAR}))
    assert rib.router_changed(replace(rib.router), intent_of(with_relayed(declared, ())).own_view)
    assert best(rib) == {hop(NEAR)}
