"""Rules -> steps of policies: what hubs do with what a client announces, and with what a viewer is told.

What a rule says of a path's origin is settled here, uplink by uplink, so that a step holds only what depends on
the path. A view cannot know whose path it will meet: there the origin becomes groups of large communities.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import msgspec

from controller.inventory.matching import Origin, in_order, origin_matches, viewer_matches
from controller.inventory.model import (
    ANYCAST_PREFERENCE,
    GLOBAL,
    Allocation,
    Inventory,
    Match,
    PrefixMatch,
    Rule,
    Site,
    network_order,
)
from controller.policy import communities
from speaker.plan import PrefixRangePlan, PrefixSetPlan, StepPlan

REGION_ONLY = "told in its own region only"
CLOSED_REGION = "closed region"
OWN_REGION_FIRST = "anycast: own region first"
NO_PART_OF_ANYCAST = "anycast: no BLACKHOLE inside"
"""Steps that come from no rule; no rule has such a name, for these have spaces."""

LEAST_PREFERENCE, MOST_PREFERENCE = 1, 2**32 - 1

Ranges = tuple[PrefixMatch, ...]
Steps = tuple[StepPlan, ...]


@dataclass(frozen=True, slots=True)
class Imported:
    """What becomes of everything that is announced through one next hop: always, and then step by step."""

    preference: int
    large_communities: tuple[str, ...]
    steps: Steps


class Rules:
    """The rules of one inventory, which has a fabric and is allocated."""

    def __init__(self, asn: int, inventory: Inventory) -> None:
        self.asn = asn
        rules = [rule for rule in in_order(inventory.rules) if rule.match.tenant == GLOBAL]
        self.of_import = tuple(rule for rule in rules if rule.viewer is None)
        self.of_views = tuple(rule for rule in rules if rule.viewer is not None)
        self.inventory = inventory
        self.closed = tuple(sorted(region.name for region in inventory.regions if region.closed))
        self.anycast = anycast_ranges(inventory.allocations)
        self._parts = _parts_of_anycast(inventory)
        named = [_in_order(rule.match.prefixes) for rule in rules]
        of_last = [self._anycast_of(rule) for rule in self.of_views if _ends(rule)]
        self.prefix_sets = _numbered([*named, self.anycast, *of_last, *self._parts.values()])
        self._parted: dict[tuple[str, ...], tuple[Steps, Steps]] = {}
        self._views: dict[tuple[str, tuple[str, ...]], Steps] = {}

    def prefix_set_plans(self) -> tuple[PrefixSetPlan, ...]:
        """By number. They are as many as rules name, whatever is announced."""
        return tuple(
            PrefixSetPlan(number, tuple(PrefixRangePlan(str(each.prefix), each.ge, each.le) for each in ranges))
            for ranges, number in self.prefix_sets.items()
        )

    def imported(self, origin: Origin, preference: int, large_communities: tuple[str, ...]) -> Imported:
        """What a hub makes of what `origin` announces; `preference` and `large_communities` are those without rules."""
        found = tuple(rule for rule in self.of_import if origin_matches(rule.match, origin))
        spared = self._spared(origin)
        if not found:
            return Imported(preference, large_communities, spared)
        names = tuple(rule.name for rule in found)
        if names not in self._parted:
            self._parted[names] = self._part(tuple(_reached(map(self.step, found))))
        always, steps = self._parted[names]
        added: dict[str, None] = dict.fromkeys(large_communities)
        for step in always:
            preference = _preferred(step, preference)
            added.update(dict.fromkeys((*step.add, *self._limit(step))))
        return Imported(preference, tuple(added), (*spared, *steps))

    def own(self, origin: Origin) -> Steps:
        """What a hub makes of what it announces itself, whose import is nobody's."""
        steps = _reached(self.step(rule) for rule in self.of_import if origin_matches(rule.match, origin))
        return (*self._spared(origin), *steps)

    def _spared(self, origin: Origin) -> Steps:
        """What is longer than an anycast allocation allows comes in as BLACKHOLE alone (RFC 7999).

        It would be the longest match in every region: one site would end there what others serve.
        """
        parts = self._parts.get(origin.site)
        return (StepPlan(NO_PART_OF_ANYCAST, prefix_set=self.prefix_sets[parts], deny=True),) if parts else ()

    def _part(self, steps: Steps) -> tuple[Steps, Steps]:
        """Those at the front that a next hop can say by itself, and the others."""
        ahead = next((n for n, step in enumerate(steps) if not _sayable(step)), len(steps))
        ended = ahead > 0 and steps[ahead - 1].last
        return steps[:ahead], () if ended else steps[ahead:]

    def _limit(self, step: StepPlan) -> tuple[str, ...]:
        return (communities.at_most(self.asn, step.max_paths),) if step.max_paths else ()

    def added(self, rule: Rule) -> tuple[str, ...]:
        """Communities that the rule puts on a path, but for max_paths, which a step says by number."""
        action = rule.action
        own = [
            *([communities.region_only(self.asn)] if action.region_only else []),
            *([communities.opened(self.asn)] if action.open else []),
        ]
        return (*sorted(set(action.add_communities)), *own)

    def step(self, rule: Rule, large: tuple[tuple[str, ...], ...] = ()) -> StepPlan:
        action = rule.action
        return StepPlan(
            rule=rule.name,
            prefix_set=self.prefix_sets.get(_in_order(rule.match.prefixes), 0),
            communities=tuple(sorted(set(rule.match.communities))),
            large=large,
            preference=action.preference,
            preference_add=action.preference_add,
            add=self.added(rule),
            remove=tuple(sorted(set(action.remove_communities))),
            med=action.med,
            prepend=action.prepend,
            max_paths=action.max_paths,
            deny=action.deny,
            last=action.last,
        )

    def view(self, site: Site) -> Steps:
        """What a viewer of `site` is told goes through these: what the fabric implies, and the rules that mean it.

        Own region first is the last word, whatever rules say of preference.
        """
        found = tuple(rule for rule in self.of_views if rule.viewer is not None and viewer_matches(rule.viewer, site))
        key = site.region, tuple(rule.name for rule in found)
        if key not in self._views:
            steps = [step for rule in found for step in self._viewed(rule, site.region)]
            first = self._own_region_first(site.region, self.anycast)
            self._views[key] = (*self.implied(site.region), *_reached((*steps, *first)))
        return self._views[key]

    def _viewed(self, rule: Rule, region: str) -> Iterator[StepPlan]:
        """`last` would keep own region first away: there it comes between the rule's preference and all else of it."""
        step = self.step(rule, self.groups(rule.match))
        for first in self._own_region_first(region, self._anycast_of(rule) if _ends(rule) else ()):
            where = {
                "prefix_set": first.prefix_set,
                "communities": step.communities,
                "large": (*step.large, *first.large),
            }
            if step.preference is not None or step.preference_add:
                said = {"preference": step.preference, "preference_add": step.preference_add}
                yield msgspec.structs.replace(StepPlan(rule.name), **where, **said)
            yield msgspec.structs.replace(first, **where)
            yield msgspec.structs.replace(step, **where, preference=None, preference_add=0)
        yield step

    def _anycast_of(self, rule: Rule) -> Ranges:
        """What the rule matches of anycast space."""
        ranges = rule.match.prefixes
        return _in_order(each for a in self.anycast for b in ranges for each in _both(a, b)) if ranges else self.anycast

    def _own_region_first(self, region: str, anycast: Ranges) -> Iterator[StepPlan]:
        if anycast:
            ours = communities.of_region(self.asn, region)
            number = self.prefix_sets[anycast]
            yield StepPlan(OWN_REGION_FIRST, prefix_set=number, large=((ours,),), preference_add=ANYCAST_PREFERENCE)

    def implied(self, region: str) -> Iterator[StepPlan]:
        """Regions that keep their routes for themselves."""
        ours = communities.of_region(self.asn, region)
        if any(rule.action.region_only for rule in self.of_import):
            only = communities.region_only(self.asn)
            yield StepPlan(REGION_ONLY, large=((only,),), large_none=(ours,), deny=True)
        opened = communities.opened(self.asn)
        if region in self.closed:
            yield StepPlan(CLOSED_REGION, large_none=(opened, ours), deny=True)
        elif self.closed:
            theirs = tuple(communities.of_region(self.asn, each) for each in self.closed)
            yield StepPlan(CLOSED_REGION, large=(theirs,), large_none=(opened,), deny=True)

    def groups(self, match: Match) -> tuple[tuple[str, ...], ...]:
        """The origin in communities: of each group a path must have one."""
        asn = self.asn
        found = (
            [communities.of_number(asn, self._site_numbers[name]) for name in match.sites],
            [communities.of_region(asn, name) for name in match.regions],
            [communities.of_tag(asn, name) for name in match.tags],
            [communities.of_uplink(asn, number) for name in match.gateways for number in self._uplinks[name]],
            [communities.of_class(asn, name) for name in match.circuit_classes],
        )
        return tuple(tuple(sorted(set(group))) for group in found if group)

    @cached_property
    def _site_numbers(self) -> dict[str, int | None]:
        return {site.name: site.number for site in self.inventory.sites}

    @cached_property
    def _uplinks(self) -> dict[str, list[int | None]]:
        """Name of a gateway or client -> numbers of its uplinks."""
        found: dict[str, list[int | None]] = defaultdict(list)
        for gateway in self.inventory.gateways:
            found[gateway.name] += [uplink.number for uplink in gateway.uplinks]
        for client in self.inventory.clients:
            found[client.name].append(client.number)
        return found


def anycast_ranges(allocations: Iterable[Allocation]) -> Ranges:
    """What several sites may announce, down to the longest mask that one of them has."""
    longest: dict[tuple[int, int, int], Allocation] = {}
    for each in allocations:
        if each.anycast and each.tenant == GLOBAL:
            order = network_order(each.prefix)
            if order not in longest or longest[order].longest < each.longest:
                longest[order] = each
    return _in_order(PrefixMatch(each.prefix, each.prefix.prefixlen, each.longest) for each in longest.values())


def _parts_of_anycast(inventory: Inventory) -> dict[str, Ranges]:
    """Site -> what is longer than its anycast allocations allow, where BLACKHOLE would let it in."""
    found: dict[str, list[PrefixMatch]] = defaultdict(list)
    if inventory.fabric is not None and inventory.fabric.blackhole:
        for each in inventory.allocations:
            # A default route is no space: nothing is inside it.
            if each.anycast and each.tenant == GLOBAL and 0 < each.prefix.prefixlen <= each.longest < _bits(each):
                found[each.site].append(PrefixMatch(each.prefix, each.longest + 1, _bits(each)))
    return {site: _in_order(ranges) for site, ranges in found.items()}


def _bits(allocation: Allocation) -> int:
    return allocation.prefix.max_prefixlen


def _ends(rule: Rule) -> bool:
    """Whether no later step sees a path that it matches, which is told all the same."""
    return rule.action.last and not rule.action.deny


def _both(a: PrefixMatch, b: PrefixMatch) -> Iterator[PrefixMatch]:
    """What is in both ranges, if anything is."""
    (version, address, length), (other, start, least) = network_order(a.prefix), network_order(b.prefix)
    shift = a.prefix.max_prefixlen - min(length, least)
    ge, le = max(a.ge, b.ge), min(a.le, b.le)
    if version == other and address >> shift == start >> shift and ge <= le:
        yield PrefixMatch(a.prefix if length >= least else b.prefix, ge, le)


def _in_order(ranges: Iterable[PrefixMatch]) -> Ranges:
    return tuple(sorted(set(ranges), key=_range_order))


def _range_order(each: PrefixMatch) -> tuple[tuple[int, int, int], int, int]:
    return network_order(each.prefix), each.ge, each.le


def _numbered(sets: Iterable[Ranges]) -> dict[Ranges, int]:
    """Equal sets are one; numbers depend on nothing but the sets."""
    distinct = sorted({each for each in sets if each}, key=lambda ranges: tuple(map(_range_order, ranges)))
    return {ranges: number for number, ranges in enumerate(distinct, 1)}


def _reached(steps: Iterable[StepPlan]) -> Iterator[StepPlan]:
    """Up to the first that ends it for every path: what is behind is never looked at."""
    for step in steps:
        yield step
        if _unconditional(step) and (step.deny or step.last):
            return


def _unconditional(step: StepPlan) -> bool:
    return not (step.prefix_set or step.communities or step.large or step.large_none)


def _sayable(step: StepPlan) -> bool:
    """All that it does is a preference or a large community, to every path."""
    acts_otherwise = step.deny or step.remove or step.med is not None or step.prepend
    return _unconditional(step) and not acts_otherwise and all(each.count(":") == 2 for each in step.add)


def _preferred(step: StepPlan, preference: int) -> int:
    if step.preference is None and not step.preference_add:
        return preference
    start = preference if step.preference is None else step.preference
    return min(max(start + step.preference_add, LEAST_PREFERENCE), MOST_PREFERENCE)
