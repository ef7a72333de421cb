"""A small fabric with a network, and a ledger in memory, for the tests of the segment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network
from typing import Any

from controller.inventory.allocate import allocate
from controller.inventory.model import Client, Fabric, Gateway, Host, Inventory, Region, Role, Site, Uplink
from controller.zerotier.desired import Desired, desired

CONTROLLER = "53fe91125f"
NETWORK = "53fe91125f00abcd"
SEGMENT, SEGMENT6 = IPv4Network("10.42.0.0/24"), IPv6Network("fd42:42::/64")


def fabric(**fields: Any) -> Fabric:
    return replace(Fabric("demo", 64512, SEGMENT, network=NETWORK), **fields)


def small(**fields: Any) -> Inventory:
    """hub-1 (.1), berlin-1 with two uplinks (by name first: .1 is berlin's), frr1, nas. Allocated."""
    return allocate(
        Inventory(
            fabric=fabric(**fields),
            regions=(Region("eu"),),
            sites=(Site("core", "eu"), Site("berlin", "eu")),
            gateways=(
                gateway("hub-1", "core", "hub", "a000000001"),
                gateway("berlin-1", "berlin", "spoke", "a000000002", "a000000003"),
            ),
            clients=(Client("frr1", "berlin", "lte", "b000000001"), Client("frr2", "berlin", "lte")),
            hosts=(Host("nas", "c000000001"),),
        )
    )


def gateway(name: str, site: str, role: Role, *nodes: str) -> Gateway:
    uplinks = tuple(Uplink(f"u{n}", node, f"zt{n}", "fiber") for n, node in enumerate(nodes))
    return Gateway(name, site, role, uplinks)


def wanted(inventory: Inventory) -> Desired:
    found = desired(inventory)
    assert found is not None
    return found


class MemoryLedger:
    """`now`: when what happens next does, Unix time."""

    now = 7.0

    def __init__(self, owned: Iterable[str] = ()) -> None:
        self.known = set(owned)
        self.put_out: dict[str, float] = {}

    def owned(self) -> frozenset[str]:
        return frozenset(self.known)

    def take(self, node_ids: Iterable[str]) -> None:
        new = set(node_ids)
        self.known |= new
        self.put_out = {each: at for each, at in self.put_out.items() if each not in new}

    def left(self) -> Mapping[str, float]:
        return dict(self.put_out)

    def leave(self, node_id: str) -> None:
        self.known.discard(node_id)
        self.put_out[node_id] = self.now

    def drop(self, node_id: str) -> None:
        self.known.discard(node_id)
        self.put_out.pop(node_id, None)
