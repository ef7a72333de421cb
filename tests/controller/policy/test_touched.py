"""Compiling what a change touches gives what compiling all gives."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.inventory.allocate import allocate
from controller.inventory.model import Inventory, Prefix, Region
from controller.policy.compile import compile_plans
from controller.policy.touched import touched
from controller.store.state import difference
from speaker.plan import encode
from tests.controller.ruled import ruled_inventories

some = settings(max_examples=100)


def without_some(inventory: Inventory, chance: random.Random) -> Inventory:
    def changed(prefix: Prefix) -> Prefix:
        return replace(prefix, gateways=(), first_hop=None) if chance.random() < 0.3 else prefix

    return replace(inventory, prefixes=tuple(changed(each) for each in inventory.prefixes if chance.random() < 0.7))


@pytest.mark.slow
@some
@given(ruled_inventories(), st.integers(0, 10_000), st.booleans())
def test_who_is_not_touched_has_the_same_plan(inventory: Inventory, seed: int, back: bool) -> None:
    old = allocate(inventory)
    new = without_some(old, random.Random(seed))
    if back:
        old, new = new, old
    names = touched(difference(old, new).objects, new)
    assert names is not None
    before, after = compile_plans(old), compile_plans(new)
    assert {name for name in after if encode(before[name]) != encode(after[name])} <= names
    assert compile_plans(new, names) == {name: after[name] for name in after if name in names}


@pytest.mark.slow
@some
@given(ruled_inventories(), st.data())
def test_some_plans_are_as_among_all(inventory: Inventory, data: st.DataObject) -> None:
    full = allocate(inventory)
    plans = compile_plans(full)
    names = data.draw(st.sets(st.sampled_from(sorted(plans))))
    assert compile_plans(full, names) == {name: plan for name, plan in plans.items() if name in names}


def test_what_is_no_prefix_may_touch_everybody() -> None:
    assert touched([], Inventory()) == frozenset()
    assert touched([Region("eu")], Inventory()) is None
