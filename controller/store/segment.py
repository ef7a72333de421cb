"""What the controller remembers of ZeroTier networks: whom it has let in, and how the last pass went."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, delete, insert, select, text, update

from controller.store.engine import Database, translated
from controller.store.tables import segment_owned, segment_status

_LOCK = 0x1E71_0005
"""PostgreSQL's advisory lock: one controller at a time writes the segment."""

_SAVE_STATUS = text(
    "INSERT INTO segment_status (network, at, settled_at, body) VALUES (:network, :at, :settled_at, :body)"
    " ON CONFLICT (network) DO UPDATE SET at = excluded.at, body = excluded.body,"
    " settled_at = COALESCE(excluded.settled_at, segment_status.settled_at)"
)


@dataclass(frozen=True)
class StoredStatus:
    at: float
    settled_at: float | None
    body: bytes


class SegmentStore:
    """Thread-safe. Methods raise StoreUnavailable, and have then done nothing. Rows: one a member, one a network."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def owned(self, network: str) -> frozenset[str]:
        with self._database.read() as connection:
            return _owned(connection, network)

    def take(self, network: str, node_ids: Iterable[str], now: float) -> None:
        """Those that are known already stay as they are."""
        new = sorted(set(node_ids) - self.owned(network))
        if new:
            with self._database.write() as connection:
                take(connection, network, new, now)

    def left(self, network: str) -> dict[str, float]:
        """Who was put out, and when, Unix time."""
        columns = (segment_owned.c.node_id, segment_owned.c.left_at)
        with self._database.read() as connection:
            found = connection.execute(select(*columns).where(*_put_out(network)))
            return {row.node_id: row.left_at for row in found}

    def leave(self, network: str, node_id: str, now: float) -> None:
        one = (segment_owned.c.network == network, segment_owned.c.node_id == node_id)
        with self._database.write() as connection:
            connection.execute(update(segment_owned).where(*one).values(left_at=now))

    def drop(self, network: str, node_id: str) -> None:
        one = (segment_owned.c.network == network, segment_owned.c.node_id == node_id)
        with self._database.write() as connection:
            connection.execute(delete(segment_owned).where(*one))

    def status(self, network: str) -> StoredStatus | None:
        with self._database.read() as connection:
            row = connection.execute(select(segment_status).where(segment_status.c.network == network)).one_or_none()
        return None if row is None else StoredStatus(row.at, row.settled_at, row.body)

    def save_status(self, network: str, body: bytes, at: float, *, settled: bool) -> None:
        values = {"network": network, "at": at, "settled_at": at if settled else None, "body": body}
        with self._database.write() as connection:
            connection.execute(_SAVE_STATUS, values)

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """False: another controller of this database is at it. SQLite has one controller."""
        if not self._database.is_postgres:
            yield True
            return
        with translated(), self._database.engine.connect() as opened:
            connection = opened.execution_options(isolation_level="AUTOCOMMIT")
            held = bool(connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": _LOCK}).scalar_one())
            try:
                yield held
            finally:
                if held:
                    connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _LOCK})


def take(connection: Connection, network: str, node_ids: Iterable[str], now: float) -> None:
    """In the caller's transaction. Those that are known already stay as they are."""
    new = sorted(set(node_ids) - _owned(connection, network))
    if new:
        connection.execute(delete(segment_owned).where(*_put_out(network), segment_owned.c.node_id.in_(new)))
        rows = [{"network": network, "node_id": each, "since": now} for each in new]
        connection.execute(insert(segment_owned), rows)


def _owned(connection: Connection, network: str) -> frozenset[str]:
    ours = (segment_owned.c.network == network, segment_owned.c.left_at.is_(None))
    return frozenset(connection.execute(select(segment_owned.c.node_id).where(*ours)).scalars())


def _put_out(network: str) -> tuple[ColumnElement[bool], ...]:
    return segment_owned.c.network == network, segment_owned.c.left_at.is_not(None)
