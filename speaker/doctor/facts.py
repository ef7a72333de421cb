"""What the doctor knows of one gateway. Every part may be missing: then checks that need it say nothing.

Readers (speaker/doctor/gather.py) fill it in, checks judge it. Nothing here reads anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from speaker.plan import Plan
from speaker.report import Report
from speaker.zerotier.nat import Nat
from speaker.zerotier.peers import Peer


@dataclass(frozen=True)
class Service:
    """The ZeroTier service behind one uplink. What it did not say is empty."""

    uplink: str
    error: str = ""  # Why it does not answer.
    node_id: str = ""
    version: str = ""
    online: bool = False
    tcp_fallback: bool = False
    port: int = 9993
    listening: tuple[str, ...] = ()  # "ADDRESS/PORT"
    surface: tuple[str, ...] = ()  # "ADDRESS/PORT", as others see it.
    interface_blacklist: tuple[str, ...] = ()  # Prefixes of interface names.
    physical_blacklist: tuple[str, ...] = ()  # "10.0.0.0/8"
    network_status: str = ""  # Of the plan's network; "" when it is not joined.
    network_mtu: int = 0
    device: str = ""
    addresses: tuple[str, ...] = ()  # With their length, as assigned.
    peers: tuple[Peer, ...] = ()


@dataclass(frozen=True)
class Interface:
    up: bool
    mtu: int
    addresses: tuple[str, ...]  # Without length.


@dataclass(frozen=True)
class RoutedEcho:
    """Echoes to one hub: from our overlay address, and from an address of ours in a LAN. None: not tried."""

    hub: str
    address: str
    plain: bool
    source: str
    routed: bool | None


class Shadow(NamedTuple):
    """A prefix for which the kernel takes somebody else's route before ours."""

    prefix: str
    protocol: int
    metric: int


@dataclass(frozen=True)
class RouteDifferences:
    """Our routes in the kernel against what the agent has decided; each list is cut off, the counts are not."""

    missing: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    counts: tuple[int, int, int] = (0, 0, 0)
    shadowed: tuple[Shadow, ...] = ()


@dataclass(frozen=True)
class ControllerSeen:
    """What one request to the controller told."""

    url: str
    error: str = ""  # Why there was no answer.
    status: int = 0
    clock_offset: float | None = None  # Seconds that its clock is ahead of ours.
    token_expires: float | None = None  # Unix time; None: it does not say, or never.


@dataclass(frozen=True)
class Facts:
    now: float
    plan: Plan | None = None
    report: Report | None = None
    agent_error: str = ""
    processes: Mapping[str, bool] = field(default_factory=dict)  # exabgp, bfd, agent -> it runs.
    exabgp_version: str = ""  # Installed; "" for not.
    exabgp_pinned: str = ""
    sysctls: Mapping[str, str] | None = None  # Of those that a gateway needs: as they are.
    md5_drops: int = 0  # TCP segments that the kernel has dropped for their MD5 key, or for having none, since boot.
    nft: tuple[Mapping[str, Any], ...] | None = None  # `nft -j list ruleset`, its list.
    nft_error: str = ""
    services: tuple[Service, ...] = ()
    interfaces: Mapping[str, Interface] | None = None
    underlay_devices: Mapping[str, str] = field(default_factory=dict)  # Physical address -> interface there; "": none.
    ways_out: frozenset[str] = frozenset()  # Interfaces by which this box reaches addresses outside.
    answering: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # Our overlay address -> strangers' MACs.
    nat: Mapping[str, Nat] = field(default_factory=dict)  # Uplink -> its NAT.
    echoes: tuple[RoutedEcho, ...] = ()
    routes: RouteDifferences | None = None
    clock_synchronised: bool | None = None
    controller: ControllerSeen | None = None
    tls_expires: float | None = None  # Of the CA file's first certificate to expire.
    unread: Mapping[str, str] = field(default_factory=dict)  # What could not be read -> why.
