"""The kernel brought to the wishes: batches in order, what came of them, readings, and failovers beside both.

Everything here runs in the agent's loop; only the kernel's calls run in threads, with finished bytes: one for
what is written and read, and another for failovers while the kernel is being read. So wishes may change at any
time, also between the batches of a flush, and nothing needs a lock.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from speaker.kernel import parse
from speaker.kernel.batches import ObjectBatch
from speaker.kernel.nexthops import Objects
from speaker.kernel.outcome import Outcome
from speaker.kernel.port import METRIC_ROUTE, Fault, Kernel, KernelError, RouteRecord
from speaker.kernel.reading import Reading
from speaker.kernel.table import RouteBatch, Table
from speaker.kernel.targets import Group
from speaker.rib.prefix import Key

T = TypeVar("T")

MAX_REPORTED = 1000
CHUNK = 20_000
ATTEMPTS = 3
"""Of one flush: the kernel answers that it is not as we believe, is read, and the rest is tried again."""
SUSPICIOUS = {errno.EEXIST, errno.ENOENT, errno.ESRCH, errno.EINVAL}
"""What the kernel says when it is not as we believe: read it whole before going on."""


LOOKED = b""
"""In a batch's place: nothing to write yet, but there is more to look at."""
Batch = RouteBatch | ObjectBatch | bytes


class Flusher:
    """Carries what `Objects` and `Table`s want into one kernel."""

    def __init__(self, kernel: Kernel, objects: Objects, tables: Sequence[Table]) -> None:
        """`tables` in the order in which routes go in."""
        self.may_remove = False
        self.repaired = 0  # Differences found by readings and put right, since start.
        self.suspect = False  # The kernel may not be as we believe: the next flush reads it first.
        self._kernel = kernel
        self._objects = objects
        self._tables = tables
        self._on_groups = [table for table in tables if table.metric == METRIC_ROUTE]
        self._doubted: set[tuple[Table, Key]] = set()  # Faults that one reading of the kernel did not explain.
        self._sweeping = False  # This flush may delete objects that have been unused for a while.
        self._epoch = 0  # Counts what makes a reading under way worthless.
        self._outcome = Outcome()
        self._lock = asyncio.Lock()
        self._writer: ThreadPoolExecutor | None = None
        self._walked: set[Group] = set()  # Whose routes are being moved, slice by slice.
        self._overtaking: ThreadPoolExecutor | None = None  # Failovers beside a reading of the kernel.
        self._nudge: asyncio.Future[None] | None = None  # Done when there is one.

    @property
    def busy(self) -> bool:
        return self._lock.locked()

    @property
    def walking(self) -> bool:
        """Whether routes of groups that turned void, or came back, are still to be moved."""
        return bool(self._objects.held.restless) or any(table.walking for table in self._on_groups)

    def outdate(self) -> None:
        """The kernel did something by itself: what is being read may be from before that."""
        self._epoch += 1

    def urge(self) -> None:
        """There may be a failover to carry out: whoever waits for a reading of the kernel looks."""
        if self._nudge is not None and not self._nudge.done():
            self._nudge.set_result(None)

    def flush(self) -> Outcome:
        """Bring the kernel to the wishes. Blocks; see `flush_async`. Never raises for what the kernel refuses."""
        self._outcome = Outcome()
        for attempt in range(ATTEMPTS):
            self._begin(attempt)
            try:
                if self.suspect:
                    self.repaired += self._read()
                while (batch := self._next(idle=True)) is not None:
                    if batch is not LOOKED:
                        self._apply(batch, self._kernel.submit(_data(batch)))
            except KernelError as error:
                self._broken(error)
            if not self.suspect:
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
                if not self.suspect:
                    break
            return self._end()

    async def _attempt_async(self) -> None:
        pending: tuple[Batch, asyncio.Future[list[Fault]]] | None = None
        try:
            if self.suspect:
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
            self._objects.inherit()
            batch = self._objects.next_batch()
            if batch is not None:
                return batch
        if self._objects.held.restless:
            self._begin_walk()
        for table in self._on_groups:
            walked = table.take_walked() if table.walking else None
            if walked is not None:
                return walked
            if table.walking:
                return LOOKED
        self._walked.clear()
        for table in self._tables:
            routes = table.take_puts()
            if routes is not None:
                return routes
            if table.waiting:
                return LOOKED
        if not self.may_remove:
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
        stale = {place for group in self._walked for place in group.places if place.nhid != group.now.nhid}
        for table in self._on_groups:
            table.begin_walk(stale)
            table.wake()

    def _sweep(self, idle: bool) -> ObjectBatch | None:
        if not (idle and self._sweeping) or self.suspect:
            return None
        self._sweeping = False
        in_use = {target.wish for table in self._on_groups for target in table.in_use()}
        return self._objects.sweep(in_use, self.may_remove)

    def _apply(self, batch: Batch, faults: list[Fault]) -> None:
        if isinstance(batch, RouteBatch):
            self._apply_routes(batch, faults)
        elif isinstance(batch, ObjectBatch):
            for number, _ in self._objects.apply(batch, faults):
                if number in (errno.EINVAL, errno.ENOENT):
                    self.suspect = True
                    self._epoch += 1
            for table in self._on_groups:
                table.wake()
        else:
            self._outcome.removed += sum(1 for _ in parse.split(batch)) - len(faults)
            # Of two routes beside each other the kernel may have taken ours.
            self.suspect = True

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
            if fault.errno in SUSPICIOUS and (batch.table, record.key) not in self._doubted:
                self._doubted.add((batch.table, record.key))
                self.suspect = True

    def _broken(self, error: BaseException) -> None:
        """Batches under way may have gone in or not. `actual` says they did; the next flush reads and corrects."""
        self.suspect = True
        self._epoch += 1
        if isinstance(error, KernelError):
            self._outcome.faults.append(str(error))

    def _end(self) -> Outcome:
        outcome = self._outcome
        outcome.remaining = sum(len(table.puts) for table in self._tables) + int(self.suspect)
        if self.may_remove:
            outcome.remaining += sum(len(table.removals) + len(table.extras) for table in self._tables)
        outcome.faults += self._objects.faults
        if self._doubted:
            self._doubted = {(table, key) for table, key in self._doubted if key in table.refused}
        return outcome

    # Reading the kernel

    def _read(self) -> int:
        self.suspect = True  # Until it is done.
        reading = Reading(self._objects, self._tables)
        reading.objects(self._kernel.nexthops())
        for number, family in Reading.PARTS:
            reading.begin(number, family)
            for chunk in self._kernel.routes(family, number):
                reading.routes(chunk)
            reading.end()
        self._retry()
        return reading.differences

    async def _read_async(self) -> int:
        epoch = self._epoch
        self.suspect = True
        reading = Reading(self._objects, self._tables)
        reading.objects(await self._in_writer(self._kernel.nexthops))
        for number, family in Reading.PARTS:
            reading.begin(number, family)
            chunks = await self._beside(self._in_writer(self._kernel.routes, family, number))
            while part := await self._beside(self._in_writer(_some, chunks)):
                reading.routes(part)
            reading.end()
        self._retry()
        # An interface went meanwhile, or a failover did not go as it should: what was read may be from before that.
        self.suspect = self._epoch != epoch
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

    def _retry(self) -> None:
        self.suspect = False
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
