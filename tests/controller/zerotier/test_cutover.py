"""The cut-over plan: what goes, what stays, and the way back."""

from __future__ import annotations

import json

from controller.inventory.model import Inventory
from controller.zerotier.cutover import bodies, removals, steps, to_text
from controller.zerotier.imported import imported
from controller.zerotier.port import MemberState, NetworkState, Service
from tests.controller.zerotier.networks import (
    BERLIN,
    LAPTOP,
    NETWORK,
    ON_LINK,
    PARIS,
    TO_BERLIN,
    TO_PARIS,
    by_id,
    network,
    route,
)

OWN = Service("self-hosted", "http://127.0.0.1:9993", "1.14.1", "53fe91125f")
CENTRAL = Service("central", "https://api.zerotier.com/api/v1", "1", "53fe91125f")
MANY = tuple(route(f"10.3.{n}.0/24", "10.42.0.1") for n in range(0, 20, 2))
DEAD = route("10.9.0.0/24", "10.42.0.77")


def sound(state: NetworkState, *members: MemberState) -> Inventory:
    found = imported(state, by_id(*members)).inventory
    assert found is not None
    return found


def test_what_goes_what_stays_and_what_nobody_announces() -> None:
    state = network(ON_LINK, *MANY, DEAD)
    plan = removals(state, sound(state, BERLIN))
    assert (plan.going, plan.kept, plan.open) == (MANY, (), (DEAD,))


def test_what_hosts_need_stays() -> None:
    """Leyline generates the very same routes for hosts: to take them away would only cut hosts off."""
    state = network(ON_LINK, TO_BERLIN, TO_PARIS)
    plan = removals(state, sound(state, BERLIN, PARIS, LAPTOP))
    assert (plan.going, plan.kept) == ((), (TO_BERLIN, TO_PARIS))


def test_the_way_back_is_a_body_as_each_service_takes_it() -> None:
    state = network(ON_LINK, TO_BERLIN)
    was = [{"target": "10.42.0.0/24", "via": None}, {"target": "10.1.0.0/16", "via": "10.42.0.1"}]
    assert {name: json.loads(body) for name, body in bodies(OWN, state).items()} == {"routes.json": {"routes": was}}
    assert json.loads(bodies(CENTRAL, state)["routes.json"]) == {"config": {"routes": was}}


def test_the_order_is_hubs_members_network_guard_and_each_step_has_a_way_back() -> None:
    state = network(ON_LINK, *MANY, TO_PARIS, DEAD)
    inventory = sound(state, BERLIN, PARIS)
    plan = removals(state, inventory)
    found = list(steps(state, inventory, OWN, plan, "--zerotier-url http://127.0.0.1:9993", "a token"))
    assert [each.title for each in found[2:]] == [
        "hub berlin-gw: start the speaker",
        "hub paris: start the speaker",
        "Let Leyline write the members",
        "Let Leyline write the network, and take the managed routes away",
        "Let declared space never leave by a default route",
    ]
    assert all(each.run and each.look and each.back for each in found)
    network_step = found[-2]
    check = f"leyline import zerotier {NETWORK} --zerotier-url http://127.0.0.1:9993 --check"
    assert network_step.run == (check, "leyline segment adopt --network", check)
    assert "12 in some 36 s" in network_step.look
    assert f"Nobody announces these, and they go, too: {DEAD}" in network_step.look
    assert network_step.back.endswith(
        "curl -f -H \"X-ZT1-Auth: $(cat 'a token')\" -d @routes.json"
        f" http://127.0.0.1:9993/controller/network/{NETWORK}"
    )
    text = to_text(state, found)
    assert f"{len(found)}. {found[-1].title}\n" in text


def test_where_every_route_stays_nothing_is_said_to_go() -> None:
    state = network(ON_LINK, TO_BERLIN, TO_PARIS)
    inventory = sound(state, BERLIN, PARIS, LAPTOP)
    look = list(steps(state, inventory, OWN, removals(state, inventory), "", "t"))[-2].look
    assert f"These stay, as Leyline's own, for hosts: {TO_BERLIN}, {TO_PARIS}." in look
    assert "takes managed routes away" not in look


def test_central_has_its_own_path_and_header() -> None:
    state = network(ON_LINK, TO_BERLIN)
    inventory = sound(state, BERLIN)
    found = list(steps(state, inventory, CENTRAL, removals(state, inventory), "--zerotier-central", "token"))
    assert found[-2].back.endswith(
        'curl -f -H "Authorization: token $(cat token)" -d @routes.json'
        f" https://api.zerotier.com/api/v1/network/{NETWORK}"
    )
