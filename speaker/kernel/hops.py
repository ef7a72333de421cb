"""Next-hop objects of single gateways, and the numbers that they and their groups go by. Pure."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field

from speaker.kernel import messages as m
from speaker.kernel.port import NextHopRecord
from speaker.kernel.targets import Group
from speaker.rib.prefix import Family

NEXTHOP_IDS = range(0x4C000000, 0x4D000000)
"""Ours. FRR counts its own up from 1."""
HOP_IDS = range(0x4C000000, 0x4C800000)
GROUP_IDS = range(0x4C800000, 0x4D000000)
MAX_HOPS = 1 << 20

Spec = tuple[int, bytes, int | None]
"""(interface index, gateway, label). A blackhole is (0, the unspecified address, None)."""
BLACKHOLE: dict[Family, Spec] = {family: (0, bytes(family.bits // 8), None) for family in Family}


class Ids:
    """Numbers of objects. One that was given back is not given out again before all the others were:
    an old reference to it, and zebra's ghost of it, meet nobody new."""

    def __init__(self, ids: range) -> None:
        self._ids = ids
        self._next = ids.start

    def take(self, *taken: Container[int]) -> int:
        """One that nobody has."""
        while True:
            candidate = self._next
            self._next = candidate + 1 if candidate + 1 < self._ids.stop else self._ids.start
            if not any(candidate in holders for holders in taken):
                return candidate

    def seen(self, id_: int) -> None:
        """A former process gave this one out: go on behind it."""
        if id_ in self._ids and id_ >= self._next and id_ + 1 < self._ids.stop:
            self._next = id_ + 1


@dataclass(slots=True, eq=False)
class Hop:
    """One gateway behind one interface, by one label or none; or a blackhole."""

    id: int
    spec: Spec
    actual: Spec | None = None  # In the kernel; None = not there.
    error: str = ""
    holders: set[Group] = field(default_factory=set)  # Groups that have it in the kernel.

    @property
    def blackhole(self) -> bool:
        return self.spec[0] == 0

    def message(self) -> bytes:
        """What puts it into the kernel."""
        index, gateway, label = self.spec
        flags = m.REPLACE if self.actual else m.CREATE
        if self.blackhole:
            return m.put_blackhole(self.id, Family.IPV4 if len(gateway) == 4 else Family.IPV6, flags)
        return m.put_nexthop(self.id, index, gateway, flags, label)


class Hops:
    """All of one namespace: by id, by what they are, and by the neighbour that they lead to."""

    def __init__(self, foreign: set[int]) -> None:
        """`foreign` is shared with the owner: ids in our range that somebody else took."""
        self.by_id: dict[int, Hop] = {}
        self._by_spec: dict[Spec, Hop] = {}
        self._by_pair: dict[tuple[int, bytes], set[Hop]] = {}
        self._foreign = foreign
        self._ids = Ids(HOP_IDS)

    def __iter__(self) -> Iterator[Hop]:
        return iter(self.by_id.values())

    def find(self, spec: Spec) -> Hop | None:
        return self._by_spec.get(spec)

    def make(self, spec: Spec) -> Hop | None:
        """The one that is this, a new one if need be; None when there are MAX_HOPS."""
        hop = self._by_spec.get(spec)
        if hop is None and len(self.by_id) < MAX_HOPS:
            hop = Hop(self._take_id(), spec)
            self._enter(hop)
        return hop

    def at(self, index: int, gateway: bytes) -> set[Hop]:
        """All that lead to one neighbour, whatever they push."""
        return self._by_pair.get((index, gateway), set())

    def forget(self, hop: Hop) -> None:
        del self.by_id[hop.id]
        if self._by_spec.get(hop.spec) is hop:
            del self._by_spec[hop.spec]
        pair = self._by_pair[hop.spec[:2]]
        pair.discard(hop)
        if not pair:
            del self._by_pair[hop.spec[:2]]

    def renumber(self, hop: Hop) -> None:
        """Somebody took its id: it gets another, which the kernel does not have yet."""
        del self.by_id[hop.id]
        hop.id = self._take_id()
        hop.actual = None
        hop.holders = set()
        self.by_id[hop.id] = hop

    def read(self, found: Mapping[int, NextHopRecord], groups: Container[int]) -> tuple[int, list[int]]:
        """(differences, ids of gateways where we have a group): the kernel's word is taken for what is there."""
        differences = 0
        misfits = []
        for id_, hop in self.by_id.items():
            record = found.get(id_)
            actual = None if record is None else _spec_of(record)
            differences += hop.actual != actual
            hop.actual = actual
        for id_, record in found.items():
            if id_ in self.by_id:
                continue
            if id_ in groups:
                misfits.append(id_)
            else:
                spec = _spec_of(record)
                self._enter(Hop(id_, spec, spec))
            differences += 1
        return differences, misfits

    def _enter(self, hop: Hop) -> None:
        """Of two that are the same the first one is used, the other is swept."""
        self.by_id[hop.id] = hop
        self._by_spec.setdefault(hop.spec, hop)
        self._by_pair.setdefault(hop.spec[:2], set()).add(hop)
        self._ids.seen(hop.id)

    def _take_id(self) -> int:
        return self._ids.take(self.by_id, self._foreign)


def _spec_of(record: NextHopRecord) -> Spec:
    return BLACKHOLE[record.family] if record.blackhole else (record.ifindex, record.gateway, record.label)
