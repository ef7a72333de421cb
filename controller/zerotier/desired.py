"""Inventory -> what the ZeroTier network and its members should be. Pure.

Only what Leyline owns is in here: a field that is not named is the operator's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from controller.inventory.model import Client, Host, Inventory, Uplink, uplink_key
from controller.zerotier.port import Address, ManagedRoute, Network, Rule

OWNED_RULES: tuple[Rule, ...] = ({"type": "ACTION_ACCEPT"},)
"""With `segment_rules: owned`: the segment is a plain Ethernet, and hubs say which routes are taken."""


@dataclass(frozen=True, slots=True)
class DesiredNetwork:
    """`routes`, in canonical order: the segment of each family, on-link, and managed summaries.

    `rules` None: they are not ours.
    """

    network: str
    name: str
    routes: tuple[ManagedRoute, ...]
    mtu: int
    rules: tuple[Rule, ...] | None = None
    private: bool = True


@dataclass(frozen=True, slots=True)
class DesiredMember:
    """`label` is the object of the inventory; `addresses` has one of each family that the segment has, IPv4 first."""

    node_id: str
    label: str
    name: str
    addresses: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class Desired:
    """`nameless`: clients without a node id, which nobody can let in."""

    network: DesiredNetwork
    members: Mapping[str, DesiredMember]
    nameless: tuple[str, ...] = ()


def desired(inventory: Inventory) -> Desired | None:
    """None when the segment is somebody else's business. `inventory` is allocated and sound."""
    fabric = inventory.fabric
    if fabric is None or not fabric.network:
        return None
    segments: list[Network] = [fabric.segment, *([fabric.segment6] if fabric.segment6 else [])]
    routes = in_order(ManagedRoute(segment) for segment in segments)
    rules = OWNED_RULES if fabric.segment_rules == "owned" else None
    network = DesiredNetwork(fabric.network, fabric.name, routes, fabric.mtu, rules)
    members = {each.node_id: each for each in _members(inventory)}
    return Desired(network, members, tuple(sorted(each.label for each in inventory.clients if not each.node_id)))


def with_summaries(wanted: Desired, summaries: Iterable[ManagedRoute]) -> Desired:
    """`wanted`, and these managed routes beside the segment."""
    routes = in_order((*wanted.network.routes, *summaries))
    return replace(wanted, network=replace(wanted.network, routes=routes))


def in_order(routes: Iterable[ManagedRoute]) -> tuple[ManagedRoute, ...]:
    """IPv4 first, then by target: two services that list the same routes differently are equal."""
    return tuple(sorted(routes, key=_route_order))


def addresses_in_order(addresses: Iterable[Address]) -> tuple[Address, ...]:
    return tuple(sorted(addresses, key=lambda each: (each.version, int(each))))


def _route_order(route: ManagedRoute) -> tuple[int, int, int, int, int]:
    target, via = route.target, route.via
    place = (0, 0) if via is None else (via.version, int(via))
    return target.version, int(target.network_address), target.prefixlen, *place


def _members(inventory: Inventory) -> Iterator[DesiredMember]:
    for gateway in inventory.gateways:
        for uplink in gateway.uplinks:
            key = uplink_key(gateway, uplink)
            yield _member(uplink.node_id, f"uplink {key}", key, uplink)
    others: tuple[Client | Host, ...] = (*inventory.clients, *inventory.hosts)
    for each in others:
        if each.node_id:
            yield _member(each.node_id, each.label, each.name, each)


def _member(node_id: str, label: str, name: str, each: Uplink | Client | Host) -> DesiredMember:
    addresses: Iterable[Address] = filter(None, (each.address, each.address6))
    return DesiredMember(node_id, label, name, addresses_in_order(addresses))
