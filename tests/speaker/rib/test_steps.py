"""Policies: what the steps of a plan make of a path, one by one and in turn."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speaker.plan import PolicyPlan, StepPlan, decode
from speaker.rib.attributes import GRACEFUL_SHUTDOWN, NO_EXPORT, Attributes
from speaker.rib.communities import large_community, large_text
from speaker.rib.steps import CompiledPolicy, Verdict, compiled_policies, evaluate
from tests.speaker.rib.given import ASN, hop
from tests.speaker.test_plan import V1

OPERATORS = 65000 << 16 | 1
"""The community 65000:1."""
EU, US = (ASN, 2, 111), (ASN, 2, 222)
FIBRE, LTE = (ASN, 3, 1), (ASN, 3, 2)


def step(rule: str = "r", **fields: Any) -> StepPlan:
    return StepPlan(rule, **fields)


def compiled(*steps: StepPlan) -> CompiledPolicy:
    return CompiledPolicy.of(PolicyPlan(1, steps), ASN)


def path(**fields: Any) -> Attributes:
    defaults: dict[str, Any] = {"next_hop": hop(3), "local_pref": 200}
    return Attributes(**defaults | fields)


def outcome(attributes: Attributes, *steps: StepPlan, marks: tuple[int, ...] = ()) -> Attributes:
    """What is left of a path that is not denied."""
    verdict = evaluate(compiled(*steps), attributes, marks)
    assert verdict.attributes is not None
    return verdict.attributes


MATCHES = [
    ("everything", {}, True),
    ("its prefix set", {"prefix_set": 2}, True),
    ("another prefix set", {"prefix_set": 3}, False),
    ("one of its communities", {"communities": ("65000:9", "65000:1")}, True),
    ("a large one of an operator", {"communities": ("65000:1:1", "65000:9")}, True),
    ("none of its communities", {"communities": ("65000:9", "65000:9:9")}, False),
    ("one of each group", {"large": (("64512:2:111", "64512:2:222"), ("64512:3:1",))}, True),
    ("not one of each group", {"large": (("64512:2:111",), ("64512:3:2",))}, False),
    ("an empty group", {"large": ((),)}, False),
    ("none of these", {"large_none": ("64512:2:222", "64512:3:2")}, True),
    ("one that must not be there", {"large_none": ("64512:2:222", "64512:3:1")}, False),
    ("all together", {"prefix_set": 1, "communities": ("65000:1",), "large": (("64512:3:1",),)}, True),
    ("all but one", {"prefix_set": 1, "communities": ("65000:2",), "large": (("64512:3:1",),)}, False),
]


@pytest.mark.parametrize(("fields", "matches"), [case[1:] for case in MATCHES], ids=[case[0] for case in MATCHES])
def test_what_a_step_matches(fields: dict[str, Any], matches: bool) -> None:
    attributes = path(communities=(OPERATORS,), large_communities=(EU, FIBRE, (65000, 1, 1)))
    verdict = evaluate(compiled(step("it", deny=True, **fields)), attributes, (1, 2))
    assert (verdict == Verdict(None, ("it",), 0)) is matches
    assert (verdict == Verdict(attributes, (), 0)) is not matches


PREFERENCES = [
    ("set", 200, [step(preference=50)], 50),
    ("more", 200, [step(preference_add=50)], 250),
    ("less", 200, [step(preference_add=-50)], 150),
    ("set, then more", 200, [step(preference=10, preference_add=5)], 15),
    ("one step after the other", 200, [step(preference_add=5), step(preference_add=7)], 212),
    ("the later one sets", 200, [step(preference_add=5), step(preference=7)], 7),
    ("never below 1", 200, [step(preference_add=-500)], 1),
    ("never set below 1", 200, [step(preference=0)], 1),
    ("bounded after each step", 200, [step(preference_add=-500), step(preference_add=9)], 10),
    ("never above 32 bits", 2**32 - 5, [step(preference_add=50)], 2**32 - 1),
    ("absent is 100", None, [step(preference_add=1)], 101),
    ("absent stays absent", None, [step(med=1)], None),
]


@pytest.mark.parametrize(
    ("before", "steps", "after"), [case[1:] for case in PREFERENCES], ids=[case[0] for case in PREFERENCES]
)
def test_preference(before: int | None, steps: list[StepPlan], after: int | None) -> None:
    assert outcome(path(local_pref=before), *steps).local_pref == after


def test_what_is_shut_down_gets_no_preference_whatever_rules_say() -> None:
    shut = path(local_pref=0, communities=(GRACEFUL_SHUTDOWN,))
    assert outcome(shut, step(preference=500)).local_pref == 0
    assert outcome(shut, step(remove=("65535:0",)), step(preference_add=500)) == shut
    assert outcome(path(), step(add=("65535:0",)), step(preference=500)).local_pref == 0


def test_communities_are_taken_away_and_then_added() -> None:
    before = path(communities=(OPERATORS, NO_EXPORT), large_communities=(EU, (65000, 1, 1)))
    after = outcome(before, step(remove=("65000:1", "65000:1:1", "65000:7"), add=("65000:2", "64512:8:1", "65000:1:1")))
    assert after.communities == (65000 << 16 | 2, NO_EXPORT)
    assert after.large_communities == (EU, (ASN, 8, 1), (65000, 1, 1))


def test_later_steps_see_what_earlier_ones_did() -> None:
    add, seen = step("add", add=("65000:7",)), step("seen", communities=("65000:7",), med=5)
    assert evaluate(compiled(add, seen), path(), ()).rules == ("add", "seen")
    assert evaluate(compiled(seen, add), path(), ()).rules == ("add",)
    gone = step("gone", remove=("65000:7",))
    assert evaluate(compiled(add, gone, seen), path(), ()).rules == ("add", "gone")


def test_the_last_step_and_the_denying_one_end_it() -> None:
    steps = step("a", med=1), step("b", last=True), step("c", med=2)
    assert evaluate(compiled(*steps), path(), ()) == Verdict(path(med=1), ("a", "b"), 0, 1)
    denying = step("a", med=1), step("b", deny=True, prepend=1), step("c", med=2)
    assert evaluate(compiled(*denying), path(), ()) == Verdict(None, ("a", "b"), 0)


def test_a_width_is_said_by_community_and_a_prepend_beside_the_attributes() -> None:
    steps = step("narrow", max_paths=1), step("far", prepend=2), step("far", prepend=1)
    verdict = evaluate(compiled(*steps), path(), ())
    assert verdict == Verdict(path(large_communities=((ASN, 10, 1),)), ("narrow", "far"), 3)
    assert evaluate(compiled(*[step(prepend=30)] * 3), path(), ()).prepend == 32


def test_attributes_that_nothing_changes_are_the_same_object() -> None:
    attributes = path(local_pref=None, large_communities=(FIBRE, EU))  # Unsorted, as some send them.
    steps = step(preference=100), step(add=(large_text(EU),)), step(remove=("65000:9",)), step(communities=("65000:9",))
    for each in ((), steps):
        assert evaluate(compiled(*each), attributes, ()).attributes is attributes


def test_policies_of_equal_steps_are_equal() -> None:
    assert compiled(step(med=1)) == CompiledPolicy.of(PolicyPlan(2, (step(med=1),)), ASN)
    assert compiled(step(med=1)) != compiled(step(med=2))
    assert hash(compiled(step(med=1))) == hash(compiled(step(med=1)))


def test_the_policies_of_a_plan() -> None:
    policies = PolicyPlan(1, (step(prefix_set=3), step(prefix_set=1), step())), PolicyPlan(7, ())
    plan = msgspec.structs.replace(decode(V1), version=3, policies=policies)
    found = compiled_policies(plan)
    assert found == {each.number: CompiledPolicy.of(each, plan.asn) for each in policies}
    assert (found[1].prefix_sets, found[7].prefix_sets) == (frozenset({1, 3}), frozenset())


@pytest.mark.parametrize("field", ["communities", "add", "remove", "large_none"])
def test_what_is_no_community_is_said_by_name(field: str) -> None:
    with pytest.raises(ValueError, match="65000:x"):
        compiled(msgspec.structs.replace(step(), **{field: ("65000:x",)}))


numbers = st.integers(0, 3)
standard = st.builds("65000:{}".format, numbers)
large = st.builds(f"{ASN}:2:{{}}".format, numbers)
either = st.one_of(standard, large, st.just("65535:0"))
steps = st.builds(
    StepPlan,
    rule=st.sampled_from("abcdef"),
    prefix_set=numbers,
    communities=st.lists(either, max_size=2).map(tuple),
    large=st.lists(st.lists(large, min_size=1, max_size=2).map(tuple), max_size=2).map(tuple),
    large_none=st.lists(large, max_size=1).map(tuple),
    preference=st.none() | st.sampled_from((0, 100, 2**32 - 1)),
    preference_add=st.sampled_from((0, 0, 50, -50, 1 - 2**32, 2**32 - 1)),
    add=st.lists(either, max_size=2).map(tuple),
    remove=st.lists(either, max_size=2).map(tuple),
    med=st.none() | numbers,
    prepend=numbers,
    max_paths=numbers,
    deny=st.sampled_from((False, False, False, True)),
    last=st.sampled_from((False, False, True)),
)
received = st.builds(
    Attributes,
    next_hop=st.just(hop(3)),
    local_pref=st.sampled_from((None, 1, 100, 200)),
    communities=st.sets(st.sampled_from((OPERATORS, OPERATORS + 1))).map(sorted).map(tuple),
    large_communities=st.sets(large.map(large_community)).map(sorted).map(tuple),
)
marks_of_paths = st.sets(st.integers(1, 3)).map(sorted).map(tuple)


@given(st.lists(steps, max_size=5), received, marks_of_paths)
def test_a_policy_is_its_steps_one_by_one(
    plans: list[StepPlan], attributes: Attributes, marks: tuple[int, ...]
) -> None:
    """Cutting a policy in two changes nothing, but for `last`, which ends the whole."""
    whole = evaluate(compiled(*plans), attributes, marks)
    rules: dict[str, None] = {}
    left: Attributes | None = attributes
    prepend, med = 0, None
    for each in plans:
        assert left is not None
        verdict = evaluate(compiled(each), left, marks)
        left, prepend = verdict.attributes, prepend + verdict.prepend
        med = med if verdict.med is None else verdict.med
        rules |= dict.fromkeys(verdict.rules)
        if left is None:
            prepend, med = 0, None
            break
        if verdict.rules and each.last:
            break
    assert whole == Verdict(left, tuple(rules), min(prepend, 32), med)


@given(st.lists(steps, max_size=5), received, marks_of_paths)
def test_preference_and_what_is_not_a_rules_business(
    plans: list[StepPlan], attributes: Attributes, marks: tuple[int, ...]
) -> None:
    after = evaluate(compiled(*plans), attributes, marks).attributes
    if after is None:
        return
    if GRACEFUL_SHUTDOWN in after.communities:
        assert after.local_pref == 0
    else:
        assert after.local_pref is None or 1 <= after.local_pref < 2**32
    assert (after.next_hop, after.as_path, after.origin) == (attributes.next_hop, attributes.as_path, attributes.origin)


@given(st.lists(steps, max_size=4), st.lists(received, max_size=4), marks_of_paths)
def test_what_was_judged_before_makes_no_difference(
    plans: list[StepPlan], others: list[Attributes], marks: tuple[int, ...]
) -> None:
    policy = compiled(*plans)
    for each in others:
        evaluate(policy, each, ())
        assert evaluate(policy, each, marks) == evaluate(compiled(*plans), each, marks)
