"""Pieces of the scenario `zerotier-import` that need no ZeroTier: its network, the answers, and the plan's lines."""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network

import pytest

from controller.inventory.allocate import allocate
from controller.inventory.checks import check
from controller.inventory.document import parse_document
from controller.zerotier.cutover import removals, steps
from controller.zerotier.imported import Imported, imported, to_yaml
from controller.zerotier.port import ManagedRoute, MemberState, NetworkState, Service
from controller.zerotier.summaries import summaries
from lab.scenarios.zerotier_import import hosts, walk
from lab.scenarios.zerotier_import.world import GATEWAYS, HOSTS, MEMBERS, ROUTES, SEGMENT

NETWORK = "53fe91125f000001"


@pytest.fixture(scope="module")
def state() -> NetworkState:
    routes = [ManagedRoute(ip_network(SEGMENT)), *(ManagedRoute(ip_network(a), ip_address(b)) for a, b in ROUTES)]
    return NetworkState(NETWORK, "office", routes=tuple(routes), rules=({"type": "ACTION_ACCEPT"},), auto_assign4=True)


@pytest.fixture(scope="module")
def found(state: NetworkState) -> Imported:
    members = [
        MemberState(f"a00000000{n}", True, (ip_address(address),), name)
        for n, (name, address) in enumerate(MEMBERS.items())
    ]
    return imported(state, {each.node_id: each for each in members})


def test_what_is_asked(found: Imported) -> None:
    text = to_yaml(found)
    assert "no member has 10.42.0.99" in text
    assert "summary-split" in text
    assert {each["name"] for each in found.document["gateways"]} == set(GATEWAYS)
    assert [each["name"] for each in found.document["hosts"]] == ["laptop"]


@pytest.mark.parametrize("floor", [False, True])
def test_answered_it_is_sound_and_hosts_reach_every_lan(found: Imported, state: NetworkState, floor: bool) -> None:
    inventory, findings = parse_document(walk.answered(found.document, guard_default=True, managed_floor=floor))
    whole = allocate(inventory)
    assert [*findings, *check(whole)] == []
    made = summaries(whole, {}, state.routes)
    targets = [each.target for each in made.routes]
    assert all(any(ip_address(address) in target for target in targets) for address in HOSTS.values())
    assert {str(target) for target in targets} >= ({hosts.FLOOR, hosts.HIDDEN} if floor else {hosts.HIDDEN})
    assert [each.code for each in made.remarks] == (["floor-hidden"] if floor else [])


def test_the_plan_has_the_lines_that_are_typed(found: Imported, state: NetworkState) -> None:
    assert found.inventory is not None
    service = Service("self-hosted", "http://127.0.0.1:9993")
    plan = removals(state, found.inventory)
    lines = [each for step in steps(state, found.inventory, service, plan, "", "t") for each in step.run]
    wanted = [walk.VALIDATE, walk.APPLY, *[walk.TOKEN] * len(GATEWAYS), walk.ADOPT_MEMBERS, walk.ADOPT_NETWORK]
    typed = [re.sub(walk.COMMENT, "", line) for line in lines]
    places = [next((n for n, line in enumerate(typed) if line.startswith(each)), -1) for each in wanted]
    assert -1 not in places
    assert places == sorted(places)
    assert len([line for line in typed if line.startswith(walk.TOKEN)]) == len(GATEWAYS)
