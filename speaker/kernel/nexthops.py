"""Next-hop objects and groups: what routes refer to. Keeps desired and actual; makes the messages between.

A route refers to a group, also of one member, so a dead member leaves without a route being
touched. A group's key is the ordered tiers of its routes' paths; it holds one tier of them.
Pure: no socket, no clock.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address

from speaker.kernel import messages as m
from speaker.kernel import parse
from speaker.kernel.port import PROTO_LEYLINE, Fault, NextHopRecord
from speaker.kernel.targets import Content, Group, Hop, Target
from speaker.rib.path import Tiers

NEXTHOP_IDS = range(0x4C000000, 0x4D000000)
"""Ours. FRR counts its own up from 1."""
HOP_IDS = range(0x4C000000, 0x4C800000)
GROUP_IDS = range(0x4C800000, 0x4D000000)
MAX_GROUPS = 1 << 16
MAX_HOPS = 1 << 20
MAX_MEMBERS = 256

DeviceOf = Callable[[bytes], str | None]
"""next hop (4 or 16 octets) -> name of the local interface that leads to it, None when there is none."""


@dataclass(slots=True)
class ObjectBatch:
    """Messages about objects, and what to remember when they went through. Applied before routes go on."""

    data: bytes
    hops: list[Hop] = field(default_factory=list)
    groups: list[tuple[Group, Content]] = field(default_factory=list)
    deleted: list[int] = field(default_factory=list)


class Objects:
    """All next hops and groups of one namespace."""

    def __init__(self, device_of: DeviceOf) -> None:
        self._device_of = device_of
        self._links: dict[str, int] = {}  # Usable interfaces: name -> index.
        self._hops: dict[tuple[int, bytes], Hop] = {}
        self._hops_by_id: dict[int, Hop] = {}
        self._groups: dict[Tiers, Group] = {}
        self.groups_by_id: dict[int, Group] = {}
        self._orphans: dict[Content, Group] = {}  # Found in the kernel and not asked for yet.
        self._foreign: set[int] = set()  # Ids in our range that somebody else took.
        self._misfits: list[int] = []  # Ours, but of the wrong kind: a group where we have a gateway, or so.
        self._dirty: dict[Group, None] = {}
        self._next_hop_id = HOP_IDS.start
        self._next_group_id = GROUP_IDS.start
        self._recent: dict[int, tuple[Tiers, Group]] = {}  # id(tiers) -> : hashing tiers costs a microsecond a time.
        self._unused: set[Target] = set()  # Groups that nothing referred to at the last sweep.
        self._unused_hops: set[int] = set()

    # What is wanted

    def group(self, tiers: Tiers, current: Target | None = None) -> Group | None:
        """The group of these tiers; `current` is what the asking route is on, taken over when it holds the same.

        None when there are MAX_GROUPS already.
        """
        recent = self._recent.get(id(tiers))
        if recent is not None and recent[0] is tiers:
            return recent[1]
        group = self._groups.get(tiers)
        if group is None:
            if len(self.groups_by_id) >= MAX_GROUPS:
                return None
            group = self._adopted(tiers, current) or Group(self._free_group_id(), tiers)
            group.tiers = tiers
            self._groups[tiers] = self.groups_by_id[group.nhid] = group
            self._dirty[group] = None
        if len(self._recent) >= MAX_GROUPS:
            self._recent.clear()
        self._recent[id(tiers)] = (tiers, group)
        return group

    def activate(self, tiers: Tiers, tier: int) -> bool:
        """Let the group hold another tier, without a route being touched. False when no route uses these tiers."""
        group = self._groups.get(tiers)
        if group is None:
            return False
        if not 0 <= tier < len(tiers):
            raise ValueError(f"tier {tier} of {len(tiers)}")
        if group.active != tier:
            group.active = tier
            self._dirty[group] = None
        return True

    def configure(self, device_of: DeviceOf) -> None:
        self._device_of = device_of
        self.retry()

    def retry(self) -> None:
        """Everything that was refused is tried again: something changed, an address perhaps."""
        for hop in self._hops.values():
            hop.error = ""
        for group in self._groups.values():
            group.error = ""
            self._dirty[group] = None

    def set_link(self, name: str, index: int | None) -> list[Group]:
        """The interface is usable under `index`, or gone (None). Returns the groups that the kernel dropped.

        Linux removes all next hops of an interface that goes down, groups that become empty,
        and their routes; it tells about none of them.
        """
        previous = self._links.get(name)
        dropped: list[Group] = []
        if previous is not None and previous != index:
            dropped = self._lose(previous)
        if index is None:
            self._links.pop(name, None)
        else:
            self._links[name] = index
        self.retry()
        return dropped

    def _lose(self, ifindex: int) -> list[Group]:
        lost = {hop.id for hop in self._hops_by_id.values() if hop.ifindex == ifindex}
        for id_ in lost:
            self._forget(self._hops_by_id[id_])
        dropped = []
        for group in list(self.groups_by_id.values()):
            if group.content is None or not any(member in lost for member, _ in group.content):
                continue
            kept = tuple(entry for entry in group.content if entry[0] not in lost)
            group.holds(kept or None)
            if not kept:
                dropped.append(group)
        return dropped

    def _adopted(self, tiers: Tiers, current: Target | None) -> Group | None:
        """A group from before our start that already holds what these tiers ask for."""
        content = self._content(tiers, 0)
        if not content:
            return None
        if isinstance(current, Group) and current.tiers is None and current.content == content:
            return current
        orphan = self._orphans.get(content)
        usable = orphan is not None and orphan.tiers is None and orphan.content == content
        return orphan if usable and self.groups_by_id.get(orphan.nhid) is orphan else None  # type: ignore[union-attr]

    def _content(self, tiers: Tiers, active: int) -> Content:
        """Members whose interface is there and which the kernel did not refuse."""
        return tuple(sorted({hop.id: weight for hop, weight in self._hops_of(tiers, active) if not hop.error}.items()))

    def _hops_of(self, tiers: Tiers, active: int) -> Iterator[tuple[Hop, int]]:
        for member in tiers[active][:MAX_MEMBERS]:
            index = self._links.get(self._device_of(member.next_hop) or "")
            hop = None if index is None else self._hop(index, member.next_hop)
            if hop is not None:
                yield hop, max(1, min(m.MAX_WEIGHT, member.weight))

    def _hop(self, ifindex: int, gateway: bytes) -> Hop | None:
        hop = self._hops.get((ifindex, gateway))
        if hop is None and len(self._hops_by_id) < MAX_HOPS:
            hop = Hop(self._free_hop_id(), ifindex, gateway)
            self._hops[ifindex, gateway] = self._hops_by_id[hop.id] = hop
        return hop

    def _forget(self, hop: Hop) -> None:
        del self._hops_by_id[hop.id]
        if self._hops.get((hop.ifindex, hop.gateway)) is hop:
            del self._hops[hop.ifindex, hop.gateway]

    def _renumber_hop(self, hop: Hop) -> None:
        """Somebody took its id: it gets another."""
        del self._hops_by_id[hop.id]
        hop.id = self._free_hop_id()
        hop.actual = None
        self._hops_by_id[hop.id] = hop

    def _renumber_group(self, group: Group) -> None:
        del self.groups_by_id[group.nhid]
        group.renumber(self._free_group_id())
        self.groups_by_id[group.nhid] = group
        self._dirty[group] = None

    def _free_hop_id(self) -> int:
        self._next_hop_id = _free(HOP_IDS, self._next_hop_id, self._hops_by_id, self._foreign)
        return self._next_hop_id

    def _free_group_id(self) -> int:
        self._next_group_id = _free(GROUP_IDS, self._next_group_id, self.groups_by_id, self._foreign)
        return self._next_group_id

    # From wanted to messages

    @property
    def dirty(self) -> bool:
        return bool(self._dirty or self._misfits)

    def next_batch(self) -> ObjectBatch | None:
        """What must go to the kernel before routes do: gateways first, then groups. None when nothing must."""
        if self._misfits:
            batch = ObjectBatch(b"".join(map(m.delete_nexthop, self._misfits)), deleted=self._misfits)
            self._misfits = []
            return batch
        contents = {group: self._content(group.tiers, group.active) for group in self._dirty if group.tiers}
        needed = {member for content in contents.values() for member, _ in content}
        hops = [self._hops_by_id[id_] for id_ in sorted(needed)]
        missing = [hop for hop in hops if hop.actual != (hop.ifindex, hop.gateway)]
        if missing:
            parts = [m.put_nexthop(h.id, h.ifindex, h.gateway, m.REPLACE if h.actual else m.CREATE) for h in missing]
            return ObjectBatch(b"".join(parts), hops=missing)
        self._dirty.clear()
        # No usable member: the group stays as it is. Either the kernel has dropped it with the interface,
        # or it forwards still, and emptying it would take its routes along.
        changed = [(g, content) for g, content in contents.items() if content and content != g.content and not g.error]
        if not changed:
            return None
        flags = [m.CREATE if group.content is None else m.REPLACE for group, _ in changed]
        parts = [m.put_group(g.nhid, content, flag) for (g, content), flag in zip(changed, flags, strict=True)]
        return ObjectBatch(b"".join(parts), groups=changed)

    def apply(self, batch: ObjectBatch, faults: Iterable[Fault]) -> list[tuple[int, str]]:
        """Note what went through. Returns (errno, text) of what did not; a taken id is simply exchanged."""
        refused = dict(_by_object(faults))
        taken = {id_ for id_, fault in refused.items() if fault.errno == errno.EEXIST}
        for hop in batch.hops:
            if hop.id in taken:
                self._foreign.add(hop.id)
                self._renumber_hop(hop)
            elif hop.id in refused:
                hop.error = refused[hop.id].text
            else:
                hop.actual = (hop.ifindex, hop.gateway)
        for group, content in batch.groups:
            if group.nhid in taken:
                self._foreign.add(group.nhid)
                self._renumber_group(group)
            elif group.nhid in refused:
                group.error = refused[group.nhid].text
            elif all(member in self._hops_by_id for member, _ in content):
                group.holds(content)
            else:  # An interface went while this was under way: nobody knows what is left of it.
                group.holds(None)
                self._dirty[group] = None
        ignored = taken.union(batch.deleted)
        return [(f.errno, self._describe(id_, f.text)) for id_, f in refused.items() if id_ not in ignored]

    def _describe(self, id_: int, text: str) -> str:
        hop = self._hops_by_id.get(id_)
        if hop is None:
            return f"next-hop group {id_:#x}: {text}"
        device = next((name for name, index in self._links.items() if index == hop.ifindex), f"#{hop.ifindex}")
        return f"next hop {ip_address(hop.gateway)} on {device}: {text}"

    def sweep(self, in_use: set[Target], may_remove: bool) -> ObjectBatch | None:
        """Delete what nothing refers to, now and at the sweep before: groups first, then gateways.

        Never a group with routes in it (the kernel would delete them too). Never at once: paths that come and go
        find their group again. And FRR's zebra, which believes that it uses every object it has seen, makes each
        that goes anew as its own, under our id (seen with 8.4): every group that lives on is a ghost less.
        """
        unused: set[Target] = {
            group
            for group in self.groups_by_id.values()
            if group.routes == 0 and group not in in_use and (may_remove or group.tiers is not None)
        }
        going = [group for group in self.groups_by_id.values() if group in unused and group in self._unused]
        self._unused = unused.difference(going)
        for group in going:
            del self.groups_by_id[group.nhid]
            self._dirty.pop(group, None)
            if group.tiers is not None:
                del self._groups[group.tiers]
        self._recent.clear()
        needed = {id_ for group in self.groups_by_id.values() for id_ in self._members(group)}
        idle = {id_ for id_, hop in self._hops_by_id.items() if id_ not in needed and (may_remove or not hop.actual)}
        stale = [self._hops_by_id[id_] for id_ in sorted(idle & self._unused_hops)]
        self._unused_hops = idle
        for hop in stale:
            self._forget(hop)
        deleted = [group.nhid for group in going if group.content is not None]
        deleted += [hop.id for hop in stale if hop.actual is not None]
        return ObjectBatch(b"".join(map(m.delete_nexthop, deleted)), deleted=deleted) if deleted else None

    def _members(self, group: Group) -> Iterator[int]:
        if group.content is not None:
            yield from (member for member, _ in group.content)
        if group.tiers:
            yield from (hop.id for hop, _ in self._hops_of(group.tiers, group.active))

    # What the kernel has

    def read(self, records: Iterable[NextHopRecord]) -> int:
        """Take the kernel's word for what is there. Returns how many of ours were absent, extra or modified.

        On the first reading everything found is taken over, to be claimed by `group`.
        """
        found = {record.id: record for record in records if record.id in NEXTHOP_IDS}
        self._foreign = {id_ for id_, record in found.items() if record.protocol != PROTO_LEYLINE}
        for id_ in self._foreign & self._hops_by_id.keys():
            self._renumber_hop(self._hops_by_id[id_])
        for id_ in self._foreign & self.groups_by_id.keys():
            self._renumber_group(self.groups_by_id[id_])
        ours = {id_: record for id_, record in found.items() if id_ not in self._foreign}
        differences = self._read_hops({id_: r for id_, r in ours.items() if not r.group})
        differences += self._read_groups({id_: r for id_, r in ours.items() if r.group})
        self.retry()
        return differences

    def _read_hops(self, found: Mapping[int, NextHopRecord]) -> int:
        differences = 0
        for id_, hop in self._hops_by_id.items():
            record = found.get(id_)
            actual = None if record is None else (record.ifindex, record.gateway)
            differences += hop.actual != actual
            hop.actual = actual
        for id_, record in found.items():
            if id_ in self._hops_by_id:
                continue
            if id_ in self.groups_by_id:
                self._misfits.append(id_)
            else:
                actual = (record.ifindex, record.gateway)
                hop = self._hops_by_id[id_] = Hop(id_, *actual, actual)
                if record.gateway:
                    self._hops.setdefault(actual, hop)
            differences += 1
        return differences

    def _read_groups(self, found: Mapping[int, NextHopRecord]) -> int:
        differences = 0
        for id_, group in self.groups_by_id.items():
            record = found.get(id_)
            content = None if record is None else tuple(sorted(record.group))
            differences += group.content != content
            group.holds(content)
        for id_, record in found.items():
            if id_ in self.groups_by_id:
                continue
            if id_ in self._hops_by_id:
                self._misfits.append(id_)
            else:
                group = self.groups_by_id[id_] = Group(id_, None)
                group.holds(tuple(sorted(record.group)))
            differences += 1
        self._orphans = {g.content: g for g in self.groups_by_id.values() if g.tiers is None and g.content is not None}
        return differences

    @property
    def faults(self) -> list[str]:
        """What the kernel refused and still lacks, in words."""
        hops = [self._describe(hop.id, hop.error) for hop in self._hops.values() if hop.error]
        groups = [self._describe(group.nhid, group.error) for group in self._groups.values() if group.error]
        return hops + groups


def _free(ids: range, after: int, ours: Container[int], foreign: Container[int]) -> int:
    """The next id that nobody has. Ids come round late, so an old reference rarely meets a new object."""
    candidate = after
    while candidate in ours or candidate in foreign:
        candidate = candidate + 1 if candidate + 1 < ids.stop else ids.start
    return candidate


def _by_object(faults: Iterable[Fault]) -> Iterator[tuple[int, Fault]]:
    for fault in faults:
        nexthop = parse.Request(fault.message).nexthop
        if nexthop is not None:
            yield nexthop.id, fault
