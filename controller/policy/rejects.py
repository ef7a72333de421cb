"""Declared space: what gateways keep `unreachable` beneath everything, so that no default route takes it."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import collapse_addresses

from controller.inventory.model import GLOBAL, Inventory, Network


def rejects(inventory: Inventory) -> tuple[Network, ...]:
    """With `guard_default`: in as few prefixes as it takes, those that stand apart last."""
    guarded = inventory.fabric is not None and inventory.fabric.guard_default
    return _declared(inventory) if guarded else ()


def unguarded(inventory: Inventory) -> tuple[Network, ...]:
    """Declared space where it is in no `rejects`. Hubs accept nothing outside of it: all that is received is inside."""
    guarded = inventory.fabric is not None and inventory.fabric.guard_default
    return () if guarded else _declared(inventory)


def _declared(inventory: Inventory) -> tuple[Network, ...]:
    """A default route itself is no space."""
    fabric = inventory.fabric
    if fabric is None:
        return ()
    space = [each.prefix for each in inventory.allocations if each.tenant == GLOBAL and each.prefix.prefixlen]
    segments = [each for each in (fabric.segment, fabric.segment6) if each is not None]
    return _rejects((*space, *segments), fabric.underlay)


@lru_cache(maxsize=2)  # Space changes seldom, and a change of anything else asks again.
def _rejects(space: tuple[Network, ...], underlay: tuple[Network, ...]) -> tuple[Network, ...]:
    """What covers the underlay stands apart at the gateways, so it is not made one with what does not."""
    apart = {each for each in space if any(each.overlaps(other) for other in underlay)}
    return (*_collapsed([each for each in space if each not in apart]), *_collapsed([*apart]))


def _collapsed(space: list[Network]) -> list[Network]:
    """IPv4 first."""
    by_family = ([each for each in space if each.version == version] for version in (4, 6))
    return [each for family in by_family for each in collapse_addresses(family)]  # type: ignore[type-var]
