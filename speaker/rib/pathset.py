"""Interned path sets, and what may become of them.

A million rows have about a thousand distinct path sets. So everything that is computed from
a path set is computed once per distinct one, found again by identity. Memos are keyed by
`id()` and keep the object alive in their value, because hashing a path walks all its
attributes. Every memo is emptied when full: two equal sets may then be two objects, which
costs work twice and changes no outcome, because equality is by value everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from speaker.rib.path import Path, PathSet, Source

MEMO_LIMIT = 1 << 16
"""Entries per memo. At 200 octets an entry no memo is larger than about 13 MB."""

EMPTY: PathSet = ()


def order(path: Path) -> tuple[bytes, str, int]:
    """The order of paths within a set: by peer, then by path id. It says nothing about which is better."""
    return path.source.address, path.source.name, path.path_id


class PathSets:
    """The interned path sets of one RIB."""

    def __init__(self, limit: int = MEMO_LIMIT) -> None:
        self._limit = limit
        self._paths: dict[Path, Path] = {}
        self._canonical: dict[int, Path] = {}
        self._sets: dict[tuple[int, ...], PathSet] = {}
        self._with: dict[tuple[int, int], tuple[PathSet, Path, PathSet]] = {}
        self._without: dict[tuple[int, int, int], tuple[PathSet, Source, PathSet]] = {}
        self._stale: dict[int, tuple[Path, Path]] = {}

    def path(self, path: Path) -> Path:
        """The one object that stands for this value."""
        if id(path) in self._canonical:
            return path
        known = self._paths.get(path)
        if known is None:
            if len(self._paths) >= self._limit:
                self._forget_paths()
            self._paths[path] = self._canonical[id(path)] = known = path
        return known

    def intern(self, paths: Iterable[Path]) -> PathSet:
        """The one object for these paths, sorted. `paths` has no two of one (source, path_id)."""
        ordered = tuple(sorted(map(self.path, paths), key=order))
        if not ordered:
            return EMPTY
        names = tuple(map(id, ordered))
        known = self._sets.get(names)
        if known is None:
            if len(self._sets) >= self._limit:
                self._sets.clear()
            self._sets[names] = known = ordered
        return known

    def with_path(self, pathset: PathSet, path: Path) -> PathSet:
        """`pathset` with `path` in place of what its source announced under the same id before."""
        name = (id(pathset), id(path))
        memo = self._with.get(name)
        if memo is None:
            rest = [p for p in pathset if p.path_id != path.path_id or p.source != path.source]
            memo = pathset, path, self._same(pathset, self.intern([*rest, path]))
            if len(self._with) >= self._limit:
                self._with.clear()
            self._with[name] = memo
        return memo[2]

    def without(self, pathset: PathSet, source: Source, path_id: int) -> PathSet:
        """`pathset` after `source` withdrew `path_id`. The same object when there was nothing to withdraw."""
        name = (id(pathset), id(source), path_id)
        memo = self._without.get(name)
        if memo is None:
            rest = [p for p in pathset if p.path_id != path_id or p.source != source]
            memo = pathset, source, self._same(pathset, self.intern(rest))
            if len(self._without) >= self._limit:
                self._without.clear()
            self._without[name] = memo
        return memo[2]

    def stale(self, path: Path) -> Path:
        """`path`, marked stale."""
        if path.stale:
            return path
        memo = self._stale.get(id(path))
        if memo is None:
            memo = path, self.path(replace(path, stale=True))
            if len(self._stale) >= self._limit:
                self._stale.clear()
            self._stale[id(path)] = memo
        return memo[1]

    def _same(self, old: PathSet, new: PathSet) -> PathSet:
        """`old` itself when nothing changed, though interning may have lost its identity meanwhile."""
        return old if len(old) == len(new) and all(a is b or a == b for a, b in zip(old, new, strict=True)) else new

    def _forget_paths(self) -> None:
        """Sets are found by the identity of their paths, so both go together."""
        self._paths.clear()
        self._canonical.clear()
        self._sets.clear()
