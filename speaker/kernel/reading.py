"""One reading of the kernel, compared with what we believe: `actual` is corrected, wishes stay. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product

from speaker.kernel.nexthops import Objects
from speaker.kernel.port import METRIC_ROUTE, TABLE_LAN, TABLE_MAIN, NextHopRecord, RouteRecord
from speaker.kernel.table import Table
from speaker.kernel.targets import Target
from speaker.rib.prefix import Family, Key


class Reading:
    """`objects`, then for each of PARTS `begin`, `routes` for each chunk, `end`. Wishes may change meanwhile."""

    PARTS = tuple(product((TABLE_MAIN, TABLE_LAN), Family))
    """(number of the kernel's table, family)"""

    def __init__(self, objects: Objects, tables: Iterable[Table]) -> None:
        self.differences = 0  # {absent, extra, modified}, of objects and routes.
        self._objects = objects
        self._all = tuple(tables)
        self._groups: dict[int, Target] = {}
        self._tables: dict[int, Table] = {}  # Those that are being read, by metric.
        self._unseen: dict[int, dict[Key, Target]] = {}

    def objects(self, records: Iterable[NextHopRecord]) -> None:
        self.differences += self._objects.read(records)
        self._groups = dict(self._objects.held.groups)

    def begin(self, number: int, family: Family) -> None:
        self._tables = {each.metric: each for each in self._all if (each.number, each.family) == (number, family)}
        self._unseen = {metric: dict(table.actual) for metric, table in self._tables.items()}
        for table in self._tables.values():
            table.extras = []

    def routes(self, records: Iterable[RouteRecord]) -> None:
        for record in records:
            key, metric, _, _ = record
            known = metric in self._tables
            table = self._tables[metric if known else METRIC_ROUTE]
            expected = self._unseen[metric].pop(key, None) if known else None
            truth = table.target_of(record, self._groups)
            if table.same(expected, truth):
                continue
            self.differences += 1
            if not known or (expected is None and key in table.actual and table.actual[key] is not truth):
                # A metric that we never use, or a second route beside the one just seen.
                table.extras.append(record)
            else:
                table.correct(key, truth)

    def end(self) -> None:
        """What was not seen is not there."""
        for metric, unseen in self._unseen.items():
            self.differences += len(unseen)
            for key in unseen:
                self._tables[metric].correct(key, None)
        self._unseen = {}
