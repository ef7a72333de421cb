"""What a change does to traffic: which sites use other paths to which prefixes. In routes, not in rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from controller.inventory.model import Inventory, Network, network_order
from controller.policy.intended import Group, Intent
from controller.policy.judging import View

MAX_SITES = 5
"""Viewers that one row names."""

Used = tuple[str, ...]
"""Uplinks and clients that traffic goes to; () is nowhere."""
AT_HOME = ("at home",)


@dataclass(frozen=True, slots=True)
class PathChange:
    """Traffic of `sites`, and of `more_sites` others, to one prefix."""

    prefix: str
    targets: tuple[str, ...]  # Sites that announce it, before or after.
    sites: tuple[str, ...]
    more_sites: int
    before: Used
    after: Used


@dataclass(frozen=True, slots=True)
class PathChanges:
    """`routes` counts (site, prefix), `pairs` (site, site that announces), `first` are rows in order of prefix."""

    routes: int
    pairs: int
    first: tuple[PathChange, ...]
    more: int  # Rows that are not in `first`.


@dataclass(frozen=True, slots=True)
class _Alike:
    """Sites that see alike before and after. None: they are not there."""

    before: View | None
    after: View | None
    sites: frozenset[str]


def path_changes(before: Inventory, after: Inventory, limit: int = 100) -> PathChanges:
    """Of the paths in use; those that only wait are not looked at."""
    return _Comparison(before, after).result(limit)


class _Comparison:
    def __init__(self, before: Inventory, after: Inventory) -> None:
        self._old, self._new = Intent(before), Intent(after)
        self._alike = _alike(self._old, self._new)
        self._memo: dict[tuple[int, int, int], tuple[Used, Used]] = {}

    def result(self, limit: int) -> PathChanges:
        routes = rows = 0
        first: list[PathChange] = []
        senders: dict[str, set[str]] = defaultdict(set)
        seen: set[tuple[tuple[str, ...], frozenset[str]]] = set()
        for prefix in sorted(self._old.groups.keys() | self._new.groups.keys(), key=network_order):
            targets = tuple(sorted(self._old.sites_of.get(prefix, set()) | self._new.sites_of.get(prefix, set())))
            for (used, now), parts in self._rows(prefix, targets).items():
                rows += 1
                routes += sum(map(len, parts))
                for part in parts:
                    if (targets, part) not in seen:  # Prefixes of one site mostly move together.
                        seen.add((targets, part))
                        for target in targets:
                            senders[target] |= part
                if len(first) < limit:
                    sites = sorted(frozenset().union(*parts))
                    named, more = tuple(sites[:MAX_SITES]), max(len(sites) - MAX_SITES, 0)
                    first.append(PathChange(str(prefix), targets, named, more, used, now))
        pairs = sum(len(sites - {target}) for target, sites in senders.items())
        return PathChanges(routes, pairs, tuple(first), rows - len(first))

    def _rows(self, prefix: Network, targets: tuple[str, ...]) -> dict[tuple[Used, Used], list[frozenset[str]]]:
        """(Before, after) -> those who see it so."""
        old, new = self._old.groups.get(prefix), self._new.groups.get(prefix)
        found: dict[tuple[Used, Used], list[frozenset[str]]] = defaultdict(list)
        for n, alike in enumerate(self._alike):
            for sites in _apart(alike.sites, targets):
                home = next(iter(sites)) if not sites.isdisjoint(targets) else ""
                used, now = self._seen(n, alike, old, new) if not home else self._home(home, alike, old, new)
                if used != now:
                    found[used, now].append(sites)
        return found

    def _seen(self, n: int, alike: _Alike, old: Group | None, new: Group | None) -> tuple[Used, Used]:
        key = (n, -1 if old is None else old.number, -1 if new is None else new.number)
        found = self._memo.get(key)
        if found is None:
            found = self._memo[key] = _used(self._old, alike.before, old), _used(self._new, alike.after, new)
        return found

    def _home(self, site: str, alike: _Alike, old: Group | None, new: Group | None) -> tuple[Used, Used]:
        return (
            AT_HOME if _announces(site, old) else _used(self._old, alike.before, old),
            AT_HOME if _announces(site, new) else _used(self._new, alike.after, new),
        )


def _used(intent: Intent, view: View | None, group: Group | None) -> Used:
    if view is None or group is None:
        return ()
    tiers = intent.decision(view, group).tiers
    return tuple(sorted(source.key for source in tiers[0])) if tiers else ()


def _announces(site: str, group: Group | None) -> bool:
    return group is not None and any(source.origin.site == site for source in group.sources)


def _apart(sites: frozenset[str], targets: tuple[str, ...]) -> Iterator[frozenset[str]]:
    """Those who announce a prefix each alone, for they have it at home; the others together."""
    at_home = sites.intersection(targets)
    if len(at_home) < len(sites):
        yield sites - at_home if at_home else sites
    yield from (frozenset([site]) for site in sorted(at_home))


def _alike(old: Intent, new: Intent) -> list[_Alike]:
    found: dict[tuple[View | None, View | None], set[str]] = defaultdict(set)
    for site in sorted(old.of_site.keys() | new.of_site.keys()):
        views = [intent.of_site[site][0].view if site in intent.of_site else None for intent in (old, new)]
        found[views[0], views[1]].add(site)
    return [_Alike(before, after, frozenset(sites)) for (before, after), sites in found.items()]
