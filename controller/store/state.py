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

from controller.inventory.document import order, plain
from controller.inventory.merge import diff
from controller.inventory.model import SECTIONS, Fabric, Inventory, Object, objects
from controller.store import tables
from controller.store.rows import inventory_of, rows_of

_encoder = msgspec.json.Encoder()  # Not sorted: `plain` has an order of fields that people like to read.


@dataclass(frozen=True)
class State:
    """One revision, whole. Immutable, so that one is shared by all readers of a process."""

    revision: int
    digest: str
    inventory: Inventory

    @cached_property
    def by_key(self) -> dict[str, dict[str, Object]]:
        """Section -> key -> object, in canonical order."""
        return {
            section: {each.key: each for each in sorted(getattr(self.inventory, section), key=order)}
            for section in SECTIONS
        }

    @cached_property
    def parts(self) -> dict[int, bytes]:
        """id of an object of this inventory -> its JSON. The objects live as long as this state does."""
        return {id(each): _encoder.encode(plain(each)) for each in objects(self.inventory)}

    @cached_property
    def encoded(self) -> bytes:
        """The document (controller.inventory.document.to_document) as JSON."""
        sections = []
        if self.inventory.fabric is not None:
            sections.append(b'"fabric":' + self.parts[id(self.inventory.fabric)])
        for section in SECTIONS:
            found = sorted(getattr(self.inventory, section), key=order)
            if found:
                joined = b",".join(self.parts[id(each)] for each in found)
                sections.append(b'"%s":[%s]' % (section.encode(), joined))
        return b"{%s}" % b",".join(sections)


def next_state(former: State, inventory: Inventory) -> State:
    """The state after `former`. Most objects are the very same ones, so their JSON is taken over and not made anew."""
    known = former.parts
    parts = {id(each): known.get(id(each)) or _encoder.encode(plain(each)) for each in objects(inventory)}
    bare = State(former.revision + 1, "", inventory)
    vars(bare).update(parts=parts)
    state = State(bare.revision, hashlib.sha256(bare.encoded).hexdigest()[:16], inventory)
    vars(state).update(parts=parts, encoded=bare.encoded)
    return state


def etag(each: Object | Any) -> str:
    """Of one object: quoted, as HTTP wants it. Equal objects have equal tags."""
    return f'"{hashlib.sha256(_encoder.encode(plain(each))).hexdigest()[:16]}"'


@dataclass(frozen=True)
class Difference:
    """Between two inventories, by whole values. `changed` holds (old, new)."""

    added: tuple[Object, ...]
    changed: tuple[tuple[Object, Object], ...]
    removed: tuple[Object, ...]

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)


def difference(old: Inventory, new: Inventory) -> Difference:
    """What must be written. Order inside the sections means nothing."""
    # Most objects are the very same ones: `is` spares comparing addresses five thousand times.
    same = {id(each) for each in objects(old)} & {id(each) for each in objects(new)}
    before = {_identity(each): each for each in objects(old) if id(each) not in same}
    after = {_identity(each): each for each in objects(new) if id(each) not in same}
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
