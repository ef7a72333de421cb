"""Routes of one family at one metric: what is wanted, what the kernel has, and the packed difference. Pure.

Only the difference is stored: `actual` is the kernel's view, `puts`, `removals` and `refused`
are where the wish differs. So a million routes in place cost one dict, not two.

`actual` says what will be true when every batch taken so far went through; a fault takes it back.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from speaker.kernel import messages as m
from speaker.kernel.port import METRIC_ROUTE, UNREACHABLE, RouteRecord
from speaker.kernel.targets import Frames, Target
from speaker.rib.prefix import Family, Key

BATCH = 2500
"""Routes in one sendmsg: 130 KB, about 15 ms in the kernel. What is urgent waits for two at most."""

STRIDES = 1009


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
    def __init__(self, family: Family, metric: int) -> None:
        self.family = family
        self.metric = metric
        self.unreachable = Target(0, metric, ready=True)
        self.stranger = Target(0, metric)  # What a route of ours is on when somebody else changed it.
        self.actual: dict[Key, Target] = {}
        self.puts: dict[Key, Target] = {}
        self.removals: dict[Key, None] = {}
        self.refused: dict[Key, Refusal] = {}
        self.extras: list[RouteRecord] = []  # Ours by protocol, but with a metric or duplicate we never make.
        self._queue: list[Key] = []  # Keys of `puts` in the order in which they go; a key no longer there is skipped.
        self._fresh = False  # `puts` may hold something ready that is not in the queue.

    # What is wanted

    def want(self, key: Key, target: Target | None) -> None:
        """The route's wish is `target` from now on; None = no route."""
        if self.refused:
            self.refused.pop(key, None)
        actual = self.actual.get(key)
        if target is actual:
            self.puts.pop(key, None)
            if key in self.removals:
                # Found at the start, claimed now. Stored anew under the caller's object, so that the
                # address is in memory once.
                del self.removals[key]
                if actual is not None:
                    del self.actual[key]
                    self.actual[key] = actual
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
        return refusal.target if refusal is not None else self.actual.get(key)

    def wake(self) -> None:
        """Targets became ready: routes that waited for them may go."""
        self._fresh = True

    def retry(self) -> None:
        """What was refused is tried again."""
        refused, self.refused = self.refused, {}
        for key, refusal in refused.items():
            self.want(key, refusal.target)

    # Batches

    def take_puts(self) -> RouteBatch | None:
        """The next routes to go in or to move, at most BATCH; None when there are none whose target is ready."""
        family_index = Frames.IPV6 if self.family is Family.IPV6 else 0
        messages: list[bytes] = []
        keys: list[Key] = []
        targets: list[Target | None] = []
        befores: list[Target | None] = []
        wanted, actual = self.puts.get, self.actual.get
        while not messages and self._refill():
            chunk = self._queue[-BATCH:]
            del self._queue[-BATCH:]
            for key in chunk:
                target = wanted(key)
                if target is None or not target.ready:
                    continue
                before = actual(key)
                index = key[0] + family_index
                head, tail = target.frames[index if before is None else index + 256]
                messages.append(head + key[1:] + tail)
                keys.append(key)
                targets.append(target)
                befores.append(before)
        if not messages:
            return None
        for key in keys:
            del self.puts[key]
        if not self.puts:
            self.puts = {}  # An emptied dict keeps its memory, and walking it costs what it once held.
        batch = RouteBatch(self, b"".join(messages), keys, targets, befores)
        self.actual.update(zip(keys, targets, strict=True))  # type: ignore[arg-type]
        self._count(targets, befores)
        return batch

    def _refill(self) -> bool:
        """Whether the queue has keys. A new one is strewn: the kernel's trie stalls for up to 845 ms on sorted
        prefixes, and every 1009th is as good as random."""
        if not self._queue and self._fresh:
            self._fresh = False
            ready = {target for target in set(self.puts.values()) if target.ready}
            keys = [key for key, target in self.puts.items() if target in ready] if ready else []
            strides = min(STRIDES, len(keys) // 64 + 1)
            self._queue = [key for start in range(strides) for key in keys[start::strides]]
            self._queue.reverse()  # Taken from the end.
        return bool(self._queue)

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
            head, tail = m.delete_frame(self.family, key[0], self.metric)
            messages.append(head + key[1:] + tail)
            keys.append(key)
            befores.append(before)
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
        return b"".join(m.delete_route(self.family, r.key, r.metric, r.nhid) for r in extras)

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
        if self.actual.get(key) is target:  # Otherwise a later batch is under way, and its outcome counts.
            self._set_actual(key, None if gone else before)
        if gone and target is None:
            self.want(key, wanted)
            return False
        if wanted is target and not gone and (target is None or target.ready):
            self.puts.pop(key, None)
            self.removals.pop(key, None)
            self.refused[key] = Refusal(target, number, text)
            return True
        self.want(key, wanted)
        return False

    def _set_actual(self, key: Key, truth: Target | None) -> None:
        previous = self.actual.get(key)
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
        if len(lost) == len(self.actual):
            self.actual = {}
        else:
            for key in lost:
                del self.actual[key]
        for key, target in lost.items():
            if key in self.removals:
                del self.removals[key]
            elif key not in self.puts and key not in self.refused:
                self.puts[key] = target
        self._fresh = True

    def in_use(self) -> Iterator[Target]:
        """Targets that something is waiting for."""
        yield from set(self.puts.values())
        yield from {refusal.target for refusal in self.refused.values() if refusal.target is not None}
