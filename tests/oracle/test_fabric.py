"""Compiled plans, carried out by the speakers' own code, end where the oracle says, whatever the order of events."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from controller.inventory.allocate import allocate
from controller.inventory.checks import check
from controller.inventory.document import parse_document
from controller.policy.compile import compile_plans
from speaker.plan import Plan, decode, encode
from tests.oracle.fabric import Fabric
from tests.oracle.fabrics import worlds
from tests.oracle.tables import expected
from tests.oracle.words import Document, Expected, World


def plans_of(document: Document) -> dict[str, Plan]:
    """As the gateways read them. What is said of rules that do nothing is no obstacle here."""
    inventory, findings = parse_document(document)
    assert findings == []
    assert allocate(inventory) == inventory, "the document must say all numbers and addresses, or the oracle is blind"
    assert [each for each in check(inventory) if not each.object.startswith("rule ")] == []
    return {name: decode(encode(plan)) for name, plan in compile_plans(inventory).items()}


def strangers_of(document: Document) -> dict[str, tuple[str, int]]:
    asn = document["fabric"]["asn"]
    return {each["name"]: (each["address"], each.get("asn") or asn) for each in document["clients"]}


async def lived_through(states: list[World], chance: random.Random) -> Expected:
    """What a fabric has that went through `states` in a hurry, and came to rest in the last one. At first all live."""
    first = states[0]
    plans = plans_of(first.document)
    fabric = Fabric(plans, strangers_of(first.document), chance, without_add_path=first.without_add_path, cut=first.cut)
    say(fabric, first)
    fabric.apply(plans, first.connected)
    await fabric.come_up()
    for before, state in pairwise(states):
        await fabric.some(chance.randrange(40))
        fabric.apply(plans_of(state.document), state.connected)
        await fabric.some(chance.randrange(10))
        say(fabric, state)
        for name in sorted(state.down - before.down):
            await fabric.some(chance.randrange(10))
            fabric.dies(name)
    await fabric.settle()
    return Expected(
        {name: kernel.routes for name, kernel in fabric.kernels.items()},
        {
            name: {fabric.names[hub]: stranger.table(hub) for hub in stranger.hubs}
            for name, stranger in fabric.strangers.items()
        },
    )


def say(fabric: Fabric, state: World) -> None:
    for name, stranger in fabric.strangers.items():
        stranger.says(state.announced.get(name, ()))


def run(states: list[World], seed: int = 0) -> Expected:
    with capture_logs():
        return asyncio.run(asyncio.wait_for(lived_through(states, random.Random(seed)), 60))


def all_alive(states: list[World]) -> World:
    """The last state, the only one where nobody is over a limit, before anybody died."""
    return replace(states[-1], down=frozenset())


def shuffled(document: Document, chance: random.Random) -> dict[str, Any]:
    """The same document with its rows in another order."""
    rows = {section: list(each) for section, each in document.items() if isinstance(each, list)}
    return dict(document) | {section: chance.sample(each, len(each)) for section, each in rows.items()}


def differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Short enough to be read: what differs, and how."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        return {
            key: differences(found.get(key, "nothing"), wanted.get(key, "nothing"))
            for key in sorted({*found, *wanted})
            if found.get(key) != wanted.get(key)
        }
    if isinstance(found, frozenset) and isinstance(wanted, frozenset):
        return {"found": found - wanted, "wanted": wanted - found}
    return {"found": found, "wanted": wanted}


def assert_same(found: Expected, wanted: Expected) -> None:
    assert differences(found.kernels, wanted.kernels) == {}
    assert differences(found.tables, wanted.tables) == {}


@pytest.mark.slow
@given(worlds(), st.integers(0, 1000))
def test_the_compiled_fabric_equals_the_oracle(states: list[World], seed: int) -> None:
    world = all_alive(states)
    assert_same(run([world], seed), expected(world))


@pytest.mark.slow
@given(worlds(), st.integers(0, 1000))
def test_neither_what_was_before_nor_the_order_of_updates_matters(states: list[World], seed: int) -> None:
    assert_same(run(states, seed), expected(states[-1]))


@given(worlds(), st.integers(0, 1000))
def test_the_order_of_rows_does_not_matter(states: list[World], seed: int) -> None:
    document = states[0].document
    plans = plans_of(document)
    assert plans_of(shuffled(document, random.Random(seed))) == plans


@pytest.mark.slow
@given(worlds(), st.integers(0, 1000), st.integers(0, 5))
def test_a_viewers_result_does_not_depend_on_another_viewer(states: list[World], seed: int, which: int) -> None:
    """One site gets rules of its own and a client that looks on: all others have what they had."""
    world = all_alive(states)
    document, site = world.document, world.document["sites"][which % len(world.document["sites"])]["name"]
    onlooker = {"name": "onlooker", "site": site, "number": 120, "address": "10.42.0.120", "circuit_class": "fiber"}
    if "segment6" in document["fabric"]:
        onlooker["address6"] = "fd42:42::120"
    viewer = {"sites": [site]}
    rules = [
        {"name": "its-own", "order": 1, "viewer": viewer, "match": {"regions": ["eu"]}, "action": {"deny": True}},
        {"name": "of-all", "order": 99, "viewer": viewer, "action": {"preference_add": 7, "max_paths": 1}},
    ]
    changed = {
        "clients": [*document["clients"], onlooker],
        "rules": [*document["rules"], *rules],
    }
    before, after = run([world], seed), run([replace(world, document=dict(document) | changed)], seed + 1)
    others = [each["name"] for each in (*document["gateways"], *document["clients"]) if each["site"] != site]
    for found in (before, after):
        for table in (found.kernels, found.tables):
            for name in set(table) - set(others):
                del table[name]
    assert_same(after, before)
