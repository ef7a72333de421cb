"""What the database holds at one revision, and how the next one is written."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import msgspec
from sqlalchemy import Connection, bindparam, delete, insert, select

from controller.inventory.changed import apart
from controller.inventory.merge import diff
from controller.inventory.model import SECTIONS, Fabric, Inventory, Object
from controller.store import tables
from controller.store.listed import Listed, encoded
from controller.store.rows import inventory_of, rows_of


@dataclass(frozen=True)
class State:
    """One revision, whole. Immutable, so that one is shared by all readers of a process."""

    revision: int
    digest: str
    inventory: Inventory

    @cached_property
    def listed(self) -> dict[str, Listed]:
        """By section."""
        return {section: Listed.of(getattr(self.inventory, section)) for section in SECTIONS}

    @cached_property
    def by_key(self) -> dict[str, dict[str, Object]]:
        """Section -> key -> object, in canonical order."""
        return {section: dict(zip(each.keys, each.objects, strict=True)) for section, each in self.listed.items()}

    @cached_property
    def encoded(self) -> bytes:
        """The document (controller.inventory.document.to_document) as JSON."""
        pieces = []  # Joined once: they may be megabytes.
        if self.inventory.fabric is not None:
            pieces += [b",", b'"fabric":', encoded(self.inventory.fabric)]
        for section, each in self.listed.items():
            if each.parts:
                pieces += [b",", b'"%s":[' % section.encode(), b",".join(each.parts), b"]"]
        return b"".join((b"{", *pieces[1:], b"}"))


def next_state(former: State, inventory: Inventory, changes: Difference) -> State:
    """The state after `former`, which differs from it by `changes`."""
    gone = [*changes.removed, *(old for old, _ in changes.changed)]
    come = [*changes.added, *(new for _, new in changes.changed)]
    listed = dict(former.listed)
    for section, kind in SECTIONS.items():
        parts = [[each for each in some if each.kind == kind] for some in (gone, come)]
        if any(parts):
            listed[section] = listed[section].after(*parts)
    bare = State(former.revision + 1, "", inventory)
    vars(bare).update(listed=listed)
    state = State(bare.revision, hashlib.sha256(bare.encoded).hexdigest()[:16], inventory)
    vars(state).update(listed=listed, encoded=bare.encoded)
    return state


def etag(each: Object | Any) -> str:
    """Of one object: quoted, as HTTP wants it. Equal objects have equal tags."""
    return f'"{hashlib.sha256(encoded(each)).hexdigest()[:16]}"'


@dataclass(frozen=True)
class Difference:
    """Between two inventories, by whole values. `changed` holds (old, new)."""

    added: tuple[Object, ...]
    changed: tuple[tuple[Object, Object], ...]
    removed: tuple[Object, ...]

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)

    @property
    def objects(self) -> tuple[Object, ...]:
        """All that it is about; what changed before and after."""
        return (*self.removed, *(each for pair in self.changed for each in pair), *self.added)


def difference(old: Inventory, new: Inventory) -> Difference:
    """What must be written. Order inside the sections means nothing."""
    before: dict[str, Object] = {}
    after: dict[str, Object] = {}
    fabrics = [() if each.fabric is None else (each.fabric,) for each in (old, new)]
    for former, latter in (fabrics, *((getattr(old, section), getattr(new, section)) for section in SECTIONS)):
        gone, come = apart(former, latter)  # Most objects are the very same ones.
        before.update((_identity(each), each) for each in gone)
        after.update((_identity(each), each) for each in come)
    return Difference(
        added=tuple(each for key, each in after.items() if key not in before),
        changed=tuple((before[key], each) for key, each in after.items() if key in before and before[key] != each),
        removed=tuple(each for key, each in before.items() if key not in after),
    )


def _identity(each: Object) -> str:
    """There is one fabric, whatever its name."""
    return each.kind if each.kind == Fabric.kind else each.label


def described(changes: Difference) -> list[dict[str, Any]]:
    """The changes as `controller.inventory.merge.diff` tells them, without comparing all the rest again."""
    return diff(
        _only((*changes.removed, *(old for old, _ in changes.changed))),
        _only((*changes.added, *(new for _, new in changes.changed))),
    )


def _only(some: Iterable[Object]) -> Inventory:
    parts: dict[str, list[Any]] = {}
    for each in some:
        parts.setdefault(each.kind, []).append(each)
    sections: dict[str, Any] = {section: tuple(parts.get(kind, ())) for section, kind in SECTIONS.items()}
    return Inventory(fabric=next(iter(parts.get(Fabric.kind, ())), None), **sections)


def load_head(connection: Connection, *, lock: bool = False) -> tuple[int, str]:
    """(revision, digest). With `lock`, nobody else makes a revision until this transaction ends."""
    query = select(tables.head.c.revision, tables.head.c.digest)
    if lock:
        query = query.with_for_update()  # SQLite ignores it: BEGIN IMMEDIATE has locked everything.
    row = connection.execute(query).one()
    return row.revision, row.digest


def load_inventory(connection: Connection) -> Inventory:
    """One query per table, however many rows."""
    return inventory_of({table: connection.execute(select(table)).fetchall() for table in tables.INVENTORY})


def write_inventory(connection: Connection, changes: Difference) -> None:
    """Writes only the rows that differ. Changed ones go out and come back, so that two objects can swap a number."""
    gone = rows_of((*changes.removed, *(old for old, _ in changes.changed)))
    come = rows_of((*changes.added, *(new for _, new in changes.changed)))
    for table in reversed(tables.INVENTORY):
        if gone.get(table):
            _delete(connection, table, gone[table])
    for table in tables.INVENTORY:
        if come.get(table):
            connection.execute(insert(table), come[table])


def _delete(connection: Connection, table: Any, rows: Iterable[Mapping[str, Any]]) -> None:
    keys = [column.name for column in table.primary_key]
    statement = delete(table).where(*(table.c[name] == bindparam(f"key_{name}") for name in keys))
    connection.execute(statement, [{f"key_{name}": row[name] for name in keys} for row in rows])


def write_revision(connection: Connection, state: State, *, actor: str, summary: str, now: float) -> None:
    connection.execute(
        insert(tables.revisions).values(
            number=state.revision,
            digest=state.digest,
            created_at=now,
            actor=actor,
            summary=summary,
            document=zlib.compress(state.encoded, 1),
        )
    )
    connection.execute(tables.head.update().values(revision=state.revision, digest=state.digest))


def read_document(blob: bytes) -> dict[str, Any]:
    """The document of a stored revision."""
    document: dict[str, Any] = msgspec.json.decode(zlib.decompress(blob))
    return document
