"""Hubs' MD5 keys: made with the hub, kept, in plans and nowhere else."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from controller.store.engine import Database
from controller.store.md5 import Md5Key, load_keys, new_key, no_key, save_keys, secrets_of
from controller.store.store import Store
from speaker.plan import Plan, decode
from tests.controller.store.fabrics import Document, small
from tests.controller.store.test_service import Bench, without


def hubs(*names: str, md5: bool = True) -> Document:
    """Two spokes, and these hubs."""
    document = small()
    document["fabric"]["md5"] = md5
    document["gateways"][0]["role"] = "spoke"
    for n, name in enumerate(names):
        uplink = {"name": "wan", "node_id": f"c{n:09}", "interface": "zt0", "circuit_class": "fiber"}
        document["gateways"].append({"name": name, "site": "berlin", "role": "hub", "uplinks": [uplink]})
    return document


def plan(bench: Bench, gateway: str) -> Plan:
    stored = Store(bench.store.database).plan(gateway)
    assert stored is not None
    return decode(stored.body)


def passwords(bench: Bench, gateway: str) -> dict[str, str]:
    return {each.peer: each.password for each in plan(bench, gateway).sessions}


@pytest.fixture
def bench(database: Database) -> Bench:
    return Bench(database)


def test_a_key_is_random_and_fits_exabgp_and_the_kernel() -> None:
    keys = {new_key(1.0).secret for _ in range(50)}
    assert len(keys) == 50
    assert all(re.fullmatch("[0-9A-Za-z]{43}", key) and re.search("[^0-9a-f]", key) for key in keys)
    assert "secret" not in repr(new_key(1.0))


def test_what_is_stored_comes_back_and_no_row_is_touched_without_need(database: Database) -> None:
    bench = Bench(database)
    bench.apply(hubs("hub-1", "hub-2", md5=False))
    keys = {"hub-1": new_key(1.5), "hub-2": no_key(2.5)}
    with bench.store.changing() as change:
        save_keys(change.connection, keys)
        assert load_keys(change.connection) == keys
        save_keys(change.connection, {**keys, "hub-2": Md5Key("x", 3.0)})
    assert bench.store.md5_keys() == {**keys, "hub-2": Md5Key("x", 3.0)}
    assert secrets_of(keys) == {"hub-1": keys["hub-1"].secret}


def test_a_hub_that_comes_has_a_key_and_both_ends_know_it(bench: Bench) -> None:
    bench.apply(hubs("hub-1"))
    key = bench.store.md5_keys()["hub-1"].secret
    assert passwords(bench, "paris-1")["hub-1"] == passwords(bench, "hub-1")["paris-1"] == key
    bench.apply({"gateways": hubs("hub-1", "hub-2")["gateways"]})
    assert bench.store.md5_keys()["hub-1"].secret == key
    assert passwords(bench, "paris-1")["hub-2"] not in ("", key)


def test_nothing_but_a_rotation_changes_keys_or_switches_them_on_or_off(bench: Bench) -> None:
    bench.apply(hubs("hub-1", md5=False))
    assert bench.store.md5_keys() == {}
    digests = bench.store.digests()
    bench.apply({"fabric": hubs()["fabric"]})
    assert (bench.store.md5_keys(), bench.store.digests()) == ({}, digests)
    bench.apply(hubs("hub-1", "hub-2"))
    keys = bench.store.md5_keys()
    assert list(keys) == ["hub-2"]
    bench.apply({"fabric": hubs(md5=False)["fabric"]})
    bench.apply({"prefixes": [{"site": "berlin", "prefix": "10.1.77.0/24"}]})
    assert bench.store.md5_keys() == keys
    assert bench.controller.refresh_plans() == []


def test_a_hub_that_goes_takes_its_key_along(bench: Bench) -> None:
    bench.apply(hubs("hub-1", "hub-2"))
    bench.change(without("hub-2"), allow_removals=1)
    assert list(bench.store.md5_keys()) == ["hub-1"]
    demoted = hubs("hub-1", "hub-3")
    bench.apply(demoted)
    demoted["gateways"][3]["role"] = "spoke"
    bench.apply(demoted)
    assert list(bench.store.md5_keys()) == ["hub-3"]


def test_a_renamed_hub_keeps_its_key(bench: Bench) -> None:
    bench.apply(hubs("hub-1"))
    keys = bench.store.md5_keys()
    bench.controller.rename("gateway", "hub-1", "middle", actor="test")
    assert bench.store.md5_keys() == {"middle": keys["hub-1"]}
    assert passwords(bench, "paris-1")["middle"] == keys["hub-1"].secret


def test_a_dry_run_makes_no_key_and_says_which_plans_would_move(bench: Bench) -> None:
    bench.apply(hubs("hub-1"))
    keys = bench.store.md5_keys()
    outcome = bench.apply(hubs("hub-1", "hub-2"), dry_run=True)
    assert outcome.gateways == ["berlin-1", "hub-1", "hub-2", "paris-1", "paris-2"]
    assert bench.store.md5_keys() == keys


def test_a_key_is_in_plans_and_in_nothing_that_people_read(bench: Bench) -> None:
    outcome = bench.apply(hubs("hub-1"))
    bench.apply(hubs("hub-1", "hub-2"))
    store = Store(bench.store.database)
    history: Any = [store.revision(entry.number) for entry in store.revisions(None, 99)]
    told = repr((outcome, store.state().encoded, history, store.audit(None, 99), bench.told, store.md5_keys()))
    told += json.dumps([outcome.changes, outcome.gateways])
    for key in store.md5_keys().values():
        assert len(key.secret) == 43
        assert key.secret not in told


def test_plans_that_moved_by_a_key_are_told_to_other_controllers(bench: Bench) -> None:
    """By PostgreSQL's NOTIFY, though there is no new revision."""
    bench.apply(hubs("hub-1"))
    told: list[str] = []
    bench.told.clear()

    def first(change: Any) -> None:
        change.save_md5_keys({"hub-1": new_key(5.0)})
        change.notify = lambda: told.append("once")

    moved = bench.controller.refresh_plans(first)
    assert moved == ["berlin-1", "hub-1", "paris-1", "paris-2"] == sorted(bench.told[0].digests)
    assert told == ["once"]
    assert bench.store.state().revision == 1
