"""Why a path is used or not: the same steps as the decision, with words for who fell where."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speaker.plan import PolicyPlan, StepPlan
from speaker.rib.attributes import AS_SEQUENCE
from speaker.rib.communities import BLACKHOLE, MAX_PATHS
from speaker.rib.decision import Decider, decide
from speaker.rib.path import Path, PathSet, SourceKind
from speaker.rib.steps import CompiledPolicy, evaluate
from speaker.rib.why import Why, why
from tests.speaker.rib.given import ASN, HUBS, LOCAL, PEERS, hop, path, paths_of, peer

A, B = HUBS

STEPS: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("LOCAL_PREF", {"local_pref": 200}, {}, "LOCAL_PREF 100 is lower than 200"),
    ("AS_PATH", {}, {"as_path": ((AS_SEQUENCE, (1, 2)),)}, "AS_PATH of 2 is longer than that of 0"),
    ("ORIGIN", {"origin": 0}, {"origin": 2}, "ORIGIN incomplete comes after IGP"),
    ("MED", {"med": 5}, {"med": 10}, "MED 10 is higher than 5 of the same neighbour AS"),
]


def of(found: list[Why], number: int) -> Why:
    return next(each for each in found if each.path.attributes.next_hop == hop(number))


@pytest.mark.parametrize(("step", "better", "worse", "words"), STEPS, ids=[each[0] for each in STEPS])
def test_a_step_is_named_with_both_values(step: str, better: dict[str, Any], worse: dict[str, Any], words: str) -> None:
    winner, loser = path(B, 9, **better), path(A, 3, **worse)
    found = why((loser, winner), 8)
    assert (found[0].path, found[0].step, found[0].tier) == (winner, "", 1)
    assert (found[1].step, found[1].by, found[1].tier) == (step, winner, 2)
    assert found[1].words.startswith(words)


def test_beyond_max_paths_the_tie_break_is_named() -> None:
    found = why([path(A, number) for number in (5, 4, 3)], 2)
    assert [each.step for each in found] == ["", "", "max_paths"]
    assert found[2].words == "only 2 equal paths are used, and path id 5 comes after 4"
    assert found[2].tier == 2


TIES = [
    (path(A, 9), path(peer("w", SourceKind.HUB, 32), 3), "router id 10.42.0.32 comes after 10.42.0.31 (step f)"),
    (
        path(B, 9, originator_id=hop(3)),
        path(A, 3, originator_id=hop(3), cluster_list=(hop(1),)),
        "CLUSTER_LIST of 1 is longer than that of 0 (RFC 4456 9)",
    ),
    (
        path(A, 9, originator_id=hop(3)),
        path(B, 3, originator_id=hop(3)),
        "peer address 10.42.0.32 comes after 10.42.0.31 (step g)",
    ),
]


@pytest.mark.parametrize(("first", "second", "words"), TIES, ids=["f", "cluster", "g"])
def test_each_tie_break_has_its_words(first: Path, second: Path, words: str) -> None:
    found = why((second, first), 1)
    assert found[1].words == f"only 1 equal path is used, and {words}"


def test_a_rule_may_say_how_many_are_used() -> None:
    said = ((ASN, MAX_PATHS, 1),)
    found = why([path(A, 3, large_communities=said), path(A, 4)], 8, ASN)
    assert found[1].words.startswith(f"only 1 equal path is used (community {ASN}:10:1)")


def test_a_copy_is_used_and_named_as_one() -> None:
    copies = [path(each, 3, originator_id=hop(3)) for each in HUBS]
    worse = path(peer("c", SourceKind.HUB, 33), 3, local_pref=1)
    found = why((worse, *reversed(copies)), 8)
    assert [(each.step, each.copy_of) for each in found] == [("", None), ("", copies[0]), ("LOCAL_PREF", copies[0])]
    assert [each.tier for each in found] == [1, 1, 0]


def test_refused_withheld_and_own() -> None:
    refused = Path(B, 4, 4, path(B, 4).attributes, rejected="as-loop")
    withheld = Path(A, 5, 5, path(A, 5).attributes, withheld="connected")
    used = path(A, 3, local_pref=1)
    found = why((refused, withheld, used), 8)
    assert [each.step for each in found] == ["", "withheld", "refused"]
    assert found[2].words == "AS_PATH contains our own AS (RFC 4271 9.1.2)"
    assert found[1].words == "the prefix lies inside one that this gateway is attached to"
    own = path(LOCAL, 9)
    assert [(each.path, each.step) for each in why((used, own), 8)] == [(own, ""), (used, "own")]


def test_a_view_that_denies_names_its_rule() -> None:
    view = CompiledPolicy.of(PolicyPlan(1, (StepPlan("shut", communities=("65000:1",), deny=True),)), ASN)
    shown = path(A, 3, local_pref=1)
    denied = path(A, 4, communities=((65000 << 16) + 1,))
    found = why((denied, shown), 8, ASN, view=lambda each: evaluate(view, each.attributes, each.marks))
    assert [(each.path, each.step, each.rules) for each in found] == [(shown, "", ()), (denied, "rule", ("shut",))]
    assert found[1].words == "rule shut denies it here"


def test_a_blackhole_uses_all_that_tie() -> None:
    paths = [path(A, 3, communities=(BLACKHOLE,)), path(A, 4), path(A, 5, local_pref=1)]
    found = why(paths, 1, ASN, blackhole=True)
    assert [each.step for each in found] == ["", "", "LOCAL_PREF"]
    assert {each.tier for each in found} == {0}


worlds = paths_of((LOCAL, *PEERS, *HUBS))


@given(paths=worlds, max_paths=st.integers(1, 4), blackhole=st.booleans(), seed=st.integers(0, 99))
def test_those_without_a_beating_step_are_the_multipath_of_the_decision(
    paths: list[Path], max_paths: int, blackhole: bool, seed: int
) -> None:
    paths = [_marked(each, number) for number, each in enumerate(paths)]
    decision = decide(paths, max_paths, ASN, blackhole=blackhole)
    found = why(random.Random(seed).sample(paths, len(paths)), max_paths, ASN, blackhole=blackhole)
    assert sorted(map(id, (each.path for each in found))) == sorted(map(id, paths))
    assert [each.path for each in found if not each.step] == list(decision.multipath)
    for number, tier in enumerate(decision.tiers, 1):
        assert {each.path.attributes.next_hop for each in found if each.tier == number} == {m.next_hop for m in tier}
    for each in found:
        assert bool(each.words) is bool(each.step)
        assert each.tier <= len(decision.tiers)


@given(paths=worlds, max_paths=st.integers(1, 4))
def test_it_agrees_with_a_decider_that_has_a_view(paths: list[Path], max_paths: int) -> None:
    steps = (
        StepPlan("near", communities=("65535:65281",), preference_add=500),
        StepPlan("never", communities=("65535:65282",), deny=True),
    )
    policy = CompiledPolicy.of(PolicyPlan(1, steps), ASN)
    view = Decider(max_paths, asn=ASN, view=lambda each: evaluate(policy, each.attributes, each.marks).attributes)
    pathset: PathSet = tuple(paths)
    found = why(pathset, max_paths, ASN, view=lambda each: evaluate(policy, each.attributes, each.marks))
    assert [each.path for each in found if not each.step] == list(view(pathset).multipath)


def _marked(each: Path, number: int) -> Path:
    """Some say how many paths may be used, some are to be discarded."""
    large = ((ASN, MAX_PATHS, 1 + number),) if number % 3 == 2 else ()
    also = (BLACKHOLE,) if number % 4 == 3 else ()
    attributes = each.attributes
    return replace(
        each,
        attributes=replace(attributes, large_communities=large, communities=(*attributes.communities, *also)),
    )
