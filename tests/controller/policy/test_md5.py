"""Which key a session has: the one of the hub that waits for it, at both ends; and who has keys at all."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings

from controller.inventory.allocate import allocate
from controller.inventory.document import parse_document
from controller.inventory.model import Inventory
from controller.policy.compile import compile_plans
from controller.policy.md5 import keyed, keys_after
from speaker.plan import Plan, decode, encode
from tests.controller.inventories import inventories


def gateway(name: str, node: int, role: str = "spoke", uplinks: int = 1) -> dict[str, Any]:
    attached = [
        {"name": f"u{n}", "node_id": f"a{node:07}{n:02}", "interface": f"zt{n}", "circuit_class": "fiber"}
        for n in range(uplinks)
    ]
    return {"name": name, "site": "s", "role": role, "uplinks": attached}


DOCUMENT: dict[str, Any] = {
    "fabric": {"name": "demo", "asn": 64512, "segment": "10.42.0.0/16", "md5": True},
    "regions": [{"name": "eu"}],
    "sites": [{"name": "s", "region": "eu"}],
    "gateways": [
        gateway("hub-1", 1, "hub"),
        gateway("hub-2", 2, "hub"),
        gateway("far", 3, uplinks=2),
    ],
    "clients": [{"name": "frr1", "site": "s", "circuit_class": "fiber"}],
    "lan_peers": [
        {"name": "core", "gateway": "far", "asn": 65001, "interface": "lan0", "address": "10.9.0.2",
         "local_address": "10.9.0.1"}
    ],
}  # fmt: skip
KEYS = {"hub-1": "first", "hub-2": "second"}


def declared() -> Inventory:
    inventory, findings = parse_document(DOCUMENT)
    assert findings == []
    return allocate(inventory)


def plans(keys: dict[str, str]) -> dict[str, Plan]:
    return {name: keyed(plan, keys) for name, plan in compile_plans(declared()).items()}


def passwords(plan: Plan) -> dict[str, str]:
    return {session.peer: session.password for session in plan.sessions}


def test_the_key_is_that_of_the_hub_that_waits() -> None:
    found = plans(KEYS)
    # hub-1 has the lower address, so it dials hub-2, and their session has the key of hub-2.
    assert passwords(found["far"]) == {"hub-1": "first", "hub-2": "second", "core": ""}
    assert passwords(found["hub-1"]) == {"far": "first", "far/u1": "first", "hub-2": "second", "frr1": ""}
    assert passwords(found["hub-2"]) == {"far": "second", "far/u1": "second", "hub-1": "second", "frr1": ""}


def test_a_hub_without_a_key_goes_without() -> None:
    found = plans({"hub-2": "second"})
    assert passwords(found["far"]) == {"hub-1": "", "hub-2": "second", "core": ""}
    assert passwords(found["hub-1"])["hub-2"] == passwords(found["hub-2"])["hub-1"] == "second"


def test_a_new_key_of_one_hub_moves_no_session_of_another() -> None:
    before, after = plans(KEYS), plans({**KEYS, "hub-1": "third"})
    moved = {
        (name, session.peer)
        for name, plan in after.items()
        for session, former in zip(plan.sessions, before[name].sessions, strict=True)
        if session != former
    }
    assert moved == {("far", "hub-1"), ("hub-1", "far"), ("hub-1", "far/u1")}


def test_a_key_needs_no_newer_version_of_the_plan() -> None:
    for plan in plans(KEYS).values():
        assert plan.version == 3
        assert decode(encode(plan)) == plan


@settings(max_examples=50)
@given(inventories())
def test_without_keys_plans_stay_as_they_are_and_with_keys_both_ends_have_the_same(inventory: Inventory) -> None:
    compiled = compile_plans(allocate(inventory))
    assert all(keyed(plan, {}) is plan for plan in compiled.values())
    keys = {name: f"of {name}" for name, plan in compiled.items() if plan.role == "hub"}
    found = {name: keyed(plan, keys) for name, plan in compiled.items()}
    for name, plan in found.items():
        for session in plan.sessions:
            assert bool(session.password) is session.peer_is_ours
            if session.peer_is_ours:
                far = found[session.peer.partition("/")[0]]
                assert session.password in {each.password for each in far.sessions if each.peer.startswith(name)}


# Who has keys.

NEW = "new"


def after(former: dict[str, str], before: Inventory, now: Inventory, renamed: tuple[str, str] | None = None) -> Any:
    return keys_after(former, before, now, lambda: NEW, renamed)


def without(inventory: Inventory, *names: str) -> Inventory:
    return replace(inventory, gateways=tuple(each for each in inventory.gateways if each.name not in names))


def role(inventory: Inventory, name: str, role: Any) -> Inventory:
    return replace(
        inventory,
        gateways=tuple(replace(each, role=role) if each.name == name else each for each in inventory.gateways),
    )


def off(inventory: Inventory) -> Inventory:
    assert inventory.fabric is not None
    return replace(inventory, fabric=replace(inventory.fabric, md5=False))


def test_a_new_hub_has_a_key_from_its_first_plan() -> None:
    whole = declared()
    assert after({}, Inventory(), whole) == {"hub-1": NEW, "hub-2": NEW}
    assert after({"hub-1": "first"}, without(whole, "hub-2"), whole) == {"hub-1": "first", "hub-2": NEW}
    assert after({}, Inventory(), off(whole)) == {}


@pytest.mark.parametrize(("before", "now"), [(off, lambda each: each), (lambda each: each, off)])
def test_to_switch_it_on_or_off_moves_no_key(before: Any, now: Any) -> None:
    for keys in ({}, {"hub-1": "first"}, KEYS):
        assert after(keys, before(declared()), now(declared())) == keys


def test_who_is_no_hub_any_more_has_no_key() -> None:
    whole = declared()
    assert after(KEYS, whole, without(whole, "hub-2")) == {"hub-1": "first"}
    assert after(KEYS, whole, role(whole, "hub-2", "spoke")) == {"hub-1": "first"}
    assert after({"hub-1": "first"}, role(whole, "hub-2", "spoke"), whole) == {"hub-1": "first", "hub-2": NEW}


def test_a_renamed_hub_keeps_its_key_or_has_none_as_before() -> None:
    whole = declared()
    named = tuple(replace(each, name="z") if each.name == "hub-1" else each for each in whole.gateways)
    later = replace(whole, gateways=named)
    assert after(KEYS, whole, later, ("hub-1", "z")) == {"z": "first", "hub-2": "second"}
    assert after({"hub-2": "second"}, whole, later, ("hub-1", "z")) == {"hub-2": "second"}
