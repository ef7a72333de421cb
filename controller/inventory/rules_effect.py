"""Rules without effect: what they speak of is not there, or nobody would notice.

A rule that quietly does nothing is a rule that its author believes in.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace

from controller.inventory.findings import Finding
from controller.inventory.matching import Origin, in_order, origin_matches, viewer_matches
from controller.inventory.model import (
    GLOBAL,
    Action,
    Allocation,
    Client,
    Inventory,
    PrefixMatch,
    Rule,
    Site,
    Uplink,
    circuit_classes,
    network_order,
)
from controller.inventory.rules_members import unreadable

_NEEDED = ("fabric", "region", "circuit-class", "site", "allocation", "gateway", "client", "rule")


def without_effect(inventory: Inventory) -> Iterator[Finding]:
    """Silent while other objects cannot be read, or while a rule names what is not declared: that is said already."""
    if not inventory.rules or any(unreadable(inventory, kind) for kind in _NEEDED):
        return
    world = _World(inventory)
    for rule in in_order(inventory.rules):
        why = world.why_not(rule) if world.knows(rule) else None
        if why is not None:
            field, message = why
            yield Finding(rule.label, "rule-without-effect", f"has no effect: {message}", field=field)


def assertion_without_effect(inventory: Inventory) -> Iterator[Finding]:
    """`never_over` and `survives` hold of what is not there. What shall be reached and is not there is broken."""
    if unreadable(inventory, "allocation"):
        return
    for assertion in inventory.assertions:
        prefix = assertion.prefix
        if prefix is None or assertion.reaches or assertion.tenant != GLOBAL:
            continue
        spaces = (each.prefix for each in inventory.allocations if each.tenant == GLOBAL)
        if not any(space.version == prefix.version and space.overlaps(prefix) for space in spaces):
            message = f"says nothing: no allocation has anything of {prefix}: correct it, or remove the assertion"
            yield Finding(assertion.label, "assertion-without-effect", message, field="prefix")


class _World:
    """What rules could speak of."""

    def __init__(self, inventory: Inventory) -> None:
        self.inventory = inventory
        self.sites = {site.name: site for site in inventory.sites}
        self.classes = circuit_classes(inventory)
        self.regions = {region.name for region in inventory.regions}
        self.members = {each.name for each in (*inventory.gateways, *inventory.clients)}
        self.preferences: dict[tuple[str, str], set[int]] = defaultdict(set)  # (Member, class) -> of its uplinks.
        self.origins = list(self._origins())
        asn = None if inventory.fabric is None else inventory.fabric.asn
        self.ebgp = [each for each in inventory.clients if each.asn not in (None, asn) and each.site in self.sites]
        viewers = {gateway.site for gateway in inventory.gateways} | {client.site for client in inventory.clients}
        self.viewers = [site for site in inventory.sites if site.name in viewers]
        self.host_routes = inventory.fabric is not None and inventory.fabric.blackhole

    def _origins(self) -> Iterator[Origin]:
        for gateway in self.inventory.gateways:
            site = self.sites.get(gateway.site)
            if site is not None:
                for uplink in gateway.uplinks:
                    self._note(gateway.name, uplink)
                for circuit_class in sorted({uplink.circuit_class for uplink in gateway.uplinks}):
                    yield _origin(gateway.name, site, circuit_class)
        for client in self.inventory.clients:
            if client.site in self.sites:
                self._note(client.name, client)
                yield _origin(client.name, self.sites[client.site], client.circuit_class)

    def _note(self, member: str, each: Uplink | Client) -> None:
        found = self.classes.get(each.circuit_class)
        preference = found.preference if found is not None and each.preference is None else each.preference
        if preference is not None:
            self.preferences[member, each.circuit_class].add(preference)

    def knows(self, rule: Rule) -> bool:
        match, viewer = rule.match, rule.viewer
        return (
            self.sites.keys() >= {*match.sites, *(viewer.sites if viewer else ())}
            and self.regions >= {*match.regions, *(viewer.regions if viewer else ())}
            and self.members >= set(match.gateways)
            and self.classes.keys() >= set(match.circuit_classes)
        )

    def why_not(self, rule: Rule) -> tuple[str, str] | None:
        """(field, message) of the first reason that is found."""
        matched = [origin for origin in self.origins if origin_matches(rule.match, origin)]
        if not matched:
            return "match", "no uplink of a gateway and no client fits its match: widen the match, or remove the rule"
        if rule.match.prefixes and not self._any_prefix(rule.match.prefixes, {origin.site for origin in matched}):
            ranges = ", ".join(map(_text, rule.match.prefixes))
            return (
                "match",
                f"no allocation of the sites that it matches has a prefix of {ranges}: widen it, or remove it",
            )
        if rule.viewer is not None and not any(viewer_matches(rule.viewer, site) for site in self.viewers):
            return "viewer", "no gateway or client stands where its viewer says: widen the viewer, or remove the rule"
        return self._vain(rule)

    def _any_prefix(self, ranges: tuple[PrefixMatch, ...], sites: set[str]) -> bool:
        return any(
            self._meets(each, allocation)
            for allocation in self.inventory.allocations
            if allocation.site in sites
            for each in ranges
        )

    def _meets(self, each: PrefixMatch, allocation: Allocation) -> bool:
        """Whether a prefix inside the allocation, no longer than it allows, is in the range."""
        (version, address, length), (other, start, least) = network_order(each.prefix), network_order(allocation.prefix)
        shift = allocation.prefix.max_prefixlen - min(length, least)
        longest = allocation.prefix.max_prefixlen if self.host_routes and least else allocation.longest
        return (
            version == other
            and address >> shift == start >> shift
            and max(length, least, each.ge) <= min(each.le, longest)
        )

    def _vain(self, rule: Rule) -> tuple[str, str] | None:
        """Its action changes nothing for anybody."""
        action = rule.action
        if _nothing(replace(action, last=False)) and not self._has_later(rule):
            return "action", "no rule comes after it that `last` could keep away: remove it"
        vain = dict(self._vain_parts(rule))
        if vain and _nothing(replace(action, **{name: getattr(Action(), name) for name in vain})):
            return "action", f"{'; '.join(vain.values())}: remove it"
        return None

    def _vain_parts(self, rule: Rule) -> Iterator[tuple[str, str]]:
        """(field of the action, why it changes nothing)."""
        action, viewer, fabric = rule.action, rule.viewer, self.inventory.fabric
        audible = [each for each in self.ebgp if viewer is None or viewer_matches(viewer, self.sites[each.site])]
        if not audible and action.prepend:
            whom = "no client" if viewer is None else "no client that its viewer means"
            yield "prepend", f"prepend is for clients by eBGP, and {whom} has an asn of its own"
        if action.open and not any(region.closed for region in self.inventory.regions):
            yield "open", "open is for closed regions, and none is closed"
        if fabric is not None and action.max_paths >= fabric.max_paths:
            yield "max_paths", f"max_paths of the fabric is {fabric.max_paths} already"
        if action.preference is not None and not action.preference_add and self._has_already(rule, action.preference):
            yield "preference", f"what it matches has preference {action.preference} already"

    def _has_already(self, rule: Rule, preference: int) -> bool:
        """Every path that it matches, unless a rule before it has changed that."""
        matched = [origin for origin in self.origins if origin_matches(rule.match, origin)]
        if any(self.preferences[each.member, each.circuit_class] != {preference} for each in matched):
            return False
        for each in self.inventory.rules:
            before = (each.viewer is not None, each.order, each.name) < (rule.viewer is not None, rule.order, rule.name)
            changes = each.action.preference is not None or each.action.preference_add
            if before and changes and any(origin_matches(each.match, origin) for origin in matched):
                return False
        return True

    def _has_later(self, rule: Rule) -> bool:
        rules = [each for each in in_order(self.inventory.rules) if (each.viewer is None) == (rule.viewer is None)]
        return rules[-1] is not rule


def _origin(name: str, site: Site, circuit_class: str) -> Origin:
    return Origin(name, site.name, site.region, site.tags, circuit_class)


def _nothing(action: Action) -> bool:
    return action == Action()


def _text(each: PrefixMatch) -> str:
    return f"{each.prefix} ge {each.ge} le {each.le}"
