"""Hubs' MD5 keys in the database. Functions take the connection of the caller's transaction.

They must be kept as they are, for plans are made with them; so they are where plans are, and nowhere else.
"""

from __future__ import annotations

import secrets
import string
from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import Connection, bindparam, delete, insert, select

from controller.store.tables import md5_keys

_LETTERS = string.ascii_letters + string.digits
_LENGTH = 43
"""256 bits. Linux takes at most 80 bytes; ExaBGP no quotes, and what looks like hex it may take for base64."""


@dataclass(frozen=True)
class Md5Key:
    """A hub's. `secret` is empty when it was taken away. `changed_at` in Unix seconds."""

    secret: str = field(repr=False)
    changed_at: float


def new_key(now: float) -> Md5Key:
    return Md5Key("".join(secrets.choice(_LETTERS) for _ in range(_LENGTH)), now)


def no_key(now: float) -> Md5Key:
    return Md5Key("", now)


def load_keys(connection: Connection) -> dict[str, Md5Key]:
    """Hub -> key. A hub that never had one is missing."""
    rows = connection.execute(select(md5_keys)).fetchall()
    return {row.gateway: Md5Key(row.secret, row.changed_at) for row in rows}


def save_keys(connection: Connection, keys: Mapping[str, Md5Key]) -> None:
    """These and no others. Rows that stay are not touched."""
    stored = load_keys(connection)
    gone = [{"hub": name} for name, key in stored.items() if keys.get(name) != key]
    come = [
        {"gateway": name, "secret": key.secret, "changed_at": key.changed_at}
        for name, key in keys.items()
        if stored.get(name) != key
    ]
    if gone:
        connection.execute(delete(md5_keys).where(md5_keys.c.gateway == bindparam("hub")), gone)
    if come:
        connection.execute(insert(md5_keys), come)


def secrets_of(keys: Mapping[str, Md5Key]) -> dict[str, str]:
    """Hub -> key as plans have it."""
    return {name: key.secret for name, key in keys.items() if key.secret}
