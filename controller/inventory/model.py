"""What the operator declares, as parsed values. See docs/architecture.md for the words.

Every object has a `kind` and a `key`; `label` is both, as findings and diffs print it. Names
are keys. Fields that the controller fills in when the operator leaves them out (numbers,
overlay addresses) are `| None` until `allocate` has run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import ClassVar, Literal
from zlib import crc32

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address
Role = Literal["spoke", "hub"]

GLOBAL = "global"
"""The only tenant of this release: the main table."""

MAX_UPLINKS = 8
MAX_NUMBER = 2**20 - 1 - 16000
"""Of uplinks and clients: 16000 + number is a relay label, and a label has 20 bits."""

DEFAULT_LONGEST = {4: 24, 6: 64}


class Keyed:
    """What every object of the inventory has."""

    __slots__ = ()
    kind: ClassVar[str]

    @property
    def key(self) -> str:
        raise NotImplementedError

    @property
    def label(self) -> str:
        return f"{self.kind} {self.key}"


class Named(Keyed):
    __slots__ = ()
    name: str

    @property
    def key(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Fabric(Named):
    """One ZeroTier network, one AS number. Times in seconds."""

    kind: ClassVar[str] = "fabric"
    name: str
    asn: int
    segment: IPv4Network
    segment6: IPv6Network | None = None
    hold_time: int = 9
    restart_time: int = 120
    max_paths: int = 16


@dataclass(frozen=True, slots=True)
class Region(Named):
    kind: ClassVar[str] = "region"
    name: str


@dataclass(frozen=True, slots=True)
class CircuitClass(Named):
    kind: ClassVar[str] = "circuit-class"
    name: str
    preference: int


@dataclass(frozen=True, slots=True)
class Site(Named):
    kind: ClassVar[str] = "site"
    name: str
    region: str
    number: int | None = None
    provider: str = ""
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Allocation(Keyed):
    """Address space that a site may announce from, in prefixes no longer than `longest`."""

    kind: ClassVar[str] = "allocation"
    site: str
    prefix: Network
    longest: int
    tenant: str = GLOBAL

    @property
    def key(self) -> str:
        return f"{self.site}/{self.tenant}/{self.prefix}"


@dataclass(frozen=True, slots=True)
class Prefix(Keyed):
    """A subnet that a site announces; `gateways` () means: every gateway of the site."""

    kind: ClassVar[str] = "prefix"
    site: str
    prefix: Network
    tenant: str = GLOBAL
    gateways: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        return f"{self.site}/{self.tenant}/{self.prefix}"


@dataclass(frozen=True, slots=True)
class Uplink(Named):
    """One attachment of a gateway to the segment. Its name is unique in its gateway: see `uplink_key`."""

    kind: ClassVar[str] = "uplink"
    name: str
    node_id: str
    interface: str
    circuit_class: str
    number: int | None = None
    address: IPv4Address | None = None
    address6: IPv6Address | None = None
    preference: int | None = None  # None: the circuit class's.
    bandwidth: int = 0  # bit/s; 0 = not declared.


@dataclass(frozen=True, slots=True)
class Gateway(Named):
    """A router with one speaker. Its first uplink is the primary one: router id and BGP sessions."""

    kind: ClassVar[str] = "gateway"
    name: str
    site: str
    role: Role
    uplinks: tuple[Uplink, ...]


@dataclass(frozen=True, slots=True)
class Client(Named):
    """An iBGP router that is not ours, a client of every hub."""

    kind: ClassVar[str] = "client"
    name: str
    site: str
    circuit_class: str
    node_id: str | None = None
    number: int | None = None
    address: IPv4Address | None = None
    address6: IPv6Address | None = None
    preference: int | None = None  # None: the circuit class's.
    bandwidth: int = 0  # bit/s; 0 = not declared.


BUILT_IN_CLASSES = (
    CircuitClass("fiber", 200),
    CircuitClass("broadband", 150),
    CircuitClass("lte", 100),
    CircuitClass("satellite", 50),
)


@dataclass(frozen=True, slots=True)
class Inventory:
    """Everything that is declared, or a part of it: then `fabric` may be None.

    `broken` names the objects ("site berlin") that were declared but could not be read; who
    refers to one of them has made no mistake of his own.
    """

    fabric: Fabric | None = None
    regions: tuple[Region, ...] = ()
    circuit_classes: tuple[CircuitClass, ...] = ()
    sites: tuple[Site, ...] = ()
    allocations: tuple[Allocation, ...] = ()
    prefixes: tuple[Prefix, ...] = ()
    gateways: tuple[Gateway, ...] = ()
    clients: tuple[Client, ...] = ()
    broken: frozenset[str] = field(default=frozenset(), compare=False)


Object = Fabric | Region | CircuitClass | Site | Allocation | Prefix | Gateway | Client

SECTIONS: dict[str, str] = {
    "regions": Region.kind,
    "circuit_classes": CircuitClass.kind,
    "sites": Site.kind,
    "allocations": Allocation.kind,
    "prefixes": Prefix.kind,
    "gateways": Gateway.kind,
    "clients": Client.kind,
}
"""Section of the document, and field of Inventory -> kind of its objects, in canonical order."""


def uplink_key(gateway: Gateway, uplink: Uplink) -> str:
    """Uplinks are known fabric-wide as GATEWAY/UPLINK."""
    return f"{gateway.name}/{uplink.name}"


def objects(inventory: Inventory) -> Iterator[Object]:
    """The fabric, then every object of every section."""
    if inventory.fabric is not None:
        yield inventory.fabric
    for section in SECTIONS:
        yield from getattr(inventory, section)


def circuit_classes(inventory: Inventory) -> dict[str, CircuitClass]:
    """The classes that may be referred to: built-in ones, overridden and added to by the operator's."""
    return {each.name: each for each in (*BUILT_IN_CLASSES, *inventory.circuit_classes)}


def community_value(name: str) -> int:
    """A number for a name that depends on nothing else, so that adding a region or a class moves no plan."""
    return crc32(name.encode())


def network_order(network: Network) -> tuple[int, int, int]:
    """Sorts networks of both families: IPv4 first, then by address, the shorter first."""
    return network.version, int(network.network_address), network.prefixlen
