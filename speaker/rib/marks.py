"""Marks: the prefix sets that a prefix is in. Worked out per key at import; rules then ask the path, not the key."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_network

from speaker.plan import PrefixSetPlan
from speaker.rib.prefix import Family, Key
from speaker.rib.spans import Spans
from speaker.rib.steps import Marks

Marked = list[tuple[Marks, Sequence[Key]]]


@dataclass(frozen=True)
class PrefixSets:
    """Prefix sets of a plan. None cost nothing; one that no key of a batch comes near, no Python code per key."""

    plans: tuple[PrefixSetPlan, ...] = ()  # By number.
    _spans: dict[Family, list[tuple[int, Spans]]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        spans: dict[Family, list[tuple[int, Spans]]] = {family: [] for family in Family}
        for plan in self.plans:
            ranges = [(ip_network(each.prefix), each.ge, each.le) for each in plan.ranges]
            for family, version in ((Family.IPV4, 4), (Family.IPV6, 6)):
                of_family = [each for each in ranges if each[0].version == version]
                if of_family:
                    spans[family].append((plan.number, Spans.between(of_family)))
        object.__setattr__(self, "_spans", spans)

    @classmethod
    def of(cls, plans: Iterable[PrefixSetPlan], numbers: frozenset[int]) -> PrefixSets:
        """Those of `plans` with one of `numbers`. Raises ValueError for what is no prefix."""
        return cls(tuple(sorted((each for each in plans if each.number in numbers), key=lambda each: each.number)))

    def split(self, family: Family, keys: Sequence[Key]) -> Marked:
        """`keys` by the sets that they are in."""
        found: Marked = [((), keys)]
        for number, spans in self._spans[family]:
            if spans.touches(keys):
                found = [part for marks, some in found for part in _parted(marks, some, number, spans)]
        return found


NO_SETS = PrefixSets()


def _parted(marks: Marks, keys: Sequence[Key], number: int, spans: Spans) -> Marked:
    inside, outside = spans.split(keys)
    return [part for part in (((*marks, number), inside), (marks, outside)) if part[1]]
