"""Rules that stand in each other's way: one that is never reached, two that contradict each other.

What a match covers is judged by what it says, not by what is declared today: a rule that is sound stays so when
a site comes or goes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import takewhile

from controller.inventory.findings import Finding
from controller.inventory.matching import in_order
from controller.inventory.model import Action, Inventory, Match, PrefixMatch, Rule, Viewer, network_order

Same = tuple[object, ...]


def unreachable(inventory: Inventory) -> Iterator[Finding]:
    """Every path that matches has been denied, or has had its `last`, before."""
    for rules in _kinds(inventory):
        ends = [n for n, rule in enumerate(rules) if rule.action.deny or rule.action.last]
        for n, rule in enumerate(rules):
            end = next((rules[m] for m in ends if m < n and _covers(rules[m], rule, rules[:n])), None)
            if end is not None:
                verb = "denies" if end.action.deny else "is the last for"
                message = (
                    f"is never reached: rule {end.name} comes before it and {verb} every path that it matches;"
                    f" give it an order below {end.order}, narrow rule {end.name}, or remove one of them"
                )
                yield Finding(rule.label, "rule-unreachable", message, field="order")


def denied_before(inventory: Inventory) -> Iterator[Finding]:
    """Rules of viewers see what the import has left, whatever their order."""
    imports, views = _kinds(inventory)
    # What is behind a `last` may never see what the rule of a viewer sees.
    sure = list(takewhile(lambda rule: rule.action.deny or not rule.action.last, imports))
    for rule in views:
        end = next((n for n, each in enumerate(sure) if each.action.deny and _covers(each, rule, sure[:n])), None)
        if end is not None:
            message = (
                f"is never reached: rule {sure[end].name} denies every path that it matches at the import, which comes"
                f" before all viewers; narrow rule {sure[end].name}, give it a viewer, or remove one of them"
            )
            yield Finding(rule.label, "rule-unreachable", message, field="match")


def contradictory(inventory: Inventory) -> Iterator[Finding]:
    """Of two rules that say different things of the same paths at the same place, chance of naming would decide."""
    groups: dict[Same, list[Rule]] = defaultdict(list)
    for rules in _kinds(inventory):
        for rule in rules:
            groups[rule.order, _same_match(rule.match), _same_viewer(rule.viewer)].append(rule)
    for same in groups.values():
        for n, rule in enumerate(same):
            found = ((other, what) for other in same[:n] for what in _contradictions(other.action, rule.action))
            other, what = next(found, (None, ""))
            if other is not None:
                message = (
                    f"rule {other.name} has the same order, match and viewer, and {what}: give one of them another"
                    " order, if both are meant, or remove one of them"
                )
                yield Finding(rule.label, "rule-contradictory", message, field="action")


def _kinds(inventory: Inventory) -> tuple[tuple[Rule, ...], tuple[Rule, ...]]:
    """Those of the import and those of the export, as they are looked at."""
    rules = in_order(inventory.rules)
    return tuple(each for each in rules if each.viewer is None), tuple(
        each for each in rules if each.viewer is not None
    )


def _covers(earlier: Rule, later: Rule, before: Sequence[Rule]) -> bool:
    """Whether `earlier` has seen every path that `later` matches. `before`: all rules before `later`."""
    a, b = earlier.match, later.match
    lists = (
        (a.sites, b.sites),
        (a.regions, b.regions),
        (a.tags, b.tags),
        (a.gateways, b.gateways),
        (a.circuit_classes, b.circuit_classes),
        (a.communities, b.communities),
        *_viewers(earlier.viewer, later.viewer),
    )
    if a.tenant != b.tenant or not all(_no_narrower(wide, narrow) for wide, narrow in lists):
        return False
    if a.communities and any(set(each.action.add_communities) & set(b.communities) for each in before):
        return False  # What it matches may have come onto the path after `earlier`.
    return not a.prefixes or (bool(b.prefixes) and all(any(_inside(i, o) for o in a.prefixes) for i in b.prefixes))


def _viewers(a: Viewer | None, b: Viewer | None) -> tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]:
    if a is None or b is None:
        return ()
    return (a.sites, b.sites), (a.regions, b.regions), (a.tags, b.tags)


def _no_narrower(wide: tuple[str, ...], narrow: tuple[str, ...]) -> bool:
    return not wide or (bool(narrow) and set(narrow) <= set(wide))


def _inside(inner: PrefixMatch, outer: PrefixMatch) -> bool:
    """Every prefix of the one range is of the other, too."""
    (version, address, length), (outer_version, outer_address, outer_length) = (
        network_order(inner.prefix),
        network_order(outer.prefix),
    )
    shift = inner.prefix.max_prefixlen - outer_length
    return (
        version == outer_version
        and length >= outer_length
        and address >> shift == outer_address >> shift
        and outer.ge <= inner.ge
        and inner.le <= outer.le
    )


def _same_match(match: Match) -> Same:
    """Equal for matches that say the same, whatever the order of their lists."""
    lists = (match.sites, match.regions, match.tags, match.gateways, match.circuit_classes, match.communities)
    return (*map(frozenset, lists), frozenset(match.prefixes), match.tenant)


def _same_viewer(viewer: Viewer | None) -> Same | None:
    return None if viewer is None else tuple(map(frozenset, (viewer.sites, viewer.regions, viewer.tags)))


def _contradictions(a: Action, b: Action) -> Iterator[str]:
    """What `a` does that `b` does not let stand, in words."""
    if a.deny != b.deny:
        yield "denies the path" if a.deny else "does not deny it"
    for field in ("preference", "med"):
        if None not in (value := getattr(a, field), getattr(b, field)) and value != getattr(b, field):
            yield f"sets {field} {value}"
    if a.max_paths and b.max_paths and a.max_paths != b.max_paths:
        yield f"sets max_paths {a.max_paths}"
    if (a.region_only and b.open) or (a.open and b.region_only):
        yield "opens the path" if a.open else "keeps it in its region"
    for community in sorted(set(a.add_communities) & set(b.remove_communities)):
        yield f"adds {community}"
    for community in sorted(set(a.remove_communities) & set(b.add_communities)):
        yield f"removes {community}"
