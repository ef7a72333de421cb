"""Routes of one family and metric in one table: what is wanted, what the kernel has, and the packed difference. Pure.

Only the difference is stored: `actual` is the kernel's view, `puts`, `removals` and `refused`
are where the wish differs. So a million routes in place cost one dict, not two.

`actual` says what will be true when every batch taken so far went through; a fault takes it back.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from speaker.kernel import messages as m
from speaker.kernel.port import METRIC_ROUTE, TABLE_MAIN, UNREACHABLE, RouteRecord
from speaker.kernel.targets import Frames, Target
from speaker.rib.prefix import Family, Key

BATCH = 1000
"""Routes in one sendmsg: 52 KB, about 4 ms in the kernel. What is urgent waits for two at most."""

STRIDES = 1009
SLICE = 20_000
"""Routes looked at before the loop has its turn again: a few milliseconds."""
WALK = BATCH // 2
STUMBLES = 3
"""Of a walk over a dict that changes. Then it is copied, which takes 40 ms for a million routes."""


@dataclass(frozen=True, slots=True)
class Refusal:
    target: Target | None  # What was wanted; None = removal.
    errno: int
    text: str


@dataclass(frozen=True, slots=True)
class RouteBatch:
    """Immutable once taken. `befores[i]` is what keys[i] was on, `targets[i]` what it is put on; None = no route."""

    table: Table
    data: bytes
    keys: list[Key]
    targets: list[Target | None]
    befores: list[Target | None]


class Table:
    def __init__(self, family: Family, metric: int, number: int = TABLE_MAIN) -> None:
        """`number`: of the kernel's table."""
        self.family = family
        self.metric = metric
        self.number = number
        self._frames = (Frames.IPV6 if family is Family.IPV6 else 0) + (Frames.LAN if number != TABLE_MAIN else 0)
        self.unreachable = Target(0, metric, ready=True)
        self.stranger = Target(0, metric)  # What a route of ours is on when somebody else changed it.
        self.actual: dict[Key, Target] = {}
        self.puts: dict[Key, Target] = {}
        self.removals: dict[Key, None] = {}
        self.refused: dict[Key, Refusal] = {}
        self.extras: list[RouteRecord] = []  # Ours by protocol, but with a metric or duplicate we never make.
        self._queue: list[Key] = []  # Keys of `puts` that go next; one that is no longer there is skipped.
        self._strewn: list[Key] = []  # What the queue is filled from, every so many-th key at a time.
        self._stride = self._strides = 0
        self._fresh = False  # `puts` may hold something ready that is not in the queue.
        self._shape = 0  # Counts the times that a route came into `actual` or left it.
        self._walk: Iterator[tuple[Key, Target]] | None = None  # Routes to look at: groups turned void or came back.
        self._walk_shape = self._stumbles = 0
        self._stale: set[Target] = set()  # Where such routes stand and should not.

    # What is wanted

    def want(self, key: Key, target: Target | None) -> None:
        """The route's wish is `target` from now on; None = no route."""
        if self.refused:
            self.refused.pop(key, None)
        actual = self.actual.get(key)
        now = None if target is None else target.now
        if now is not actual and _same_place(now, actual):
            self._set_actual(key, now)
            actual = now
        if now is actual:
            self.puts.pop(key, None)
            if key in self.removals:
                # Found at the start, claimed now. Stored anew under the caller's object, so that the
                # address is in memory once.
                del self.removals[key]
                if actual is not None:
                    self.actual[key] = self.actual.pop(key)
                    self._shape += 1
        elif target is None:
            self.puts.pop(key, None)
            self.removals[key] = None
        else:
            self.puts[key] = target
            self._fresh = True
            if self.removals:
                self.removals.pop(key, None)

    def want_all(self, keys: Sequence[Key], target: Target | None) -> None:
        """`want` for many keys. The usual cases, all new or all to go, cost no Python code per key."""
        if not self.refused and target is not None and not self.removals and self.actual.keys().isdisjoint(keys):
            self.puts.update(dict.fromkeys(keys, target))
            self._fresh = True
        elif not self.refused and target is None and not self.puts and self.actual.keys() >= set(keys):
            self.removals.update(dict.fromkeys(keys))
        else:
            for key in keys:
                self.want(key, target)

    def wanted(self, key: Key) -> Target | None:
        if key in self.puts:
            return self.puts[key]
        if key in self.removals:
            return None
        refusal = self.refused.get(key)
        if refusal is not None:
            return refusal.target
        actual = self.actual.get(key)
        return actual if actual is None else actual.wish

    def wake(self) -> None:
        """Targets became ready: routes that waited for them may go."""
        self._fresh = True

    def retry(self) -> None:
        """What was refused is tried again."""
        refused, self.refused = self.refused, {}
        for key, refusal in refused.items():
            self.want(key, refusal.target)

    # Groups that turned void, or came back

    def begin_walk(self, stale: set[Target]) -> None:
        """Routes that stand on these should stand elsewhere: find and move them, slice by slice."""
        self._stale = {target for target in stale if target.routes}
        self._stumbles = 0
        self._walk = iter(self.actual.items()) if self._stale else None
        self._walk_shape = self._shape

    @property
    def walking(self) -> bool:
        return self._walk is not None

    def take_walked(self) -> RouteBatch | None:
        """The next routes that stand where they should not, hardly more than BATCH; None when none was found just now:
        see `walking`.

        Half a million senders may wait for this, so it runs no statement per route.
        """
        moves = {target: target.wish.now for target in self._stale}
        found: list[tuple[Key, Target]] = []
        looked_at = 0
        while self._walk is not None and len(found) < BATCH and looked_at < SLICE:
            found += self._walk_on()
            looked_at += WALK
        if not all(target.ready for target in moves.values()):
            unready = {key: before.wish for key, before in found if not moves[before].ready}
            self.puts.update(unready)
            found = [(key, before) for key, before in found if key not in unready]
        if not found:
            return None
        frames = {before: target.frames for before, target in moves.items()}
        index = Frames.REPLACE + self._frames
        data = b"".join([(end := frames[on][key[0] + index])[0] + key[1:] + end[1] for key, on in found])
        keys = [key for key, _ in found]
        befores: list[Target | None] = [before for _, before in found]
        targets: list[Target | None] = [moves[before] for _, before in found]
        self.actual.update(zip(keys, targets, strict=True))  # type: ignore[arg-type]
        self._count(targets, befores)
        return RouteBatch(self, data, keys, targets, befores)

    def _walk_on(self) -> list[tuple[Key, Target]]:
        """Of the next WALK routes those that have to move. What is wished for them anew waits for its turn."""
        assert self._walk is not None
        if self._walk_shape != self._shape and self._stumbles < STUMBLES:
            self._stumbles += 1
            copied = self._stumbles == STUMBLES
            self._walk = iter(list(self.actual.items()) if copied else self.actual.items())
            self._walk_shape = self._shape
        seen = list(islice(self._walk, WALK))
        if len(seen) < WALK:
            self._walk = None
        stale, actual = self._stale, self.actual.get
        found = [(key, target) for key, target in seen if target in stale]
        if self._stumbles == STUMBLES:  # A copy: what it says may be over.
            found = [(key, target) for key, target in found if actual(key) is target]
        for others in (self.puts, self.removals, self.refused):
            if others and not others.keys().isdisjoint([key for key, _ in found]):
                found = [(key, target) for key, target in found if key not in others]
        return found

    # Batches

    @property
    def waiting(self) -> bool:
        """Whether `take_puts` has more to look at, though it found nothing just now."""
        return bool(self._queue or self._fresh or self._stride < self._strides)

    def take_puts(self) -> RouteBatch | None:
        """The next routes to go in or to move, at most BATCH; None when none was found whose target is ready.

        Looks at SLICE of them at most: see `waiting`.
        """
        messages: list[bytes] = []
        keys: list[Key] = []
        targets: list[Target | None] = []
        befores: list[Target | None] = []
        wanted, actual = self.puts.get, self.actual.get
        looked_at = 0
        while len(keys) < BATCH and looked_at < SLICE and self._refill():
            chunk = self._queue[len(keys) - BATCH :]
            del self._queue[len(keys) - BATCH :]
            looked_at += len(chunk)
            for key in chunk:
                wish = wanted(key)
                if wish is None or not wish.now.ready:
                    continue
                target = wish.now
                del self.puts[key]
                before = actual(key)
                if before is target:
                    continue
                index = key[0] + self._frames
                head, tail = target.frames[index if before is None else index + Frames.REPLACE]
                messages.append(head + key[1:] + tail)
                keys.append(key)
                targets.append(target)
                befores.append(before)
        if not self.puts:
            self.puts = {}  # An emptied dict keeps its memory, and walking it costs what it once held.
        if not messages:
            return None
        batch = RouteBatch(self, b"".join(messages), keys, targets, befores)
        self.actual.update(zip(keys, targets, strict=True))  # type: ignore[arg-type]
        self._shape += None in befores
        self._count(targets, befores)
        return batch

    def _refill(self) -> bool:
        """Whether the queue has keys. A new one is strewn: the kernel's trie stalls for up to 845 ms on sorted
        prefixes, and every 1009th is as good as random."""
        while not self._queue:
            if self._stride < self._strides:
                self._queue = self._strewn[self._stride :: self._strides]
                self._stride += 1
            elif self._fresh:
                self._fresh = False
                ready = any(target.now.ready for target in set(self.puts.values()))
                self._strewn = list(self.puts) if ready else []
                self._strides = min(STRIDES, len(self._strewn) // 64 + 1) if ready else 0
                self._stride = 0
            else:
                self._strewn = []
                return False
        return True

    def take_removals(self) -> RouteBatch | None:
        """The next routes to go out, at most BATCH."""
        if not self.removals:
            return None
        keys: list[Key] = []
        befores: list[Target | None] = []
        messages: list[bytes] = []
        while self.removals and len(keys) < BATCH:
            key, _ = self.removals.popitem()
            before = self.actual.pop(key, None)
            if before is None:
                continue
            head, tail = m.delete_frame(self.family, key[0], self.metric, 0, self.number)
            messages.append(head + key[1:] + tail)
            keys.append(key)
            befores.append(before)
        self._shape += bool(keys)
        if not self.removals:
            self.removals = {}
        if not self.actual:
            self.actual = {}
        if not messages:
            return None
        targets: list[Target | None] = [None] * len(keys)
        self._count(targets, befores)
        return RouteBatch(self, b"".join(messages), keys, targets, befores)

    def take_extras(self) -> bytes:
        """Removal of routes with our protocol number that are none of ours."""
        extras, self.extras = self.extras, []
        return b"".join(m.delete_route(self.family, r.key, r.metric, r.nhid, self.number) for r in extras)

    @staticmethod
    def _count(targets: list[Target | None], befores: list[Target | None]) -> None:
        for sign, column in ((1, targets), (-1, befores)):
            for target, number in Counter(column).items():
                if target is not None:
                    target.routes += sign * number

    # What came of it

    def fail(self, batch: RouteBatch, key: Key, position: int, number: int, text: str) -> bool:
        """Take one route of a batch back. True when the fault is to be reported, False when the next pass mends it."""
        target, before = batch.targets[position], batch.befores[position]
        wanted = self.wanted(key)
        gone = before is not None and number in (errno.ENOENT, errno.ESRCH)
        actual = self.actual.get(key)  # Elsewhere by now: a later batch is under way, and its outcome counts.
        if actual is target or _same_place(actual, target):
            self._set_actual(key, None if gone else before)
        if gone and target is None:
            self.want(key, wanted)
            return False
        wish = None if target is None else target.wish
        if wanted is wish and not gone and (target is None or (target.wish.now is target and target.ready)):
            self.puts.pop(key, None)
            self.removals.pop(key, None)
            self.refused[key] = Refusal(wish, number, text)
            return True
        self.want(key, wanted)
        return False

    def _set_actual(self, key: Key, truth: Target | None) -> None:
        previous = self.actual.get(key)
        self._shape += (previous is None) is not (truth is None)
        if previous is not None:
            previous.routes -= 1
        if truth is None:
            self.actual.pop(key, None)
        else:
            truth.routes += 1
            self.actual[key] = truth

    def correct(self, key: Key, truth: Target | None) -> None:
        """The kernel was read: this is what it has. The wish stays."""
        wanted = self.wanted(key)
        self._set_actual(key, truth)
        self.want(key, wanted)

    def same(self, expected: Target | None, truth: Target) -> bool:
        """Whether a route found on `truth` is where it was thought to be."""
        return expected is truth or _same_place(expected, truth)

    def target_of(self, record: RouteRecord, groups: dict[int, Target]) -> Target:
        """What a route found in the kernel is on."""
        if record.nhid == 0 and record.kind == UNREACHABLE:
            return self.unreachable
        if self.metric != METRIC_ROUTE or record.kind == UNREACHABLE:
            return self.stranger
        return groups.get(record.nhid, self.stranger)

    def drop(self, dropped: set[Target]) -> None:
        """The kernel deleted these groups, and their routes with them."""
        lost = {key: target for key, target in self.actual.items() if target in dropped}
        if not lost:
            return
        self._shape += 1
        if len(lost) == len(self.actual):
            self.actual = {}
        else:
            for key in lost:
                del self.actual[key]
        for key, target in lost.items():
            if key in self.removals:
                del self.removals[key]
            elif key not in self.puts and key not in self.refused:
                self.puts[key] = target.wish
        self._fresh = True

    def in_use(self) -> Iterator[Target]:
        """Targets that something is waiting for."""
        yield from set(self.puts.values())
        yield from {refusal.target for refusal in self.refused.values() if refusal.target is not None}


def _same_place(one: Target | None, other: Target | None) -> bool:
    """Both unreachable, for whatever reasons, or both on one object: the kernel knows no difference."""
    return one is not None and other is not None and one.nhid == other.nhid and one.ready and other.ready
