"""Rules about the ZeroTier network and its moons. Hosts are members: see `rules_members`."""

from __future__ import annotations

from collections.abc import Iterator

from controller.inventory.fields import closest
from controller.inventory.findings import Finding
from controller.inventory.model import Inventory
from controller.inventory.rules_members import taken, unknown, unreadable

MAX_MOONS = 8
"""Every member keeps in touch with every root of every moon."""


def without_network(inventory: Inventory) -> Iterator[Finding]:
    """What is asked of a segment that is somebody else's business."""
    fabric = inventory.fabric
    if fabric is None or fabric.network:
        return
    for field, asked in (("segment_rules", fabric.segment_rules == "owned"), ("managed_floor", fabric.managed_floor)):
        if asked:
            message = f"{field} needs the network that it is about: add network, or leave {field} out"
            yield Finding(fabric.label, "network-missing", message, field=field)


def unknown_gateway(inventory: Inventory) -> Iterator[Finding]:
    users = [(moon.label, moon.gateway) for moon in inventory.moons]
    yield from unknown(inventory, users, [gateway.name for gateway in inventory.gateways], "gateway", "gateway")


def unknown_uplink(inventory: Inventory) -> Iterator[Finding]:
    lost = unreadable(inventory, "uplink")
    uplinks = {gateway.name: [uplink.name for uplink in gateway.uplinks] for gateway in inventory.gateways}
    for moon in inventory.moons:
        known = uplinks.get(moon.gateway)
        if known and moon.uplink and moon.uplink not in known and f"{moon.gateway}/{moon.uplink}" not in lost:
            message = f"gateway {moon.gateway} has no uplink {moon.uplink}{closest(moon.uplink, known)}"
            yield Finding(moon.label, "uplink-unknown", message, field="uplink")


def moon_twice(inventory: Inventory) -> Iterator[Finding]:
    """A gateway makes one moon: its plan has room for one, and a second root there would fail with the first."""
    known = {gateway.name for gateway in inventory.gateways}
    owners = ((moon.label, moon.gateway if moon.gateway in known else None) for moon in inventory.moons)
    yield from taken(owners, "moon-taken", "gateway")


def moons_of_the_fabric(inventory: Inventory) -> Iterator[Finding]:
    if len(inventory.moons) > MAX_MOONS:
        message = f"{len(inventory.moons)} moons; at most {MAX_MOONS} are possible: remove some"
        yield Finding("fabric", "moons-too-many", message)
