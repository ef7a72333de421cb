"""What the FIB asks of a kernel, and the words of the answers. Linux and `FakeKernel` both fit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from speaker.rib.prefix import Family, Key

PROTO_LEYLINE = 76
"""Our routes and next-hop objects, and nobody else's. Not 186: zebra takes such routes for its own."""

METRIC_ROUTE = 1000
METRIC_REJECT = 4999

TABLE_MAIN = 254
TABLE_LAN = 0x4C0000
"""Ours alone: what only traffic from LAN interfaces may look up, for it would capture ZeroTier's own packets."""

UNICAST, UNREACHABLE = 1, 7
"""rtm_type."""


class KernelError(OSError):
    """The netlink socket failed. What was under way may or may not have happened: read the kernel again."""


class DumpInterrupted(KernelError):
    """The table changed under every one of the bounded attempts to read it. Try again later."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One message that the kernel refused; the others of its batch went on."""

    errno: int
    text: str  # The kernel's own words (extended ack), or strerror.
    message: bytes  # The refused message, whole: it says what it was about.


class RouteRecord(NamedTuple):
    """One of our routes (protocol 76) as the kernel holds it."""

    key: Key
    metric: int
    nhid: int  # 0 = the route refers to no next-hop object.
    kind: int  # rtm_type


@dataclass(frozen=True, slots=True)
class NextHopRecord:
    """One next-hop object, whoever made it. A group has `group`, a single one `gateway` and `ifindex`.

    `family` is a blackhole's: it decides which routes may use it.
    """

    id: int
    protocol: int
    ifindex: int = 0
    gateway: bytes = b""  # 4 or 16 octets
    group: tuple[tuple[int, int], ...] = ()  # (id, weight 1..255)
    blackhole: bool = False
    resilient: bool = False  # Of a group: hash buckets, of which those of surviving members stay.
    label: int | None = None  # MPLS label that is pushed on the way to the gateway.
    family: Family = Family.IPV4


class Kernel(Protocol):
    """A network namespace's next-hop objects, table main, and the table of ours beside it.

    One `submit` at a time and one reading at a time; a `submit` may run in another thread beside a reading.
    """

    def nexthops(self) -> list[NextHopRecord]:
        """Every next-hop object, foreign ones too. Raises KernelError."""
        ...

    def routes(self, family: Family, table: int = TABLE_MAIN) -> Iterator[list[RouteRecord]]:
        """Our routes of one table in chunks. The dump is whole before the first chunk comes. Raises KernelError."""
        ...

    def submit(self, messages: bytes) -> list[Fault]:
        """Carry out packed netlink requests in order and say which failed. Raises KernelError when that is unknown."""
        ...

    def close(self) -> None: ...
