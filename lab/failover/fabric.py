"""The inventory of the fabric whose parts the scenarios break: worked out, so that each takes what it needs. Pure."""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import IPv4Network
from typing import Any

SITES = {"berlin": 1, "paris": 2, "oslo": 4, "lima": 5}
"""Site -> its number: it owns 10.NUMBER.0.0/16 and fd10:NUMBER::/48, and its host is 10 in the first network."""
UPLINKS = {
    "hub-1": ("core-a", {"zt0": 1}),
    "hub-2": ("core-b", {"zt0": 2}),
    "berlin-1": ("berlin", {"zt0": 3}),
    "berlin-2": ("berlin", {"zt0": 4}),
    "paris-1": ("paris", {"zt0": 5}),
    "paris-2": ("paris", {"zt0": 6}),
    "oslo-1": ("oslo", {"zt0": 7}),
    "lima-1": ("lima", {"zt0": 8, "zt1": 9}),
}
"""Gateway -> its site, its uplinks with the last byte of their addresses in the segment."""
CLASSES = {"zt0": "fiber", "zt1": "broadband"}
VRRP_ADVERT_MS = 100
BACKUP_PREFERENCE = 190
"""Of a site's second gateway: its first one has all traffic, so that a cut of that one meets every flow."""


def overlay(gateway: str, interface: str = "zt0", version: int = 4) -> str:
    number = UPLINKS[gateway][1][interface]
    return f"10.42.0.{number}" if version == 4 else f"fd42:42::{number:x}"


def host_address(site: str, version: int = 4) -> str:
    return f"10.{SITES[site]}.0.10" if version == 4 else f"fd10:{SITES[site]}::10"


def router_of_hosts(site: str, version: int = 4) -> str:
    """The first hop, shared by the gateways of the site."""
    return f"10.{SITES[site]}.0.254" if version == 4 else f"fd10:{SITES[site]}::fe"


def sites_of(gateways: Collection[str]) -> list[str]:
    """Of spokes, in order."""
    return [site for site in SITES if any(UPLINKS[gateway][0] == site for gateway in gateways)]


def inventory(
    gateways: Collection[str], bfd: Any, more: int = 0, interfaces: Collection[str] = ("zt0", "zt1"), **fabric: Any
) -> dict[str, Any]:
    """The document: `bfd` is the preset or timers of every uplink; `more` prefixes stand behind oslo beside its LAN.

    `interfaces`: which uplinks are declared. `fabric` has further settings of the fabric.
    """
    sites = sites_of(gateways)
    prefixes: list[dict[str, Any]] = []
    for site in sites:
        number = SITES[site]
        prefixes.append({"site": site, "prefix": f"10.{number}.0.0/24", "first_hop": router_of_hosts(site)})
        prefixes.append({"site": site, "prefix": f"fd10:{number}::/64", "first_hop": router_of_hosts(site, 6)})
    prefixes += [{"site": "oslo", "prefix": prefix} for prefix in more_prefixes(more)]
    return {
        "fabric": {
            "name": "failover",
            "asn": 64512,
            "segment": "10.42.0.0/16",
            "segment6": "fd42:42::/64",
            "vrrp_advert_ms": VRRP_ADVERT_MS,
            **fabric,
        },
        "circuit_classes": [
            {"name": "fiber", "preference": 200, "bfd": bfd},
            {"name": "broadband", "preference": 150, "bfd": bfd},
        ],
        "regions": [{"name": "eu"}],
        "sites": [{"name": site, "number": SITES[site], "region": "eu"} for site in sites]
        + [{"name": "core-a", "number": 11, "region": "eu"}, {"name": "core-b", "number": 12, "region": "eu"}],
        "allocations": [
            allocation
            for site in sites
            for allocation in (
                {"site": site, "prefix": f"10.{SITES[site]}.0.0/16", "longest": 28},
                {"site": site, "prefix": f"fd10:{SITES[site]}::/48"},
            )
        ],
        "prefixes": prefixes,
        "gateways": [_gateway(name, interfaces) for name in gateways],
    }


def more_prefixes(count: int) -> list[str]:
    """/27 in the upper half of oslo's space; at most 1,024."""
    base = int(IPv4Network(f"10.{SITES['oslo']}.128.0/17").network_address)
    return [str(IPv4Network((base + index * 32, 27))) for index in range(count)]


def _gateway(name: str, interfaces: Collection[str]) -> dict[str, Any]:
    site, uplinks = UPLINKS[name]
    preference = {"preference": BACKUP_PREFERENCE} if site in SITES and name.endswith("-2") else {}
    return {
        "name": name,
        "site": site,
        "role": "hub" if name.startswith("hub") else "spoke",
        "uplinks": [
            {
                "name": interface,
                "number": number,
                "node_id": f"aa000000{number:02x}",
                "interface": interface,
                "circuit_class": CLASSES[interface],
                "address": overlay(name, interface),
                "address6": overlay(name, interface, 6),
                **preference,
            }
            for interface, number in uplinks.items()
            if interface in interfaces
        ],
    }
