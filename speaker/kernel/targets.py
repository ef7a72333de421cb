"""What routes are put on: groups of gateways, or `unreachable`. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from speaker.kernel import messages as m
from speaker.kernel.port import METRIC_ROUTE
from speaker.rib.path import Tiers
from speaker.rib.prefix import Family

Content = tuple[tuple[int, int], ...]
"""(next-hop id, weight) of a group's members, sorted: the kernel's order means nothing."""


class Frames(dict[int, tuple[bytes, bytes]]):
    """index -> (head, tail) of the messages that put a route on one target, made on first use.

    index = prefix length + (256 to replace) + (512 for IPv6)
    """

    REPLACE = 256
    IPV6 = 512

    def __init__(self, metric: int, nhid: int) -> None:
        self._metric = metric
        self._nhid = nhid

    def __missing__(self, index: int) -> tuple[bytes, bytes]:
        family = Family.IPV6 if index & self.IPV6 else Family.IPV4
        flags = m.REPLACE if index & self.REPLACE else m.CREATE
        frame = self[index] = m.route_frame(family, index & 0xFF, flags, self._metric, self._nhid)
        return frame


class Target:
    """What a route can be put on: a group, or `unreachable` (nhid 0). Compared by identity."""

    __slots__ = ("frames", "nhid", "ready", "routes")

    def __init__(self, nhid: int, metric: int = METRIC_ROUTE, *, ready: bool = False) -> None:
        self.nhid = nhid
        self.ready = ready  # The kernel would accept a route to it now.
        self.routes = 0  # Of ours in the kernel that refer to it.
        self.frames = Frames(metric, nhid)


class Group(Target):
    """`tiers` is None for a group found in the kernel that no route of this process has asked for yet."""

    __slots__ = ("active", "content", "error", "tiers")

    def __init__(self, nhid: int, tiers: Tiers | None) -> None:
        super().__init__(nhid)
        self.tiers = tiers
        self.active = 0  # Which tier it holds.
        self.content: Content | None = None  # In the kernel; None = not there.
        self.error = ""  # Why the kernel refused it; empty when it did not.

    def holds(self, content: Content | None) -> None:
        self.content = content
        self.ready = content is not None

    def renumber(self, nhid: int) -> None:
        """A new id, which the kernel does not have yet."""
        self.nhid = nhid
        self.frames = Frames(METRIC_ROUTE, nhid)
        self.holds(None)


@dataclass(slots=True)
class Hop:
    """One gateway behind one interface."""

    id: int
    ifindex: int
    gateway: bytes
    actual: tuple[int, bytes] | None = None  # (ifindex, gateway) in the kernel; None = not there.
    error: str = ""
