"""One reading of the kernel, compared with what we believe: `actual` is corrected, wishes stay. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from speaker.kernel.nexthops import Objects
from speaker.kernel.port import METRIC_REJECT, METRIC_ROUTE, NextHopRecord, RouteRecord
from speaker.kernel.table import Table
from speaker.kernel.targets import Target
from speaker.rib.prefix import Family, Key


class Reading:
    """`objects`, then per family `begin`, `routes` for each chunk, `end`. Wishes may change meanwhile."""

    def __init__(self, objects: Objects, routes: dict[Family, Table], rejects: dict[Family, Table]) -> None:
        self.differences = 0  # {absent, extra, modified}, of objects and routes.
        self._objects = objects
        self._tables = {METRIC_ROUTE: routes, METRIC_REJECT: rejects}
        self._groups: dict[int, Target] = {}
        self._family = Family.IPV4
        self._unseen: dict[int, dict[Key, Target]] = {}

    def objects(self, records: Iterable[NextHopRecord]) -> None:
        self.differences += self._objects.read(records)
        self._groups = dict(self._objects.held.groups)

    def begin(self, family: Family) -> None:
        self._family = family
        self._unseen = {metric: dict(tables[family].actual) for metric, tables in self._tables.items()}
        for tables in self._tables.values():
            tables[family].extras = []

    def routes(self, records: Iterable[RouteRecord]) -> None:
        family = self._family
        for record in records:
            key, metric, _, _ = record
            tables = self._tables.get(metric)
            table = (tables or self._tables[METRIC_ROUTE])[family]
            expected = self._unseen[metric].pop(key, None) if tables else None
            truth = table.target_of(record, self._groups)
            if table.same(expected, truth):
                continue
            self.differences += 1
            if tables is None or (expected is None and key in table.actual and table.actual[key] is not truth):
                # A metric that we never use, or a second route beside the one just seen.
                table.extras.append(record)
            else:
                table.correct(key, truth)

    def end(self) -> None:
        """What was not seen is not there."""
        for metric, unseen in self._unseen.items():
            self.differences += len(unseen)
            for key in unseen:
                self._tables[metric][self._family].correct(key, None)
        self._unseen = {}
