"""Who stands in the document: every router with its place, and every uplink with what hubs say of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_address, ip_network
from typing import Any
from zlib import crc32

from tests.oracle.words import Document

CLASS_PREFERENCES = {"fiber": 200, "broadband": 150, "lte": 100, "satellite": 50}


@dataclass(frozen=True)
class Site:
    name: str
    region: str
    number: int
    tags: frozenset[str]


@dataclass(frozen=True)
class Uplink:
    """One BGP next hop. A client is its own only uplink."""

    number: int
    addresses: dict[int, str]  # IP version -> overlay address
    circuit_class: str
    preference: int


@dataclass(frozen=True)
class Member:
    """A router: a hub, a spoke, or one that is not ours."""

    name: str
    role: str  # "hub", "spoke" or "client"
    asn: int
    site: Site
    drained: bool
    uplinks: tuple[Uplink, ...]
    router_id: int  # Overlay address of the primary uplink, as a number: where its sessions end, too.


def members(document: Document) -> list[Member]:
    sites = {each["name"]: _site(each) for each in document.get("sites", ())}
    asn = document["fabric"]["asn"]
    found = []
    for each in document.get("gateways", ()):
        uplinks = tuple(_uplink(document, uplink) for uplink in each["uplinks"])
        drained = bool(each.get("drained"))
        found.append(
            Member(each["name"], each["role"], asn, sites[each["site"]], drained, uplinks, _router_id(uplinks))
        )
    for each in document.get("clients", ()):
        uplinks, its_asn = (_uplink(document, each),), each.get("asn") or asn
        found.append(Member(each["name"], "client", its_asn, sites[each["site"]], False, uplinks, _router_id(uplinks)))
    return found


def _router_id(uplinks: tuple[Uplink, ...]) -> int:
    return int(ip_address(uplinks[0].addresses[4]))


def _site(each: dict[str, Any]) -> Site:
    return Site(each["name"], each["region"], each["number"], frozenset(each.get("tags", ())))


def _uplink(document: Document, each: dict[str, Any]) -> Uplink:
    preferences = dict(CLASS_PREFERENCES)
    for circuit_class in document.get("circuit_classes", ()):
        preferences[circuit_class["name"]] = circuit_class["preference"]
    preference = each.get("preference")
    if preference is None:
        preference = preferences[each["circuit_class"]]
    addresses = {4: each["address"]}
    if each.get("address6"):
        addresses[6] = each["address6"]
    return Uplink(each["number"], addresses, each["circuit_class"], preference)


def closed_regions(document: Document) -> frozenset[str]:
    return frozenset(each["name"] for each in document.get("regions", ()) if each.get("closed"))


def origin_communities(asn: int, site: Site, uplink: Uplink) -> frozenset[str]:
    """docs/communities.md: site, region, class, uplink and tags."""
    values = [(1, site.number), (2, crc(site.region)), (3, crc(uplink.circuit_class)), (4, uplink.number)]
    values += [(5, crc(tag)) for tag in site.tags]
    return frozenset(f"{asn}:{function}:{value}" for function, value in values)


def crc(name: str) -> int:
    return crc32(name.encode())


@cache
def inside(inner: str, outer: str) -> bool:
    """Whether every address of `inner` is one of `outer`."""
    a, b = ip_network(inner), ip_network(outer)
    return a.version == b.version and b[0] <= a[0] and a[-1] <= b[-1]


def allocations(document: Document, site: str) -> Iterator[tuple[str, int]]:
    """(prefix, longest) of a site."""
    for each in document.get("allocations", ()):
        if each["site"] == site:
            yield each["prefix"], longest_of(each)


def anycast(document: Document) -> set[str]:
    """What several sites may announce."""
    return {each["prefix"] for each in document.get("allocations", ()) if each.get("anycast")}


def longest_of(allocation: dict[str, Any]) -> int:
    """Without a word /24 and /64, or its own length when that is longer; of a default route 0."""
    network = ip_network(allocation["prefix"])
    default = max(24 if network.version == 4 else 64, network.prefixlen) if network.prefixlen else 0
    return int(allocation.get("longest", default))
