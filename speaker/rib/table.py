"""One family's routing table: every path that every peer announced, and what changed since it was last asked."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from itertools import repeat
from typing import NamedTuple

from speaker.rib.limits import accepts
from speaker.rib.path import LIMITED, Path, PathSet, Source
from speaker.rib.pathset import EMPTY, PathSets
from speaker.rib.prefix import Family, Key
from speaker.rib.sweep import Sweeps


class Change(NamedTuple):
    """Keys whose path set went from `old` to `new`; () is absence. Consumers work once per change, not per key."""

    family: Family
    old: PathSet
    new: PathSet
    keys: list[Key]


LOG_LIMIT = 1 << 22
"""Changes in the log before it is compacted; 32 MB. A consumer that keeps up never comes near it."""


@dataclass(slots=True)
class Counts:
    """Paths of one source in one table."""

    received: int = 0  # All that it announced and did not withdraw: rejected and stale ones are in.
    rejected: int = 0
    stale: int = 0
    prefixes: int = 0  # With at least one path of it that is accepted. Counted of those in LIMITED only.
    reasons: dict[str, int] = field(default_factory=dict, compare=False)  # Reason code -> rejected paths; never 0.


class Table:
    """Rows of one family, with change tracking.

    `announce` and `withdraw` take effect at once. What touches all rows of a source (stale
    marks, purges, a new policy) is started by `sweeps` and carried out by `sweeps.step`, in
    slices, and is correct whatever arrives between two slices.

    At a million rows each look-up of a key is a cache miss and costs more than everything
    else. So changes are logged by the batch; a key is looked up again only when its change is taken.
    """

    def __init__(self, family: Family, sets: PathSets, log_limit: int = LOG_LIMIT) -> None:
        self.family = family
        self.sets = sets
        self.rows: dict[Key, PathSet] = {}
        self.counts: dict[Source, Counts] = {}  # Of those that have paths here.
        self.sweeps = Sweeps(self)
        self.changed = 0  # How many keys `take` has to look at.
        self._log: deque[tuple[PathSet, PathSet, list[Key]]] = deque()
        # Ids of the sets that keys in the log went from and to. While they have none in common no key is in it twice.
        self._olds: set[int] = set()
        self._news: set[int] = set()
        # Keys that were told about while a later change of theirs was in the log already: what was told.
        self._told: dict[Key, PathSet] = {}
        self._least_log_limit = self._log_limit = log_limit

    def announce(
        self, keys: Collection[Key], path: Path, fits: Callable[[PathSet, Path], bool] | None = None
    ) -> list[Key]:
        """`path` is now what its source announces for `keys` under its path id. Returns those where it does not fit.

        These stay as they are.
        """
        path, with_path = self.sets.path(path), self.sets.with_path
        full: dict[int, PathSet] = {}

        def step(old: PathSet) -> PathSet:
            if fits is None or fits(old, path):
                return with_path(old, path)
            full[id(old)] = old
            return old

        self.move(keys, step)
        left = [key for key in dict.fromkeys(keys) if id(self.rows.get(key, EMPTY)) in full] if full else []
        self.sweeps.refreshed(path.source, path.path_id, set(keys).difference(left) if left else keys)
        return left

    def withdraw(self, keys: Collection[Key], source: Source, path_id: int) -> None:
        """`source` no longer announces `keys` under `path_id`. Unknown ones are ignored (RFC 4271 4.3)."""
        without = self.sets.without
        self.move(keys, lambda old: without(old, source, path_id))

    def move(self, keys: Collection[Key], step: Callable[[PathSet], PathSet]) -> None:
        """Replace the path set of every key by `step` of it. `step` is called once per distinct set."""
        batch = list(dict.fromkeys(keys))
        olds = list(map(self.rows.get, batch, repeat(EMPTY)))
        if len(set(map(id, olds))) == 1:  # The usual case: no Python code per key.
            new = step(olds[0])
            if new is not olds[0]:
                self._replace(batch, olds[0], new)
            return
        parts: dict[int, tuple[PathSet, list[Key]]] = {}
        for key, old in zip(batch, olds, strict=True):
            part = parts.get(id(old))
            if part is None:
                part = parts[id(old)] = old, []
            part[1].append(key)
        for old, part_keys in parts.values():
            new = step(old)
            if new is not old:
                self._replace(part_keys, old, new)

    def _replace(self, keys: list[Key], old: PathSet, new: PathSet) -> None:
        self._count(old, new, len(keys))
        self._note(old, new, keys)
        if new:
            self.rows.update(dict.fromkeys(keys, new))
        else:
            for key in keys:
                del self.rows[key]
        if self.changed > self._log_limit:
            self._compact()

    def _note(self, old: PathSet, new: PathSet, keys: list[Key]) -> None:
        self._log.append((old, new, keys))
        self._olds.add(id(old))
        self._news.add(id(new))
        self.changed += len(keys)

    def _count(self, old: PathSet, new: PathSet, number: int) -> None:
        """`number` rows went from `old` to `new`."""
        before, after = set(map(id, old)), set(map(id, new))
        changes = [(path, number) for path in new if id(path) not in before]
        changes += [(path, -number) for path in old if id(path) not in after]
        for path, change in changes:
            counts = self.counts.get(path.source)
            if counts is None:
                counts = self.counts[path.source] = Counts()
            counts.received += change
            if path.rejected:
                counts.rejected += change
                left = counts.reasons[path.rejected] = counts.reasons.get(path.rejected, 0) + change
                if not left:
                    del counts.reasons[path.rejected]
            if path.stale:
                counts.stale += change
        for source in {path.source for path, _ in changes if path.source.kind in LIMITED}:
            self.counts[source].prefixes += (accepts(new, source) - accepts(old, source)) * number
        for source in {path.source for path, change in changes if change < 0}:
            if not self.counts[source].received:  # The same peer may come back as another source, time and again.
                del self.counts[source]

    def take(self, limit: int) -> list[Change]:
        """What changed since it was last taken, the oldest changes first, grouped by (old, new).

        At most `limit` keys, each at most once; `old` is what was last told about the key. A key that changed
        and changed back is left out.
        """
        changes: dict[tuple[int, int], Change] = {}
        once = not self._told and self._olds.isdisjoint(self._news)
        while self._log and limit > 0:
            old, new, keys = self._log.popleft()
            if len(keys) > limit:
                self._log.appendleft((old, new, keys[limit:]))
                keys = keys[:limit]
            limit -= len(keys)
            self.changed -= len(keys)
            if once:  # A table that fills or empties: what was logged is how it is.
                self._change(changes, old, new).extend(keys)
            else:
                self._settle(old, new, keys, changes)
        if not self._log:
            self._told = {}
        if len(self._olds) + len(self._news) > 4 * len(self._log):  # Bounded, and empty when the log is.
            self._olds = {id(old) for old, _, _ in self._log}
            self._news = {id(new) for _, new, _ in self._log}
        return list(changes.values())

    def _compact(self) -> None:
        """Nobody takes changes: keep one a key, at most as many as keys there are and were."""
        for _, old, new, keys in self.take(self.changed):
            self._note(old, new, keys)
        self._log_limit = max(self._least_log_limit, 2 * self.changed)

    def _settle(self, old: PathSet, then: PathSet, keys: list[Key], changes: dict[tuple[int, int], Change]) -> None:
        """Add to `changes` what `keys`, which went from `old` to `then`, are now."""
        news = list(map(self.rows.get, keys, repeat(EMPTY)))
        told = self._told
        if set(map(id, news)) == {id(then)} and told.keys().isdisjoint(keys):
            self._change(changes, old, then).extend(keys)
            return
        for key, new in zip(keys, news, strict=True):
            before = told.get(key)
            if before is None:
                before = old
                if new is not then:  # It stands in the log again.
                    told[key] = new
            else:
                told[key] = new
            if new is not before:
                self._change(changes, before, new).append(key)

    def _change(self, changes: dict[tuple[int, int], Change], old: PathSet, new: PathSet) -> list[Key]:
        change = changes.get((id(old), id(new)))
        if change is None:
            change = changes[id(old), id(new)] = Change(self.family, old, new, [])
        return change.keys

    def snapshot(self, keys: list[Key]) -> list[Change]:
        """The rows of `keys` as they stand, as changes from nothing: what a new neighbour must be told."""
        changes: dict[tuple[int, int], Change] = {}
        for key, new in zip(keys, map(self.rows.get, keys, repeat(EMPTY)), strict=True):
            if new:
                self._change(changes, EMPTY, new).append(key)
        return list(changes.values())
