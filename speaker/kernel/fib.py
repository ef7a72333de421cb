"""The FIB: the routes that the agent wants, brought into the kernel and kept there.

Everything here runs in one thread (the agent's loop); only the kernel's calls of `flush_async`
and `audit_async` run in a writer thread, with finished bytes. So `want` may be called at any
time, also between the batches of a flush, and nothing needs a lock.

Order is data: gateways, groups, rejects, routes; then removals; unused objects at the second audit
that finds them so. Nothing is removed until `set_may_remove(True)`, and stopping removes nothing.

While an interface is missing its routes are not in the kernel (Linux dropped them). What keeps
their traffic from the default route are the plan's `rejects`: declared space is `unreachable`
at metric 4999, and stays. Space that nobody declared has no such net under it.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import TypeVar

from speaker.kernel import parse
from speaker.kernel.batches import ObjectBatch
from speaker.kernel.choice import Pair, Relay
from speaker.kernel.guard import Guard
from speaker.kernel.nexthops import Objects
from speaker.kernel.port import (
    METRIC_REJECT,
    METRIC_ROUTE,
    Fault,
    Kernel,
    KernelError,
    RouteRecord,
)
from speaker.kernel.reading import Reading
from speaker.kernel.table import RouteBatch, Table
from speaker.kernel.targets import Group, Target
from speaker.rib.path import Tiers
from speaker.rib.prefix import Family, Key, family_of, key_of

__all__ = ["Fib", "Outcome", "Relay"]

T = TypeVar("T")

MAX_REPORTED = 1000
CHUNK = 20_000
ATTEMPTS = 3
"""Of one flush: the kernel answers that it is not as we believe, is read, and the rest is tried again."""
SUSPICIOUS = {errno.EEXIST, errno.ENOENT, errno.ESRCH, errno.EINVAL}
"""What the kernel says when it is not as we believe: read it whole before going on."""


@dataclass(slots=True)
class Outcome:
    """What one flush did."""

    installed: int = 0  # Routes put in or moved.
    removed: int = 0
    failed: list[tuple[Family, Key, int, str]] = field(default_factory=list)  # Refused; at most 1,000 are listed.
    failures: int = 0  # All of them.
    remaining: int = 0  # Wanted, but waiting: for an interface, a next hop, or another try.
    faults: list[str] = field(default_factory=list)  # Next hops and groups that the kernel refused, and a dead socket.

    @property
    def converged(self) -> bool:
        return not (self.failures or self.remaining or self.faults)


LOOKED = b""
"""In a batch's place: nothing to write yet, but there is more to look at."""
Batch = RouteBatch | ObjectBatch | bytes


class Fib:
    """Desired routes of one network namespace's main table, protocol 76."""

    def __init__(
        self, kernel: Kernel, devices: Sequence[str], *, segments: Sequence[str] = (), allow_default: bool = False
    ) -> None:
        """`devices`: the local uplinks' interfaces, in the plan's order.

        Call `set_link` for them, `adopt`, and `set_liveness` before the first `want`: so a restart moves no route.
        Raises ValueError for a segment that is no prefix.
        """
        self._kernel = kernel
        self._guard = Guard(segments, allow_default)
        self._objects = Objects(devices)
        self._routes = {family: Table(family, METRIC_ROUTE) for family in Family}
        self._rejects = {family: Table(family, METRIC_REJECT) for family in Family}
        self._tables = [*self._rejects.values(), *self._routes.values()]
        self._may_remove = False
        self._suspect = False
        self._doubted: set[tuple[Family, Key]] = set()  # Faults that one reading of the kernel did not explain.
        self._sweeping = False  # This flush may delete objects that have been unused for a while.
        self._epoch = 0  # Counts what makes a reading under way worthless.
        self._outcome = Outcome()
        self._lock = asyncio.Lock()
        self._writer: ThreadPoolExecutor | None = None
        self._walked: set[Group] = set()  # Whose routes are being moved, slice by slice.
        self._overtaking: ThreadPoolExecutor | None = None  # Failovers beside a reading of the kernel.
        self._nudge: asyncio.Future[None] | None = None  # Done when there is one.
        self.guarded = 0  # Wishes refused by the guard, since start.
        self.repaired = 0  # Differences found by `audit` and put right, since start.

    # Wishes

    def want(self, family: Family, key: Key, tiers: Tiers | None) -> str:
        """The route of `key` from now on: groups of these tiers, () = unreachable, None = no route.

        Returns "" or the reason for refusing: the guard's, or that there are too many groups.
        """
        guard = self._guard
        if (key.startswith(guard.heads, 1) or len(key) == 1) and tiers is not None:
            reason = guard.refuses(family, key)
            if reason:
                self.guarded += 1
                return reason
        table = self._routes[family]
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
            suspects = [key for key in keys if key.startswith(heads, 1) or len(key) == 1]
            if suspects:
                refused = [(key, reason) for key in suspects if (reason := self._guard.refuses(family, key))]
                self.guarded += len(refused)
                barred = {key for key, _ in refused}
                keys = [key for key in keys if key not in barred]
        if not keys:
            return refused
        table = self._routes[family]
        target = table.unreachable if tiers is not None and not tiers else None
        if tiers:
            target = self._objects.group(tiers, table.actual.get(keys[0]))
            if target is None:
                return [*refused, *((key, "too many different sets of paths") for key in keys)]
        table.want_all(keys, target)
        return refused

    def want_rejects(self, prefixes: Iterable[str]) -> None:
        """Declared space, all of it: `unreachable` beneath everything. Raises ValueError for what is no prefix."""
        desired: dict[Family, set[Key]] = {family: set() for family in Family}
        for prefix in prefixes:
            network = ip_network(prefix)
            desired[family_of(network)].add(key_of(network))
        for family, table in self._rejects.items():
            for key in (table.actual.keys() | table.puts.keys() | table.refused.keys()) - desired[family]:
                table.want(key, None)
            for key in sorted(desired[family]):
                table.want(key, table.unreachable)

    def set_liveness(
        self,
        dead: frozenset[Pair],
        relays: Mapping[bytes, tuple[Relay, ...]],
        held: frozenset[Pair] = frozenset(),
    ) -> None:
        """Who is dead behind which interface, and the detours to those that are; whole values. Flush afterwards.

        `held`: of the dead those that answer again, but are not trusted yet. They are used before nothing is.

        A member leaves its groups, a group moves to its next tier or to a detour, and no route is touched, unless
        nobody is left: then the routes become `unreachable`, and go back when somebody returns.
        """
        self._objects.set_liveness(dead, relays, held)
        self._urge()

    def configure(self, devices: Sequence[str], segments: Sequence[str], allow_default: bool = False) -> None:
        """A new plan. What is installed already is not judged again: send the wishes anew. Raises ValueError."""
        self._guard = Guard(segments, allow_default)
        self._objects.configure(devices)

    def set_may_remove(self, may_remove: bool) -> None:
        """Whether a route that nobody wants may go. False until everything has been heard."""
        self._may_remove = may_remove

    def set_link(self, name: str, index: int | None) -> None:
        """The interface is usable under `index`; None = down, without carrier, or gone.

        Called again with the same index (an address came), it only makes refused objects be tried again.
        """
        if self._objects.reach.links.get(name) != index:
            self._epoch += 1
        dropped: set[Target] = set(self._objects.set_link(name, index))
        if dropped:
            for table in self._routes.values():
                table.drop(dropped)
            for group in dropped:
                group.routes = 0
        self._urge()

    def suspect(self) -> None:
        """Events were lost (ENOBUFS): the next flush reads the kernel first."""
        self._suspect = True

    # What is so

    def installed(self, family: Family, key: Key) -> bool:
        table = self._routes[family]
        return key in table.actual and key not in table.puts and key not in table.refused

    def counts(self) -> dict[str, int]:
        """Our routes in the kernel by family name, rejects not counted."""
        return {family.value: len(table.actual) for family, table in self._routes.items()}

    @property
    def groups(self) -> int:
        return sum(1 for group in self._objects.held.groups.values() if group.ready)

    @property
    def resilient(self) -> bool:
        """Whether surviving flows stay where they are. False when the kernel has no resilient groups (before 5.13)."""
        return self._objects.held.resilient is not False

    def next_hops(self) -> frozenset[bytes]:
        """Members of all tiers of the groups that routes want."""
        return self._objects.next_hops()

    def active(self, next_hop: bytes) -> tuple[Relay, ...]:
        """What its traffic takes when its turn comes: itself through one of our interfaces, its detours, or nothing."""
        return self._objects.active(next_hop)

    @property
    def refused(self) -> int:
        """Routes that the kernel refused and that are not tried again before the next audit."""
        return sum(len(table.refused) for table in self._tables)

    # Into the kernel

    def flush(self) -> Outcome:
        """Bring the kernel to the wishes. Blocks; see `flush_async`. Never raises for what the kernel refuses."""
        self._outcome = Outcome()
        for attempt in range(ATTEMPTS):
            self._begin(attempt)
            try:
                if self._suspect:
                    self.repaired += self._read()
                while (batch := self._next(idle=True)) is not None:
                    if batch is not LOOKED:
                        self._apply(batch, self._kernel.submit(_data(batch)))
            except KernelError as error:
                self._broken(error)
            if not self._suspect:
                break
        return self._end()

    async def flush_async(self) -> Outcome:
        """`flush`, with the kernel's work in the writer thread and one batch prepared ahead.

        The loop is held for a few milliseconds a batch. Group changes overtake routes.
        """
        async with self._lock:
            self._outcome = Outcome()
            for attempt in range(ATTEMPTS):
                self._begin(attempt)
                await self._attempt_async()
                if not self._suspect:
                    break
            return self._end()

    async def _attempt_async(self) -> None:
        pending: tuple[Batch, asyncio.Future[list[Fault]]] | None = None
        try:
            if self._suspect:
                self.repaired += await self._read_async()
            while (batch := self._next(idle=pending is None)) is not None or pending is not None:
                if batch is LOOKED:
                    await asyncio.sleep(0)
                    continue
                finishing = pending
                pending = None if batch is None else (batch, self._in_writer(self._kernel.submit, _data(batch)))
                if finishing is not None:
                    self._apply(finishing[0], await finishing[1])
        except (KernelError, asyncio.CancelledError) as error:
            self._broken(error)
            if pending is not None:
                await asyncio.gather(pending[1], return_exceptions=True)
            if isinstance(error, asyncio.CancelledError):
                raise

    def adopt(self) -> None:
        """Take over what a former process left: next hops, groups, routes. Raises KernelError."""
        self._read()

    async def adopt_async(self) -> None:
        async with self._lock:
            await self._read_async()

    def audit(self) -> int:
        """Read the kernel whole, repair what differs, return how many absent, extra or modified things there were.

        What was refused is tried again; next hops and groups that were unused at the audit before, too, are deleted.
        Raises KernelError; then nothing was lost and the next flush reads again.
        """
        self.flush()
        differences = self._read()
        self.repaired += differences
        self._sweeping = True
        self.flush()
        return differences

    async def audit_async(self) -> int:
        await self.flush_async()
        async with self._lock:
            differences = await self._read_async()
        self.repaired += differences
        self._sweeping = True
        await self.flush_async()
        return differences

    def close(self) -> None:
        """Waits for the batch under way. Removes nothing. The kernel stays open: it is the caller's."""
        for writer in (self._writer, self._overtaking):
            if writer is not None:
                writer.shutdown(wait=True)
        self._writer = self._overtaking = None

    # Inside a flush

    def _begin(self, attempt: int) -> None:
        self._objects.retry_transient()
        if attempt:  # What was refused is tried again, and counted again.
            self._outcome.failures = 0
            self._outcome.failed = []

    def _next(self, idle: bool) -> Batch | None:
        """The next batch. While another is under way (not idle) only routes may go: the rest builds on its outcome."""
        while self._objects.dirty:
            if not idle:
                return None
            batch = self._objects.next_batch()
            if batch is not None:
                return batch
        if self._objects.held.restless:
            self._begin_walk()
        walking = sum(table.walk() for table in self._routes.values()) > 0
        if not walking:
            self._walked.clear()
        for table in self._tables:
            routes = table.take_puts()
            if routes is not None:
                return routes
            if table.waiting:
                return LOOKED
        if walking:
            return LOOKED
        if not self._may_remove:
            return self._sweep(idle)
        for table in self._tables:
            routes = table.take_removals()
            if routes is not None:
                return routes
            if table.extras:
                return table.take_extras()
        return self._sweep(idle)

    def _begin_walk(self) -> None:
        """Groups turned void, or came back: their routes go to `unreachable`, or back to them."""
        restless = self._objects.held.restless
        self._walked |= restless
        restless.clear()
        stale = {group if group.void else group.reject for group in self._walked}
        for table in self._routes.values():
            table.begin_walk(stale)
            table.wake()

    def _sweep(self, idle: bool) -> ObjectBatch | None:
        if not (idle and self._sweeping) or self._suspect:
            return None
        self._sweeping = False
        in_use = {target.wish for table in self._routes.values() for target in table.in_use()}
        return self._objects.sweep(in_use, self._may_remove)

    def _apply(self, batch: Batch, faults: list[Fault]) -> None:
        if isinstance(batch, RouteBatch):
            self._apply_routes(batch, faults)
        elif isinstance(batch, ObjectBatch):
            for number, _ in self._objects.apply(batch, faults):
                if number in (errno.EINVAL, errno.ENOENT):
                    self._suspect = True
                    self._epoch += 1
            for table in self._routes.values():
                table.wake()
        else:
            self._outcome.removed += sum(1 for _ in parse.split(batch)) - len(faults)
            # Of two routes beside each other the kernel may have taken ours.
            self._suspect = True

    def _apply_routes(self, batch: RouteBatch, faults: list[Fault]) -> None:
        removal = bool(batch.targets) and batch.targets[0] is None
        if removal:
            self._outcome.removed += len(batch.keys) - len(faults)
        else:
            self._outcome.installed += len(batch.keys) - len(faults)
        if not faults:
            return
        family = batch.table.family
        positions = {key: position for position, key in enumerate(batch.keys)}
        for fault in faults:
            record = parse.Request(fault.message).route
            if record is None or record.key not in positions:
                continue
            if not batch.table.fail(batch, record.key, positions[record.key], fault.errno, fault.text):
                continue
            self._outcome.failures += 1
            if len(self._outcome.failed) < MAX_REPORTED:
                self._outcome.failed.append((family, record.key, fault.errno, fault.text))
            if fault.errno in SUSPICIOUS and (family, record.key) not in self._doubted:
                self._doubted.add((family, record.key))
                self._suspect = True

    def _broken(self, error: BaseException) -> None:
        """Batches under way may have gone in or not. `actual` says they did; the next flush reads and corrects."""
        self._suspect = True
        self._epoch += 1
        if isinstance(error, KernelError):
            self._outcome.faults.append(str(error))

    def _end(self) -> Outcome:
        outcome = self._outcome
        outcome.remaining = sum(len(table.puts) for table in self._tables) + int(self._suspect)
        if self._may_remove:
            outcome.remaining += sum(len(table.removals) + len(table.extras) for table in self._tables)
        outcome.faults += self._objects.faults
        if self._doubted:
            self._doubted = {(family, key) for family, key in self._doubted if key in self._routes[family].refused}
        return outcome

    # Reading the kernel

    def _read(self) -> int:
        self._suspect = True  # Until it is done.
        reading = Reading(self._objects, self._routes, self._rejects)
        reading.objects(self._kernel.nexthops())
        for family in Family:
            reading.begin(family)
            for chunk in self._kernel.routes(family):
                reading.routes(chunk)
            reading.end()
        self._retry()
        return reading.differences

    async def _read_async(self) -> int:
        epoch = self._epoch
        self._suspect = True
        reading = Reading(self._objects, self._routes, self._rejects)
        reading.objects(await self._in_writer(self._kernel.nexthops))
        for family in Family:
            reading.begin(family)
            chunks = await self._beside(self._in_writer(self._kernel.routes, family))
            while part := await self._beside(self._in_writer(_some, chunks)):
                reading.routes(part)
            reading.end()
        self._retry()
        # An interface went meanwhile, or a failover did not go as it should: what was read may be from before that.
        self._suspect = self._epoch != epoch
        return reading.differences

    async def _beside(self, reading: asyncio.Future[T]) -> T:
        """What a reading of routes brings. Failovers do not wait for it: they move no route."""
        while not reading.done():
            while self._objects.dirty:
                await self._overtake()
            self._nudge = asyncio.get_running_loop().create_future()
            await asyncio.wait((reading, self._nudge), return_when=asyncio.FIRST_COMPLETED)
        return await reading

    async def _overtake(self) -> None:
        batch = self._objects.next_batch()
        if batch is None:
            return
        if self._overtaking is None:
            self._overtaking = ThreadPoolExecutor(max_workers=1, thread_name_prefix="kernel-failover")
        submitting = asyncio.get_running_loop().run_in_executor(self._overtaking, self._kernel.submit, batch.data)
        try:
            self._apply(batch, await submitting)
        except (KernelError, asyncio.CancelledError) as error:
            self._broken(error)
            if isinstance(error, asyncio.CancelledError):
                await asyncio.gather(submitting, return_exceptions=True)
                raise

    def _urge(self) -> None:
        """There may be a failover to carry out: whoever waits for a reading of the kernel looks."""
        if self._nudge is not None and not self._nudge.done():
            self._nudge.set_result(None)

    def _retry(self) -> None:
        self._suspect = False
        for table in self._tables:
            table.retry()

    def _in_writer(self, call: Callable[..., T], *arguments: object) -> asyncio.Future[T]:
        if self._writer is None:
            self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="kernel-writer")
        return asyncio.get_running_loop().run_in_executor(self._writer, call, *arguments)


def _data(batch: Batch) -> bytes:
    return batch if isinstance(batch, bytes) else batch.data


def _some(chunks: Iterator[list[RouteRecord]]) -> list[RouteRecord]:
    """About CHUNK routes at a time: few enough for the loop, enough to be worth a change of thread. [] at the end."""
    found: list[RouteRecord] = []
    for chunk in chunks:
        found += chunk
        if len(found) >= CHUNK:
            break
    return found
