"""Policies of a plan, ready to be carried out: what their steps make of one path's attributes.

The controller has decided which rules concern whom. What is left depends on the path only: the prefix sets that
its prefix is in (its *marks*, worked out once at import) and its communities.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeVar

from speaker.plan import MOST_PREPENDED, Plan, PolicyPlan, StepPlan
from speaker.rib.attributes import GRACEFUL_SHUTDOWN, Attributes
from speaker.rib.communities import MAX_PATHS, LargeCommunity, community, large_community
from speaker.rib.decision import local_pref
from speaker.rib.pathset import MEMO_LIMIT

LEAST_LOCAL_PREF, MOST_LOCAL_PREF = 1, 2**32 - 1

Each = TypeVar("Each", int, LargeCommunity)

Marks = tuple[int, ...]
"""Numbers of the prefix sets that a prefix is in, sorted."""


class Verdict(NamedTuple):
    """What a policy makes of a path."""

    attributes: Attributes | None  # None: denied. The very object that came in when nothing was changed.
    rules: tuple[str, ...]  # Names of the steps that acted, in order, each once; the one that denies is the last.
    prepend: int  # How often the fabric's AS is prepended towards eBGP clients, beyond the usual.
    med: int | None = None  # What a step says of it; the attributes may have one without that.


@dataclass(frozen=True, slots=True)
class Communities:
    """Communities of both kinds (RFC 1997, RFC 8092)."""

    standard: frozenset[int] = frozenset()
    large: frozenset[LargeCommunity] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.standard or self.large)

    def meet(self, standard: Iterable[int], large: Iterable[LargeCommunity]) -> bool:
        """Whether at least one of them is there."""
        return not (self.standard.isdisjoint(standard) and self.large.isdisjoint(large))


def communities(texts: Iterable[str]) -> Communities:
    """Those of a plan: "AS:value" or "AS:function:value". Raises ValueError that names the text and the form."""
    all_texts = tuple(texts)
    return Communities(
        frozenset(community(text) for text in all_texts if text.count(":") < 2),
        frozenset(large_community(text) for text in all_texts if text.count(":") >= 2),
    )


@dataclass(frozen=True, slots=True)
class Step:
    """A StepPlan whose communities are numbers."""

    plan: StepPlan
    any_of: Communities
    groups: tuple[frozenset[LargeCommunity], ...]
    none_of: frozenset[LargeCommunity]
    add: Communities
    remove: Communities

    @classmethod
    def of(cls, plan: StepPlan, asn: int) -> Step:
        """Raises ValueError for what is no community."""
        add = communities(plan.add)
        if plan.max_paths:
            add = replace(add, large=add.large | {(asn, MAX_PATHS, plan.max_paths)})
        return cls(
            plan,
            any_of=communities(plan.communities),
            groups=tuple(frozenset(map(large_community, group)) for group in plan.large),
            none_of=frozenset(map(large_community, plan.large_none)),
            add=add,
            remove=communities(plan.remove),
        )


@dataclass(frozen=True)
class CompiledPolicy:
    """The steps of a PolicyPlan. Two of equal steps are equal, whatever their numbers."""

    steps: tuple[Step, ...]
    _memo: dict[tuple[int, Marks], tuple[Attributes, Verdict]] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )

    @classmethod
    def of(cls, plan: PolicyPlan, asn: int) -> CompiledPolicy:
        """Raises ValueError for what is no community."""
        return cls(tuple(Step.of(step, asn) for step in plan.steps))

    @property
    def prefix_sets(self) -> frozenset[int]:
        """Numbers of the prefix sets that the result depends on."""
        return frozenset(step.plan.prefix_set for step in self.steps if step.plan.prefix_set)


def compiled_policies(plan: Plan) -> dict[int, CompiledPolicy]:
    """The policies of `plan` by number. Raises ValueError for what is no community."""
    return {policy.number: CompiledPolicy.of(policy, plan.asn) for policy in plan.policies}


def evaluate(policy: CompiledPolicy, attributes: Attributes, marks: Marks) -> Verdict:
    """What `policy` makes of a path with these attributes, whose prefix is in the prefix sets `marks`.

    Equal results of equal arguments are one object while memory lasts: there are as many as there are distinct
    attributes, not prefixes.
    """
    if not policy.steps:
        return Verdict(attributes, (), 0)
    name = id(attributes), marks
    memo = policy._memo.get(name)
    if memo is None:
        if len(policy._memo) >= MEMO_LIMIT:
            policy._memo.clear()
        policy._memo[name] = memo = attributes, _carried_out(policy.steps, attributes, marks)
    return memo[1]


def _carried_out(steps: Iterable[Step], attributes: Attributes, marks: Marks) -> Verdict:
    work = _Work(local_pref(attributes), attributes.med, set(attributes.communities), set(attributes.large_communities))
    rules: dict[str, None] = {}
    for step in steps:
        if not work.matches(step, marks):
            continue
        rules[step.plan.rule] = None
        if step.plan.deny:
            return Verdict(None, tuple(rules), 0)
        work.act(step)
        if step.plan.last:
            break
    return Verdict(work.result(attributes), tuple(rules), min(work.prepend, MOST_PREPENDED), work.med_said)


@dataclass(slots=True)
class _Work:
    """What the steps so far have made of a path."""

    preference: int
    med: int | None
    standard: set[int]
    large: set[LargeCommunity]
    prepend: int = 0
    med_said: int | None = None

    def matches(self, step: Step, marks: Marks) -> bool:
        plan = step.plan
        if plan.prefix_set and plan.prefix_set not in marks:
            return False
        if step.any_of and not step.any_of.meet(self.standard, self.large):
            return False
        return step.none_of.isdisjoint(self.large) and not any(group.isdisjoint(self.large) for group in step.groups)

    def act(self, step: Step) -> None:
        plan = step.plan
        if plan.preference is not None or plan.preference_add:
            start = self.preference if plan.preference is None else plan.preference
            self.preference = min(max(start + plan.preference_add, LEAST_LOCAL_PREF), MOST_LOCAL_PREF)
        if plan.med is not None:
            self.med = self.med_said = plan.med
        self.prepend += plan.prepend
        # A path that shall not be used does not come back by losing its mark (RFC 8326).
        self.standard -= step.remove.standard - {GRACEFUL_SHUTDOWN}
        self.standard |= step.add.standard
        self.large -= step.remove.large
        self.large |= step.add.large

    def result(self, attributes: Attributes) -> Attributes:
        preference = 0 if GRACEFUL_SHUTDOWN in self.standard else self.preference
        result = replace(
            attributes,
            local_pref=attributes.local_pref if preference == local_pref(attributes) else preference,
            med=self.med,
            communities=_as_before(attributes.communities, self.standard),
            large_communities=_as_before(attributes.large_communities, self.large),
        )
        return attributes if result == attributes else result


def _as_before(before: tuple[Each, ...], now: set[Each]) -> tuple[Each, ...]:
    """`now` sorted; `before` itself when it holds the same."""
    return before if now == set(before) else tuple(sorted(now))
