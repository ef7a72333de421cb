"""Small fabrics for the tests of intent: allocated, sound, with few words."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_network

from controller.inventory.allocate import allocate
from controller.inventory.model import (
    Allocation,
    Client,
    Fabric,
    Gateway,
    Inventory,
    Prefix,
    Region,
    Role,
    Rule,
    Site,
    Uplink,
)
from controller.policy.intended import Intent, Member, Route


def gateway(name: str, site: str, *classes: str, role: Role = "spoke", bandwidth: int = 0) -> Gateway:
    """With one uplink for each class, named after it."""
    stem = sum(name.encode()) * 1000
    uplinks = tuple(
        Uplink(each, f"{stem + n:010x}", f"zt{n}", each, bandwidth=bandwidth)
        for n, each in enumerate(classes or ("fiber",))
    )
    return Gateway(name, site, role, uplinks)


def fabric(*gateways: Gateway, sites: Iterable[Site] = (), rules: Iterable[Rule] = (), **parts: object) -> Inventory:
    """Sites that are not given are in region eu. Site number n (by name) has 10.n.0.0/16, and announces 10.n.1.0/24."""
    given = {site.name: site for site in sites}
    clients: tuple[Client, ...] = parts.pop("clients", ())  # type: ignore[assignment]
    names = sorted({*given, *(each.site for each in (*gateways, *clients))})
    every = tuple(given.get(name, Site(name, "eu")) for name in names)
    lans = {name: IPv4Network((f"10.{n}.0.0", 16)) for n, name in enumerate(names, 1)}
    built = Inventory(
        fabric=Fabric("demo", 64512, IPv4Network("10.200.0.0/16")),
        regions=tuple(Region(name) for name in sorted({site.region for site in every})),
        sites=every,
        allocations=tuple(Allocation(name, lan, 24) for name, lan in lans.items()),
        prefixes=tuple(Prefix(name, IPv4Network((int(lan[256]), 24))) for name, lan in lans.items()),
        gateways=gateways,
        clients=clients,
        rules=tuple(rules),
    )
    return allocate(replace(built, **parts), {})  # type: ignore[arg-type]


def taken(intent: Intent, viewer: Member, address: IPv4Address | IPv6Address) -> Route | None:
    """The longest prefix that has the address and that the viewer may use."""
    return next((route for route in intent.covering(viewer, ip_network(address)) if route.usable), None)


def anycast(inventory: Inventory, text: str, *sites: str) -> Inventory:
    """The same prefix at several sites."""
    prefix = ip_network(text)
    return replace(
        inventory,
        allocations=(
            *inventory.allocations,
            *(Allocation(site, prefix, prefix.prefixlen, anycast=True) for site in sites),
        ),
        prefixes=(*inventory.prefixes, *(Prefix(site, prefix) for site in sites)),
    )
