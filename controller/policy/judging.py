"""What the rules make of a path: first at the hubs' import, then on the way to one viewer.

An evaluation of its own, over the inventory: speakers evaluate compiled steps, and tests hold the two together.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from controller.inventory.matching import (
    Origin,
    in_order,
    origin_matches,
    prefix_matches,
    viewer_matches,
)
from controller.inventory.model import (
    ANYCAST_PREFERENCE,
    GLOBAL,
    Allocation,
    Inventory,
    Network,
    PrefixMatch,
    Rule,
    Site,
)

MAX_PREFERENCE = 2**32 - 1
GRACEFUL_SHUTDOWN = "65535:0"
"""Whoever has it is the last choice (RFC 8326): a drained gateway's paths, and those that a rule gives it. It stays."""

BLACKHOLE = "65535:666"
"""Packets to it are refused, where the fabric honours it (RFC 7999)."""
NO_ADVERTISE, NO_EXPORT, NO_EXPORT_SUBCONFED = "65535:65282", "65535:65281", "65535:65283"
_KEPT = {NO_ADVERTISE: "NO_ADVERTISE", NO_EXPORT: "NO_EXPORT", NO_EXPORT_SUBCONFED: "NO_EXPORT_SUBCONFED"}
"""Not told by eBGP; the first one not at all (RFC 1997)."""

Kind = Literal["hub", "spoke", "ibgp", "ebgp"]
"""What a viewer is. The last two are routers that are not ours."""

Marks = tuple[int, ...]
"""Which of the lists of prefixes that rules name have a prefix in them. Prefixes with equal marks are judged alike."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A path as the rules have left it. `denied` says in words why it is not there; "" when it is."""

    preference: int  # LOCAL_PREF
    drained: bool = False
    drained_by: str = ""  # The rule that said so; "" when it is the gateway that is drained.
    communities: frozenset[str] = frozenset()  # The operators' own.
    med: int | None = None
    prepend: int = 0
    max_paths: int = 0  # 0: no word.
    limited_by: str = ""  # The rule that said so.
    region_only: str = ""  # The rule that said so.
    open: bool = False
    rules: tuple[str, ...] = ()  # All that acted, in order.
    preferred: tuple[str, ...] = ()  # Those of them that moved the preference.
    denied: str = ""


@dataclass(frozen=True, slots=True)
class View:
    """Viewers who share one see the same: the region they are in, the rules that speak of them, and how they are told.

    A hub is told nothing by a hub's policy: it looks at what it has. `kind` is "spoke" also for those to whom it is all
    the same.
    """

    number: int
    region: str
    rules: tuple[Rule, ...]
    kind: Kind = "spoke"
    asn: int = 0  # Of an eBGP client; 0: the fabric's own.

    def __hash__(self) -> int:  # There is one of a number; to hash all rules at each look-up would take long.
        return self.number


class Rules:
    """The rules of one inventory, ready to judge. Does not depend on the order of rows."""

    def __init__(self, inventory: Inventory) -> None:
        ordered = in_order(rule for rule in inventory.rules if rule.match.tenant == GLOBAL)
        self._imports = tuple(rule for rule in ordered if rule.viewer is None)
        self._views = tuple(rule for rule in ordered if rule.viewer is not None)
        self._closed = {region.name for region in inventory.regions if region.closed}
        lists = {rule.match.prefixes for rule in ordered if rule.match.prefixes}
        self._anycast = _anycast(inventory.allocations)
        if self._anycast:
            lists.add(self._anycast)
        self._number = {ranges: n for n, ranges in enumerate(sorted(lists, key=str))}
        self._known_views: dict[tuple[str, tuple[str, ...], Kind, int], View] = {}
        self._by_name = {rule.name: rule for rule in ordered}
        self._like_spokes = _like_spokes(ordered)

    def marks(self, prefix: Network) -> Marks:
        return tuple(n for ranges, n in self._number.items() if prefix_matches(ranges, prefix))

    def view(self, site: Site, kind: Kind = "spoke", asn: int = 0) -> View:
        kind = "spoke" if kind in self._like_spokes else kind
        rules = tuple(rule for rule in self._views if rule.viewer is not None and viewer_matches(rule.viewer, site))
        key = (site.region, tuple(rule.name for rule in rules), kind, asn)
        return self._known_views.setdefault(key, View(len(self._known_views), site.region, rules, kind, asn))

    def imported(self, origin: Origin, fresh: Judged, marks: Marks) -> Judged:
        """As the hubs take it in from whoever announces it, or announce it themselves."""
        judged, denied_by = self._through(self._imports, origin, fresh, marks)
        return replace(judged, denied=f"rule {denied_by} denies it at the hubs") if denied_by else judged

    def viewed(self, origin: Origin, imported: Judged, view: View, marks: Marks) -> Judged:
        """As a viewer is told it, or why not."""
        if imported.denied:
            return imported
        hidden = self._hidden(origin, imported, view)
        if hidden:
            return replace(imported, denied=hidden)
        judged, denied_by = self._through(view.rules, origin, imported, marks)
        if self._anycast and self._number[self._anycast] in marks and origin.region == view.region:
            judged = _preferring(judged, None, ANYCAST_PREFERENCE, "anycast: own region first")
        denied = f"rule {denied_by} denies it to this viewer" if denied_by else self._kept_from(view, judged)
        return replace(judged, denied=denied) if denied else judged

    def kept(self, judged: Judged) -> str:
        """Why whoever has it tells it to nobody; "" when it does."""
        return self._kept_by(judged, NO_ADVERTISE, "") if NO_ADVERTISE in judged.communities else ""

    def _kept_from(self, view: View, judged: Judged) -> str:
        if view.kind == "hub":
            return ""
        if view.kind == "ebgp" and NO_ADVERTISE not in judged.communities:
            found = sorted(judged.communities & _KEPT.keys())
            return self._kept_by(judged, found[0], " by eBGP") if found else ""
        return self.kept(judged)

    def _kept_by(self, judged: Judged, community: str, how: str) -> str:
        return f"rule {self.giver(judged, community)} gives it {_KEPT[community]}: it is not told{how}"

    def giver(self, judged: Judged, community: str) -> str:
        """The last of the rules that acted on it that put this community on it; "" when none did."""
        acted_on = reversed(judged.rules)
        return next((name for name in acted_on if community in self._by_name[name].action.add_communities), "")

    def _hidden(self, origin: Origin, judged: Judged, view: View) -> str:
        if origin.region == view.region:
            return ""
        if judged.region_only:
            return f"rule {judged.region_only} keeps it in its region, {origin.region}"
        shut = next((region for region in (origin.region, view.region) if region in self._closed), None)
        return "" if shut is None or judged.open else f"region {shut} is closed, and no rule opens it"

    def _through(self, rules: Iterable[Rule], origin: Origin, judged: Judged, marks: Marks) -> tuple[Judged, str]:
        """(What comes out, "") or (what went in, name of the rule that denies it)."""
        for rule in rules:
            if not self._matches(rule, origin, judged, marks):
                continue
            if rule.action.deny:
                return judged, rule.name
            judged = acted(judged, rule)
            if rule.action.last:
                break
        return judged, ""

    def _matches(self, rule: Rule, origin: Origin, judged: Judged, marks: Marks) -> bool:
        match = rule.match
        return (
            (not match.prefixes or self._number[match.prefixes] in marks)
            and (not match.communities or not judged.communities.isdisjoint(match.communities))
            and origin_matches(match, origin)
        )


def acted(judged: Judged, rule: Rule) -> Judged:
    """After all actions of a rule that matches and does not deny."""
    action = rule.action
    if GRACEFUL_SHUTDOWN in action.add_communities and not judged.drained:
        judged = replace(judged, preference=0, drained=True, drained_by=rule.name)
    if action.preference is not None or action.preference_add:
        judged = _preferring(judged, action.preference, action.preference_add, rule.name)
    narrower = 0 < action.max_paths < (judged.max_paths or action.max_paths + 1)
    removed = set(action.remove_communities) - {GRACEFUL_SHUTDOWN}
    return replace(
        judged,
        communities=(judged.communities - removed) | set(action.add_communities),
        med=judged.med if action.med is None else action.med,
        prepend=judged.prepend + action.prepend,
        max_paths=action.max_paths if narrower else judged.max_paths,
        limited_by=rule.name if narrower else judged.limited_by,
        region_only=judged.region_only or (rule.name if action.region_only else ""),
        open=judged.open or action.open,
        rules=(*judged.rules, rule.name),
    )


def _preferring(judged: Judged, to: int | None, add: int, by: str) -> Judged:
    """Never below 1, and what is drained stays the last choice whatever rules say (RFC 8326)."""
    if judged.drained:
        return judged
    wanted = (judged.preference if to is None else to) + add
    return replace(judged, preference=min(max(wanted, 1), MAX_PREFERENCE), preferred=(*judged.preferred, by))


def _like_spokes(rules: Iterable[Rule]) -> frozenset[Kind]:
    """Kinds of viewers that see and decide as spokes do, as these rules are."""
    actions = [rule.action for rule in rules]
    given = {community for action in actions for community in action.add_communities}
    alike: list[Kind] = []
    if NO_ADVERTISE not in given:
        alike.append("hub")
    if BLACKHOLE not in given and not any(action.max_paths for action in actions):
        alike.append("ibgp")
    return frozenset(alike)


def _anycast(allocations: Iterable[Allocation]) -> tuple[PrefixMatch, ...]:
    ranges = {PrefixMatch(each.prefix, each.prefix.prefixlen, each.longest) for each in allocations if each.anycast}
    return tuple(sorted(ranges, key=str))
