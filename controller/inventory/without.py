"""An inventory without one of its gateways, and without what only that one was for."""

from __future__ import annotations

from dataclasses import replace

from controller.inventory.checks import check
from controller.inventory.model import Inventory, Prefix, Rule


def without_gateway(inventory: Inventory, name: str) -> Inventory:
    """`inventory` after gateway `name` is gone for good.

    Its LAN peers and moons go with it, and so do prefixes and rules that named no other gateway: with an empty list
    they would be about every gateway. Where its site has no gateway left, first hops stand on nothing and go too.
    """
    left = replace(
        inventory,
        gateways=tuple(each for each in inventory.gateways if each.name != name),
        lan_peers=tuple(each for each in inventory.lan_peers if each.gateway != name),
        rules=tuple(rule for each in inventory.rules if (rule := _rule(each, name)) is not None),
        moons=tuple(each for each in inventory.moons if each.gateway != name),
    )
    sites = {each.site for each in left.gateways}
    prefixes = (_prefix(each, name, each.site in sites) for each in inventory.prefixes)
    return replace(left, prefixes=tuple(each for each in prefixes if each is not None))


def without_vain_rules(inventory: Inventory) -> Inventory:
    """`inventory` without the rules that a check finds fault with: what they spoke of is gone."""
    vain = {each.object for each in check(inventory) if each.object.startswith(f"{Rule.kind} ")}
    return replace(inventory, rules=tuple(each for each in inventory.rules if each.label not in vain))


def _prefix(prefix: Prefix, name: str, has_gateways: bool) -> Prefix | None:
    if name in prefix.gateways:
        others = _others(prefix.gateways, name)
        return replace(prefix, gateways=others) if others else None
    return prefix if has_gateways or prefix.first_hop is None else replace(prefix, first_hop=None, vrid=None)


def _rule(rule: Rule, name: str) -> Rule | None:
    if name not in rule.match.gateways:
        return rule
    others = _others(rule.match.gateways, name)
    return replace(rule, match=replace(rule.match, gateways=others)) if others else None


def _others(names: tuple[str, ...], name: str) -> tuple[str, ...]:
    return tuple(each for each in names if each != name)
