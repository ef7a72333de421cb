"""The cut-over plan: what goes, a few at a time, what stays, and the way back."""

from __future__ import annotations

import json

from controller.inventory.model import Inventory
from controller.zerotier.cutover import BATCH, bodies, removals, steps, to_text
from controller.zerotier.imported import imported
from controller.zerotier.port import ManagedRoute, MemberState, NetworkState, Service
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


def gone(before: tuple[ManagedRoute, ...], after: tuple[ManagedRoute, ...]) -> set[ManagedRoute]:
    assert set(after) <= set(before), "nothing is added, and no via is another one"
    return set(before) - set(after)


def test_routes_go_a_few_at_a_time_and_what_nobody_announces_stays() -> None:
    state = network(ON_LINK, *MANY, DEAD)
    plan = removals(state, sound(state, BERLIN))
    assert plan.stages[0] == state.routes
    batches = [gone(before, after) for before, after in zip(plan.stages, plan.stages[1:], strict=False)]
    assert [len(each) for each in batches] == [BATCH, BATCH, len(MANY) - 2 * BATCH]
    assert plan.stages[-1] == (ON_LINK, DEAD)
    assert (plan.kept, plan.open) == ((), (DEAD,))


def test_what_hosts_need_stays() -> None:
    """Leyline generates the very same routes for hosts: to take them away would only cut hosts off."""
    state = network(ON_LINK, TO_BERLIN, TO_PARIS)
    plan = removals(state, sound(state, BERLIN, PARIS, LAPTOP))
    assert plan.stages == (state.routes,)
    assert plan.kept == (TO_BERLIN, TO_PARIS)


def test_bodies_are_those_of_each_service() -> None:
    state = network(ON_LINK, TO_BERLIN)
    plan = removals(state, sound(state, BERLIN))
    first = [{"target": "10.42.0.0/24", "via": None}, {"target": "10.1.0.0/16", "via": "10.42.0.1"}]
    assert {name: json.loads(body) for name, body in bodies(OWN, plan).items()} == {
        "routes-00.json": {"routes": first},
        "routes-01.json": {"routes": first[:1]},
    }
    assert json.loads(bodies(CENTRAL, plan)["routes-00.json"]) == {"config": {"routes": first}}


def test_the_order_is_hubs_members_routes_network_guard_and_each_step_has_a_way_back() -> None:
    state = network(ON_LINK, *MANY, TO_PARIS, DEAD)
    inventory = sound(state, BERLIN, PARIS)
    plan = removals(state, inventory)
    found = list(steps(state, inventory, OWN, plan, "--zerotier-url http://127.0.0.1:9993", "a token"))
    titles = [each.title for each in found]
    assert titles[2:5] == [
        "hub berlin-gw: start the speaker",
        "hub paris: start the speaker",
        "Let Leyline write the members",
    ]
    assert titles[5].startswith("Take away 10.3.0.0/24 via 10.42.0.1, ")
    assert titles[-2:] == ["Let Leyline write the network", "Let declared space never leave by a default route"]
    assert all(each.run and each.look and each.back for each in found)
    first, second = found[5:7]
    assert first.run == (
        f"leyline import zerotier {NETWORK} --zerotier-url http://127.0.0.1:9993 --check",
        "curl -f -H \"X-ZT1-Auth: $(cat 'a token')\" -d @routes-01.json"
        f" http://127.0.0.1:9993/controller/network/{NETWORK}",
    )
    assert "@routes-00.json" in first.back
    assert ("@routes-02.json" in second.run[1], "@routes-01.json" in second.back) == (True, True)
    assert f"nobody announces them: {DEAD}" in found[-2].look
    text = to_text(state, found)
    assert f"{len(found)}. {titles[-1]}\n" in text


def test_central_has_its_own_path_and_header() -> None:
    state = network(ON_LINK, TO_BERLIN)
    inventory = sound(state, BERLIN)
    found = list(steps(state, inventory, CENTRAL, removals(state, inventory), "--zerotier-central", "token"))
    (line,) = [each.run[1] for each in found if each.title.startswith("Take away")]
    assert line == (
        'curl -f -H "Authorization: token $(cat token)" -d @routes-01.json'
        f" https://api.zerotier.com/api/v1/network/{NETWORK}"
    )
