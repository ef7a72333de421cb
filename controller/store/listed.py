"""One section of a state: its objects in canonical order with their keys and their JSON. Pure.

The next state's section is made from this one by what changed: a section may have 100,000 objects, of which an
operator changes one.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import msgspec

from controller.inventory.document import order, plain
from controller.inventory.model import Object

_encoder = msgspec.json.Encoder()  # Not sorted: `plain` has an order of fields that people like to read.


Row = tuple[tuple[Any, ...], str, Object, bytes]
"""Order, key, object, JSON."""

FEW = 100
"""Up to so many changes each finds its place by itself; beyond, sorting all is cheaper."""


@dataclass(frozen=True)
class Listed:
    """Four lists of one length."""

    orders: list[tuple[Any, ...]]
    keys: list[str]
    objects: list[Object]
    parts: list[bytes]

    @classmethod
    def of(cls, objects: Iterable[Object]) -> Listed:
        return cls._of_rows(sorted(map(_row, objects), key=itemgetter(0)))

    def after(self, gone: Sequence[Object], come: Sequence[Object]) -> Listed:
        """Without `gone`, all of which are here, and with `come`."""
        gone_keys, rows = {each.key for each in gone}, [_row(each) for each in come]
        if len(gone_keys) + len(rows) > FEW:
            kept = (row for row in zip(*self._columns, strict=True) if row[1] not in gone_keys)
            return Listed._of_rows(sorted((*kept, *rows), key=itemgetter(0)))
        changed = Listed(self.orders.copy(), self.keys.copy(), self.objects.copy(), self.parts.copy())
        for each in gone:
            at = bisect_left(changed.orders, order(each))
            for column in changed._columns:
                del column[at]
        for row in rows:
            at = bisect_left(changed.orders, row[0])
            for column, value in zip(changed._columns, row, strict=True):
                column.insert(at, value)
        return changed

    @property
    def _columns(self) -> tuple[list[Any], ...]:
        return self.orders, self.keys, self.objects, self.parts

    @classmethod
    def _of_rows(cls, rows: Iterable[Row]) -> Listed:
        listed = cls([], [], [], [])
        for row in rows:
            for column, value in zip(listed._columns, row, strict=True):
                column.append(value)
        return listed


def _row(each: Object) -> Row:
    return order(each), each.key, each, encoded(each)


def encoded(each: Object | Any) -> bytes:
    """Its place in the document, as JSON."""
    return _encoder.encode(plain(each))
