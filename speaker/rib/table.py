"""One family's routing table: every path that every peer announced, and what changed since it was last asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from itertools import repeat
from typing import NamedTuple

from speaker.rib.path import Path, PathSet, Source
from speaker.rib.pathset import EMPTY, PathSets
from speaker.rib.prefix import Family, Key
from speaker.rib.sweep import Sweeps


class Change(NamedTuple):
    """Keys whose path set went from `old` to `new`; () is absence. Consumers work once per change, not per key."""

    family: Family
    old: PathSet
    new: PathSet
    keys: list[Key]


@dataclass(slots=True)
class Counts:
    """Paths of one source in one table."""

    received: int = 0  # All that it announced and did not withdraw: rejected and stale ones are in.
    rejected: int = 0
    stale: int = 0


@dataclass(slots=True)
class Table:
    """Rows of one family, with change tracking.

    `announce` and `withdraw` take effect at once. What touches all rows of a source (stale
    marks, purges, a new policy) is started by `sweeps` and carried out by `sweeps.step`, in
    slices, and is correct whatever arrives between two slices.
    """

    family: Family
    sets: PathSets
    rows: dict[Key, PathSet] = field(default_factory=dict)
    counts: dict[Source, Counts] = field(default_factory=dict)
    sweeps: Sweeps = field(init=False)
    _dirty: dict[Key, PathSet] = field(default_factory=dict)
    _leaving: dict[Key, PathSet] = field(default_factory=dict)  # Being taken; older than `_dirty`.

    def __post_init__(self) -> None:
        self.sweeps = Sweeps(self)

    def announce(self, keys: Collection[Key], path: Path) -> None:
        """`path` is now what its source announces for `keys` under its path id."""
        path, with_path = self.sets.path(path), self.sets.with_path
        self.sweeps.refreshed(path.source, path.path_id, keys)
        self.move(keys, lambda old: with_path(old, path))

    def withdraw(self, keys: Collection[Key], source: Source, path_id: int) -> None:
        """`source` no longer announces `keys` under `path_id`. Unknown ones are ignored (RFC 4271 4.3)."""
        without = self.sets.without
        self.move(keys, lambda old: without(old, source, path_id))

    def move(self, keys: Collection[Key], step: Callable[[PathSet], PathSet]) -> None:
        """Replace the path set of every key by `step` of it. `step` is called once per distinct set."""
        batch = dict.fromkeys(keys)
        olds = list(map(self.rows.get, batch, repeat(EMPTY)))
        distinct = dict(zip(map(id, olds), olds, strict=True))
        moving = {name: (old, new) for name, old in distinct.items() if (new := step(old)) is not old}
        if not moving:
            return
        numbers = Counter(map(id, olds)) if len(distinct) > 1 else {name: len(olds) for name in distinct}
        for name, (old, new) in moving.items():
            self._count(old, new, numbers[name])
        if len(distinct) == 1:
            ((old, new),) = moving.values()
            self._move_all(batch, old, new)
        else:
            self._move_each(batch, olds, moving)

    def _move_all(self, batch: dict[Key, None], old: PathSet, new: PathSet) -> None:
        """The usual case: one UPDATE's prefixes had one set and get one set. No Python code per key."""
        if not self._leaving and self._dirty.keys().isdisjoint(batch):
            self._dirty.update(dict.fromkeys(batch, old))
        else:
            leaving, note = self._leaving, self._dirty.setdefault
            for key in batch:
                if key not in leaving:
                    note(key, old)
        if new:
            self.rows.update(dict.fromkeys(batch, new))
        else:
            for key in batch:
                del self.rows[key]

    def _move_each(
        self, batch: dict[Key, None], olds: list[PathSet], moving: dict[int, tuple[PathSet, PathSet]]
    ) -> None:
        rows, leaving, note = self.rows, self._leaving, self._dirty.setdefault
        for key, old in zip(batch, olds, strict=True):
            move = moving.get(id(old))
            if move is None:
                continue
            if key not in leaving:
                note(key, old)
            if move[1]:
                rows[key] = move[1]
            else:
                del rows[key]

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
            if path.stale:
                counts.stale += change

    @property
    def changed(self) -> int:
        """How many keys `take` has to tell about, at most."""
        return len(self._dirty) + len(self._leaving)

    def take(self, limit: int) -> list[Change]:
        """What changed since it was last taken: at most `limit` keys, older changes first, each key at most once.

        Grouped by (old, new). A key that changed and changed back is left out.
        """
        if not self._leaving:
            self._leaving, self._dirty = self._dirty, {}
        if len(self._leaving) <= limit:
            items = list(self._leaving.items())
            self._leaving = {}
        else:
            items = [self._leaving.popitem() for _ in range(limit)]
        return self._grouped(items)

    def _grouped(self, items: list[tuple[Key, PathSet]]) -> list[Change]:
        changes: dict[tuple[int, int], Change] = {}
        now = self.rows.get
        last_old = last_new = None
        keys: list[Key] = []
        for key, old in items:
            new = now(key, EMPTY)
            if old is last_old and new is last_new:  # Keys of one UPDATE stand together.
                keys.append(key)
                continue
            if new is old:
                continue
            change = changes.get((id(old), id(new)))
            if change is None:
                change = changes[id(old), id(new)] = Change(self.family, old, new, [])
            last_old, last_new, keys = old, new, change.keys
            keys.append(key)
        return list(changes.values())

    def snapshot(self, keys: list[Key]) -> list[Change]:
        """The rows of `keys` as they stand, as changes from nothing: what a new neighbour must be told."""
        return self._grouped([(key, EMPTY) for key in keys])
