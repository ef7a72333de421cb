"""What gateways are told, file by file: an inventory, and the plan of each of its gateways."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import msgspec
import pytest

from controller.inventory.yaml import check_yaml
from controller.policy.compile import compile_plans
from speaker.plan import Plan, decode, encode
from tests.controller.golden import compare

GOLDEN = Path(__file__).parent / "golden"
NAMES = sorted(path.name for path in GOLDEN.iterdir())


@cache
def plans(name: str) -> dict[str, Plan]:
    inventory, findings = check_yaml([GOLDEN / name / "inventory.yml"])
    assert inventory is not None, "\n".join(map(str, findings))
    return compile_plans(inventory)


@pytest.mark.parametrize(("name", "gateway"), [(name, gateway) for name in NAMES for gateway in plans(name)])
def test_golden_plan(name: str, gateway: str) -> None:
    plan = plans(name)[gateway]
    assert decode(encode(plan)) == plan
    text = msgspec.json.format(encode(plan), indent=2).decode() + "\n"
    compare(GOLDEN / name / "plans" / f"{gateway}.json", text)


@pytest.mark.parametrize("name", NAMES)
def test_golden_folder_has_no_plan_too_many(name: str) -> None:
    assert {path.stem for path in (GOLDEN / name / "plans").iterdir()} == set(plans(name))
