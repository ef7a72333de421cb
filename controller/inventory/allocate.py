"""Fills in the numbers and overlay addresses that the operator left out, and whether a gateway is drained.

What is stored never moves: not when other objects come or go, not when they are renamed. Only
objects without a stored value get a new one: the lowest that is free. A gateway stays drained until
somebody says `drained: false`: the next `leyline apply` of files that do not know of it must not end a drain.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any, TypeVar

from controller.inventory.model import Address, Client, Gateway, Host, Inventory, Network, Site, Uplink, uplink_key

Attached = TypeVar("Attached", bound=Uplink | Client)


@dataclass(frozen=True, slots=True)
class MemberNumbers:
    """What one uplink, client or host holds; a host has no number."""

    number: int | None = None
    address: IPv4Address | None = None
    address6: IPv6Address | None = None


@dataclass(frozen=True, slots=True)
class Numbers:
    """What is stored: site name -> number; "GATEWAY/UPLINK", client or host name -> number and addresses.

    No name has a slash in it, and clients and hosts share theirs, so no two members meet. `drained`: names of gateways.
    """

    sites: Mapping[str, int] = field(default_factory=dict)
    members: Mapping[str, MemberNumbers] = field(default_factory=dict)
    drained: frozenset[str] = frozenset()


def numbers_of(inventory: Inventory) -> Numbers:
    """What the objects of `inventory` hold: the `stored` of the next `allocate`."""
    members = {
        uplink_key(gateway, uplink): _held(uplink) for gateway in inventory.gateways for uplink in gateway.uplinks
    }
    members.update((client.name, _held(client)) for client in inventory.clients)
    members.update((host.name, MemberNumbers(None, host.address, host.address6)) for host in inventory.hosts)
    sites = {site.name: site.number for site in inventory.sites if site.number is not None}
    return Numbers(sites, members, frozenset(gateway.name for gateway in inventory.gateways if gateway.drained))


def allocate(inventory: Inventory, stored: Numbers | None = None) -> Inventory:
    """`inventory` with every number and address filled in.

    What the operator wrote is taken as it is (`check` says when two claim the same), then what is
    stored, then the lowest free. A stored address outside today's segment is given up. When a
    segment is full the address stays None, and `check` says so. Does not depend on the order of rows.
    """
    stored = stored or Numbers()
    free = _Free(inventory, stored)
    sites = {site.name: free.site(site, stored.sites.get(site.name)) for site in sorted(inventory.sites, key=_name)}
    members: dict[str, Any] = {}
    for key, member in _members(inventory):
        members[key] = free.member(member, stored.members.get(key, MemberNumbers()))
    hosts = {
        host.name: free.host(host, stored.members.get(host.name, MemberNumbers()))
        for host in sorted(inventory.hosts, key=_name)
    }
    return replace(
        inventory,
        sites=tuple(sites[site.name] for site in inventory.sites),
        gateways=tuple(
            replace(
                gateway,
                uplinks=tuple(members[uplink_key(gateway, uplink)] for uplink in gateway.uplinks),
                drained=gateway.name in stored.drained if gateway.drained is None else gateway.drained,
            )
            for gateway in inventory.gateways
        ),
        clients=tuple(members[client.name] for client in inventory.clients),
        hosts=tuple(hosts[host.name] for host in inventory.hosts),
    )


def is_complete(inventory: Inventory) -> bool:
    """Nothing is left to be filled in: `allocate` would give back the same."""
    six = inventory.fabric is not None and inventory.fabric.segment6 is not None
    members: list[Uplink | Client] = [uplink for gateway in inventory.gateways for uplink in gateway.uplinks]
    numbered = (*members, *inventory.clients)
    return (
        all(site.number is not None for site in inventory.sites)
        and all(gateway.drained is not None for gateway in inventory.gateways)
        and all(member.number is not None for member in numbered)
        and all(
            member.address is not None and (member.address6 is not None or not six)
            for member in (*numbered, *inventory.hosts)
        )
    )


def _name(each: Site | Gateway | Client | Host) -> str:
    return each.name


def _held(member: Uplink | Client) -> MemberNumbers:
    return MemberNumbers(member.number, member.address, member.address6)


def _members(inventory: Inventory) -> Iterable[tuple[str, Uplink | Client]]:
    """In the order in which they are served: gateways by name, their uplinks as they stand, then clients by name."""
    for gateway in sorted(inventory.gateways, key=_name):
        for uplink in gateway.uplinks:
            yield uplink_key(gateway, uplink), uplink
    for client in sorted(inventory.clients, key=_name):
        yield client.name, client


class _Free:
    """What nobody holds. Everything that is written or stored is taken before anything is given out."""

    def __init__(self, inventory: Inventory, stored: Numbers) -> None:
        fabric = inventory.fabric
        self.segment = fabric.segment if fabric else None
        self.segment6 = fabric.segment6 if fabric else None
        self.site_numbers = {site.number or stored.sites.get(site.name) for site in inventory.sites}
        self.numbers: set[int | None] = set()
        self.addresses: set[Address | None] = set()
        for key, member in _members(inventory):
            held = stored.members.get(key, MemberNumbers())
            self.numbers.add(member.number or held.number)
            self.addresses.add(member.address or _inside(held.address, self.segment))
            self.addresses.add(member.address6 or _inside(held.address6, self.segment6))
        for host in inventory.hosts:
            held = stored.members.get(host.name, MemberNumbers())
            self.addresses.add(host.address or _inside(held.address, self.segment))
            self.addresses.add(host.address6 or _inside(held.address6, self.segment6))
        self.next_site = self.next_number = 1
        self.next_address: dict[Network, int] = {}
        self.last_host = last_host(self.segment) if self.segment else 0

    def site(self, site: Site, held: int | None) -> Site:
        if site.number is not None:
            return site
        if held is None:
            while self.next_site in self.site_numbers:
                self.next_site += 1
            held = self.next_site
            self.site_numbers.add(held)
        return replace(site, number=held)

    def member(self, member: Attached, held: MemberNumbers) -> Attached:
        number = member.number or held.number or self.number()
        address = member.address or _inside(held.address, self.segment) or self.address(self.segment, number)
        address6 = member.address6 or _inside(held.address6, self.segment6) or self.address(self.segment6, number)
        if (number, address, address6) == (member.number, member.address, member.address6):
            return member
        return replace(member, number=number, address=address, address6=address6)

    def host(self, host: Host, held: MemberNumbers) -> Host:
        """From the segment's end downwards, out of the way of uplinks; in both families as far from its begin."""
        address = host.address or _inside(held.address, self.segment) or self.from_the_end()
        at = int(address) - int(self.segment.network_address) if address and self.segment else 0
        address6 = host.address6 or _inside(held.address6, self.segment6) or self.address(self.segment6, at)
        if (address, address6) == (host.address, host.address6):
            return host
        return replace(host, address=address, address6=address6)

    def from_the_end(self) -> IPv4Address | None:
        """The highest free address of the IPv4 segment; None when it is full."""
        if self.segment is None:
            return None
        base = int(self.segment.network_address)
        while self.last_host > base and self.segment[self.last_host - base] in self.addresses:
            self.last_host -= 1
        if self.last_host <= base:
            return None
        found = self.segment[self.last_host - base]
        self.addresses.add(found)
        return found

    def number(self) -> int:
        while self.next_number in self.numbers:
            self.next_number += 1
        self.numbers.add(self.next_number)
        return self.next_number

    def address(self, segment: Network | None, number: int) -> Any:
        """segment + number; when that is taken or outside, the lowest free one. None when the segment is full."""
        if segment is None:
            return None
        base, last = int(segment.network_address), last_host(segment)
        at = base + number if base + number <= last else 0
        if not at or segment[at - base] in self.addresses:
            at = self.next_address.get(segment, base + 1)
            while at <= last and segment[at - base] in self.addresses:
                at += 1
            self.next_address[segment] = at
            if at > last:
                return None
        found = segment[at - base]
        self.addresses.add(found)
        return found


def last_host(segment: IPv4Network | IPv6Network) -> int:
    """The highest address that a member may have, as a number. The first is network address + 1."""
    broadcast = int(segment.broadcast_address)
    return broadcast - 1 if segment.version == 4 else broadcast


def _inside(address: Any, segment: Network | None) -> Any:
    return address if address is not None and segment is not None and address in segment else None
