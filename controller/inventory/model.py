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

from speaker.plan import FIRST_RELAY_LABEL

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address
Role = Literal["spoke", "hub"]
ProbeKind = Literal["icmp", "tcp"]
SegmentRules = Literal["checked", "owned"]

GLOBAL = "global"
"""The only tenant of this release: the main table."""

MAX_UPLINKS = 8
ANYCAST_PREFERENCE = 1_000_000
"""What the copies of an anycast prefix in a viewer's own region have on top: own region first."""
MAX_NUMBER = 2**20 - 2 - FIRST_RELAY_LABEL
"""Of uplinks and clients: their relay labels have 20 bits, and Linux refuses the very last value."""

HIGHEST_PRIORITY = 250
"""Of VRRP: the first gateway of a first hop has it, each next one less by one. Those above are for other routers."""

MIN_MTU, DEFAULT_MTU, MAX_MTU = 1280, 1280, 9890
"""Of a ZeroTier network. Frames of 9987 bytes and more abort the sender's daemon; RFC 8200 wants 1280."""

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
    """One ZeroTier network, one AS number. Times in seconds where the name does not say milliseconds."""

    kind: ClassVar[str] = "fabric"
    name: str
    asn: int
    segment: IPv4Network
    segment6: IPv6Network | None = None
    hold_time: int = 9
    restart_time: int = 120
    max_paths: int = 16
    bfd_up_delay_ms: int = 2_000  # Quick down, slow up: a next hop is used again after so long.
    bfd_hold_max_ms: int = 60_000  # The delay doubles with each flap, up to this.
    bfd_idle_seconds: int = 300  # A session on demand goes after so long without use.
    bfd_max_sessions: int = 256  # On demand, per gateway.
    hubless_seconds: int = 86_400  # With all hubs gone routes stay so long.
    vrrp_advert_ms: int = 1_000
    guard_default: bool = True  # Declared space never leaves by a default route: `unreachable` beneath everything.
    blackhole: bool = False  # BLACKHOLE (RFC 7999) is honoured.
    underlay: tuple[Network, ...] = ()  # Addresses that ZeroTier runs over: never taken as routes.
    network: str = ""  # ZeroTier's network id, 16 hex digits. "": the segment is somebody else's business.
    mtu: int = DEFAULT_MTU
    segment_rules: SegmentRules = "checked"
    managed_floor: bool = False  # Managed summaries beneath the BGP routes.
    permanent_neighbours: bool = True
    mss_clamp: bool = True
    relayed_seconds: int = 0  # A path that is relayed for longer gets `relayed_preference` added; 0: off.
    relayed_preference: int = -50
    md5: bool = False  # Sessions are to have keys (RFC 2385); `leyline fabric rotate-md5` makes and takes them.


@dataclass(frozen=True, slots=True)
class Region(Named):
    """`closed`: its routes stay in it, and it gets none of others, but for what rules open."""

    kind: ClassVar[str] = "region"
    name: str
    closed: bool = False


@dataclass(frozen=True, slots=True)
class BfdTimers:
    """RFC 5880 6.8.1: Desired Min TX and Required Min RX Interval; Detect Mult."""

    interval_ms: int
    multiplier: int


@dataclass(frozen=True, slots=True)
class CircuitClass(Named):
    """`bfd` is a preset's name, BFD_OFF, timers, or None: `lte` for lte and satellite, else `wan`. See `bfd_of`."""

    kind: ClassVar[str] = "circuit-class"
    name: str
    preference: int
    bfd: str | BfdTimers | None = None


@dataclass(frozen=True, slots=True)
class Site(Named):
    kind: ClassVar[str] = "site"
    name: str
    region: str
    number: int | None = None
    provider: str = ""
    tags: tuple[str, ...] = ()
    max_prefixes: int = 0  # That hubs take from each of its gateways and clients; 0: no limit.


@dataclass(frozen=True, slots=True)
class Allocation(Keyed):
    """Address space that a site may announce from, in prefixes no longer than `longest`.

    `anycast`: other sites may have the very same allocation, if theirs says so too; own region first.
    """

    kind: ClassVar[str] = "allocation"
    site: str
    prefix: Network
    longest: int
    tenant: str = GLOBAL
    anycast: bool = False

    @property
    def key(self) -> str:
        return f"{self.site}/{self.tenant}/{self.prefix}"


@dataclass(frozen=True, slots=True)
class Probe:
    """Something in the LAN that answers while the LAN is alive. `port` is 0 for icmp."""

    kind: ProbeKind
    address: Address
    port: int = 0
    interval_ms: int = 1_000
    multiplier: int = 3  # Failures in a row until the LAN counts as dead.


@dataclass(frozen=True, slots=True)
class Prefix(Keyed):
    """A subnet that a site announces; `gateways` () means: every gateway of the site.

    `first_hop` is the address that hosts of this LAN use as their router: its gateways share it by VRRP.
    """

    kind: ClassVar[str] = "prefix"
    site: str
    prefix: Network
    tenant: str = GLOBAL
    gateways: tuple[str, ...] = ()
    first_hop: Address | None = None
    vrid: int | None = None  # None: derived from the prefix, see `vrid_of`.
    probe: Probe | None = None

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
    drained: bool | None = None  # None: left out, so it stays as it is; `allocate` fills it in.


@dataclass(frozen=True, slots=True)
class Client(Named):
    """A router that is not ours, a client of every hub: by iBGP, or with an `asn` of its own by eBGP (RFC 7947)."""

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
    asn: int | None = None  # None: the fabric's.


@dataclass(frozen=True, slots=True)
class LanPeer(Named):
    """A router in a gateway's LAN, by eBGP: its prefixes inside the site's allocations become the gateway's own."""

    kind: ClassVar[str] = "lan-peer"
    name: str
    gateway: str
    address: Address
    asn: int
    interface: str  # Of the gateway, on the LAN.
    local_address: Address  # Of the gateway, on the LAN: the next hop of what the peer is told.


@dataclass(frozen=True, slots=True)
class PrefixMatch:
    """Prefixes inside `prefix` with a length from `ge` to `le`. Written `10.0.0.0/8`, `10.0.0.0/8 ge 16 le 24`.

    Without ge and le: exactly this prefix; with ge only: le is the family's longest; with le only: ge is the prefix's.
    """

    prefix: Network
    ge: int
    le: int


@dataclass(frozen=True, slots=True)
class Match:
    """Which paths. Of each list one is enough, () is everything; all lists must hold."""

    sites: tuple[str, ...] = ()  # Of the origin, as the following.
    regions: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()  # Gateways and clients.
    circuit_classes: tuple[str, ...] = ()
    prefixes: tuple[PrefixMatch, ...] = ()
    communities: tuple[str, ...] = ()  # "AS:value" or "AS:function:value"
    tenant: str = GLOBAL


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who looks. Of each list one is enough, () is everything; all lists must hold."""

    sites: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Action:
    """What becomes of a path that matches. At least one field is set."""

    preference: int | None = None  # LOCAL_PREF from here on.
    preference_add: int = 0  # More, or less. Never below 1.
    add_communities: tuple[str, ...] = ()
    remove_communities: tuple[str, ...] = ()
    med: int | None = None
    prepend: int = 0  # Towards eBGP clients.
    max_paths: int = 0  # 1: no ECMP.
    deny: bool = False
    region_only: bool = False  # Told in the origin's own region only.
    open: bool = False  # Leaves and enters closed regions.
    last: bool = False  # Rules after this one do not see the path.


@dataclass(frozen=True, slots=True)
class Rule(Named):
    """Looked at by `order`, then by name. With a `viewer` it acts at the hubs' export, else at their import."""

    kind: ClassVar[str] = "rule"
    name: str
    action: Action
    match: Match = Match()
    viewer: Viewer | None = None
    order: int = 1000


@dataclass(frozen=True, slots=True)
class Assertion(Named):
    """What must hold after every change. Exactly one of `reaches`, `never_over`, `survives` is set.

    reaches      every site of `sites` has a route to `prefix` (one that contains it)
    never_over   no site of `sites` uses a path over one of these circuit classes to `prefix` or to anything, or sends
                 there by an uplink of one while all its own are well
    survives     with any one "gateway", "uplink", "hub" or "provider" gone, the sites of `sites` still reach `prefix`,
                 or each other
    """

    kind: ClassVar[str] = "assertion"
    name: str
    sites: tuple[str, ...] = ()  # (): every site.
    prefix: Network | None = None  # None: every prefix of the fabric.
    reaches: bool = False
    never_over: tuple[str, ...] = ()
    survives: str = ""
    tenant: str = GLOBAL


@dataclass(frozen=True, slots=True)
class Host(Named):
    """A member of the segment without BGP: an application node, a laptop. `site` is "" when it belongs to none."""

    kind: ClassVar[str] = "host"
    name: str
    node_id: str
    address: IPv4Address | None = None
    address6: IPv6Address | None = None
    site: str = ""


@dataclass(frozen=True, slots=True)
class Moon(Named):
    """A gateway that the other gateways use as a root of their own. `uplink` is "" for its first one.

    `endpoints`: where it answers in the underlay, "ADDRESS/PORT" as ZeroTier writes it.
    """

    kind: ClassVar[str] = "moon"
    name: str
    gateway: str
    endpoints: tuple[str, ...]
    uplink: str = ""


BUILT_IN_CLASSES = (
    CircuitClass("fiber", 200),
    CircuitClass("broadband", 150),
    CircuitClass("lte", 100),
    CircuitClass("satellite", 50),
)

BFD_PRESETS: dict[str, BfdTimers] = {
    "fast": BfdTimers(100, 3),
    "normal": BfdTimers(300, 3),
    "wan": BfdTimers(1000, 3),
    "lte": BfdTimers(2000, 5),
}
BFD_OFF = "off"
BFD_DEFAULTS = {"lte": "lte", "satellite": "lte"}
"""Circuit class -> preset, for those that do not have `wan`. Faster ones are the operator's word."""


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
    lan_peers: tuple[LanPeer, ...] = ()
    rules: tuple[Rule, ...] = ()
    assertions: tuple[Assertion, ...] = ()
    hosts: tuple[Host, ...] = ()
    moons: tuple[Moon, ...] = ()
    broken: frozenset[str] = field(default=frozenset(), compare=False)


Object = (
    Fabric
    | Region
    | CircuitClass
    | Site
    | Allocation
    | Prefix
    | Gateway
    | Client
    | LanPeer
    | Rule
    | Assertion
    | Host
    | Moon
)

SECTIONS: dict[str, str] = {
    "regions": Region.kind,
    "circuit_classes": CircuitClass.kind,
    "sites": Site.kind,
    "allocations": Allocation.kind,
    "prefixes": Prefix.kind,
    "gateways": Gateway.kind,
    "clients": Client.kind,
    "lan_peers": LanPeer.kind,
    "rules": Rule.kind,
    "assertions": Assertion.kind,
    "hosts": Host.kind,
    "moons": Moon.kind,
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


def bfd_of(circuit_class: CircuitClass) -> BfdTimers | None:
    """The timers of its uplinks; None: no BFD."""
    chosen = circuit_class.bfd or BFD_DEFAULTS.get(circuit_class.name, "wan")
    return BFD_PRESETS.get(chosen) if isinstance(chosen, str) else chosen


def vrid_of(prefix: Prefix) -> int:
    """1 to 255 (RFC 9568 5.2.3): as declared, else a number that depends on the prefix alone."""
    return crc32(str(prefix.prefix).encode()) % 255 + 1 if prefix.vrid is None else prefix.vrid


def residents(inventory: Inventory) -> dict[str, tuple[str, ...]]:
    """Site -> names of its gateways, sorted. A prefix that names no gateways is announced by all of them."""
    found: dict[str, list[str]] = {}
    for gateway in inventory.gateways:
        found.setdefault(gateway.site, []).append(gateway.name)
    return {site: tuple(sorted(names)) for site, names in found.items()}


def community_value(name: str) -> int:
    """A number for a name that depends on nothing else, so that adding a region or a class moves no plan."""
    return crc32(name.encode())


def network_order(network: Network) -> tuple[int, int, int]:
    """Sorts networks of both families: IPv4 first, then by address, the shorter first."""
    return network.version, int(network.network_address), network.prefixlen
