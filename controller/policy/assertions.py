"""What the operator says must hold, held against the intended state; and which change it was that broke it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from controller.inventory.model import (
    GLOBAL,
    SECTIONS,
    Assertion,
    Fabric,
    Inventory,
    Network,
    Object,
    Rule,
    network_order,
)
from controller.policy.failures import Thing
from controller.policy.intended import NOTHING_FAILED
from controller.policy.sending import in_order
from controller.policy.whatif import WhatIf

MAX_SUSPECTS = 16
"""Changed objects that are taken back one by one to see which of them broke an assertion."""


@dataclass(frozen=True, slots=True)
class Broken:
    """One assertion that does not hold: everything that breaks it, in words, in a stable order."""

    assertion: str
    what: tuple[str, ...]
    by: tuple[str, ...] = ()  # Labels of the changed objects that did it; () when it was broken before.
    facts: frozenset[str] = field(default=frozenset(), compare=False)  # `what` without the reasons.


def broken(inventory: Inventory) -> list[Broken]:
    """By name. Nothing is computed when there are no assertions."""
    if not inventory.assertions:
        return []
    check = _Check(inventory)
    found = []
    for assertion in sorted(inventory.assertions, key=lambda each: each.name):
        breaks = list(check.breaks(assertion))
        if breaks:
            what = tuple(dict.fromkeys(fact + why for fact, why in breaks))
            found.append(Broken(assertion.name, what, facts=frozenset(fact for fact, _ in breaks)))
    return found


@dataclass(frozen=True, slots=True)
class Verdict:
    """Of one change: what it breaks, and what was broken before and still is."""

    new: tuple[Broken, ...] = ()
    old: tuple[Broken, ...] = ()


def judge(before: Inventory, after: Inventory, changed: Iterable[Object]) -> Verdict:
    """`changed` are the objects that differ, those that went included.

    An assertion that was broken and now breaks in more places is broken anew.
    """
    found = broken(after)
    if not found:
        return Verdict()
    former = _facts(before, {each.assertion for each in found})
    old = tuple(each for each in found if each.facts <= former.get(each.assertion, frozenset()))
    new = [each for each in found if each not in old]
    return Verdict(tuple(_accused(before, after, new, list(changed))), old)


def _accused(before: Inventory, after: Inventory, found: Sequence[Broken], changed: list[Object]) -> Iterator[Broken]:
    """Whoever makes the assertion hold again by not having been changed did it; if nobody alone, all of them."""
    changed.sort(key=lambda each: (each.kind not in (Rule.kind, Assertion.kind), each.label))
    names = {each.assertion for each in found}
    suspects = changed[:MAX_SUSPECTS] if found and len(changed) > 1 else []
    left = {each.label: _facts(taken_back(before, after, each), names) for each in suspects}
    for each in found:
        by = [label for label, facts in left.items() if not each.facts <= facts.get(each.assertion, frozenset())]
        yield replace(each, by=tuple(by or (one.label for one in changed)))


def taken_back(before: Inventory, after: Inventory, one: Object) -> Inventory:
    """`after`, but with this object as it was before, or without it when it was not there."""
    if isinstance(one, Fabric):
        return replace(after, fabric=before.fabric)
    section = next(section for section, kind in SECTIONS.items() if kind == one.kind)
    former = tuple(each for each in getattr(before, section) if each.key == one.key)
    others = tuple(each for each in getattr(after, section) if each.key != one.key)
    parts: dict[str, Any] = {section: former + others}
    return replace(after, **parts)


def _facts(inventory: Inventory, names: set[str]) -> dict[str, frozenset[str]]:
    meant = tuple(each for each in inventory.assertions if each.name in names)
    return {each.assertion: each.facts for each in broken(replace(inventory, assertions=meant))}


class _Check:
    """One inventory, asked about its assertions."""

    def __init__(self, inventory: Inventory) -> None:
        self._question = WhatIf(inventory)
        self._intent = self._question.intent
        self._failures = self._question.failures
        self._of_group: dict[int, list[Network]] = defaultdict(list)
        for prefix in sorted(self._intent.groups, key=network_order):
            self._of_group[self._intent.groups[prefix].number].append(prefix)

    def breaks(self, assertion: Assertion) -> Iterator[tuple[str, str]]:
        """Everything that breaks it, in words: what is so, and why if that can be said."""
        if assertion.tenant != GLOBAL:
            return
        for site in assertion.sites:
            if site not in self._intent.of_site:
                yield f"{site} has no gateway", ""
        sites = [site for site in sorted(assertion.sites or self._intent.of_site) if site in self._intent.of_site]
        if assertion.reaches:
            yield from self._unreached(sites, assertion.prefix)
            return
        if assertion.never_over:
            facts = self._used(sites, assertion.prefix, set(assertion.never_over))
        elif assertion.prefix is None:
            facts = self._cut_off(sites, assertion.survives)
        else:
            facts = self._cut_off_from(sites, assertion.prefix, assertion.survives)
        yield from ((fact, "") for fact in facts)

    def _unreached(self, sites: list[str], prefix: Network | None) -> Iterator[tuple[str, str]]:
        wanted = [[prefix]] if prefix is not None else list(self._of_group.values())
        for site in sites:
            for alike in wanted:  # Who reaches the first of a group reaches all of it.
                if not self._reaches(site, alike[0]):
                    why = self._why(site, alike[0])
                    yield from ((f"{site} does not reach {each}", why) for each in alike)

    def _used(self, sites: list[str], prefix: Network | None, classes: set[str]) -> Iterator[str]:
        """Over a class in any tier: a path that waits is used when the others die. And by which uplink it sends."""
        for site in sites:
            viewer = self._intent.of_site[site][0]
            own, sends = list(self._sent_by(site, classes)), False
            for alike in self._of_group.values():
                if self._at_home(site, alike[0]):
                    continue
                allowed = self._intent.route(viewer, alike[0]).decision.allowed
                used = [each.source for each in allowed if each.source.origin.circuit_class in classes]
                asked = bool(used or (own and allowed and not sends))
                meant = [each for each in alike if prefix is None or _overlap(each, prefix)] if asked else []
                sends = sends or bool(allowed and meant)
                for each in meant:
                    for source in used:
                        yield f"{site} may use {source.key} ({source.origin.circuit_class}) to {each}"
            if sends:
                yield from own

    def _sent_by(self, site: str, classes: set[str]) -> Iterator[str]:
        """By the best uplink of each gateway (of clients where there is none), whatever the prefix: rules do not choose
        among its own.

        So nothing could keep it off the next one when that is dead, and whoever has a backup would break every such
        assertion: what it falls back to is not counted.
        """
        members = self._intent.of_site[site]
        for member in [each for each in members if each.is_ours] or members:
            for source in in_order(member.sources, is_hub=member.kind == "hub")[:1]:
                if source.origin.circuit_class in classes:
                    yield f"{site} sends by {source.key} ({source.origin.circuit_class})"

    def _cut_off(self, sites: list[str], kind: str) -> Iterator[str]:
        """Of sites from each other, when one thing fails."""
        among = set(sites)
        for thing in self._failures.things(kind):
            spared = self._on(thing)
            down = set(self._question.down(thing)) - spared
            yield from self._fallen(thing, sorted(down & among))
            for pair in self._question.losses(thing, among):
                if not {pair.source, pair.target} & (down | spared):
                    yield f"without {thing} {pair.source} does not reach {' '.join(pair.what)} of {pair.target}"

    def _cut_off_from(self, sites: list[str], prefix: Network, kind: str) -> Iterator[str]:
        """Of sites from a prefix that they reach now. Only where the failure touches them or the way there."""
        announcing = {
            source.key
            for route in self._intent.covering(next(iter(self._intent.members.values())), prefix)
            for source in self._intent.groups[route.prefix].sources
        }
        for thing in self._failures.things(kind):
            failed, spared = self._failures.fallen([thing]), self._on(thing)
            down = set(self._question.down(thing)) - spared
            yield from self._fallen(thing, sorted(down.intersection(sites)))
            if failed.isdisjoint(announcing):
                continue
            for site in sites:
                if (
                    site not in down | spared
                    and self._reaches(site, prefix)
                    and not self._reaches(site, prefix, failed)
                ):
                    yield f"without {thing} {site} does not reach {prefix}"

    def _fallen(self, thing: Thing, down: list[str]) -> Iterator[str]:
        # Reach survives the last hub for a day; only who asks about hubs asks about control.
        control = self._intent.control(self._failures.fallen([thing])) if thing.kind == "hub" else ""
        if control:
            yield f"without {thing} {control}"
        yield from (f"without {thing} {site} has no gateway left" for site in down)

    def _on(self, thing: Thing) -> set[str]:
        """Sites that fall whole with their provider: nobody asks them to survive it, nor others to reach them."""
        if thing.kind != "provider":
            return set()
        return {site.name for site in self._intent.sites.values() if site.provider == thing.name}

    def _reaches(self, site: str, prefix: Network, failed: frozenset[str] = NOTHING_FAILED) -> bool:
        """By a route that contains it. A site needs no fabric for its own prefixes, but a gateway that lives."""
        alive = [member for member in self._intent.of_site[site] if member.alive(failed)]
        for member in alive[:1]:  # The site's other gateways see the same.
            for route in self._intent.covering(member, prefix, failed):
                if route.usable or self._at_home(site, route.prefix, failed):
                    return True
                if route.decision.discard:
                    return False
        return False

    def _at_home(self, site: str, prefix: Network, failed: frozenset[str] = NOTHING_FAILED) -> bool:
        sources = self._intent.groups[prefix].sources
        return any(source.origin.site == site and source.key not in failed for source in sources)

    def _why(self, site: str, prefix: Network) -> str:
        """What stands against the routes to it, if there are any."""
        reasons = dict.fromkeys(
            each.judged.denied
            for route in self._intent.covering(self._intent.of_site[site][0], prefix)
            for each in route.decision.candidates
            if each.judged.denied
        )
        return f" ({'; '.join(reasons)})" if reasons else " (nobody announces it)"


def _overlap(one: Network, other: Network) -> bool:
    return one.version == other.version and one.overlaps(other)
