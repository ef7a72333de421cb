"""What becomes of the sites' reach when things fail. Pure.

Sites that see alike are one kind of viewer, so a failure costs what it touches and not all pairs of sites.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from controller.inventory.model import Inventory, Network, circuit_classes, network_order
from controller.policy.deciding import Decision
from controller.policy.failures import Failures, Thing
from controller.policy.intended import NOTHING_FAILED, Group, Intent, Member
from controller.policy.judging import View

MAX_NAMED = 5
"""Prefixes that one row names."""
PLENTY = 1_000_000


@dataclass(frozen=True, slots=True)
class Pair:
    """Traffic from one site to another. `what`: prefixes, the sort of things of which one is left, or classes."""

    source: str
    target: str
    what: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pairs:
    """How many there are, and the first of them."""

    total: int = 0
    first: tuple[Pair, ...] = ()


@dataclass(frozen=True, slots=True)
class Capacity:
    """Declared bandwidth of a site's uplinks, bit/s."""

    site: str
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class Effect:
    """Of one failure. `control`: what no hub being left means, in words; "" while one lives."""

    failed: tuple[str, ...]
    down: tuple[str, ...]  # Sites with nothing left.
    control: str
    lost: Pairs  # Some prefix had a way, and has none.
    thin: Pairs  # One gateway, uplink or provider is left where there were more.
    below: Pairs  # A class below the floor is used, and was not before.
    capacity: tuple[Capacity, ...]

    @property
    def harmless(self) -> bool:
        return not (self.down or self.control or self.lost.total or self.thin.total or self.below.total)


class _Sight(NamedTuple):
    """What a viewer has of a group of prefixes: how many ways, and the worst class of those in use."""

    reached: bool
    gateways: int
    uplinks: int
    providers: int
    worst: int


class _Change(NamedTuple):
    """Of one viewer's reach to one site."""

    lost: tuple[int, ...] = ()  # Numbers of groups.
    thin: frozenset[str] = frozenset()
    below: frozenset[str] = frozenset()


_OWN = _Sight(True, PLENTY, PLENTY, PLENTY, PLENTY)
_SAME = _Change()
_DOWN = _Change((-1,))


@dataclass(frozen=True, slots=True)
class _Kind:
    """Sites that see the same. One that announces an anycast prefix itself is a kind of its own."""

    view: View
    home: str  # Its name, then.
    sites: frozenset[str]


@dataclass(slots=True)
class _Outcome:
    """A failure, as far as its totals need it."""

    failed: frozenset[str]
    touched: dict[str, _Change]  # Site with something gone -> what that is to all that it sends.
    far: list[dict[str, _Change]] = field(default_factory=list)  # For each kind: target -> change


class WhatIf:
    """Questions about one inventory. `floor` is the name of a circuit class: KeyError when there is none such."""

    def __init__(self, inventory: Inventory, floor: str = "") -> None:
        self.intent = Intent(inventory)
        self.failures = Failures(inventory)
        classes = circuit_classes(inventory)
        self._floor = classes[floor].preference if floor else 0
        self._members: dict[str, list[Member]] = dict(self.intent.of_site)
        self._targets, self._prefixes = _targets(self.intent)
        self._on: dict[str, set[int]] = defaultdict(set)  # Uplink or client -> groups that it announces.
        self._groups = {group.number: group for group in self.intent.groups.values()}
        for group in self._groups.values():
            for source in group.sources:
                self._on[source.key].add(group.number)
        self._site_of = {s.key: m.site for m in self.intent.members.values() for s in m.sources}
        self._sites_of_group: dict[int, list[str]] = defaultdict(list)
        for site, groups in self._targets.items():
            for number in groups:
                self._sites_of_group[number].append(site)
        self._kinds = self._sorted_kinds()
        self._kind_of = {site: n for n, kind in enumerate(self._kinds) for site in kind.sites}
        self._sights: dict[int, tuple[Decision, _Sight]] = {}
        self._reached = [
            {site for site, groups in self._targets.items() if any(self._sight(kind, g).reached for g in groups)}
            for kind in self._kinds
        ]

    def effect(self, things: Iterable[Thing], limit: int = 100) -> Effect:
        """All of `things` at once. At most `limit` pairs of each sort are named."""
        named = tuple(sorted(things))
        outcome = self._outcome(self.failures.fallen(named))
        lost, thin, below = self._totals(outcome)
        return Effect(
            failed=tuple(map(str, named)),
            down=tuple(sorted(site for site, change in outcome.touched.items() if change is _DOWN)),
            control=self.intent.control(outcome.failed),
            lost=self._named(outcome, lost, limit, "lost"),
            thin=self._named(outcome, thin, limit, "thin"),
            below=self._named(outcome, below, limit, "below"),
            capacity=tuple(self._capacity(outcome)),
        )

    def each(self, things: Sequence[Thing] = (), named: int = 3, most: int = 100) -> tuple[list[Effect], int]:
        """(The worst failures of single things, at most `most`, worst first; how many do harm). (): all things."""
        ranked = []
        for thing in things or self.failures.things():
            outcome = self._outcome(self.failures.fallen([thing]))
            lost, thin, below = self._totals(outcome)
            if lost or thin or below or self.intent.control(outcome.failed) or _DOWN in outcome.touched.values():
                ranked.append((-lost, -below, -thin, thing))
        ranked.sort()
        return [self.effect([thing], named) for *_, thing in ranked[:most]], len(ranked)

    def down(self, thing: Thing) -> list[str]:
        """Sites with nothing left without it."""
        failed = self.failures.fallen([thing])
        touched = sorted({self._site_of[key] for key in failed})
        return [site for site in touched if not any(member.alive(failed) for member in self._members[site])]

    def losses(self, thing: Thing, among: set[str]) -> Iterator[Pair]:
        """Pairs of these sites that lose a prefix without it."""
        outcome = self._outcome(self.failures.fallen([thing]))
        if self._totals(outcome)[0]:
            for source, target, change in self._pairs(outcome):
                if change.lost and source in among and target in among:
                    yield Pair(source, target, self._what(target, change, "lost"))

    def _sorted_kinds(self) -> list[_Kind]:
        at_home = {
            source.origin.site
            for group in self._groups.values()
            if len(self._sites_of_group[group.number]) > 1
            for source in group.sources
        }
        found: dict[tuple[View, str], set[str]] = defaultdict(set)
        for site, members in self._members.items():
            found[members[0].view, site if site in at_home else ""].add(site)
        ordered = sorted(found.items(), key=lambda each: min(each[1]))
        return [_Kind(view, home, frozenset(sites)) for (view, home), sites in ordered]

    def _sight(self, kind: _Kind, number: int, failed: frozenset[str] = NOTHING_FAILED) -> _Sight:
        group = self._groups[number]
        if kind.home and _announces(kind.home, group, failed):
            return _OWN
        decision = self.intent.decision(kind.view, group, failed)
        found = self._sights.get(id(decision))
        if found is None or found[0] is not decision:
            found = self._sights[id(decision)] = decision, _sight_of(decision)
        return found[1]

    def _outcome(self, failed: frozenset[str]) -> _Outcome:
        touched = {self._site_of[key] for key in failed}
        outcome = _Outcome(failed, {site: self._near(site, failed) for site in sorted(touched)})
        affected: dict[str, set[int]] = defaultdict(set)
        for number in set().union(*(self._on.get(key, ()) for key in failed)):
            for site in self._sites_of_group[number]:
                affected[site].add(number)
        for kind in self._kinds:
            changes = ((site, self._far(kind, numbers, failed)) for site, numbers in affected.items())
            outcome.far.append({site: change for site, change in changes if change is not _SAME})
        return outcome

    def _near(self, site: str, failed: frozenset[str]) -> _Change:
        """What a site loses of its own: its gateways, its uplinks."""
        members = self._members[site]
        before = [source for member in members for source in member.sources]
        after = [source for source in before if source.key not in failed]
        if not after:
            return _DOWN
        thin = set()
        if len({s.origin.member for s in before}) > 1 == len({s.origin.member for s in after}):
            thin.add("gateway")
        if len(before) > 1 == len(after):
            thin.add("uplink")
        best = max(after, key=lambda source: source.class_preference)
        fell = best.class_preference < self._floor <= max(source.class_preference for source in before)
        if not (thin or fell):
            return _SAME
        return _Change((), frozenset(thin), frozenset([best.origin.circuit_class] if fell else []))

    def _far(self, kind: _Kind, numbers: set[int], failed: frozenset[str]) -> _Change:
        """What viewers of this kind lose of the way to these groups of one site."""
        lost, thin, below = [], set[str](), set[str]()
        for number in numbers:
            before, after = self._sight(kind, number), self._sight(kind, number, failed)
            if after is before or not before.reached:
                continue
            if not after.reached:
                lost.append(number)
                continue
            if before.gateways > 1 == after.gateways:
                thin.add("gateway")
            if before.uplinks > 1 == after.uplinks:
                thin.add("uplink")
            if before.providers > 1 == after.providers:
                thin.add("provider")
            if after.worst < self._floor <= before.worst:
                below.update(self._classes_in_use(kind, number, failed))
        if not (lost or thin or below):
            return _SAME
        return _Change(tuple(sorted(lost)), frozenset(thin), frozenset(below))

    def _classes_in_use(self, kind: _Kind, number: int, failed: frozenset[str]) -> set[str]:
        used = self.intent.decision(kind.view, self._groups[number], failed).tiers[0]
        return {source.origin.circuit_class for source in used if source.class_preference < self._floor}

    def _totals(self, outcome: _Outcome) -> tuple[int, int, int]:
        """(lost, thin, below), in pairs."""
        lost = thin = below = 0
        for kind, far in zip(self._kinds, outcome.far, strict=True):
            calm = len(kind.sites) - sum(site in kind.sites for site in outcome.touched)
            for target, change in far.items():
                viewers = calm - (target in kind.sites and target not in outcome.touched)
                lost += viewers * bool(change.lost)
                thin += viewers * bool(change.thin and not change.lost)
                below += viewers * bool(change.below and not change.lost)
        for site, near in outcome.touched.items():
            number = self._kind_of[site]
            far, reached = outcome.far[number], self._reached[number]
            others = len(reached) - (site in reached)
            if near is _DOWN:
                lost += others
                continue
            changed = {target: change for target, change in far.items() if target != site and target in reached}
            gone = sum(bool(change.lost) for change in changed.values())
            lost += gone
            thin += _either(near.thin, others - gone, (c.thin for c in changed.values() if not c.lost))
            below += _either(near.below, others - gone, (c.below for c in changed.values() if not c.lost))
        return lost, thin, below

    def _named(self, outcome: _Outcome, total: int, limit: int, sort: str) -> Pairs:
        first: list[Pair] = []
        if total and limit:
            for source, target, change in self._pairs(outcome):
                what = self._what(target, change, sort)
                if what:
                    first.append(Pair(source, target, what))
                if len(first) == min(total, limit):
                    break
        return Pairs(total, tuple(first))

    def _pairs(self, outcome: _Outcome) -> Iterator[tuple[str, str, _Change]]:
        """Those that change: what touched sites send first, then by viewer."""
        for site, near in outcome.touched.items():
            number = self._kind_of[site]
            for target in sorted(self._reached[number] - {site}):
                far = outcome.far[number].get(target, _SAME)
                if near is _DOWN:
                    yield site, target, _Change(tuple(self._targets[target]))
                elif near is not _SAME or far is not _SAME:
                    yield site, target, _Change(far.lost, near.thin | far.thin, near.below | far.below)
        for site in sorted(self._kind_of):
            far_of = outcome.far[self._kind_of[site]]
            if site not in outcome.touched:
                yield from ((site, target, far_of[target]) for target in sorted(far_of) if target != site)

    def _what(self, target: str, change: _Change, sort: str) -> tuple[str, ...]:
        if sort == "lost":
            prefixes = [prefix for number in change.lost for prefix in self._prefixes[target, number]]
            return some([str(prefix) for prefix in sorted(prefixes, key=network_order)])
        if change.lost:
            return ()
        return tuple(sorted(change.thin if sort == "thin" else change.below))

    def _capacity(self, outcome: _Outcome) -> Iterator[Capacity]:
        for site in outcome.touched:
            sources = [source for member in self._members[site] for source in member.sources]
            before = sum(source.bandwidth for source in sources)
            after = sum(source.bandwidth for source in sources if source.key not in outcome.failed)
            if after < before:
                yield Capacity(site, before, after)


def some(names: Sequence[str], most: int = MAX_NAMED) -> tuple[str, ...]:
    """The first of them, and how many more there are."""
    return (*names[:most], f"and {len(names) - most} more") if len(names) > most else tuple(names)


def _either(near: frozenset[str], others: int, far: Iterable[frozenset[str]]) -> int:
    """Pairs of one viewer: all when it is its own side that changed, else those whose far side did."""
    return others if near else sum(map(bool, far))


def _announces(site: str, group: Group, failed: frozenset[str]) -> bool:
    return any(source.origin.site == site and source.key not in failed for source in group.sources)


def _sight_of(decision: Decision) -> _Sight:
    sources = [candidate.source for candidate in decision.allowed]
    if not decision.tiers:
        return _Sight(False, 0, 0, 0, 0)
    return _Sight(
        True,
        len({source.origin.member for source in sources}),
        len(sources),
        len({source.provider for source in sources}),
        min(source.class_preference for source in decision.tiers[0]),
    )


def _targets(intent: Intent) -> tuple[dict[str, list[int]], dict[tuple[str, int], list[Network]]]:
    """Site -> numbers of the groups of its prefixes; (site, number) -> the prefixes."""
    prefixes: dict[tuple[str, int], list[Network]] = defaultdict(list)
    for prefix, group in intent.groups.items():
        for site in intent.sites_of[prefix]:
            prefixes[site, group.number].append(prefix)
    targets: dict[str, list[int]] = defaultdict(list)
    for site, number in sorted(prefixes):
        targets[site].append(number)
    return targets, prefixes
