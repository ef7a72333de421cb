"""Bearer tokens: `leyline_ID_SECRET`. Found by the public id, checked by the hash of the secret.

The secret has 256 random bits, so one SHA-256 is enough; a slow hash would only serve to
let a thousand polling gateways exhaust the controller.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import string
from dataclasses import dataclass, field
from typing import Any, Literal

from sqlalchemy import Connection, Row, delete, func, insert, or_, select, update

from controller.store import tables

Role = Literal["viewer", "operator", "admin", "gateway"]

_FORM = re.compile(r"leyline_([0-9a-z]{12})_([0-9A-Za-z]{43})", re.ASCII)
_ID_LETTERS = string.ascii_lowercase + string.digits
_SECRET_LETTERS = string.ascii_letters + string.digits  # 43 of 62 letters: 256 bits.


@dataclass(frozen=True)
class Token:
    """A token as it is stored. Times in Unix seconds."""

    id: str
    role: Role
    gateway: str | None
    note: str
    created_at: float
    created_by: str
    expires_at: float | None
    revoked_at: float | None
    last_used_at: float | None
    secret_sha256: str = field(repr=False, default="")

    def usable(self, now: float) -> bool:
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


def issue(
    connection: Connection,
    role: Role,
    *,
    now: float,
    created_by: str,
    gateway: str | None = None,
    note: str = "",
    expires_at: float | None = None,
) -> tuple[str, Token]:
    """A new token: the text that is shown once, and what is stored of it."""
    public = "".join(secrets.choice(_ID_LETTERS) for _ in range(12))
    secret = "".join(secrets.choice(_SECRET_LETTERS) for _ in range(43))
    token = Token(public, role, gateway, note, now, created_by, expires_at, None, None, hash_of(secret))
    admit(connection, token)
    return f"leyline_{public}_{secret}", token


def admit(connection: Connection, token: Token) -> None:
    """A token that somebody else has made, like a gateway, from now on good."""
    connection.execute(insert(tables.tokens).values(**vars(token)))


def end_by(connection: Connection, public: str, at: float) -> None:
    """Good until `at` at the latest: another token has taken its place."""
    held = tables.tokens.c
    later = or_(held.expires_at.is_(None), held.expires_at > at)
    connection.execute(update(tables.tokens).where(held.id == public, later).values(expires_at=at))


def drop_of_gateways(connection: Connection, before: float) -> None:
    """Forgets tokens of gateways that were over before then: a renewal a month would pile up."""
    held = tables.tokens.c
    over = or_(held.expires_at < before, held.revoked_at < before)
    connection.execute(delete(tables.tokens).where(held.role == "gateway", over))


def split(text: str) -> tuple[str, str] | None:
    """(public id, secret), or None when `text` has not the form of a token."""
    match = _FORM.fullmatch(text)
    return (match[1], match[2]) if match else None


def proves(token: Token, secret: str) -> bool:
    return hmac.compare_digest(token.secret_sha256, hash_of(secret))


def find(connection: Connection, public: str) -> Token | None:
    row = connection.execute(select(tables.tokens).where(tables.tokens.c.id == public)).one_or_none()
    return None if row is None else token_of(row)


def every(connection: Connection) -> list[Token]:
    """Oldest first."""
    query = select(tables.tokens).order_by(tables.tokens.c.created_at, tables.tokens.c.id)
    return [token_of(row) for row in connection.execute(query)]


def revoke(connection: Connection, public: str, now: float) -> Token | None:
    """Revoked from `now` on; a second time changes nothing. None when there is no such token."""
    connection.execute(
        update(tables.tokens)
        .where(tables.tokens.c.id == public, tables.tokens.c.revoked_at.is_(None))
        .values(revoked_at=now)
    )
    return find(connection, public)


def revoke_of_gateway(connection: Connection, gateway: str, now: float) -> None:
    """A gateway that comes again under the name of a former one must not inherit its token."""
    connection.execute(
        update(tables.tokens)
        .where(tables.tokens.c.gateway == gateway, tables.tokens.c.revoked_at.is_(None))
        .values(revoked_at=now)
    )


def rename_gateway(connection: Connection, old: str, new: str) -> None:
    connection.execute(update(tables.tokens).where(tables.tokens.c.gateway == old).values(gateway=new))


def touch(connection: Connection, used: dict[str, float]) -> None:
    """Stores when tokens were last used: {public id: Unix time}."""
    statement = update(tables.tokens)
    for public, at in sorted(used.items()):  # Sorted: two replicas must not deadlock.
        connection.execute(statement.where(tables.tokens.c.id == public).values(last_used_at=at))


def has_admin(connection: Connection) -> bool:
    """Whether an admin token was ever made; a revoked one counts, or revoking it would show a new one."""
    query = select(func.count()).select_from(tables.tokens).where(tables.tokens.c.role == "admin")
    return connection.execute(query).scalar_one() > 0


def token_of(row: Row[Any]) -> Token:
    return Token(
        row.id,
        row.role,
        row.gateway,
        row.note,
        row.created_at,
        row.created_by,
        row.expires_at,
        row.revoked_at,
        row.last_used_at,
        row.secret_sha256,
    )


def hash_of(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
