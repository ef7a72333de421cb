"""What plans say of relayed paths: to every gateway, for each judges and acts for itself."""

from __future__ import annotations

import random
from typing import Any

import pytest

from controller.inventory.allocate import allocate
from controller.policy.compile import compile_plans
from tests.controller.inventories import sound_inventory
from tests.controller.policy.test_segment import with_network, without_network

INVENTORY = sound_inventory(random.Random(1), sites=2, gateways=3, clients=0)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, (0, 0)),
        ({"relayed_preference": -100}, (0, 0)),
        ({"relayed_seconds": 120}, (120, -50)),
        ({"relayed_seconds": 120, "relayed_preference": -100}, (120, -100)),
    ],
)
def test_gateways_are_told_the_threshold_and_what_it_costs(fields: dict[str, Any], said: tuple[int, int]) -> None:
    plans = compile_plans(allocate(with_network(INVENTORY, **fields)))
    assert {(plan.relayed_seconds, plan.relayed_preference) for plan in plans.values()} == {said}


def test_without_a_network_nobody_knows_what_is_relayed() -> None:
    declared = without_network(with_network(INVENTORY, relayed_seconds=120))
    plans = compile_plans(allocate(declared))
    assert {(plan.relayed_seconds, plan.relayed_preference) for plan in plans.values()} == {(0, 0)}
