"""The next-hop objects that the kernel has, as far as we know: which, who is in which group, under which ids. Pure."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from ipaddress import ip_address

from speaker.kernel.hops import GROUP_IDS, NEXTHOP_IDS, Hop, Hops, Ids
from speaker.kernel.port import PROTO_LEYLINE, NextHopRecord
from speaker.kernel.targets import Content, Group, Target


class Holdings:
    """Hops, groups, and who holds whom. What moved in the kernel by itself is left in `dirty`."""

    def __init__(self) -> None:
        self.foreign: set[int] = set()  # Ids in our range that somebody else took.
        self.hops = Hops(self.foreign)
        self.groups: dict[int, Group] = {}  # By id.
        self.dirty: dict[Group, None] = {}  # May differ from what is wanted.
        self.restless: set[Group] = set()  # Turned void, or came back: their routes have to move.
        self.misfits: list[int] = []  # Ours, but of the wrong kind: a group where we have a gateway, or so.
        self.resilient: bool | None = None  # Whether the kernel has such groups; None = not tried yet.
        self._orphans: dict[Content, Group] = {}
        self._ids = Ids(GROUP_IDS)

    def new_id(self) -> int:
        return self._ids.take(self.groups, self.foreign)

    def orphan(self, content: Content) -> Group | None:
        """A group with this content, found in the kernel and not asked for yet."""
        group = self._orphans.get(content)
        if group is None or group.tiers is not None or group.content != content:
            return None
        return group if self.groups.get(group.nhid) is group else None

    def is_void(self, content: Content) -> bool:
        """Whether nobody is in it: nothing at all, or a blackhole."""
        hop = self.hops.by_id.get(content[0][0]) if len(content) == 1 else None
        return not content or (hop is not None and hop.blackhole)

    def left_empty(self, group: Group, going: Container[Hop]) -> bool:
        """Whether the kernel would delete the group, and its routes, with these."""
        return all(self.hops.by_id.get(member) in going for member, _ in group.content or ())

    # What happened

    def hold(self, group: Group, content: Content | None) -> None:
        """This is what the kernel has of it."""
        by_id = self.hops.by_id
        for member, _ in group.content or ():
            if member in by_id:
                by_id[member].holders.discard(group)
        group.holds(content)
        for member, _ in content or ():
            if member in by_id:
                by_id[member].holders.add(group)

    def set_void(self, group: Group, void: bool) -> None:
        if group.set_void(void):
            self.restless.add(group)

    def lose(self, hops: Iterable[Hop]) -> list[Target]:
        """The kernel dropped these. Returns what routes stood on that it dropped with them: groups have new ids now."""
        going = {hop.id: hop for hop in hops}
        groups = {group: None for hop in going.values() for group in hop.holders}
        for hop in going.values():
            self.hops.forget(hop)
        dropped: list[Target] = []
        for group in groups:
            kept = tuple(entry for entry in group.content or () if entry[0] not in going)
            self.hold(group, kept or None)
            self.dirty[group] = None
            if not kept:
                dropped += group.tenants
                self.renumber(group)
        return dropped

    def renumber(self, group: Group) -> None:
        for borrower in list(group.borrowers):
            borrower.give_back()
            self.dirty[borrower] = None
        del self.groups[group.nhid]
        self.hold(group, None)
        group.renumber(self.new_id())
        self.groups[group.nhid] = group
        self.dirty[group] = None

    def exchange(self, lender: Group, heir: Group) -> None:
        """The heir gets the lender's object, and the others' debts; the lender an id that the kernel does not have."""
        content, nhid, spare = lender.content, lender.nhid, heir.nhid
        heir.resilient, heir.plain = lender.resilient, lender.plain
        self.hold(lender, None)
        lender.renumber(spare)
        heir.renumber(nhid)
        self.groups[spare], self.groups[nhid] = lender, heir
        heir.give_back()
        for borrower in lender.borrowers:
            borrower.lender = heir
        heir.borrowers |= lender.borrowers
        lender.borrowers.clear()
        self.hold(heir, content)
        self.dirty[lender] = self.dirty[heir] = None

    def forget(self, group: Group) -> None:
        group.give_back()
        self.hold(group, None)
        del self.groups[group.nhid]
        self.dirty.pop(group, None)
        self.restless.discard(group)

    def read(self, records: Iterable[NextHopRecord]) -> int:
        """Take the kernel's word for what is there. Returns how many of ours were absent, extra or modified.

        On the first reading everything found is taken over, to be claimed as an orphan.
        """
        found = {record.id: record for record in records if record.id in NEXTHOP_IDS}
        self.foreign.clear()
        self.foreign.update(id_ for id_, record in found.items() if record.protocol != PROTO_LEYLINE)
        for id_ in self.foreign & self.hops.by_id.keys():
            self.hops.renumber(self.hops.by_id[id_])
        for id_ in self.foreign & self.groups.keys():
            self.renumber(self.groups[id_])
        ours = {id_: record for id_, record in found.items() if id_ not in self.foreign}
        hops = {id_: record for id_, record in ours.items() if not record.group}
        differences, misfits = self.hops.read(hops, self.groups)
        self.misfits += misfits
        return differences + self._read_groups({id_: record for id_, record in ours.items() if record.group})

    def _read_groups(self, found: Mapping[int, NextHopRecord]) -> int:
        differences = 0
        for id_, group in self.groups.items():
            differences += not self._takes(group, found.get(id_))
        for id_, record in found.items():
            if id_ in self.groups:
                continue
            if id_ in self.hops.by_id:
                self.misfits.append(id_)
            else:
                group = self.groups[id_] = Group(id_, None)
                self._ids.seen(id_)
                self._takes(group, record)
            differences += 1
        self._orphans = {g.content: g for g in self.groups.values() if g.tiers is None and g.content is not None}
        return differences

    def _takes(self, group: Group, record: NextHopRecord | None) -> bool:
        """Whether it was as we thought."""
        content = None if record is None else tuple(sorted(record.group))
        same = group.content == content
        self.hold(group, content)
        if record is not None and content is not None:
            group.resilient = record.resilient
            self.resilient = record.resilient or self.resilient
            self.set_void(group, self.is_void(content))
        return same

    # In words

    def describe(self, id_: int, text: str, links: Mapping[str, int]) -> str:
        hop = self.hops.by_id.get(id_)
        if hop is None:
            return f"next-hop group {id_:#x}: {text}"
        index, gateway, label = hop.spec
        if hop.blackhole:
            return f"blackhole next hop {id_:#x} (it needs the interface lo up): {text}"
        device = next((name for name, known in links.items() if known == index), f"#{index}")
        pushed = "" if label is None else f" by label {label}"
        return f"next hop {ip_address(gateway)} on {device}{pushed}: {text}"

    def faults(self, links: Mapping[str, int]) -> Iterator[str]:
        """What the kernel refused and still lacks."""
        for hop in self.hops:
            if hop.error:
                yield self.describe(hop.id, hop.error, links)
        for group in self.groups.values():
            if group.error:
                yield self.describe(group.nhid, group.error, links)
