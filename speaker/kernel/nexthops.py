"""Groups and their members: what routes refer to. Keeps desired and actual; makes the messages between.

A route refers to a group, also of one member, so a dead member leaves without a route being
touched. A group's key is the ordered tiers of its routes' paths; what it holds of them is `choice`'s, and which of
them share an object is `borrowing`'s.
Pure: no socket, no clock.

A neighbour that died leaves in one batch: first the groups that it would leave empty are replaced (by
their next tier, a detour, or a blackhole), then its next-hop object is deleted, and the kernel
takes it out of all others by itself.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

from speaker.kernel import messages as m
from speaker.kernel.batches import ObjectBatch, by_object, group_message
from speaker.kernel.borrowing import alike, common
from speaker.kernel.choice import Chosen, Pair, Reach, Relay, choose, chosen
from speaker.kernel.holdings import Holdings
from speaker.kernel.hops import BLACKHOLE, Hop
from speaker.kernel.port import Fault, NextHopRecord
from speaker.kernel.targets import Content, Group, Target, family_of_routes
from speaker.rib.path import Tiers
from speaker.rib.prefix import Family

MAX_GROUPS = 1 << 16
GROUPS_A_BATCH = 2000
MAX_BORROWERS = 64
"""Of one object."""
UNSUPPORTED = {errno.EOPNOTSUPP, errno.EINVAL}
TRANSIENT = {errno.ENOMEM, errno.ENOBUFS, errno.EAGAIN, errno.EINTR}
NO_MEMBER = "Invalid nexthop id"
"""The kernel's words, with EINVAL, for a member that it does not have."""

Desired = dict[Group, Content | None]
"""What groups are to hold. None = leave it as it is; () = nobody, and there is no blackhole either."""


class Objects:
    """All next hops and groups of one namespace."""

    def __init__(self, devices: Iterable[str]) -> None:
        self.reach = Reach(tuple(devices))
        self.held = Holdings()
        self._groups: dict[Tiers, Group] = {}
        self._by_next_hop: dict[bytes, set[Group]] = {}
        self._beside: dict[bytes, set[bytes]] = {}  # Who shares a group with a next hop; of those that were asked for.
        self._lenders: dict[Group, None] = {}
        self._parting: dict[Group, None] = {}  # Borrowers with objects of their own, until their routes are there.
        self._deaths = False  # Some object in the kernel may be of a dead neighbour.
        self._transient = False  # Something was refused that may go through the next time.
        self._recent: dict[int, tuple[Tiers, Group]] = {}  # id(tiers) -> : hashing tiers costs a microsecond a time.
        self._unused: set[Target] = set()  # Groups that nothing referred to at the last sweep.
        self._unused_hops: set[int] = set()

    # What is wanted

    def group(self, tiers: Tiers, current: Target | None = None) -> Group | None:
        """The group of these tiers; `current` is what the asking route is on, shared or taken over if it fits.

        None when there are MAX_GROUPS already.
        """
        recent = self._recent.get(id(tiers))
        if recent is not None and recent[0] is tiers:
            return recent[1]
        group = self._groups.get(tiers)
        if group is None:
            if len(self.held.groups) >= MAX_GROUPS:
                return None
            group = self._adopted(tiers, current) or self._borrower(tiers, current) or Group(self.held.new_id(), tiers)
            group.tiers = tiers
            self._groups[tiers] = self.held.groups[group.nhid] = group
            members = _next_hops(tiers)
            for next_hop in members:
                self._by_next_hop.setdefault(next_hop, set()).add(group)
                if next_hop in self._beside:
                    self._beside[next_hop] |= members
            self.held.dirty[group] = None
        if len(self._recent) >= MAX_GROUPS:
            self._recent.clear()
        self._recent[id(tiers)] = (tiers, group)
        return group

    def _adopted(self, tiers: Tiers, current: Target | None) -> Group | None:
        """A group from before our start that already holds what these tiers ask for."""
        content = self._desired(tiers)
        if not content:
            return None
        if isinstance(current, Group) and current.tiers is None and current.content == content:
            return current
        return self.held.orphan(content)

    def _borrower(self, tiers: Tiers, current: Target | None) -> Group | None:
        """A new group on the object that `current` is on, if that holds for good what these tiers ask for."""
        lender = None if current is None else self.held.groups.get(current.nhid)
        if lender is None or lender.tiers is None or len(lender.borrowers) >= MAX_BORROWERS:
            return None
        content = self._desired(tiers)
        if not content or self.held.is_void(content) or not content == lender.content == self._desired(lender.tiers):
            return None
        lasts = lender.resilient or self.held.resilient is False or not self.reach.can_share(tiers)
        if not lasts or not alike(tiers, lender.tiers, self.reach):
            return None
        group = Group(self.held.new_id(), tiers)
        group.borrow(lender)
        self._lenders[lender] = None
        return group

    def inherit(self) -> None:
        """Objects on which no route of their own tiers is left go to who borrowed them. With no batch under way."""
        for lender in list(self._lenders):
            heirs = [group for group in lender.borrowers if group.borrows]
            if heirs and not (lender.at_home or lender.void or lender.error):
                heir = max(heirs, key=lambda group: group.users)
                self.held.exchange(lender, heir)
                self._lenders[heir] = None
            if not lender.borrowers:
                del self._lenders[lender]

    def set_liveness(
        self,
        dead: frozenset[Pair],
        relays: Mapping[bytes, tuple[Relay, ...]],
        held: frozenset[Pair],
        silent: frozenset[Pair],
    ) -> None:
        """Whole values. Costs what the changed next hops have in groups."""
        for next_hop in self.reach.update(dead, relays, held, silent):
            self.held.dirty.update(dict.fromkeys(self._by_next_hop.get(next_hop, ())))
            self._deaths = True

    def configure(self, devices: Iterable[str], lans: Mapping[bytes, str]) -> None:
        """What routes still lead to in a LAN that is no longer named stays there until they are gone."""
        former = {hop: device for hop, device in self.reach.lans.items() if self._by_next_hop.get(hop)}
        self.reach.devices, self.reach.lans = tuple(devices), former | dict(lans)
        self.retry()

    def retry(self) -> None:
        """Everything that was refused is tried again: something changed, an address perhaps."""
        for hop in self.held.hops:
            hop.error = ""
        for group in self._groups.values():
            group.error = ""
            self.held.dirty[group] = None
        self._deaths = True
        self._transient = False

    def retry_transient(self) -> None:
        """What the kernel had no memory for, or so."""
        if self._transient:
            self.retry()

    def set_link(self, name: str, index: int | None) -> list[Target]:
        """The interface is usable under `index`, or gone (None). Returns what routes stood on that the kernel dropped.

        Linux removes all next hops of an interface that goes down, groups that become empty,
        and their routes; it tells about none of them.
        """
        links = self.reach.links
        previous = links.get(name)
        dropped: list[Target] = []
        if previous is not None and previous != index:
            dropped = self.held.lose([hop for hop in self.held.hops if hop.spec[0] == previous])
        if index is None:
            links.pop(name, None)
        else:
            links[name] = index
        self.retry()
        return dropped

    def next_hops(self) -> frozenset[bytes]:
        """Members of all tiers of the groups in use, those in LANs left out."""
        return frozenset(
            next_hop
            for next_hop, groups in self._by_next_hop.items()
            if next_hop not in self.reach.lans
            if any(group.users or group not in self._unused for group in groups)
        )

    def beside(self, next_hops: Iterable[bytes]) -> frozenset[bytes]:
        """Members of all tiers of the groups that one of these stands in: where its traffic may go next.

        Of all groups, also those that the next sweep takes: so the answer is worked out once and grows with new groups.
        """
        found: set[bytes] = set()
        for next_hop in next_hops:
            if next_hop not in self._beside and next_hop in self._by_next_hop:
                groups = self._by_next_hop[next_hop]
                self._beside[next_hop] = {each for group in groups for each in _next_hops(group.tiers or ())}
            found |= self._beside.get(next_hop, set())
        return frozenset(found)

    def active(self, next_hop: bytes) -> tuple[Relay, ...]:
        return tuple(way for way in self.reach.ways(next_hop) if not self._refuses(way))

    def chosen(self, tiers: Tiers) -> Chosen | None:
        """Whom a group of these tiers should hold, and why."""
        return chosen(tiers, self.reach, self._refuses)

    # What a group should hold

    def _desired(self, tiers: Tiers) -> Content | None:
        """Members that are alive and that the kernel did not refuse; see Desired."""
        ways = choose(tiers, self.reach, self._refuses)
        if ways is None:
            return None
        if not ways:
            return self._void(family_of_routes(tiers))
        hops = ((self._hop(way), weight) for way, weight in ways.items())
        return tuple(sorted((hop.id, weight) for hop, weight in hops if hop is not None)) or None

    def _void(self, family: Family) -> Content:
        blackhole = self.held.hops.make(BLACKHOLE[family])
        return ((blackhole.id, 1),) if blackhole is not None and not blackhole.error else ()

    def _hop(self, way: Relay) -> Hop | None:
        index = self.reach.links.get(way.device)
        return None if index is None else self.held.hops.make((index, way.address, way.label))

    def _refuses(self, way: Relay) -> bool:
        hop = self.held.hops.find((self.reach.links.get(way.device, 0), way.address, way.label))
        return hop is not None and bool(hop.error)

    def _spare(self, tiers: Tiers) -> Iterator[Hop]:
        """What a group may hold one day: made ahead, so that a failover has nothing to wait for.

        Detours are left out: they are asked for when somebody has died, and their next hops go ahead of the group then.
        """
        hops = [self._hop(way) for way in self.reach.all_direct(tiers)]
        hops.append(self.held.hops.make(BLACKHOLE[family_of_routes(tiers)]))
        return (hop for hop in hops if hop is not None)

    # From wanted to messages

    @property
    def dirty(self) -> bool:
        return bool(self.held.dirty or self.held.misfits or self._deaths or self._parted())

    def next_batch(self) -> ObjectBatch | None:
        """What must go to the kernel before routes do: gateways first, then groups. None when nothing must."""
        if self.held.misfits:
            misfits, self.held.misfits = self.held.misfits, []
            return ObjectBatch(b"".join(map(m.delete_nexthop, misfits)), deleted=misfits)
        for borrower in self._parted():
            del self._parting[borrower]
            if borrower.lender is not None:
                self.held.dirty[borrower.lender] = None
                borrower.give_back()
        groups = list(islice(self.held.dirty, GROUPS_A_BATCH))
        desired: Desired = {group: self._desired(group.tiers) for group in groups if group.tiers}
        for lender in {each: None for group in groups for each in (group, group.lender) if each and each.borrowers}:
            self._share(lender, desired)
        dying = self._dying() if len(groups) == len(self.held.dirty) else set()
        self._retreat(desired, dying)
        missing = self._missing(desired)
        if missing:
            return ObjectBatch(b"".join(hop.message() for hop in missing), hops=missing)
        for group in groups:
            del self.held.dirty[group]
        self._deaths = self._deaths and bool(self.held.dirty)
        dying -= self._held_back(desired, dying)
        changed = self._changes(desired, {hop.id for hop in dying})
        if not (changed or dying):
            return None
        data = [group_message(group, content) for group, content in changed]
        data += [m.delete_nexthop(hop.id) for hop in dying]
        return ObjectBatch(b"".join(data), groups=[(g, g.nhid, content) for g, content in changed], dying=list(dying))

    def _parted(self) -> list[Group]:
        return [group for group in self._parting if group.borrowed is None or not group.borrowed.routes]

    def _share(self, lender: Group, desired: Desired) -> None:
        """Who may go on borrowing has no object of its own. Who may not gets one, and until its routes are there the
        lender's holds what both want."""
        own = self._desired(lender.tiers or ())
        leaving: list[Content | None] = []
        for group in lender.borrowers:
            wanted = self._desired(group.tiers or ())
            same = wanted == own and not (own is not None and self.held.is_void(own))
            if group.borrows and same and alike(group.tiers or (), lender.tiers or (), self.reach):
                desired.pop(group, None)
                continue
            leaving.append(wanted)
            desired[group] = wanted
            if group.borrows:
                group.part()
                self._parting[group] = self.held.dirty[group] = None
                self.held.restless.add(group)
        if leaving:
            desired[lender] = common(own, leaving)

    def _dying(self) -> set[Hop]:
        """Objects in the kernel whose neighbour is dead. Not one that answers again: it may be the last resort."""
        if not self._deaths:
            return set()
        links = self.reach.links
        pairs = [(links[device], address) for device, address in self.reach.dead - self.reach.held if device in links]
        return {hop for pair in pairs for hop in self.held.hops.at(*pair) if hop.actual is not None and not hop.error}

    def _retreat(self, desired: Desired, dying: set[Hop]) -> None:
        """Groups that the dying leave empty, and about which nothing can be said, become void."""
        for hop in dying:
            for group in hop.holders:
                if desired.get(group) is None and self.held.left_empty(group, dying):
                    own = Family.IPV4 if len(hop.spec[1]) == 4 else Family.IPV6
                    desired[group] = self._void(family_of_routes(group.tiers) if group.tiers else own)

    def _missing(self, desired: Desired) -> list[Hop]:
        """Gateways to put in first: what groups are to hold now, and what they may hold next."""
        needed: set[Hop] = set()
        for group, content in desired.items():
            needed.update(self.held.hops.by_id[member] for member, _ in content or ())
            if group.tiers:
                needed.update(self._spare(group.tiers))
        missing = (hop for hop in needed if hop.actual != hop.spec and not hop.error)
        return sorted(missing, key=lambda hop: hop.id)

    def _held_back(self, desired: Desired, dying: set[Hop]) -> set[Hop]:
        """The dying that must stay: with them a group would go that cannot be replaced, and its routes too."""
        return {
            hop
            for hop in dying
            for group in hop.holders
            if (group.error or not desired.get(group)) and self.held.left_empty(group, dying)
        }

    def _changes(self, desired: Desired, going: set[int]) -> list[tuple[Group, Content]]:
        changed = []
        for group, content in desired.items():
            if content is None:
                continue
            void = self.held.is_void(content)
            if void and (group.content is None or not content or group.error):
                self.held.set_void(group, True)  # No group to replace, or no way to: the routes leave it as it is.
            elif not group.error:
                kept = tuple(entry for entry in group.content or () if entry[0] not in going)
                if kept != content:
                    self._set_type(group)
                    changed.append((group, content))
                elif not void:
                    self.held.set_void(group, False)
        return changed

    def _set_type(self, group: Group) -> None:
        """The kernel keeps a group's type for life."""
        if group.content is None and group.tiers:
            possible = self.held.resilient is not False and not group.plain
            group.resilient = possible and self.reach.can_share(group.tiers)

    # What came of it

    def apply(self, batch: ObjectBatch, faults: Iterable[Fault]) -> list[tuple[int, str]]:
        """Note what went through. Returns (errno, text) of what did not; a taken id is simply exchanged."""
        refused = dict(by_object(faults))
        taken = {id_ for id_, fault in refused.items() if fault.errno == errno.EEXIST}
        told = [
            (fault.errno, self.held.describe(id_, fault.text, self.reach.links))
            for id_, fault in refused.items()
            if id_ not in taken and id_ not in batch.deleted
        ]
        self.held.foreign |= taken
        for hop in batch.hops:
            if hop.id in taken:
                self.held.hops.renumber(hop)
            elif hop.id in refused:
                self._refused(hop, refused[hop.id])
            else:
                hop.actual = hop.spec
        for group, id_, content in batch.groups:
            if group.nhid != id_:  # Its interface went while this was under way: it has a new id.
                told.append((errno.ENOENT, f"next-hop group {id_:#x} was overtaken"))
            elif id_ in taken:
                self.held.renumber(group)
            elif id_ in refused:
                self._group_refused(group, content, refused[id_])
            elif all(member in self.held.hops.by_id for member, _ in content):
                self._went_in(group, content)
            else:  # An interface went while this was under way: nobody knows what is left of it, and of its routes.
                self.held.hold(group, None)
                self.held.dirty[group] = None
                told.append((errno.ENOENT, f"next-hop group {id_:#x} lost an interface on its way"))
        for hop in batch.dying:
            told += self._died(hop, refused.get(hop.id))
        return told

    def _refused(self, thing: Hop | Group, fault: Fault) -> None:
        thing.error = fault.text
        self._transient = self._transient or fault.errno in TRANSIENT

    def _group_refused(self, group: Group, content: Content, fault: Fault) -> None:
        untried = group.content is None and group.resilient and self.held.resilient is None
        if untried and fault.errno in UNSUPPORTED and not fault.text.startswith(NO_MEMBER):
            group.plain = True  # Perhaps the kernel has no such type: a plain one will tell.
            self.held.dirty[group] = None
            return
        self._refused(group, fault)
        if self.held.is_void(content):
            self.held.set_void(group, True)

    def _went_in(self, group: Group, content: Content) -> None:
        if group.resilient:
            self.held.resilient = True
        elif group.plain and self.held.resilient is None:
            self.held.resilient = False
        self.held.hold(group, content)
        self.held.set_void(group, self.held.is_void(content))

    def _died(self, hop: Hop, fault: Fault | None) -> Iterator[tuple[int, str]]:
        """It was deleted, unless the kernel refused that. ENOENT is as good, but not what we believed."""
        if fault is not None and fault.errno != errno.ENOENT:
            self._refused(hop, fault)
        elif self.held.hops.by_id.get(hop.id) is hop:  # Otherwise its interface went meanwhile.
            for _ in self.held.lose([hop]):
                yield errno.ENOENT, "a next-hop group went with its last member"

    @property
    def faults(self) -> list[str]:
        """What the kernel refused and still lacks, in words."""
        return list(self.held.faults(self.reach.links))

    # What is there and not used

    def sweep(self, in_use: set[Target], may_remove: bool) -> ObjectBatch | None:
        """Delete what nothing refers to, now and at the sweep before: groups first, then gateways.

        Never a group with routes in it (the kernel would delete them too). Never at once: paths that come and go
        find their group again. And FRR's zebra, which believes that it uses every object it has seen, makes each
        that goes anew as its own, under our id (seen with 8.4): every group that lives on is a ghost less.
        """
        unused: set[Target] = {
            group
            for group in self.held.groups.values()
            if not (group.users or group.borrowers or group in in_use) and (may_remove or group.tiers is not None)
        }
        going = [group for group in self.held.groups.values() if group in unused and group in self._unused]
        self._unused = unused.difference(going)
        deleted = [group.nhid for group in going if group.content is not None]
        for group in going:
            self._forget(group)
        self._recent.clear()
        hops = self.held.hops
        needed = {id_ for group in self.held.groups.values() for id_ in self._members(group)}
        idle = {hop.id for hop in hops if hop.id not in needed and (may_remove or not hop.actual)}
        stale = [hops.by_id[id_] for id_ in sorted(idle & self._unused_hops)]
        self._unused_hops = idle
        for hop in stale:
            hops.forget(hop)
        deleted += [hop.id for hop in stale if hop.actual is not None]
        return ObjectBatch(b"".join(map(m.delete_nexthop, deleted)), deleted=deleted) if deleted else None

    def _forget(self, group: Group) -> None:
        self.held.forget(group)
        if group.tiers is None:
            return
        del self._groups[group.tiers]
        for next_hop in _next_hops(group.tiers):
            self._beside.pop(next_hop, None)
            self._by_next_hop[next_hop].discard(group)
            if not self._by_next_hop[next_hop]:
                del self._by_next_hop[next_hop]

    def _members(self, group: Group) -> Iterator[int]:
        yield from (member for member, _ in group.content or ())
        if group.tiers:
            yield from (member for member, _ in self._desired(group.tiers) or ())
            yield from (hop.id for hop in self._spare(group.tiers))

    # What the kernel has

    def read(self, records: Iterable[NextHopRecord]) -> int:
        """Take the kernel's word for what is there. Returns how many of ours were absent, extra or modified."""
        differences = self.held.read(records)
        self.retry()
        return differences


def _next_hops(tiers: Tiers) -> set[bytes]:
    return {member.next_hop for tier in tiers for member in tier}
