"""What the scenario `zerotier-gateway` declares, and how it tells a path that has gone astray. Needs no ZeroTier."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from controller.inventory.yaml import check_yaml
from controller.policy.compile import compile_plans
from lab.planet import interface_name
from lab.scenarios.zerotier_gateway import relayed
from lab.scenarios.zerotier_gateway.world import (
    FIBER,
    HERE,
    INTERFACES,
    KEYS,
    LTE,
    PORTS,
    RELAYED_PREFERENCE,
    SEED,
    World,
    document,
    inside,
)
from speaker.plan import MoonPlan, MoonSeedPlan, Plan

NETWORK = "8056c2e21c000001"
NODES = {key: f"a0000000{number:02}" for number, key in enumerate(KEYS)}


def declared(endpoints: tuple[str, ...]) -> Any:
    world = SimpleNamespace(
        network=NETWORK,
        node_id=NODES.__getitem__,
        interface=lambda key: INTERFACES.get(key) or interface_name(NETWORK),
    )
    return document(cast(World, world), endpoints)


def plans(place: Path, endpoints: tuple[str, ...]) -> dict[str, Plan]:
    file = place / "inventory.yml"
    file.write_text(json.dumps(declared(endpoints)))
    found, findings = check_yaml([file])
    assert [str(each) for each in findings] == []
    assert found is not None
    return dict(compile_plans(found))


def test_what_is_declared_is_sound_and_the_moon_is_everybodys(tmp_path: Path) -> None:
    found = plans(tmp_path, HERE)
    world = NODES[SEED].rjust(16, "0")
    assert found["hub-1"].moon == MoonSeedPlan("core", "main", HERE)
    assert {plan.orbit for name, plan in found.items() if name != "hub-1"} == {(MoonPlan("core", world, NODES[SEED]),)}
    assert all(plan.relayed_preference == RELAYED_PREFERENCE for plan in found.values())


def test_two_services_of_one_box_share_neither_home_nor_port_nor_interface(tmp_path: Path) -> None:
    uplinks = plans(tmp_path, HERE)["oslo-1"].uplinks
    assert [(each.name, each.node_id, each.interface) for each in uplinks] == [
        ("fiber", NODES[FIBER], "ztfiber"),
        ("lte", NODES[LTE], "ztlte"),
    ]
    assert PORTS[FIBER] != PORTS[LTE]


def test_no_gateway_of_berlin_reaches_one_of_paris_and_each_reaches_oslo_by_one_at_least() -> None:
    dark = {frozenset(pair) for pair in relayed.DARK}
    assert dark == {frozenset({f"berlin-{a}", f"paris-{b}"}) for a in (1, 2) for b in (1, 2)}
    assert frozenset(relayed.CUT) == {"oslo-1", "berlin-2"}


@pytest.mark.parametrize(
    ("where", "astray"),
    [
        ("10.2.0.1/9993", True),
        ("10.42.0.24/9994", True),
        ("192.0.2.24/9993", False),
        ("198.51.100.25/9994", False),
        ("2001:db8::1/9993", False),
    ],
)
def test_a_path_is_astray_in_lans_and_in_the_segment(where: str, astray: bool) -> None:
    assert inside(where) is astray
