"""Rules about the fabric, its gateways, uplinks and clients."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network
from typing import Any

from controller.inventory.allocate import last_host
from controller.inventory.fields import closest
from controller.inventory.findings import Finding
from controller.inventory.model import (
    MAX_UPLINKS,
    Allocation,
    Client,
    Gateway,
    Host,
    Inventory,
    Network,
    Prefix,
    Uplink,
    circuit_classes,
    community_value,
    network_order,
    uplink_key,
)

MARTIANS: tuple[Network, ...] = (
    *map(IPv4Network, ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4")),
    *map(IPv6Network, ("::/8", "fe80::/10", "ff00::/8")),
)
"""Never routed: this host, loopback, link-local, multicast, reserved (RFC 6890). Documentation space may be used."""


_SPANS = [(each.version, int(each.network_address), int(each.broadcast_address), each) for each in MARTIANS]


def martian(network: Network) -> Network | None:
    """The martian space that `network` touches."""
    version, first, length = network_order(network)
    last = first | (1 << network.max_prefixlen - length) - 1
    for other, start, end, space in _SPANS:
        if other == version and start <= last and first <= end:
            return space
    return None


def unreadable(inventory: Inventory, kind: str) -> set[str]:
    """Keys of what was declared and could not be read: who refers to it is not to blame."""
    return {label.partition(" ")[2] for label in inventory.broken if label.partition(" ")[0] == kind}


def nameless(keys: Iterable[str]) -> bool:
    """One of them could not even be named, or a whole section could not be read: it may be the one that is missed."""
    return any(key == "*" or key.startswith("#") for key in keys)


def suggestions(unknown: Iterable[str], known: Iterable[str]) -> dict[str, str]:
    """Unknown name -> what may be meant. Only for the first 20 of them: comparing names is slow."""
    names = sorted(known)
    return {name: closest(name, names) for name in sorted(set(unknown))[:20]}


def members(inventory: Inventory) -> Iterator[tuple[str, Uplink | Client]]:
    """(label, member) of every uplink and client."""
    for gateway in inventory.gateways:
        for uplink in gateway.uplinks:
            yield f"uplink {uplink_key(gateway, uplink)}", uplink
    for client in inventory.clients:
        yield client.label, client


def addressed(inventory: Inventory) -> Iterator[tuple[str, Uplink | Client | Host]]:
    """(label, member) of everybody who has an address of the segment."""
    yield from members(inventory)
    for host in inventory.hosts:
        yield host.label, host


def no_fabric(inventory: Inventory) -> Iterator[Finding]:
    """Without a segment and an AS number there is nothing to compile."""
    if inventory.fabric is None and not unreadable(inventory, "fabric"):
        yield Finding("fabric", "fabric-missing", "no fabric is declared: add its name, asn and segment")


def no_hub(inventory: Inventory) -> Iterator[Finding]:
    """Spokes and clients have sessions with hubs only. A fabric without any of them is merely not begun."""
    if not (inventory.gateways or inventory.clients) or unreadable(inventory, "gateway"):
        return
    if not any(gateway.role == "hub" for gateway in inventory.gateways):
        message = "no gateway is a hub, so nobody reflects routes: give one of them role hub"
        yield Finding("fabric", "hub-missing", message)


def bad_segment(inventory: Inventory) -> Iterator[Finding]:
    fabric = inventory.fabric
    for field in ("segment", "segment6"):
        segment: Network | None = getattr(fabric, field, None)
        if fabric is None or segment is None:
            continue
        if (space := martian(segment)) is not None:
            message = f"{field} {segment} touches {space}, which is never routed: use private space"
            yield Finding(fabric.label, "segment-martian", message, field=field)
            continue
        wanted = sum(1 for _ in addressed(inventory))
        room = max(last_host(segment) - int(segment.network_address), 0)
        if room < max(wanted, 2):
            needed = f"{max(wanted, 2)} uplinks, clients and hosts need an address"
            message = f"{field} {segment} has room for {room}; {needed}: widen it"
            yield Finding(fabric.label, "segment-too-small", message, field=field)


def uplink_count(inventory: Inventory) -> Iterator[Finding]:
    for gateway in inventory.gateways:
        count = len(gateway.uplinks)
        if count == 0:
            yield Finding(gateway.label, "uplink-missing", "has no uplink: add at least one", field="uplinks")
        elif count > MAX_UPLINKS:
            message = f"has {count} uplinks; at most {MAX_UPLINKS} are possible: remove {count - MAX_UPLINKS}"
            yield Finding(gateway.label, "uplinks-too-many", message, field="uplinks")


def interface_twice(inventory: Inventory) -> Iterator[Finding]:
    """One interface of a gateway is one attachment to the segment."""
    for gateway in inventory.gateways:
        owners = ((f"uplink {uplink_key(gateway, each)}", each.interface) for each in gateway.uplinks)
        yield from taken(owners, "interface-taken", "interface")


def unknown_region(inventory: Inventory) -> Iterator[Finding]:
    users = [(site.label, site.region) for site in inventory.sites]
    yield from unknown(inventory, users, [region.name for region in inventory.regions], "region", "region")


def unknown_class(inventory: Inventory) -> Iterator[Finding]:
    users = [(label, each.circuit_class) for label, each in members(inventory)]
    yield from unknown(inventory, users, circuit_classes(inventory), "circuit-class", "circuit_class")


def unknown_site(inventory: Inventory) -> Iterator[Finding]:
    residents: tuple[Allocation | Prefix | Gateway | Client | Host, ...] = (
        *inventory.allocations,
        *inventory.prefixes,
        *inventory.gateways,
        *inventory.clients,
        *(host for host in inventory.hosts if host.site),
    )
    sites = {site.name for site in inventory.sites}
    users = [(each.label, each.site) for each in residents if each.site not in sites]  # Labels of all are not cheap.
    yield from unknown(inventory, users, sites, "site", "site")


def unknown(
    inventory: Inventory, users: Iterable[tuple[str, str]], declared: Iterable[str], kind: str, field: str
) -> Iterator[Finding]:
    """A finding for each (label, name) that refers to a name that is not declared: KIND-unknown."""
    lost = unreadable(inventory, kind)
    if nameless(lost):
        return
    known = {*declared, *lost}
    missing = [(label, name) for label, name in users if name not in known]
    hints = suggestions((name for _, name in missing), known)
    for label, name in missing:
        message = f"{kind} {name} is not declared{hints.get(name, '')}"
        yield Finding(label, f"{kind}-unknown", message, field=field)


def taken(owners: Iterable[tuple[str, Any]], code: str, field: str) -> Iterator[Finding]:
    """A value with two owners: each but the first, by label, is told who has it. None is no value."""
    by_value: dict[Any, list[str]] = defaultdict(list)
    for label, value in owners:
        if value is not None:
            by_value[value].append(label)
    for value, labels in by_value.items():
        if len(labels) > 1:
            first, *others = sorted(labels)
            for label in others:
                message = f"{field} {value} is also that of {first}: give one of them another"
                yield Finding(label, code, message, field=field)


def two_owners(inventory: Inventory) -> Iterator[Finding]:
    """Of a number, address or node id. The primary uplink's address is the router id, so that has one owner too:
    two speakers with one router id refuse each other's OPEN (RFC 4271 6.2)."""
    for field in ("number", "address", "address6", "node_id"):
        some = members(inventory) if field == "number" else addressed(inventory)
        owners = [(label, getattr(each, field)) for label, each in some]
        yield from taken(owners, f"{field.replace('_', '-')}-taken", field)
    yield from taken(((site.label, site.number) for site in inventory.sites), "site-number-taken", "number")


def name_of_two(inventory: Inventory) -> Iterator[Finding]:
    """Sessions, reports and the members of the segment are known by their names alone."""
    first: dict[str, str] = {}
    for each in (*inventory.gateways, *inventory.clients, *inventory.lan_peers, *inventory.hosts):
        other = first.setdefault(each.name, each.label)
        if other != each.label:
            message = f"{other} has this name too: use `leyline rename` on one of them"
            yield Finding(each.label, "name-taken", message, field="name")


def bad_address(inventory: Inventory) -> Iterator[Finding]:
    fabric = inventory.fabric
    if fabric is None:
        return
    for label, each in addressed(inventory):
        if each.address is not None:
            yield from _in_segment(label, "address", each.address, fabric.segment)
        if each.address6 is None:
            continue
        if fabric.segment6 is None:
            message = f"address6 {each.address6}, but the fabric has no segment6: declare one, or leave address6 out"
            yield Finding(label, "address6-without-segment6", message, field="address6")
        else:
            yield from _in_segment(label, "address6", each.address6, fabric.segment6)


def _in_segment(label: str, field: str, address: Any, segment: Network) -> Iterator[Finding]:
    if address not in segment:
        message = f"{field} {address} is outside the segment {segment}: use one inside, or leave it out"
        yield Finding(label, "address-outside-segment", message, field=field)
    elif not int(segment.network_address) < int(address) <= last_host(segment):
        message = f"{field} {address} is the network or broadcast address of {segment}: use another, or leave it out"
        yield Finding(label, "address-reserved", message, field=field)


def same_community(inventory: Inventory) -> Iterator[Finding]:
    """Two names of one kind must not become one large community."""
    regions = ((region.label, region.name) for region in inventory.regions)
    classes = ((each.label, each.name) for each in circuit_classes(inventory).values())
    tags = sorted(
        {
            *((site.label, tag) for site in inventory.sites for tag in site.tags),
            *((rule.label, tag) for rule in inventory.rules for tag in rule.match.tags),
        }
    )
    for owners in (regions, classes, tags):
        first: dict[int, str] = {}
        for label, name in owners:
            other = first.setdefault(community_value(name), name)
            if other != name:
                message = f"{name!r} and {other!r} have the same CRC-32, so one community: use another name"
                yield Finding(label, "community-taken", message)
