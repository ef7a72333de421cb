"""Enrolment in the database: keys, found by their public id and checked by the hash of their secret; who came by them.

A key's text is made by controller.enroll_key; here is what is stored. Functions take the connection of the caller's
transaction.
"""

from __future__ import annotations

import hmac
import json
import secrets
import string
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, or_, select, update

from controller.inventory.model import Role
from controller.store import tables
from controller.store.enroll_tables import enroll_keys, enrolments
from controller.store.tokens import hash_of

_ID_LETTERS = string.ascii_lowercase + string.digits
_SECRET_LETTERS = string.ascii_letters + string.digits  # 43 of 62 letters: 256 bits.


@dataclass(frozen=True)
class NewKey:
    """What whoever makes a key decides. Times in seconds, `expires_at` in Unix seconds."""

    site: str
    role: Role
    circuit_classes: tuple[str, ...]
    expires_at: float
    ephemeral: bool = False
    gone_seconds: int = 3_600
    approve: bool = False
    token_seconds: int = 90 * 86_400
    uses: int = 1
    note: str = ""
    gateway: str | None = None  # The declared one that the key is of; None: who comes by it is a new one.


@dataclass(frozen=True)
class EnrollKey:
    """A key as it is stored."""

    id: str
    site: str
    role: Role
    circuit_classes: tuple[str, ...]
    ephemeral: bool
    gone_seconds: int
    approve: bool
    token_seconds: int
    uses: int
    used: int
    note: str
    created_at: float
    created_by: str
    expires_at: float
    revoked_at: float | None
    gateway: str | None
    secret_sha256: str = field(repr=False)

    def state(self, now: float) -> str:
        if self.revoked_at is not None:
            return "revoked"
        if now >= self.expires_at:
            return "expired"
        return "used up" if self.used >= self.uses else "usable"


@dataclass(frozen=True)
class Enrolment:
    """A gateway that came by a key. `body`: the gateway as in the document. Pending until `approved_at`."""

    gateway: str
    key_id: str
    body: dict[str, Any]
    token_id: str
    token_seconds: int
    came_from: str
    requested_at: float
    approved_at: float | None
    approved_by: str | None
    ephemeral: bool
    gone_seconds: int
    token_sha256: str = field(repr=False)

    @property
    def node_ids(self) -> tuple[str, ...]:
        return tuple(uplink["node_id"] for uplink in self.body["uplinks"])


def proves(sha256: str, secret: str) -> bool:
    return hmac.compare_digest(sha256, hash_of(secret))


def make_key(connection: Connection, new: NewKey, *, now: float, created_by: str) -> tuple[str, EnrollKey]:
    """A new key: its secret, which is shown once, and what is stored of it."""
    public = "".join(secrets.choice(_ID_LETTERS) for _ in range(12))
    secret = "".join(secrets.choice(_SECRET_LETTERS) for _ in range(43))
    key = EnrollKey(
        id=public,
        used=0,
        created_at=now,
        created_by=created_by,
        revoked_at=None,
        secret_sha256=hash_of(secret),
        **vars(new),
    )
    values = {**vars(key), "circuit_classes": json.dumps(key.circuit_classes)}
    connection.execute(insert(enroll_keys).values(**values))
    return secret, key


def find_key(connection: Connection, public: str) -> EnrollKey | None:
    row = connection.execute(select(enroll_keys).where(enroll_keys.c.id == public)).one_or_none()
    return None if row is None else _key_of(row)


def every_key(connection: Connection) -> list[EnrollKey]:
    """Oldest first."""
    query = select(enroll_keys).order_by(enroll_keys.c.created_at, enroll_keys.c.id)
    return [_key_of(row) for row in connection.execute(query)]


def revoke_key(connection: Connection, public: str, now: float) -> EnrollKey | None:
    """Revoked from `now` on; a second time changes nothing. None when there is no such key."""
    connection.execute(
        update(enroll_keys).where(enroll_keys.c.id == public, enroll_keys.c.revoked_at.is_(None)).values(revoked_at=now)
    )
    return find_key(connection, public)


def revoke_keys_of(connection: Connection, gateways: Collection[str], now: float) -> None:
    """Keys of these gateways: one that comes again under the name of a former one must not inherit its key."""
    keys = enroll_keys.c
    ours = (keys.gateway.in_(gateways), keys.revoked_at.is_(None))
    connection.execute(update(enroll_keys).where(*ours).values(revoked_at=now))


def use_key(connection: Connection, public: str, now: float) -> bool:
    """Takes one of its uses. False when it has none, or is over."""
    keys = enroll_keys.c
    usable = (keys.id == public, keys.revoked_at.is_(None), keys.expires_at > now, keys.used < keys.uses)
    done = connection.execute(update(enroll_keys).where(*usable).values(used=keys.used + 1))
    return done.rowcount == 1


def find(connection: Connection, gateway: str) -> Enrolment | None:
    row = connection.execute(select(enrolments).where(enrolments.c.gateway == gateway)).one_or_none()
    return None if row is None else _enrolment_of(row)


def find_by_token(connection: Connection, token_id: str) -> Enrolment | None:
    row = connection.execute(select(enrolments).where(enrolments.c.token_id == token_id)).one_or_none()
    return None if row is None else _enrolment_of(row)


def every(connection: Connection) -> list[Enrolment]:
    """By name."""
    return [_enrolment_of(row) for row in connection.execute(select(enrolments).order_by(enrolments.c.gateway))]


def last_signs(connection: Connection) -> list[tuple[str, int, float]]:
    """Of ephemeral gateways that are approved: (name, seconds that it may be gone, when it last gave a sign)."""
    reports = tables.reports
    query = (
        select(enrolments.c.gateway, enrolments.c.gone_seconds, enrolments.c.approved_at, reports.c.received_at)
        .select_from(enrolments.outerjoin(reports, reports.c.gateway == enrolments.c.gateway))
        .where(enrolments.c.ephemeral, enrolments.c.approved_at.is_not(None))
        .order_by(enrolments.c.gateway)
    )
    rows = connection.execute(query)
    return [(row.gateway, row.gone_seconds, max(row.approved_at, row.received_at or 0.0)) for row in rows]


def put(connection: Connection, enrolment: Enrolment) -> None:
    values = {**vars(enrolment), "body": json.dumps(enrolment.body)}
    connection.execute(insert(enrolments).values(**values))


def mark_approved(connection: Connection, gateway: str, *, now: float, actor: str) -> None:
    statement = update(enrolments).where(enrolments.c.gateway == gateway)
    connection.execute(statement.values(approved_at=now, approved_by=actor))


def drop(connection: Connection, gateways: Collection[str]) -> None:
    connection.execute(delete(enrolments).where(enrolments.c.gateway.in_(gateways)))


def rename_gateway(connection: Connection, old: str, new: str) -> None:
    """An approved gateway takes its enrolment and its keys along. Whoever waits under the new name has to ask anew."""
    waits = enrolments.c.approved_at.is_(None)
    connection.execute(delete(enrolments).where(enrolments.c.gateway == new, waits))
    connection.execute(update(enrolments).where(enrolments.c.gateway == old, ~waits).values(gateway=new))
    connection.execute(update(enroll_keys).where(enroll_keys.c.gateway == old).values(gateway=new))


def drop_pending(connection: Connection, before: float) -> list[str]:
    """Forgets who has waited since before then; returns their names."""
    old = (enrolments.c.approved_at.is_(None), enrolments.c.requested_at < before)
    names = sorted(connection.execute(select(enrolments.c.gateway).where(*old)).scalars())
    drop(connection, names)
    return names


def drop_keys(connection: Connection, before: float) -> None:
    """Forgets keys that were over before then."""
    over = or_(enroll_keys.c.expires_at < before, enroll_keys.c.revoked_at < before)
    connection.execute(delete(enroll_keys).where(over))


def _key_of(row: Row[Any]) -> EnrollKey:
    fields = dict(row._mapping)
    return EnrollKey(**{**fields, "circuit_classes": tuple(json.loads(fields["circuit_classes"]))})


def _enrolment_of(row: Row[Any]) -> Enrolment:
    fields = dict(row._mapping)
    return Enrolment(**{**fields, "body": json.loads(fields["body"])})
