"""What plans say of a segment that is the fabric's own, and that they are as they were when it is not."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

from hypothesis import given, settings

from controller.inventory.allocate import allocate
from controller.inventory.model import Inventory, Moon
from controller.policy.compile import compile_plans
from speaker.plan import MoonPlan, MoonSeedPlan, Plan, decode, encode
from tests.controller.inventories import inventories

NETWORK = "8056c2e21c000001"
NEW = {"unguarded", "network", "mtu", "mss_clamp", "permanent_neighbours", "orbit", "moon", "node_id", "peer_node_id"}
some = settings(max_examples=25)


def with_network(inventory: Inventory, **fields: Any) -> Inventory:
    assert inventory.fabric is not None
    return replace(inventory, fabric=replace(inventory.fabric, network=NETWORK, **fields))


def without_network(inventory: Inventory) -> Inventory:
    assert inventory.fabric is not None
    return replace(inventory, fabric=replace(inventory.fabric, network=""), moons=())


def keys_of(value: Any) -> set[str]:
    """Every key of a JSON document, at whatever depth."""
    if isinstance(value, dict):
        return set(value).union(*map(keys_of, value.values()))
    return set().union(*map(keys_of, value)) if isinstance(value, list) else set()


@some
@given(inventories())
def test_plans_without_a_network_say_nothing_of_it(inventory: Inventory) -> None:
    for plan in compile_plans(allocate(without_network(inventory))).values():
        assert plan.version == 3
        assert not keys_of(json.loads(encode(plan))) & NEW
        assert decode(encode(plan)) == plan


@some
@given(inventories())
def test_every_node_id_is_that_of_the_uplink_with_the_address(inventory: Inventory) -> None:
    inventory = allocate(with_network(without_network(inventory)))
    nodes: dict[str | None, str] = {str(each.address): each.node_id or "" for each in inventory.clients}
    nodes |= {str(uplink.address): uplink.node_id for each in inventory.gateways for uplink in each.uplinks}
    for plan in compile_plans(inventory).values():
        assert plan.version == 4
        assert {uplink.address: uplink.node_id for uplink in plan.uplinks}.items() <= nodes.items()
        for session in plan.sessions:
            if session.peer_role == "lan":
                assert session.peer_node_id == "", "no member of the segment"
                continue
            assert session.peer_node_id == nodes[session.peer_address]
            for hop in session.imports.next_hops if session.imports is not None else ():
                assert hop.node_id == nodes[hop.address]


@some
@given(inventories())
def test_a_moon_is_one_gateways_to_make_and_the_others_to_orbit(inventory: Inventory) -> None:
    if not inventory.gateways:
        return
    seed = inventory.gateways[0]
    moon = Moon("home", seed.name, ("203.0.113.7/9993",))
    plans: dict[str, Plan] = compile_plans(allocate(replace(with_network(inventory), moons=(moon,))))
    node = seed.uplinks[0].node_id
    for name, plan in plans.items():
        made = MoonSeedPlan("home", seed.uplinks[0].name, moon.endpoints) if name == seed.name else None
        orbited = () if name == seed.name else (MoonPlan("home", f"000000{node}", node),)
        assert (plan.moon, plan.orbit) == (made, orbited)


@some
@given(inventories())
def test_the_switches_are_the_fabrics(inventory: Inventory) -> None:
    inventory = without_network(inventory)
    off = with_network(inventory, mtu=2800, mss_clamp=False, permanent_neighbours=False)
    for plan in compile_plans(allocate(off)).values():
        assert (plan.network, plan.mtu, plan.mss_clamp, plan.permanent_neighbours) == (NETWORK, 2800, False, False)
    for plan in compile_plans(allocate(with_network(inventory))).values():
        assert (plan.mtu, plan.mss_clamp, plan.permanent_neighbours) == (1280, True, True)


@some
@given(inventories())
def test_zerotier_hears_of_declared_space_whether_or_not_it_is_guarded(inventory: Inventory) -> None:
    """All that a hub accepts is inside: nothing that is received may be missing."""
    inventory = with_network(without_network(inventory))
    for guarded in (True, False):
        for plan in compile_plans(allocate(with_network(inventory, guard_default=guarded))).values():
            assert bool(plan.rejects) is guarded
            said = [ip_network(text) for text in (*plan.rejects, *plan.unguarded)]
            for session in plan.sessions:
                for allowed in session.imports.allocations if session.imports is not None else ():
                    network = ip_network(allowed.prefix)
                    inside = [each for each in said if each.overlaps(network) and each.prefixlen <= network.prefixlen]
                    assert inside or not network.prefixlen
