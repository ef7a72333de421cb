"""The controller's memory: the state, the plans that follow from it, tokens, reports, history.

Everything that other modules ask of the database goes through `Store`; SQL is nowhere else.
Methods raise StoreUnavailable when the database is locked or gone, and have then done nothing.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, delete, exc, func, insert, select, text, update

from controller.inventory.model import Gateway
from controller.store import enroll, md5, tables, tokens
from controller.store.engine import Database
from controller.store.md5 import Md5Key
from controller.store.state import (
    Difference,
    State,
    load_head,
    load_inventory,
    read_document,
    write_inventory,
    write_revision,
)
from controller.store.tokens import Token

CHANNEL = "leyline_revision"
"""PostgreSQL's NOTIFY channel; the payload is the number of the new revision and nothing else."""
MAX_AUDITED_CHANGES = 100
"""Of one revision, in the audit log; the revision itself has them all."""


# Both databases read the same words here; SQLAlchemy has two classes for them.
_SAVE_PLAN = text(
    "INSERT INTO plans (gateway, digest, body) VALUES (:gateway, :digest, :body)"
    " ON CONFLICT (gateway) DO UPDATE SET digest = excluded.digest, body = excluded.body"
)
_SAVE_REPORT = text(
    "INSERT INTO reports (gateway, received_at, body) VALUES (:gateway, :received_at, :body)"
    " ON CONFLICT (gateway) DO UPDATE SET received_at = excluded.received_at, body = excluded.body"
)
_HAS_PLAN = select(tables.plans.c.gateway).where(tables.plans.c.gateway == bindparam("gateway"))


@dataclass(frozen=True)
class StoredPlan:
    digest: str
    body: bytes


@dataclass(frozen=True)
class Polled:
    """What a gateway's poll needs to know, from one look-up. `body` is None while the digest is the known one."""

    token: Token | None
    digest: str | None  # None: there is no such gateway.
    body: bytes | None


@dataclass(frozen=True)
class StoredReport:
    received_at: float
    body: bytes


@dataclass(frozen=True)
class RevisionEntry:
    number: int
    digest: str
    created_at: float
    actor: str
    summary: str


@dataclass(frozen=True)
class AuditEntry:
    id: int
    at: float
    actor: str
    action: str
    object: str
    revision: int | None
    detail: Any


class Store:
    """Thread-safe. Keeps the current state in memory, and asks the database at every use whether it still is."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._cached: State | None = None

    def state(self) -> State:
        """The current revision."""
        with self.database.read() as connection:
            return self._state(connection, *load_head(connection))

    def _state(self, connection: Connection, revision: int, digest: str) -> State:
        cached = self._cached
        if cached is None or (cached.revision, cached.digest) != (revision, digest):
            cached = self._cached = State(revision, digest, load_inventory(connection))
        return cached

    @contextmanager
    def changing(self) -> Iterator[Changing]:
        """One change: nobody else changes anything until the block ends; if it raises, nothing was."""
        with self.database.change() as connection:
            change = Changing(connection, self._state(connection, *load_head(connection, lock=True)))
            yield change
        if change.saved is not None:  # Only what is committed may be remembered.
            self._cached = change.saved

    def digests(self) -> dict[str, str]:
        """Gateway -> digest of its plan."""
        with self.database.read() as connection:
            return _digests(connection)

    def md5_keys(self) -> dict[str, Md5Key]:
        """Of hubs, by name."""
        with self.database.read() as connection:
            return md5.load_keys(connection)

    def poll(self, public: str, gateway: str, known: str) -> Polled:
        """The token `public`, and the plan of `gateway`, in one indexed look-up."""
        query = (
            select(tables.tokens, tables.plans.c.digest.label("plan_digest"), tables.plans.c.body)
            .select_from(tables.tokens.outerjoin(tables.plans, tables.plans.c.gateway == gateway))
            .where(tables.tokens.c.id == public)
        )
        light = query.with_only_columns(tables.tokens, tables.plans.c.digest.label("plan_digest"))
        with self.database.read() as connection:
            row = connection.execute(light).one_or_none()
            if row is None:
                return Polled(None, None, None)
            if row.plan_digest in (None, known):
                return Polled(tokens.token_of(row), row.plan_digest, None)
            row = connection.execute(query).one()
            return Polled(tokens.token_of(row), row.plan_digest, row.body)

    def plan(self, gateway: str) -> StoredPlan | None:
        with self.database.read() as connection:
            query = select(tables.plans.c.digest, tables.plans.c.body).where(tables.plans.c.gateway == gateway)
            row = connection.execute(query).one_or_none()
        return None if row is None else StoredPlan(row.digest, row.body)

    def token(self, public: str) -> Token | None:
        with self.database.read() as connection:
            return tokens.find(connection, public)

    def tokens(self) -> list[Token]:
        with self.database.read() as connection:
            return tokens.every(connection)

    def touch_tokens(self, used: Mapping[str, float]) -> None:
        with self.database.write() as connection:
            tokens.touch(connection, dict(used))

    def save_report(self, gateway: str, body: bytes, now: float) -> bool:
        """Replaces the gateway's last report. False when there is no such gateway."""
        try:
            with self.database.write() as connection:
                if connection.execute(_HAS_PLAN, {"gateway": gateway}).one_or_none() is None:
                    return False
                connection.execute(_SAVE_REPORT, {"gateway": gateway, "received_at": now, "body": body})
        except exc.IntegrityError:  # The gateway was removed between the question and the commit.
            return False
        return True

    def reports(self, gateways: Collection[str] | None = None) -> dict[str, StoredReport]:
        """The last one of each of these; None: of all."""
        query = select(tables.reports)
        if gateways is not None:
            query = query.where(tables.reports.c.gateway.in_(gateways))
        with self.database.read() as connection:
            rows = connection.execute(query)
            return {row.gateway: StoredReport(row.received_at, row.body) for row in rows}

    def report(self, gateway: str) -> StoredReport | None:
        """The last one of this gateway."""
        query = select(tables.reports).where(tables.reports.c.gateway == gateway)
        with self.database.read() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else StoredReport(row.received_at, row.body)

    def revisions(self, before: int | None, limit: int) -> list[RevisionEntry]:
        """Newest first, at most `limit`, older than `before`."""
        t = tables.revisions
        query = select(t.c.number, t.c.digest, t.c.created_at, t.c.actor, t.c.summary)
        query = query.order_by(t.c.number.desc()).limit(limit)
        if before is not None:
            query = query.where(t.c.number < before)
        with self.database.read() as connection:
            return [RevisionEntry(*row) for row in connection.execute(query)]

    def revision(self, number: int) -> tuple[RevisionEntry, dict[str, Any]] | None:
        """One revision with its whole document."""
        t = tables.revisions
        with self.database.read() as connection:
            row = connection.execute(select(t).where(t.c.number == number)).one_or_none()
        if row is None:
            return None
        entry = RevisionEntry(row.number, row.digest, row.created_at, row.actor, row.summary)
        return entry, read_document(row.document)

    def audit(self, before: int | None, limit: int) -> list[AuditEntry]:
        """Newest first, at most `limit`, older than `before`."""
        query = select(tables.audit).order_by(tables.audit.c.id.desc()).limit(limit)
        if before is not None:
            query = query.where(tables.audit.c.id < before)
        with self.database.read() as connection:
            return [
                AuditEntry(row.id, row.at, row.actor, row.action, row.object, row.revision, json.loads(row.detail))
                for row in connection.execute(query)
            ]


class Changing:
    """The transaction of one change. `state` is what it starts from."""

    def __init__(self, connection: Connection, state: State) -> None:
        self.connection = connection
        self.state = state
        self.saved: State | None = None

    def digests(self) -> dict[str, str]:
        return _digests(self.connection)

    def save(self, state: State, changes: Difference, *, actor: str, summary: str, now: float) -> None:
        """Stores `state` as the next revision. The caller has checked it."""
        gone = [each.name for each in changes.removed if isinstance(each, Gateway)]
        for name in gone:
            tokens.revoke_of_gateway(self.connection, name, now)
        if gone:
            for table in (tables.plans, tables.reports, tables.md5_keys):
                self.connection.execute(delete(table).where(table.c.gateway.in_(gone)))
            enroll.drop(self.connection, gone)
            enroll.revoke_keys_of(self.connection, gone, now)
        write_inventory(self.connection, changes)
        write_revision(self.connection, state, actor=actor, summary=summary, now=now)
        self.saved = state
        self.notify()

    def notify(self) -> None:
        """Other controllers look which plans have moved. Delivered by the commit, or never."""
        if self.connection.dialect.name == "postgresql":
            revision = (self.saved or self.state).revision
            self.connection.execute(select(func.pg_notify(CHANNEL, str(revision))))

    def rename_gateway(self, old: str, new: str) -> None:
        """Token, report, plan and key follow the gateway; call it before `save`."""
        tokens.rename_gateway(self.connection, old, new)
        enroll.rename_gateway(self.connection, old, new)
        for table in (tables.plans, tables.reports, tables.md5_keys):
            self.connection.execute(update(table).where(table.c.gateway == old).values(gateway=new))

    def md5_keys(self) -> dict[str, Md5Key]:
        return md5.load_keys(self.connection)

    def save_md5_keys(self, keys: Mapping[str, Md5Key]) -> None:
        """These and no others."""
        md5.save_keys(self.connection, keys)

    def save_plans(self, plans: Mapping[str, StoredPlan]) -> None:
        """Stores the plans that moved."""
        if not plans:
            return
        rows = [{"gateway": name, "digest": plan.digest, "body": plan.body} for name, plan in plans.items()]
        self.connection.execute(_SAVE_PLAN, rows)

    def log(
        self,
        actor: str,
        action: str,
        subject: str,
        *,
        now: float,
        revision: int | None = None,
        detail: Sequence[Mapping[str, Any]] | Mapping[str, Any] = (),
    ) -> None:
        """One line of the audit log."""
        if not isinstance(detail, Mapping):
            detail = {"changes": list(detail[:MAX_AUDITED_CHANGES]), "total": len(detail)}
        self.connection.execute(
            insert(tables.audit).values(
                at=now, actor=actor, action=action, object=subject, revision=revision, detail=json.dumps(detail)
            )
        )


def _digests(connection: Connection) -> dict[str, str]:
    rows = connection.execute(select(tables.plans.c.gateway, tables.plans.c.digest))
    return {row[0]: row[1] for row in rows.fetchall()}  # Names of columns would cost more than the query.


def alive(store: Store) -> None:
    """Raises StoreUnavailable when the database does not answer."""
    with store.database.read() as connection:
        connection.execute(text("SELECT 1"))
