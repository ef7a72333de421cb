"""Who talks to whom: the sessions of the whole fabric, each said once. `compile` makes both ends of each."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Literal

from controller.inventory.model import Client, Gateway, Inventory


@dataclass(frozen=True, slots=True)
class Session:
    """`dialer` connects, `listener` waits; both are names of gateways or clients.

    reflect  the listener is a hub, the dialer its client (RFC 4456); one that is not ours is dialled by the hub as well
    mesh     both are hubs: non-clients of each other; the lower address dials
    """

    kind: Literal["reflect", "mesh"]
    dialer: str
    listener: str


@dataclass(frozen=True, slots=True)
class Wiring:
    """The fabric as BGP sees it; all tuples sorted by name."""

    hubs: tuple[Gateway, ...]
    spokes: tuple[Gateway, ...]
    clients: tuple[Client, ...]
    sessions: tuple[Session, ...]


def compile_fabric(inventory: Inventory, among: Collection[str] | None = None) -> Wiring:
    """What the fabric should be. Same inventory, same wiring, whatever the order of its rows.

    `among`: only the sessions that one of these gateways takes part in.
    """
    gateways = sorted(inventory.gateways, key=lambda gateway: gateway.name)
    hubs = tuple(gateway for gateway in gateways if gateway.role == "hub")
    spokes = tuple(gateway for gateway in gateways if gateway.role == "spoke")
    clients = tuple(sorted(inventory.clients, key=lambda client: client.name))
    dialers = sorted([*(spoke.name for spoke in spokes), *(client.name for client in clients)])
    their_dialers = dialers if among is None else [dialer for dialer in dialers if dialer in among]
    sessions = [
        Session("reflect", dialer, hub.name)
        for hub in hubs
        for dialer in (dialers if among is not None and hub.name in among else their_dialers)
    ]
    by_address = sorted(hubs, key=speaker_address)
    for n, lower in enumerate(by_address):
        sessions += [Session("mesh", lower.name, higher.name) for higher in by_address[n + 1 :]]
    return Wiring(hubs, spokes, clients, tuple(sessions))


def speaker_address(member: Gateway | Client) -> IPv4Address:
    """Where its BGP sessions end, and its router id: the primary uplink's overlay address."""
    address = member.address if isinstance(member, Client) else member.uplinks[0].address
    if address is None:
        raise ValueError(f"{member.label} has no overlay address: allocate and check before compiling")
    return address


def speaker_address6(member: Gateway | Client) -> IPv6Address | None:
    """The IPv6 overlay address of the same uplink, if it has one."""
    return member.address6 if isinstance(member, Client) else member.uplinks[0].address6
