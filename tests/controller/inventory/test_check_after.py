"""What is judged of a change is what judging all would say."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from controller.inventory.allocate import allocate
from controller.inventory.changed import apart
from controller.inventory.checks import OF_PREFIXES, RULES, check, check_after
from controller.inventory.model import Inventory, Prefix
from tests.controller.inventories import sound_inventory
from tests.controller.ruled import ruled_inventories

FIELDS: tuple[tuple[str, Any], ...] = (
    ("site", "s1"),
    ("site", "nowhere"),
    ("vrid", 7),
    ("tenant", "blue"),
    ("gateways", ("g0", "lost")),
    ("first_hop", None),
)


def changed_by_chance(inventory: Inventory, chance: random.Random) -> tuple[Inventory, list[Prefix]]:
    """Prefixes gone, come and changed, for the better or the worse; and which."""
    old = list(inventory.prefixes)
    new = [each for each in old if chance.random() < 0.7]
    for at in range(len(new)):
        if chance.random() < 0.3:
            field, value = chance.choice(FIELDS)
            new[at] = replace(new[at], **{field: value})
    for each in old:
        if each.prefix.prefixlen and chance.random() < 0.2:
            new.append(replace(each, prefix=each.prefix.supernet(chance.randint(1, each.prefix.prefixlen))))
    chance.shuffle(new)
    gone, come = apart(inventory.prefixes, tuple(new))
    return replace(inventory, prefixes=tuple(new)), [*gone, *come]


@pytest.mark.slow
@settings(max_examples=200)
@given(ruled_inventories(), st.integers(0, 10_000))
def test_judging_what_changed_says_what_judging_all_says(inventory: Inventory, seed: int) -> None:
    full = allocate(inventory)
    assume(not check(full))
    changed, which = changed_by_chance(full, random.Random(seed))
    assert check_after(which, changed) == check(changed)


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule not in OF_PREFIXES], ids=lambda rule: rule.__name__)
def test_the_other_rules_do_not_look_at_prefixes(rule: Any) -> None:
    """A new rule that does belongs into OF_PREFIXES, or `check_after` would miss it."""
    inventory = allocate(sound_inventory(random.Random(1), 3, 4, 2))
    without: Any = replace(inventory, prefixes=None)  # type: ignore[arg-type]
    assert list(rule(without)) == list(rule(inventory))


@given(st.lists(st.integers(0, 5)), st.lists(st.integers(0, 5)))
def test_apart_finds_what_only_one_has(old: list[int], new: list[int]) -> None:
    gone, come = apart(tuple(old), tuple(new))
    assert {*gone} >= {*old} - {*new}
    assert {*come} >= {*new} - {*old}
    assert apart(tuple(old), tuple(old)) == ([], [])
