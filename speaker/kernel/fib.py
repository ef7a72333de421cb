"""The FIB: the routes that the agent wants, brought into the kernel and kept there.

Wishes may change at any time, also between the batches of a flush: see `flusher`. Order is data:
gateways, groups, rejects, routes; then removals; unused objects at the second audit that finds
them so. Nothing is removed until `set_may_remove(True)`, and stopping removes nothing.

A route whose next hops are all dead stands `unreachable`. While no interface is there routes are not in the
kernel (Linux dropped them). What keeps their traffic from the default route then are the plan's
`rejects`: declared space is `unreachable` at metric 4999, and stays. Space that nobody declared
has no such net under it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_network

from speaker.kernel.choice import Chosen, Pair, Relay
from speaker.kernel.flusher import Flusher
from speaker.kernel.guard import Guard
from speaker.kernel.nexthops import Objects
from speaker.kernel.outcome import Outcome
from speaker.kernel.port import METRIC_REJECT, METRIC_ROUTE, TABLE_LAN, TABLE_MAIN, Kernel
from speaker.kernel.standing import LinkState, Standing, link_states, standing, state
from speaker.kernel.table import Table
from speaker.kernel.targets import Group, Target
from speaker.rib.path import Member, Tiers
from speaker.rib.prefix import Family, Key, family_of, key_of

__all__ = ["Fib", "Outcome", "Relay"]

NO_LANS: Mapping[bytes, str] = {}
SLICE = 10_000
"""Routes of a former process that are kept or let go before others have their turn."""


class Fib:
    """Desired routes of one network namespace, protocol 76: in table main, but for those that would capture ZeroTier's
    own packets. They stand in TABLE_LAN, which rules lead traffic from LAN interfaces to (`lan_rules`)."""

    def __init__(
        self,
        kernel: Kernel,
        devices: Sequence[str],
        *,
        segments: Sequence[str] = (),
        underlay: Sequence[str] = (),
        lans: Mapping[bytes, str] = NO_LANS,
    ) -> None:
        """`devices`: the local uplinks' interfaces, in the plan's order. `lans`: next hops in LANs -> interface.
        `underlay`: prefixes that ZeroTier runs over.

        Call `set_link` for them, `adopt`, and `set_liveness` before the first `want`: so a restart moves no route.
        Raises ValueError for what is no prefix.
        """
        self._guard = Guard(segments, underlay)
        self._objects = Objects(devices)
        self._objects.configure(devices, lans)
        numbers = TABLE_LAN, TABLE_MAIN
        self._rejects = {(n, family): Table(family, METRIC_REJECT, n) for n in numbers for family in Family}
        self._routes = {(n, family): Table(family, METRIC_ROUTE, n) for n in numbers for family in Family}
        self._tables = [*self._rejects.values(), *self._routes.values()]
        self._flusher = Flusher(kernel, self._objects, self._tables)
        self.guarded = 0  # Wishes refused by the guard, since start.
        self._kept: dict[Family, dict[Key, None]] = {family: {} for family in Family}
        self._declined: dict[Family, set[Key]] = {family: set() for family in Family}
        """What stands, and somebody did not want to stay, before anything might be removed."""

    # Wishes

    def want(self, family: Family, key: Key, tiers: Tiers | None) -> str:
        """The route of `key` from now on: groups of these tiers, () = unreachable, None = no route.

        Returns "" or the reason for refusing: the guard's, or that there are too many groups.
        """
        guard = self._guard
        if key.startswith(guard.heads, 1) and tiers is not None:
            reason = guard.refuses(family, key)
            if reason:
                self.guarded += 1
                return reason
        table = self._routes[self._place(family, key)]
        self._wished(family, (key,), table, tiers)
        if tiers is None:
            table.want(key, None)
        elif not tiers:
            table.want(key, table.unreachable)
        else:
            group = self._objects.group(tiers, table.actual.get(key))
            if group is None:
                return "too many different sets of paths"
            table.want(key, group)
        return ""

    def want_many(self, family: Family, keys: Sequence[Key], tiers: Tiers | None) -> list[tuple[Key, str]]:
        """`want` for many prefixes with the same paths. Returns those refused, with the reason."""
        refused: list[tuple[Key, str]] = []
        if tiers is not None:
            heads = self._guard.heads
            suspects = [key for key in keys if key.startswith(heads, 1)]
            if suspects:
                refused = [(key, reason) for key in suspects if (reason := self._guard.refuses(family, key))]
                self.guarded += len(refused)
                barred = {key for key, _ in refused}
                keys = [key for key in keys if key not in barred]
        captors = self._guard.captors[family]
        if not captors.isdisjoint(keys):
            refused += [(k, why) for k in keys if k in captors and (why := self.want(family, k, tiers))]
            keys = [key for key in keys if key not in captors]
        if not keys:
            return refused
        table = self._routes[TABLE_MAIN, family]
        self._wished(family, keys, table, tiers)
        target = table.unreachable if tiers is not None and not tiers else None
        if tiers:
            target = self._objects.group(tiers, table.actual.get(keys[0]))
            if target is None:
                return [*refused, *((key, "too many different sets of paths") for key in keys)]
        table.want_all(keys, target)
        return refused

    def _wished(self, family: Family, keys: Iterable[Key], table: Table, tiers: Tiers | None) -> None:
        """Somebody knows of these: what a former process left of them counts no more."""
        if kept := self._kept[family]:
            for key in keys:
                kept.pop(key, None)
        if tiers is None and not self._flusher.may_remove:
            self._declined[family].update(key for key in keys if key in table.actual)

    def keep_adopted(self) -> Iterator[None]:
        """What a former process left is wished for as it stands: who would say it again is gone. Slice by slice.

        Until it is wished for otherwise, or `let_go`. Only what leads into the segments, or to nobody, and what nobody
        has declined. Its next hops are judged like all others, so what dies leaves and what returns comes back.
        """
        found: dict[Target, Tiers | None] = {}
        for (_, family), table in self._routes.items():
            left = list(table.removals)
            for start in range(0, len(left), SLICE):
                for key in left[start : start + SLICE]:
                    if key not in table.removals or key in self._declined[family]:
                        continue
                    target = table.actual[key]
                    if target not in found:
                        found[target] = None if target is table.stranger else self._tiers_found(target)
                    tiers = found[target]
                    if tiers is not None and not self.want(family, key, tiers):
                        self._kept[family][key] = None
                yield

    def _tiers_found(self, target: Target) -> Tiers | None:
        """As far as the kernel tells; () where nobody is left, or only a hub's label led there; None = not kept."""
        weights: dict[bytes, int] = {}
        if isinstance(target, Group):
            for number, weight in target.content or ():
                hop = self._objects.held.hops.by_id.get(number)
                if hop is None or hop.blackhole or hop.spec[2] is not None:
                    continue
                if not self._guard.inside(hop.spec[1]):
                    return None
                weights.setdefault(hop.spec[1], weight)
        return (tuple(Member(*each) for each in sorted(weights.items())),) if weights else ()

    def let_go(self) -> Iterator[None]:
        """What was kept, and nobody has wished for since, goes. Slice by slice."""
        for family, kept in self._kept.items():
            left = list(kept)
            for start in range(0, len(left), SLICE):
                self.want_many(family, [key for key in left[start : start + SLICE] if key in kept], None)
                yield

    def want_rejects(self, prefixes: Iterable[str]) -> None:
        """Declared space, all of it: `unreachable` beneath everything. Raises ValueError for what is no prefix."""
        desired: dict[tuple[int, Family], set[Key]] = {place: set() for place in self._rejects}
        for prefix in prefixes:
            network = ip_network(prefix)
            family, key = family_of(network), key_of(network)
            desired[self._place(family, key)].add(key)
        for place, table in self._rejects.items():
            for key in (table.actual.keys() | table.puts.keys() | table.refused.keys()) - desired[place]:
                table.want(key, None)
            for key in sorted(desired[place]):
                table.want(key, table.unreachable)

    def _place(self, family: Family, key: Key) -> tuple[int, Family]:
        """The table where a route of `key` stands."""
        return (TABLE_LAN if key in self._guard.captors[family] else TABLE_MAIN), family

    def _move(self, family: Family, key: Key, *, to: int) -> None:
        """The route's wish goes to the table `to`. Rejects are wished for anew with each plan."""
        here = self._routes[to, family]
        there = self._routes[TABLE_MAIN if to == TABLE_LAN else TABLE_LAN, family]
        target = there.wanted(key)
        if target is None:
            return
        there.want(key, None)
        if target is not there.stranger:
            here.want(key, here.unreachable if target is there.unreachable else target)

    def set_liveness(
        self,
        dead: frozenset[Pair],
        relays: Mapping[bytes, tuple[Relay, ...]],
        held: frozenset[Pair] = frozenset(),
        silent: frozenset[Pair] = frozenset(),
    ) -> None:
        """Who is dead behind which interface, and the detours to those that are; whole values. Flush afterwards.

        `held`: of the dead those that answer again, but are not trusted yet. They are used before nothing is.
        `silent`: those that were asked and never heard. They lose nothing that they have, and are fled to last.

        A member leaves its groups, a group moves to its next tier or to a detour, and no route is touched, unless
        nobody is left: then the routes become `unreachable`, and go back when somebody returns.
        """
        self._objects.set_liveness(dead, relays, held, silent)
        self._flusher.urge()

    def configure(
        self,
        devices: Sequence[str],
        segments: Sequence[str],
        underlay: Sequence[str] = (),
        lans: Mapping[bytes, str] = NO_LANS,
    ) -> None:
        """A new plan. What is installed already moves from table to table, but is not refused: send the wishes anew.

        Raises ValueError, and changes nothing, for what is no prefix.
        """
        before, self._guard = self._guard.captors, Guard(segments, underlay)
        for family, captors in self._guard.captors.items():
            for key in captors ^ before[family]:
                self._move(family, key, to=TABLE_LAN if key in captors else TABLE_MAIN)
            for key in [key for key in self._kept[family] if self._guard.refuses(family, key)]:
                self.want(family, key, None)
        self._objects.configure(devices, lans)

    @property
    def may_remove(self) -> bool:
        return self._flusher.may_remove

    def set_may_remove(self, may_remove: bool) -> None:
        """Whether a route that nobody wants may go. False until everything has been heard."""
        self._flusher.may_remove = may_remove
        if may_remove:
            self._declined = {family: set() for family in Family}

    def set_link(self, name: str, index: int | None) -> None:
        """The interface is usable under `index`; None = down, without carrier, or gone.

        Called again with the same index (an address came), it only makes refused objects be tried again.
        """
        if self._objects.reach.links.get(name) != index:
            self._flusher.outdate()
        dropped: set[Target] = set(self._objects.set_link(name, index))
        if dropped:
            for table in self._routes.values():
                table.drop(dropped)
            for group in dropped:
                group.routes = 0
        self._flusher.urge()

    def suspect(self) -> None:
        """Events were lost (ENOBUFS): the next flush reads the kernel first."""
        self._flusher.suspect = True
        self._flusher.outdate()

    # What is so

    def installed(self, family: Family, key: Key) -> bool:
        table = self._routes[self._place(family, key)]
        return key in table.actual and key not in table.puts and key not in table.refused

    def standing(self, family: Family, key: Key, *, reject: bool = False) -> Standing:
        """How the route of `key` stands in the kernel; with `reject` the one beneath all, of declared space."""
        tables = self._rejects if reject else self._routes
        return standing(tables[self._place(family, key)], self._objects, key)

    def link_states(self, next_hop: bytes) -> dict[str, LinkState]:
        """How `next_hop` does behind each of our interfaces."""
        return link_states(self._objects.reach, next_hop)

    def state(self, next_hop: bytes) -> LinkState:
        """What may be hoped for from it, behind whatever interface."""
        return state(self._objects.reach, next_hop)

    def chosen(self, tiers: Tiers) -> Chosen | None:
        """Whom a group of these tiers should hold now, and why; None: nobody, or it is left as it is."""
        return self._objects.chosen(tiers)

    def counts(self) -> dict[str, int]:
        """Our routes in the kernel by family name, rejects not counted."""
        return {
            family.value: sum(len(table.actual) for (_, its), table in self._routes.items() if its is family)
            for family in Family
        }

    def lan_lengths(self) -> dict[Family, frozenset[int]]:
        """The prefix lengths of what stands in TABLE_LAN, or is to."""
        return {
            family: frozenset(
                key[0]
                for tables in (self._routes, self._rejects)
                for key in tables[TABLE_LAN, family].actual.keys() | tables[TABLE_LAN, family].puts.keys()
            )
            for family in Family
        }

    @property
    def kept(self) -> int:
        """Routes of a former process that stay though nobody has said them again."""
        return sum(map(len, self._kept.values()))

    @property
    def groups(self) -> int:
        return sum(1 for group in self._objects.held.groups.values() if group.ready)

    @property
    def resilient(self) -> bool:
        """Whether surviving flows stay where they are. False when the kernel has no resilient groups (before 5.13)."""
        return self._objects.held.resilient is not False

    def next_hops(self) -> frozenset[bytes]:
        """Members of all tiers of the groups that routes want, those in LANs left out."""
        return self._objects.next_hops()

    def beside(self, next_hops: Iterable[bytes]) -> frozenset[bytes]:
        """Members of all tiers of the groups that one of these stands in. Cheap to ask again."""
        return self._objects.beside(next_hops)

    def active(self, next_hop: bytes) -> tuple[Relay, ...]:
        """What its traffic takes when its turn comes: itself through one of our interfaces, its detours, or nothing."""
        return self._objects.active(next_hop)

    @property
    def refused(self) -> int:
        """Routes that the kernel refused and that are not tried again before the next audit."""
        return sum(len(table.refused) for table in self._tables)

    @property
    def repaired(self) -> int:
        """Differences found by reading the kernel and put right, since start."""
        return self._flusher.repaired

    @property
    def busy(self) -> bool:
        """Whether a flush or a reading is under way."""
        return self._flusher.busy

    @property
    def walking(self) -> bool:
        """Whether routes whose next hops are all dead drop in silence still, until their turn to be `unreachable`."""
        return self._flusher.walking

    # Into the kernel

    def flush(self) -> Outcome:
        """Bring the kernel to the wishes. Blocks; see `flush_async`. Never raises for what the kernel refuses."""
        return self._flusher.flush()

    async def flush_async(self) -> Outcome:
        """`flush`, with the kernel's work in the writer thread and one batch prepared ahead.

        The loop is held for a few milliseconds a batch. Group changes overtake routes, and readings of the kernel.
        """
        return await self._flusher.flush_async()

    def adopt(self) -> None:
        """Take over what a former process left: next hops, groups, routes. Raises KernelError."""
        self._flusher.adopt()

    async def adopt_async(self) -> None:
        await self._flusher.adopt_async()

    def audit(self) -> int:
        """Read the kernel whole, repair what differs, return how many absent, extra or modified things there were.

        What was refused is tried again; next hops and groups that were unused at the audit before, too, are deleted.
        Raises KernelError; then nothing was lost and the next flush reads again.
        """
        return self._flusher.audit()

    async def audit_async(self) -> int:
        return await self._flusher.audit_async()

    def close(self) -> None:
        """Waits for the batch under way. Removes nothing. The kernel stays open: it is the caller's."""
        self._flusher.close()
