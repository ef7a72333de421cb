"""What routes are put on: groups of gateways, or `unreachable`. Pure."""

from __future__ import annotations

from speaker.kernel import messages as m
from speaker.kernel.port import METRIC_ROUTE, TABLE_LAN, TABLE_MAIN
from speaker.rib.path import Tiers
from speaker.rib.prefix import Family

Content = tuple[tuple[int, int], ...]
"""(next-hop id, weight) of a group's members, sorted: the kernel's order means nothing."""


class Frames(dict[int, tuple[bytes, bytes]]):
    """index -> (head, tail) of the messages that put a route on one target, made on first use.

    index = prefix length + (256 to replace) + (512 for IPv6) + (1024 for the table of LANs)
    """

    REPLACE = 256
    IPV6 = 512
    LAN = 1024

    def __init__(self, metric: int, nhid: int) -> None:
        self._metric = metric
        self._nhid = nhid

    def __missing__(self, index: int) -> tuple[bytes, bytes]:
        family = Family.IPV6 if index & self.IPV6 else Family.IPV4
        flags = m.REPLACE if index & self.REPLACE else m.CREATE
        table = TABLE_LAN if index & self.LAN else TABLE_MAIN
        frame = self[index] = m.route_frame(family, index & 0xFF, flags, self._metric, self._nhid, table)
        return frame


class Target:
    """What a route can be put on: a group, or `unreachable` (nhid 0). Compared by identity.

    What a route wishes for and what it is put on may be two: the routes of a void group stand `unreachable`.
    """

    __slots__ = ("frames", "nhid", "now", "ready", "routes", "wish")

    def __init__(self, nhid: int, metric: int = METRIC_ROUTE, *, ready: bool = False) -> None:
        self.nhid = nhid
        self.ready = ready  # The kernel would accept a route to it now.
        self.routes = 0  # Of ours in the kernel that refer to it.
        self.frames = Frames(metric, nhid)
        self.now: Target = self  # What a route that wishes for this is put on.
        self.wish: Target = self  # What a route that is on this wishes for.


_UNREACHABLE = Frames(METRIC_ROUTE, 0)


class Group(Target):
    """`tiers` is None for a group found in the kernel that no route of this process has asked for yet."""

    __slots__ = ("borrowed", "borrowers", "content", "error", "lender", "plain", "reject", "resilient", "tiers")

    def __init__(self, nhid: int, tiers: Tiers | None) -> None:
        super().__init__(nhid)
        self.tiers = tiers
        self.content: Content | None = None  # In the kernel; None = not there.
        self.error = ""  # Why the kernel refused it; empty when it did not.
        self.resilient = False  # Its type in the kernel, fixed when it was made.
        self.plain = False  # The kernel refused it as a resilient one.
        self.reject = Target(0, ready=True)
        self.reject.frames = _UNREACHABLE
        self.reject.wish = self
        self.lender: Group | None = None  # On whose object routes of this one are: see `borrowing`.
        self.borrowed: Target | None = None  # That object, as they stand on it.
        self.borrowers: dict[Group, None] = {}

    def holds(self, content: Content | None) -> None:
        self.content = content
        for place in self.tenants:
            place.ready = content is not None

    @property
    def void(self) -> bool:
        """Nobody in it is alive: its routes are to stand `unreachable`."""
        return self.now is self.reject

    @property
    def borrows(self) -> bool:
        """Its routes are to be on the lender's object, and it has none of its own."""
        return self.now is self.borrowed

    def set_void(self, void: bool) -> bool:
        """Whether that is news, and routes have to move."""
        before, self.now = self.now, self.reject if void else self
        return before is not self.now

    @property
    def users(self) -> int:
        """Routes in the kernel that wish for it."""
        return self.routes + self.reject.routes + (0 if self.borrowed is None else self.borrowed.routes)

    @property
    def places(self) -> list[Target]:
        """What its routes may stand on."""
        return [place for place in (self, self.borrowed, self.reject) if place is not None]

    @property
    def at_home(self) -> int:
        """Its routes that are on its own object."""
        return sum(place.routes for place in self.places if place.nhid == self.nhid)

    @property
    def tenants(self) -> list[Target]:
        """All that routes on its object stand on: for itself, or for a borrower."""
        places = [place for group in (self, *self.borrowers) for place in group.places]
        return [place for place in places if place.nhid == self.nhid]

    def borrow(self, lender: Group) -> None:
        self.lender = lender
        lender.borrowers[self] = None
        self.borrowed = self.now = Target(lender.nhid, ready=True)
        self.borrowed.frames = lender.frames
        self.borrowed.wish = self

    def part(self) -> None:
        """It wants an object of its own. `lender` stays until its routes have moved."""
        if self.borrows:
            self.now = self

    def give_back(self) -> None:
        """None of its routes is on the lender's object any more."""
        self.part()
        if self.lender is not None:
            del self.lender.borrowers[self]
            self.lender = None

    def renumber(self, nhid: int) -> None:
        """A new id, which the kernel does not have yet."""
        self.nhid = nhid
        self.frames = Frames(METRIC_ROUTE, nhid)
        self.holds(None)


def family_of_routes(tiers: Tiers) -> Family:
    """Of the routes that a group of these can take: IPv6 ones refuse any IPv4 next hop, a blackhole's included."""
    ipv4 = any(len(member.next_hop) == 4 for tier in tiers for member in tier)
    return Family.IPV4 if ipv4 else Family.IPV6
