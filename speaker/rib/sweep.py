"""What touches every row of a source, in slices: stale marks, purges, a new import policy.

A table of a million rows cannot be scanned in one go inside an event loop. A *pass* goes
over a snapshot of the keys, slice by slice; it carries out, in the order in which they were
asked for, all orders that were waiting when it began. Orders that come meanwhile wait for
the next pass. So 200 sessions that are lost at once cost one pass or two, not 200.

What a source announces after an order was given is not touched by that order, though the
pass may come by its key later: each order remembers those (path id, key) until it is done.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING

from speaker.rib.limits import accepts
from speaker.rib.path import Path, PathSet, Source
from speaker.rib.prefix import Key
from speaker.rib.reasons import OVER_LIMIT, TOO_MANY_PATHS
from speaker.rib.steps import Marks

if TYPE_CHECKING:
    from speaker.rib.policy import ImportPolicy
    from speaker.rib.table import Table


class Order(Enum):
    MARK_STALE = "mark stale"  # Session lost with graceful restart (RFC 4724 4.2), or BoRR (RFC 7313 4).
    PURGE_STALE = "purge stale"  # End-of-RIB, EoRR, or their time is over.
    PURGE = "purge"  # NOTIFICATION, revoked, or no graceful restart.


@dataclass(slots=True)
class Standing:
    """An order not carried out yet, and what its source has announced since."""

    order: Order
    fresh: dict[int, set[Key]] = field(default_factory=dict)


Orders = dict[Source, list[Standing]]


class Sweeps:
    """The orders of one table. Their number is bounded: an order that adds nothing to those that wait is dropped."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self.on_judged: Callable[[Table, Source, Collection[Key]], None] = _nobody
        self._waiting: Orders = {}
        self._running: Orders = {}
        self._waiting_policies: dict[Source, ImportPolicy] = {}
        self._running_policies: dict[Source, ImportPolicy] = {}
        self._keys: list[Key] | None = None
        self._position = 0

    def mark_stale(self, source: Source) -> None:
        """All paths of `source` become stale."""
        self._add(source, Order.MARK_STALE)

    def purge_stale(self, source: Source) -> None:
        """All stale paths of `source` go."""
        self._add(source, Order.PURGE_STALE)

    def purge(self, source: Source) -> None:
        """All paths of `source` go."""
        self._waiting.pop(source, None)  # What else waits does nothing that this does not.
        self._add(source, Order.PURGE)

    def reimport(self, source: Source, policy: ImportPolicy) -> None:
        """All paths of `source` are judged again, from the attributes as received."""
        self._running_policies.pop(source, None)  # It would judge by the former policy what came under this one.
        if source in self._table.counts:
            self._waiting_policies[source] = policy

    def _add(self, source: Source, order: Order) -> None:
        counts = self._table.counts.get(source)
        if counts is None or not counts.received:
            return
        waiting = self._waiting.setdefault(source, [])
        waiting.append(Standing(order))
        orders = [standing.order for standing in waiting]
        if orders[-4:] == [Order.MARK_STALE, Order.PURGE_STALE] * 2:
            del waiting[-4:-2]  # What the older pair removes, the newer one removes too.
        elif orders[-2:] == [order] * 2:
            del waiting[-2]

    def refreshed(self, source: Source, path_id: int, keys: Collection[Key]) -> None:
        """`source` announced `keys` just now: no order given before touches them."""
        if not self._running and not self._waiting:
            return
        for orders in (self._running, self._waiting):
            for standing in orders.get(source, ()):
                if standing.order is not Order.PURGE_STALE:  # What is fresh is not stale.
                    standing.fresh.setdefault(path_id, set()).update(keys)

    @property
    def pending(self) -> bool:
        """Whether `step` has work."""
        return self._keys is not None or bool(self._waiting) or bool(self._waiting_policies)

    def step(self, rows: int) -> bool:
        """Go over at most `rows` rows. Says whether there is more to do."""
        if self._keys is None:
            if not self.pending:
                return False
            self._keys, self._position = list(self._table.rows), 0
            self._running, self._waiting = self._waiting, {}
            self._running_policies, self._waiting_policies = self._waiting_policies, {}
        piece = self._keys[self._position : self._position + rows]
        self._position += len(piece)
        if self._running:
            self._carry_out(piece)
        for source, policy in self._running_policies.items():
            self._judge(piece, source, policy)
        if self._position >= len(self._keys):
            self._keys, self._running, self._running_policies = None, {}, {}
        return self.pending

    def _carry_out(self, piece: list[Key]) -> None:
        fresh = [(s, p, keys) for ss in self._running.values() for s in ss for p, keys in s.fresh.items()]
        if not fresh:
            self._table.move(piece, self._stepper(frozenset()))
            return
        of_piece = set(piece)
        exempt_by_key: dict[Key, list[tuple[int, int]]] = {}
        for standing, path_id, announced in fresh:  # A client may have as many path ids as prefixes.
            for key in announced & of_piece:
                exempt_by_key.setdefault(key, []).append((id(standing), path_id))
        by_exemption: dict[frozenset[tuple[int, int]], list[Key]] = {}
        for key in piece:
            by_exemption.setdefault(frozenset(exempt_by_key.get(key, ())), []).append(key)
        for exempt, keys in by_exemption.items():
            self._table.move(keys, self._stepper(exempt))

    def _stepper(self, exempt: frozenset[tuple[int, int]]) -> Callable[[PathSet], PathSet]:
        """What becomes of a path set; `exempt` are the (order, path id) that do not apply to its key."""
        sets, running = self._table.sets, self._running

        def after(path: Path) -> Path | None:
            for standing in running.get(path.source, ()):
                if (id(standing), path.path_id) in exempt:
                    continue
                if standing.order is Order.MARK_STALE:
                    path = sets.stale(path)
                elif standing.order is Order.PURGE or path.stale:
                    return None
            return path

        def step(old: PathSet) -> PathSet:
            new = [path for path in map(after, old) if path is not None]
            unmoved = len(new) == len(old) and all(a is b for a, b in zip(old, new, strict=True))
            return old if unmoved else sets.intern(new)

        return step

    def _judge(self, piece: list[Key], source: Source, policy: ImportPolicy) -> None:
        table, sets = self._table, self._table.sets
        rows = table.rows
        concerned: dict[int, bool] = {}
        keys = []
        for key in piece:
            pathset = rows.get(key, ())
            known = concerned.get(id(pathset))
            if known is None:
                known = concerned[id(pathset)] = any(path.source == source for path in pathset)
            if known:
                keys.append(key)
        limited = policy.limit > 0
        for reason, judged, marks in policy.verdicts(table.family, keys):

            def again(path: Path, reason: str = reason, marks: Marks = marks) -> Path:
                if path.source != source or path.received is None or path.rejected == TOO_MANY_PATHS:
                    return path
                new = policy.path(source, path.path_id, path.received, reason, marks)
                return sets.stale(sets.path(new)) if path.stale else sets.path(new)

            def step(old: PathSet, again: Callable[[Path], Path] = again) -> PathSet:
                new = [again(path) for path in old]
                if limited and not accepts(old, source):  # It was not counted: there may be no room for it.
                    new = [_beyond(before, path, source) for before, path in zip(old, new, strict=True)]
                    new = list(map(sets.path, new))
                unmoved = all(a is b or a == b for a, b in zip(old, new, strict=True))
                return old if unmoved else sets.intern(new)

            table.move(judged, step)
            if limited:
                self.on_judged(table, source, judged)


def _nobody(table: Table, source: Source, keys: Collection[Key]) -> None:
    pass


def _beyond(before: Path, path: Path, source: Source) -> Path:
    """`path`, which was refused `before` and may be accepted now: it has to wait for room."""
    if path.source != source or path.rejected or not before.rejected:
        return path
    return replace(path, rejected=OVER_LIMIT, marks=())
