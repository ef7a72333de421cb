"""What the contract suite needs of a kernel, and helpers for tests of the FIB."""

from __future__ import annotations

from abc import ABC, abstractmethod
from ipaddress import ip_address, ip_network

from speaker.kernel.fake import FakeKernel, FakeRoute
from speaker.kernel.fib import Fib
from speaker.kernel.port import TABLE_MAIN, Kernel
from speaker.rib.path import Member, Tiers
from speaker.rib.prefix import Family, Key, family_of, key_of

SEGMENTS = ("10.42.0.0/16", "fd42:42::/64")


class World(ABC):
    """One namespace with the interface `eth0` on 10.42.0.1/16 and fd42:42::1/64."""

    kernel: Kernel

    @property
    @abstractmethod
    def index(self) -> int:
        """Of eth0."""

    @abstractmethod
    def link_down(self) -> None: ...

    @abstractmethod
    def link_up(self) -> None: ...

    @abstractmethod
    def lo_down(self) -> None: ...

    @abstractmethod
    def add_foreign(self, prefix: str, metric: int) -> None:
        """Somebody else's `unreachable` route, protocol static."""

    @abstractmethod
    def foreign(self) -> set[tuple[str, int]]:
        """(prefix, metric) of those that are still there."""

    def fib(self) -> Fib:
        """A fresh FIB, as after a restart: it has adopted what is there."""
        fib = Fib(self.kernel, ["eth0"], segments=SEGMENTS)
        fib.set_link("eth0", self.index)
        fib.adopt()
        return fib

    def routes(self, family: Family = Family.IPV4, table: int = TABLE_MAIN) -> dict[tuple[str, int], dict[str, int]]:
        """(prefix, metric) of ours -> next hop -> weight; {} = unreachable, {"blackhole": 1} = dropped in silence."""
        nexthops = {record.id: record for record in self.kernel.nexthops()}
        found = {}
        for chunk in self.kernel.routes(family, table):
            for record in chunk:
                members = nexthops[record.nhid].group if record.nhid else ()
                found[prefix_of(family, record.key), record.metric] = {
                    "blackhole" if nexthops[id_].blackhole else str(ip_address(nexthops[id_].gateway)): weight
                    for id_, weight in members
                }
        return found


class FakeWorld(World):
    def __init__(self) -> None:
        self.kernel: FakeKernel = FakeKernel({1: True})

    @property
    def index(self) -> int:
        return 1

    def link_down(self) -> None:
        self.kernel.link_down(1)

    def link_up(self) -> None:
        self.kernel.link_up(1)

    def lo_down(self) -> None:
        self.kernel.lo_up = False

    def add_foreign(self, prefix: str, metric: int) -> None:
        family, key = name_of(prefix)
        self.kernel.routes_by_name[family, key, metric] = FakeRoute(protocol=4, kind=7)

    def foreign(self) -> set[tuple[str, int]]:
        return {(prefix_of(family, key), metric) for family, key, metric in self.kernel.foreign()}


def name_of(prefix: str) -> tuple[Family, Key]:
    network = ip_network(prefix)
    return family_of(network), key_of(network)


def prefix_of(family: Family, key: Key) -> str:
    octets = key[1:].ljust(family.bits // 8, b"\0")
    return f"{ip_address(octets)}/{key[0]}"


def via(*next_hops: str, weight: int = 1) -> Tiers:
    """One tier of equal members."""
    return (tuple(Member(ip_address(hop).packed, weight) for hop in next_hops),)


def want(fib: Fib, prefix: str, tiers: Tiers | None) -> str:
    return fib.want(*name_of(prefix), tiers)
