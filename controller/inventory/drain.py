"""Taking a gateway out of traffic, and what that leaves without a way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from controller.inventory.model import Inventory, residents

MAX_NAMED = 5
"""Prefixes that a warning names; the rest is a number."""


def drained(inventory: Inventory, name: str, drain: bool) -> Inventory:
    """`inventory` with gateway `name` drained or not; the same value when it is so already."""
    if all(bool(each.drained) == drain for each in inventory.gateways if each.name == name):
        return inventory
    gateways = tuple(replace(each, drained=drain) if each.name == name else each for each in inventory.gateways)
    return replace(inventory, gateways=gateways)


def left_behind(inventory: Inventory, name: str) -> Iterator[str]:
    """What has nowhere else to go while `name` is drained: said to whoever drains it, and no reason to refuse."""
    active = {each.name for each in inventory.gateways if not each.drained} - {name}
    of_site = residents(inventory)
    only = []
    for prefix in inventory.prefixes:
        announcers = prefix.gateways or of_site.get(prefix.site, ())
        if name in announcers and active.isdisjoint(announcers):
            only.append(str(prefix.prefix))
    if only:
        named = ", ".join(only[:MAX_NAMED]) + (f" and {len(only) - MAX_NAMED} more" if len(only) > MAX_NAMED else "")
        yield (
            f"no other undrained gateway announces {named}: this traffic keeps flowing through {name},"
            f" and stops when {name} is switched off"
        )
    hubs = {each.name for each in inventory.gateways if each.role == "hub"}
    if name in hubs and active.isdisjoint(hubs):
        yield (
            f"no other hub is undrained: when {name} is switched off, gateways keep the routes that they have"
            " and learn no new ones"
        )
