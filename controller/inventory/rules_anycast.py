"""Own region first rests on a distance: the preference of an anycast prefix must not come up to it."""

from __future__ import annotations

from collections.abc import Iterator

from controller.inventory.findings import Finding
from controller.inventory.matching import Origin, in_order, origin_matches
from controller.inventory.model import (
    ANYCAST_PREFERENCE,
    GLOBAL,
    Allocation,
    CircuitClass,
    Client,
    Gateway,
    Inventory,
    Rule,
    Uplink,
    circuit_classes,
)

_WAY_OUT = f"own region first does not hold from {ANYCAST_PREFERENCE} on: stay below"


def preference_too_high(inventory: Inventory) -> Iterator[Finding]:
    """Of uplinks, classes and rules, at sites that share a prefix. What a rule may do to one, it is taken to do."""
    shared = [each for each in inventory.allocations if each.anycast and each.tenant == GLOBAL]
    if not shared:
        return
    classes, sites = circuit_classes(inventory), {site.name: site for site in inventory.sites}
    ordered = sorted(in_order(inventory.rules), key=lambda rule: rule.viewer is not None)  # As paths meet them.
    rules = [rule for rule in ordered if _prefers(rule) and _meets(rule, shared)]
    sharing = {each.site for each in shared}
    members: tuple[Gateway | Client, ...] = (*inventory.gateways, *inventory.clients)
    for member in members:
        site = sites.get(member.site)
        if site is None or site.name not in sharing:
            continue
        attached: tuple[Uplink | Client, ...] = member.uplinks if isinstance(member, Gateway) else (member,)
        for uplink in attached:
            found = classes.get(uplink.circuit_class)
            if found is None:
                continue
            if finding := _at_first(member, uplink, found):
                yield finding
            origin = Origin(member.name, site.name, site.region, site.tags, found.name)
            first = found.preference if uplink.preference is None else uplink.preference
            yield from _raised(origin, min(first, ANYCAST_PREFERENCE - 1), rules)


def _at_first(member: Gateway | Client, uplink: Uplink | Client, circuit_class: CircuitClass) -> Finding | None:
    if uplink.preference is None:
        label, preference = circuit_class.label, circuit_class.preference
    else:
        label, preference = member.label, uplink.preference
    if preference < ANYCAST_PREFERENCE:
        return None
    said = f"has preference {preference}, and announces anycast prefixes"
    return Finding(label, "preference-too-high", f"{said}; {_WAY_OUT}", field="preference")


def _raised(origin: Origin, highest: int, rules: list[Rule]) -> Iterator[Finding]:
    """Each rule that may bring a path of `origin` up to it, those before it included."""
    for rule in rules:
        if not origin_matches(rule.match, origin):
            continue
        action = rule.action
        reached = (highest if action.preference is None else action.preference) + action.preference_add
        if reached >= ANYCAST_PREFERENCE:
            message = f"may raise LOCAL_PREF of anycast prefixes of site {origin.site} to {reached}; {_WAY_OUT}"
            yield Finding(rule.label, "preference-too-high", message, field="action")
        highest = min(max(highest, reached), ANYCAST_PREFERENCE - 1)


def _prefers(rule: Rule) -> bool:
    action, tenant = rule.action, rule.match.tenant
    return tenant == GLOBAL and not action.deny and (action.preference is not None or action.preference_add > 0)


def _meets(rule: Rule, shared: list[Allocation]) -> bool:
    return not rule.match.prefixes or any(
        each.prefix.version == allocation.prefix.version and each.prefix.overlaps(allocation.prefix)
        for each in rule.match.prefixes
        for allocation in shared
    )
