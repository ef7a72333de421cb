"""Inventory -> rows -> inventory, on both databases; what constraints refuse; how many queries it takes."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from sqlalchemy import event, exc, insert, text

from controller.inventory.allocate import allocate, numbers_of
from controller.inventory.document import parse_document, to_document
from controller.inventory.model import Inventory
from controller.store import tables
from controller.store.engine import Database
from controller.store.state import State, difference, load_inventory, next_state, write_inventory
from tests.controller.inventories import sound_inventory
from tests.controller.ruled import with_intent
from tests.controller.store.fabrics import Document, sized, small

EMPTY = Inventory()


def inventory_from(document: Document) -> Inventory:
    inventory, findings = parse_document(document)
    assert findings == []
    return allocate(inventory)


def store(database: Database, old: Inventory, new: Inventory) -> None:
    with database.write() as connection:
        write_inventory(connection, difference(old, new))


def load(database: Database) -> Inventory:
    with database.read() as connection:
        return load_inventory(connection)


def test_what_goes_in_comes_out(database: Database) -> None:
    inventory = inventory_from(small())
    store(database, EMPTY, inventory)
    assert to_document(load(database)) == to_document(inventory)
    assert not difference(inventory, load(database))


@pytest.mark.parametrize("seed", range(12))
def test_something_of_every_kind_comes_out_as_it_went_in(database: Database, seed: int) -> None:
    """And one becomes the other, row by row."""
    chance = random.Random(seed)
    old, new = (
        allocate(with_intent(sound_inventory(chance, chance.randint(1, 5), chance.randint(1, 6), 3), chance, 8))
        for _ in range(2)
    )
    store(database, EMPTY, old)
    assert to_document(load(database)) == to_document(old)
    store(database, old, new)
    assert to_document(load(database)) == to_document(new)


def test_the_order_of_uplinks_is_kept(database: Database) -> None:
    """The first one is the primary: router id and sessions hang on it."""
    store(database, EMPTY, inventory_from(small()))
    paris = next(each for each in load(database).gateways if each.name == "paris-1")
    assert [each.name for each in paris.uplinks] == ["wan", "backup"]


def test_numbers_and_addresses_can_be_swapped_in_one_change(database: Database) -> None:
    old = inventory_from(small())
    store(database, EMPTY, old)
    one, two = (each for each in old.gateways if each.name in ("berlin-1", "paris-2"))
    first, second = one.uplinks[0], two.uplinks[0]
    swapped = (
        replace(one, uplinks=(replace(first, number=second.number, address=second.address, address6=second.address6),)),
        replace(two, uplinks=(replace(second, number=first.number, address=first.address, address6=first.address6),)),
    )
    names = {each.name for each in swapped}
    new = replace(old, gateways=(*swapped, *(each for each in old.gateways if each.name not in names)))
    store(database, old, new)
    assert to_document(load(database)) == to_document(new)


def test_everything_can_go(database: Database) -> None:
    inventory = inventory_from(small())
    store(database, EMPTY, inventory)
    store(database, inventory, EMPTY)
    assert load(database) == EMPTY


@pytest.mark.parametrize(
    ("table", "row"),
    [
        (tables.sites, {"name": "x", "region": "eu", "number": 7, "provider": "", "tags": "[]"}),
        (tables.sites, {"name": "x", "region": "nowhere", "number": 70, "provider": "", "tags": "[]"}),
        (tables.allocations, {"site": "berlin", "tenant": "global", "prefix": "10.2.0.0/16", "longest": 24}),
        (tables.lan_peers, {"name": "x", "gateway": "paris-1", "asn": 1, "interface": "e",
                            "local_address": "2001:db8:2:1::1", "address": "2001:db8:2:1::2"}),
        (tables.lan_peers, {"name": "x", "gateway": "nobody", "asn": 1, "interface": "e",
                            "local_address": "10.2.0.1", "address": "10.2.0.2"}),
        (tables.prefixes, {"site": "nowhere", "tenant": "global", "prefix": "10.9.0.0/16"}),
        (tables.gateways, {"name": "x", "site": "berlin", "role": "king"}),
        (tables.attachments, {"number": 90, "address": "10.42.9.9", "circuit_class": "fiber", "bandwidth": 0}),
        (tables.attachments, {"number": 91, "address": "10.42.0.1", "circuit_class": "fiber", "bandwidth": 0}),
        (
            tables.attachments,
            {"number": 91, "address": "10.42.9.9", "node_id": "a000000001", "circuit_class": "x", "bandwidth": 0},
        ),
        (tables.clients, {"name": "x", "site": "berlin", "number": 90}),
        (tables.plans, {"gateway": "nobody", "digest": "", "body": b""}),
        (tables.fabric, {"id": 2, "name": "b", "asn": 1, "segment": "", "hold_time": 9, "restart_time": 1,
                         "max_paths": 1}),
        (tables.head, {"id": 2, "revision": 1, "digest": ""}),
    ],
)  # fmt: skip
def test_constraints_refuse_what_checks_refuse(database: Database, table: Any, row: dict[str, Any]) -> None:
    store(database, EMPTY, inventory_from(small()))
    with pytest.raises(exc.IntegrityError), database.write() as connection:
        connection.execute(insert(table), row)


@pytest.mark.parametrize("table", ["audit", "revisions"])
@pytest.mark.parametrize("statement", ["UPDATE {} SET actor = 'mallory'", "DELETE FROM {}"])
def test_history_is_append_only(database: Database, table: str, statement: str) -> None:
    with database.write() as connection:
        connection.execute(insert(tables.audit).values(at=0, actor="a", action="b", object="c", detail="{}"))
        connection.execute(
            insert(tables.revisions).values(number=1, digest="", created_at=0, actor="a", summary="", document=b"")
        )
    with pytest.raises(exc.DBAPIError, match="append-only"), database.write() as connection:
        connection.execute(text(statement.format(table)))


@contextmanager
def counted(database: Database) -> Iterator[list[str]]:
    seen: list[str] = []

    def executed(_conn: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    event.listen(database.engine, "before_cursor_execute", executed)
    try:
        yield seen
    finally:
        event.remove(database.engine, "before_cursor_execute", executed)


@pytest.mark.slow
def test_loading_costs_the_same_queries_for_2_and_for_200_gateways(database: Database) -> None:
    costs, former = [], EMPTY
    for gateways in (2, 200):
        inventory = inventory_from(sized(gateways, gateways * 2))
        store(database, former, inventory)
        former = inventory
        with counted(database) as statements:
            assert len(load(database).gateways) == gateways
        costs.append(len([each for each in statements if each.startswith("SELECT")]))
    assert costs == [len(tables.INVENTORY)] * 2


def test_one_changed_prefix_writes_one_row(sqlite: Database) -> None:
    old = inventory_from(sized(2, 500))
    store(sqlite, EMPTY, old)
    part, _ = parse_document({"prefixes": [{"site": "s1", "prefix": "10.127.0.0/28"}]})
    new = allocate(replace(old, prefixes=(*old.prefixes, *part.prefixes)), numbers_of(old))
    with counted(sqlite) as statements:
        store(sqlite, old, new)
    assert [each.split(" (")[0] for each in statements if not each.startswith("BEGIN")] == ["INSERT INTO prefixes"]


def test_the_stored_document_is_the_document() -> None:
    """It is put together from parts that earlier revisions have encoded already."""
    first = inventory_from(small())
    state = next_state(State(0, "", EMPTY), first, difference(EMPTY, first))
    assert msgspec.json.decode(state.encoded) == to_document(first)
    second = replace(first, prefixes=first.prefixes[1:], clients=())
    after = next_state(state, second, difference(first, second))
    assert msgspec.json.decode(after.encoded) == to_document(second)
    assert (after.revision, after.digest != state.digest) == (2, True)
    assert next_state(after, first, difference(second, first)).digest == state.digest
    assert next_state(State(0, "", EMPTY), EMPTY, difference(EMPTY, EMPTY)).encoded == b"{}"
