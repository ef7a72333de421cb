"""The database behind the controller: one engine, two kinds of transaction, three kinds of failure.

SQLite in WAL mode is the default; PostgreSQL is for more than one controller. What both promise here:
a reader sees one moment in time, writers come one after the other, and no statement waits for ever.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from sqlalchemy import Connection, Engine, create_engine, event, exc
from sqlalchemy.engine import URL, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

BUSY_TIMEOUT_SECONDS = 5.0
"""How long SQLite, and PostgreSQL's lock_timeout, wait for somebody else's lock."""
QUEUE_TIMEOUT_SECONDS = 20.0
"""How long a change waits for the changes of this process that came before it."""
STATEMENT_TIMEOUT_SECONDS = 30.0
CONNECT_TIMEOUT_SECONDS = 5
POOL_SIZE = 40  # FastAPI runs plain handlers in 40 threads.

_WRITES = "leyline_writes"

# What SQLite says when the file is the problem and not the statement: waiting or an operator helps.
_SQLITE_UNAVAILABLE = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_NOTADB,
    }
)


class StoreError(Exception):
    """Something about the database that whoever runs the controller can put right."""


class StoreUnavailable(StoreError):
    """The database is locked, full or gone. Nothing was stored; the same call may work later."""


class StoreNotMigrated(StoreError):
    """The schema is not the one that this release works on."""


class BadDatabaseUrl(StoreError):
    """The URL names no database that the controller can use."""


def parse_url(text: str) -> URL:
    """The URL of a SQLite file or of a PostgreSQL database. Raises BadDatabaseUrl."""
    try:
        url = make_url(text)
    except exc.ArgumentError:
        raise BadDatabaseUrl("not a database URL; use sqlite:////path/to/file or postgresql://user@host/name") from None
    backend = url.get_backend_name()
    if backend == "sqlite":
        if url.drivername not in ("sqlite", "sqlite+pysqlite"):
            raise BadDatabaseUrl(f"driver {url.drivername} is not supported; write sqlite:////path/to/file")
        if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
            raise BadDatabaseUrl("SQLite needs a file; write sqlite:////path/to/file")
        return url
    if backend == "postgresql":
        if url.drivername not in ("postgresql", "postgresql+psycopg"):
            raise BadDatabaseUrl(f"driver {url.drivername} is not supported; write postgresql://user@host/name")
        return url.set(drivername="postgresql+psycopg")
    raise BadDatabaseUrl(f"{backend} is not supported; use sqlite:////path/to/file or postgresql://user@host/name")


def require_file(url: str) -> None:
    """For what works on a database that stands already: opening an SQLite file that is not there would make it.

    Raises BadDatabaseUrl.
    """
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite" and not Path(str(parsed.database)).exists():
        raise BadDatabaseUrl(
            f"{parsed.database}: no such file; name the controller's by --database or LEYLINE_DATABASE"
        )


class Database:
    """Transactions on one database. Thread-safe; shared by all handlers of a process."""

    def __init__(self, url: str, *, busy_timeout: float = BUSY_TIMEOUT_SECONDS) -> None:
        self.url = parse_url(url)
        self.is_postgres = self.url.get_backend_name() == "postgresql"
        self.engine = _postgres(self.url, busy_timeout) if self.is_postgres else _sqlite(self.url, busy_timeout)
        self._snapshot = self.engine.execution_options(isolation_level="REPEATABLE READ" if self.is_postgres else None)
        self._queue = threading.Lock()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One moment in time, however many queries. Raises StoreUnavailable."""
        engine = self._snapshot if self.is_postgres else self.engine
        with translated(), engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Committed when the block ends, rolled back when it raises. Raises StoreUnavailable.

        Used for small facts that need no order among them (reports, tokens); a change of the
        fabric uses `change`.
        """
        with translated(), self.engine.connect() as connection:
            connection = connection.execution_options(**{_WRITES: True})
            with connection.begin():
                yield connection

    @contextmanager
    def change(self) -> Iterator[Connection]:
        """As `write`, and changes of one process wait in line instead of fighting for the lock."""
        if not self._queue.acquire(timeout=QUEUE_TIMEOUT_SECONDS):
            raise StoreUnavailable(f"other changes have kept the database busy for {QUEUE_TIMEOUT_SECONDS:.0f} s")
        try:
            with self.write() as connection:
                yield connection
        finally:
            self._queue.release()

    def close(self) -> None:
        self.engine.dispose()


@contextmanager
def translated() -> Iterator[None]:
    """Turns the drivers' many words for "not now" into StoreUnavailable; a wrong statement stays a bug."""
    try:
        yield
    except exc.TimeoutError:
        raise StoreUnavailable("all connections to the database are in use") from None
    except exc.DBAPIError as error:
        reason = unavailable_reason(error.orig)
        if reason is None and not error.connection_invalidated:
            raise
        raise StoreUnavailable(reason or "the connection to the database was lost") from error


def unavailable_reason(error: BaseException | None) -> str | None:
    """Why the database cannot serve now; None when `error` is about the statement."""
    if isinstance(error, sqlite3.OperationalError | sqlite3.DatabaseError):
        code = getattr(error, "sqlite_errorcode", None)
        return str(error) if code is not None and code & 0xFF in _SQLITE_UNAVAILABLE else None
    if isinstance(error, psycopg.errors.ReadOnlySqlTransaction):
        return "the database is read-only"
    if isinstance(error, psycopg.OperationalError):
        return (str(error).strip() or type(error).__name__).splitlines()[0]
    return None


def _sqlite(url: URL, busy_timeout: float) -> Engine:
    assert url.database is not None
    _create_private(Path(url.database))
    engine = create_engine(
        url,
        pool_size=POOL_SIZE,
        max_overflow=0,
        pool_timeout=busy_timeout,
        connect_args={"timeout": busy_timeout, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def connected(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        # sqlite3's own idea of transactions leaves DDL and SELECT outside; we say BEGIN ourselves.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute("PRAGMA synchronous=FULL")  # An accepted revision survives a power cut.
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A transaction that reads first and writes later cannot wait for the lock: SQLite refuses it at once.
        writes = connection.get_execution_options().get(_WRITES)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _create_private(path: Path) -> None:
    """Plans hold session passwords: the file is for its owner only."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StoreUnavailable(f"cannot open {path}: {error.strerror}") from None


def _postgres(url: URL, busy_timeout: float) -> Engine:
    bounds = {
        "lock_timeout": f"{busy_timeout * 1000:.0f}",
        "statement_timeout": f"{STATEMENT_TIMEOUT_SECONDS * 1000:.0f}",
        "idle_in_transaction_session_timeout": "60000",
    }
    return create_engine(
        url,
        pool_size=POOL_SIZE // 2,
        max_overflow=0,
        pool_timeout=busy_timeout,
        pool_pre_ping=True,  # After a restart of the database the pool is full of dead connections.
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT_SECONDS,
            "application_name": "leyline",
            "options": " ".join(f"-c {name}={value}" for name, value in bounds.items()),
        },
    )
