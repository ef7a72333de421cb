"""One path, where it came from, and what an UPDATE says; the words that bgp, rib and agent share."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from speaker.rib.attributes import Attributes
from speaker.rib.prefix import Family, Key


class SourceKind(Enum):
    LOCAL = "local"  # Our own prefixes.
    HUB = "hub"  # We are a spoke, the peer reflects to us.
    CLIENT = "client"  # We are a hub, the peer is our client (RFC 4456).
    PEER = "peer"  # We are a hub, the peer is another hub: a non-client.
    LAN = "lan"  # A router in our LAN, by eBGP: what it announces is ours.

    __hash__ = object.__hash__


LIMITED = frozenset({SourceKind.CLIENT, SourceKind.LAN})
"""Sources of which only so many prefixes are accepted."""
OWN = frozenset({SourceKind.LOCAL, SourceKind.LAN})
"""What we announce as ours. It comes before what others announce, however good that is: no two gateways of a site
can send each other what is behind both."""


@dataclass(frozen=True, slots=True)
class Source:
    """Whom a path was learnt from. One object per session; compared by value."""

    name: str
    kind: SourceKind
    address: bytes  # Of the peer: the last tie-break (RFC 4271 9.1.2.2 g).
    router_id: bytes  # 4 octets, from its OPEN (RFC 4271 9.1.2.2 f).


@dataclass(frozen=True, slots=True)
class Path:
    """A route's path as the Adj-RIB-In holds it. (source, path_id) names it within a prefix."""

    source: Source
    path_id: int  # As received; 0 without ADD-PATH.
    uplink: int  # Number of the originating uplink: what a hub sends on as path id. 0 = unknown.
    attributes: Attributes  # After import policy.
    stale: bool = False  # Kept by graceful restart or while a refresh runs (RFC 4724, RFC 7313).
    rejected: str = ""  # Reason code of import policy: kept to be shown, never used or sent on.
    withheld: str = ""  # Reason code: sent on by a hub, but makes no kernel route here (a connected prefix).
    received: Attributes | None = None  # Before import policy, so that a new one needs no ROUTE-REFRESH.
    marks: tuple[
        int, ...
    ] = ()  # Numbers of the prefix sets that its prefix is in, of those that views ask for; sorted.
    rules: tuple[str, ...] = ()  # Names of the rules that acted on it at import, or where it is announced.
    kept: bool = False  # Our own, and a rule denies it: told in our LANs only.


PathSet = tuple[Path, ...]
"""All paths of one prefix, sorted, without duplicates of (source, path_id). Interned."""


@dataclass(slots=True)
class Update:
    """One UPDATE, decoded (RFC 4271 4.3). Groups are (family, path id, prefixes): consecutive NLRI with one path id."""

    withdrawn: list[tuple[Family, int, list[Key]]] = field(default_factory=list)
    announced: list[tuple[Family, int, list[Key], Attributes]] = field(default_factory=list)
    end_of_rib: Family | None = None
    faults: list[str] = field(default_factory=list)  # What RFC 7606 made us do, in words; [] when nothing.


@dataclass(frozen=True, slots=True)
class Member:
    """One next hop of a route. Copies of a path from two hubs are one member."""

    next_hop: bytes
    weight: int  # 1..255


Tier = tuple[Member, ...]
Tiers = tuple[Tier, ...]
"""Ordered tiers of a route's paths: best set, next-best set, ... The key of its kernel group (design rule 3)."""
