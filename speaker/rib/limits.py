"""How much of a client is taken: accepted prefixes up to the plan's limit, refused paths up to what memory may cost.
And so many paths of one prefix: path ids are of the client's own choice, and each path costs as much as there are.

What is beyond the limit of accepted prefixes is kept as filtered and *waits*; whoever has waited longest is admitted
when room comes. What is announced while others wait goes behind them. So the accepted prefixes are the first ones
of those that stand announced, in the order of the UPDATEs, however late the slices are in which room is filled.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING

from speaker.rib.path import Path, PathSet, Source
from speaker.rib.pathset import EMPTY
from speaker.rib.prefix import Family, Key
from speaker.rib.reasons import OVER_LIMIT, TOO_MANY_PATHS

if TYPE_CHECKING:
    from speaker.rib.policy import ImportPolicy
    from speaker.rib.table import Table

MOST_FILTERED = 100_000
"""Refused paths that are kept of one client, to be shown. Further ones are counted only."""
MOST_PATHS = 16
"""Of one prefix, of one client, refused ones too: a gateway announces one for each of its uplinks, 8 at most, and for a
moment both the old and the new ones. One more is kept as filtered, to be shown; further ones are counted only."""


@dataclass(frozen=True, slots=True)
class LimitState:
    """How a client stands to its limit."""

    limit: int  # 0: none.
    prefixes: int  # Accepted, both families.
    waiting: int  # Prefixes beyond the limit, kept as filtered.
    unkept: int  # Refused announcements that were not even kept, since all was last asked for.


NO_LIMIT = LimitState(0, 0, 0, 0)


@dataclass(slots=True)
class _Client:
    policy: ImportPolicy
    waiting: dict[Family, dict[Key, None]] = field(default_factory=lambda: {family: {} for family in Family})
    unkept: int = 0
    unkept_over: int = 0  # Of those, only because of the limit.
    judged_anew: bool = False  # What was not kept might be accepted now.
    crowded: bool = False  # For a path of some prefix there was no room, since all was last asked for.
    room: bool = False  # Now there may be.
    trim: Iterator[tuple[Family, list[Key]]] | None = None

    @property
    def limit(self) -> int:
        return self.policy.limit

    @property
    def waits(self) -> int:
        return sum(map(len, self.waiting.values()))


class Limits:
    """The clients of one RIB, and what of theirs waits for room."""

    def __init__(self, tables: Mapping[Family, Table], most_filtered: int = MOST_FILTERED) -> None:
        self._tables = tables
        self._most_filtered = most_filtered
        self._clients: dict[Source, _Client] = {}

    def set_policy(self, source: Source, policy: ImportPolicy, *, anew: bool) -> None:
        """`policy` judges `source` from now on. `anew`: also what it announced before, by `Sweeps.reimport`."""
        client = self._clients.get(source)
        if client is None:
            self._clients[source] = _Client(policy)
            return
        client.policy, client.trim = policy, None
        client.judged_anew = anew and bool(client.unkept or client.crowded)
        if not policy.limit:
            for waiting in client.waiting.values():
                waiting.clear()

    def forget(self, source: Source) -> None:
        """All that it announced goes."""
        if source in self._clients:
            self._clients[source] = _Client(self._clients[source].policy)

    def drop(self, source: Source) -> None:
        """It is no client any more."""
        self._clients.pop(source, None)

    def refreshed(self, source: Source) -> None:
        """It is about to announce everything again: what is not kept of that is counted anew."""
        client = self._clients.get(source)
        if client is not None:
            client.unkept = client.unkept_over = 0
            client.judged_anew = client.crowded = client.room = False

    def state(self, source: Source) -> LimitState:
        client = self._clients.get(source)
        if client is None:
            return LimitState(0, self._prefixes(source), 0, 0)
        return LimitState(client.limit, self._prefixes(source), client.waits, client.unkept)

    def to_ask(self) -> list[Source]:
        """Whom to ask for everything again, as what was not kept may be accepted now. Each is named once."""
        found = [source for source, client in self._clients.items() if self._missing(source, client)]
        for source in found:
            self.refreshed(source)
        return found

    def _missing(self, source: Source, client: _Client) -> bool:
        if client.judged_anew or client.room:
            return True
        return bool(client.unkept_over) and not client.waits and self._prefixes(source) < client.limit

    # What comes in

    def announce(self, table: Table, source: Source, keys: Collection[Key], path: Path) -> None:
        """`Table.announce`, as far as there is room."""
        client = self._clients[source]
        if path.rejected:
            self._look_for_room(table, client, source, keys, path.path_id)
            self._keep(table, client, keys, path)
            self._settle(table, client, source, keys)
        elif not client.limit or (not client.waits and self._prefixes(source) + len(keys) <= client.limit):
            self._take(table, client, keys, path)
        else:
            self._announce_some(table, client, keys, path)

    def withdraw(self, table: Table, source: Source, keys: Collection[Key], path_id: int) -> None:
        client = self._clients[source]
        self._look_for_room(table, client, source, keys, path_id)
        table.withdraw(keys, source, path_id)
        self._settle(table, client, source, keys)

    def _take(self, table: Table, client: _Client, keys: Collection[Key], path: Path) -> Collection[Key]:
        """`Table.announce`, where not too many paths of the prefix are there. Returns the keys of those."""
        left = table.announce(keys, path, _fits)
        if not left:
            return keys
        dropped: list[Key] = []
        by_set: dict[int, list[Key]] = {}
        for key in left:
            by_set.setdefault(id(table.rows[key]), []).append(key)
        for some in by_set.values():
            there = _of_source(table.rows[some[0]], path)
            least = min(there, key=_use)
            if _use(least) < _use(path):
                client.unkept += 0 if least.stale else len(some)
                table.withdraw(some, path.source, least.path_id)
                table.announce(some, path)
                continue
            dropped += some
            if any(each.rejected == TOO_MANY_PATHS for each in table.rows[some[0]] if _another(each, path)):
                client.unkept += len(some)
            else:
                self._keep(table, client, some, replace(path, rejected=TOO_MANY_PATHS, marks=()))
        client.crowded = True
        gone = set(dropped)
        return [key for key in keys if key not in gone] if gone else keys

    def _look_for_room(
        self, table: Table, client: _Client, source: Source, keys: Collection[Key], path_id: int
    ) -> None:
        """A path of `keys` is about to go. Where there were too many, another one was not taken for want of room."""
        if client.crowded and not client.room:
            gives = _remembered(lambda pathset: _gives_room(pathset, source, path_id))
            client.room = any(gives(table.rows.get(key, EMPTY)) for key in keys)

    def _announce_some(self, table: Table, client: _Client, keys: Collection[Key], path: Path) -> None:
        source, waiting = path.source, client.waiting[table.family]
        counted = _remembered(lambda pathset: accepts(pathset, source))
        inside: list[Key] = []
        fresh: list[Key] = []
        for key in dict.fromkeys(keys):
            (inside if counted(table.rows.get(key, EMPTY)) else fresh).append(key)
        room = 0 if client.waits else max(0, client.limit - self._prefixes(source))
        if inside or room:
            self._take(table, client, [*inside, *fresh[:room]], path)
        if beyond := fresh[room:]:
            kept = self._keep(table, client, beyond, replace(path, rejected=OVER_LIMIT, marks=()))
            waiting.update(dict.fromkeys(key for key in kept if key not in waiting))
            if len(waiting) > 2 * self._most_filtered:  # Some may have been purged meanwhile.
                self._settle(table, client, source, list(waiting))

    def _keep(self, table: Table, client: _Client, keys: Collection[Key], path: Path) -> Collection[Key]:
        """Take refused paths in, as many as memory may be spent on. Returns the keys of those."""
        source = path.source
        filtered = sum(counts.rejected for each in self._tables.values() if (counts := each.counts.get(source)))
        room = self._most_filtered - filtered
        if len(keys) > room:
            there = _remembered(lambda pathset: _filtered(pathset, source, path.path_id))
            kept = []
            for key in dict.fromkeys(keys):
                known = there(table.rows.get(key, EMPTY))
                if known or room > 0:
                    kept.append(key)
                    room -= not known
            dropped = set(keys).difference(kept)
            client.unkept += len(dropped)
            client.unkept_over += len(dropped) if path.rejected == OVER_LIMIT else 0
            table.withdraw(sorted(dropped), source, path.path_id)  # It announces something else now (RFC 4271 9).
            keys = kept
        return self._take(table, client, keys, path)

    def _settle(self, table: Table, client: _Client, source: Source, keys: Collection[Key]) -> None:
        """Those of `keys` that have nothing beyond the limit any more wait no longer."""
        waiting = client.waiting[table.family]
        if not waiting:
            return
        beyond = _remembered(lambda pathset: _over(pathset, source))
        for key in keys:
            if key in waiting and not beyond(table.rows.get(key, EMPTY)):
                del waiting[key]

    def judged(self, table: Table, source: Source, keys: Collection[Key]) -> None:
        """`keys` were judged by a new policy; what it newly accepts stands there as beyond the limit, and waits."""
        client = self._clients.get(source)
        if client is None or not client.limit:
            return
        self._settle(table, client, source, keys)
        waiting = client.waiting[table.family]
        beyond = _remembered(lambda pathset: _over(pathset, source))
        for key in keys:
            if key not in waiting and beyond(table.rows.get(key, EMPTY)):
                waiting[key] = None

    # Work in slices

    @property
    def pending(self) -> bool:
        """Whether `step` has work."""
        return any(self._room(source, client) for source, client in self._clients.items())

    def step(self, rows: int) -> None:
        """Admit who waits where there is room, and put out what is too much under a lower limit; at most `rows` rows.

        To be called when no sweep is pending: what these still purge makes room.
        """
        for source, client in self._clients.items():
            room = self._room(source, client)
            if room > 0:
                self._admit(source, client, min(room, rows))
                return
            if room < 0:
                self._put_out(source, client, -room, rows)
                return

    def _room(self, source: Source, client: _Client) -> int:
        """For how many that wait there is room; how many are too much, negative; 0: nothing to do."""
        if not client.limit:
            return 0
        room = client.limit - self._prefixes(source)
        return room if room < 0 or client.waits else 0

    def _admit(self, source: Source, client: _Client, number: int) -> None:
        for family, table in self._tables.items():
            waiting = client.waiting[family]
            keys = list(islice(waiting, number))
            if not keys:
                continue
            for key in keys:
                del waiting[key]
            for reason, judged, marks in client.policy.verdicts(family, keys):

                def again(path: Path, reason: str = reason, marks: tuple[int, ...] = marks) -> Path:
                    if path.source != source or path.rejected != OVER_LIMIT or path.received is None:
                        return path
                    new = client.policy.path(source, path.path_id, path.received, reason, marks)
                    return replace(new, stale=path.stale)

                table.move(judged, _stepper(table, again))
            return

    def _put_out(self, source: Source, client: _Client, number: int, rows: int) -> None:
        """Those rows that came last to the table, from whomever, go first."""
        if client.trim is None:
            client.trim = self._backwards(rows)
        family, piece = next(client.trim, (Family.IPV4, []))
        if not piece:
            client.trim = None
            return
        table = self._tables[family]
        counted = _remembered(lambda pathset: accepts(pathset, source))
        keys = [key for key in piece if counted(table.rows.get(key, EMPTY))][:number]
        self._refuse(table, client, source, keys)

    def _refuse(self, table: Table, client: _Client, source: Source, keys: list[Key]) -> None:
        filtered = sum(counts.rejected for each in self._tables.values() if (counts := each.counts.get(source)))
        if filtered + len(keys) > self._most_filtered:
            client.unkept += len(keys)
            client.unkept_over += len(keys)
            table.move(keys, _stepper(table, lambda path: None if path.source == source else path))
            return

        def over(path: Path) -> Path:
            if path.source != source or path.rejected:
                return path
            return replace(path, rejected=OVER_LIMIT, marks=())

        table.move(keys, _stepper(table, over))
        client.waiting[table.family] = dict.fromkeys(reversed(keys)) | client.waiting[table.family]

    def _backwards(self, rows: int) -> Iterator[tuple[Family, list[Key]]]:
        for family in reversed(Family):
            keys = list(reversed(self._tables[family].rows))
            for start in range(0, len(keys), rows):
                yield family, keys[start : start + rows]

    def _prefixes(self, source: Source) -> int:
        return sum(counts.prefixes for table in self._tables.values() if (counts := table.counts.get(source)))


def accepts(pathset: PathSet, source: Source) -> bool:
    """Whether something of `source` is accepted in it."""
    return any(not path.rejected and (path.source is source or path.source == source) for path in pathset)


def _another(path: Path, than: Path) -> bool:
    """Of the same source, under another path id."""
    return path.path_id != than.path_id and path.source == than.source


def _of_source(pathset: PathSet, path: Path) -> list[Path]:
    """Those that `path` has to stand beside, as far as they count."""
    return [each for each in pathset if each.rejected != TOO_MANY_PATHS and _another(each, path)]


def _fits(pathset: PathSet, path: Path) -> bool:
    few = len(pathset) < MOST_PATHS or path.rejected == TOO_MANY_PATHS
    return few or len(_of_source(pathset, path)) < MOST_PATHS


def _use(path: Path) -> tuple[int, bool]:
    """The greater, the better to keep: what is used, what only waits for room, what is refused."""
    return 0 if path.rejected not in {"", OVER_LIMIT} else 1 if path.rejected else 2, not path.stale


def _gives_room(pathset: PathSet, source: Source, path_id: int) -> bool:
    """Whether it has as many paths of `source` as there may be, and the one of this id is in the way of a good one."""
    counted = [path for path in pathset if path.source == source and path.rejected != TOO_MANY_PATHS]
    return len(counted) >= MOST_PATHS and any(path.path_id == path_id and _use(path)[0] for path in counted)


def _over(pathset: PathSet, source: Source) -> bool:
    return any(path.rejected == OVER_LIMIT and path.source == source for path in pathset)


def _filtered(pathset: PathSet, source: Source, path_id: int) -> bool:
    return any(path.rejected and path.path_id == path_id and path.source == source for path in pathset)


def _remembered(asked: Callable[[PathSet], bool]) -> Callable[[PathSet], bool]:
    """`asked`, once per distinct path set. The table holds them all while this is used."""
    known: dict[int, bool] = {}

    def answer(pathset: PathSet) -> bool:
        found = known.get(id(pathset))
        if found is None:
            found = known[id(pathset)] = asked(pathset)
        return found

    return answer


def _stepper(table: Table, each: Callable[[Path], Path | None]) -> Callable[[PathSet], PathSet]:
    sets = table.sets

    def step(old: PathSet) -> PathSet:
        new = [sets.path(path) for path in map(each, old) if path is not None]
        unmoved = len(new) == len(old) and all(a is b or a == b for a, b in zip(old, new, strict=True))
        return old if unmoved else sets.intern(new)

    return step
