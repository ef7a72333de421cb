"""What is left: nothing while a gateway announces nothing may be called announced."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from controller.inventory.model import Inventory
from controller.zerotier.imported import imported
from controller.zerotier.leftover import Left, left
from controller.zerotier.port import ManagedRoute
from controller.zerotier.summaries import ALL
from tests.controller.zerotier.networks import (
    BERLIN,
    LAPTOP,
    ON_LINK,
    PARIS,
    TO_BERLIN,
    TO_PARIS,
    by_id,
    member,
    network,
    route,
)

EVERYBODY = by_id(BERLIN, PARIS)


def inventory(*routes: ManagedRoute) -> Inventory:
    found = imported(network(ON_LINK, *routes), EVERYBODY).inventory
    assert found is not None
    return found


def judged(*routes: ManagedRoute, declared: Inventory | None = None, **silent: Any) -> dict[str, tuple[Any, ...]]:
    given = declared or inventory(TO_BERLIN, TO_PARIS)
    silences = {name.replace("_", "-"): frozenset(each) for name, each in silent.items()}
    found = left(network(ON_LINK, *routes), EVERYBODY, given, silences)
    return {str(each.route.target): (each.state, *each.gateways) for each in found.routes}


def test_what_a_gateway_announces_may_go_what_it_does_not_must_wait() -> None:
    strange = route("10.9.0.0/24", "10.42.0.1")
    assert judged(TO_BERLIN, TO_PARIS, strange, paris={ALL}) == {
        "10.1.0.0/16": ("announced", "berlin-gw"),
        "10.2.0.0/24": ("waiting", "paris"),
        "10.9.0.0/24": ("undeclared",),
    }


def test_a_dead_lan_is_not_announced() -> None:
    assert judged(TO_BERLIN, berlin_gw={"10.1.0.0/16"}) == {"10.1.0.0/16": ("waiting", "berlin-gw")}


@pytest.mark.parametrize(
    ("declared", "state"),
    [
        (["10.0.0.0/15"], "announced"),
        (["10.1.0.0/17", "10.1.128.0/17"], "announced"),
        (["10.1.0.0/17"], "undeclared"),
    ],
)
def test_all_of_a_route_must_be_announced(declared: list[str], state: str) -> None:
    given = inventory(*(route(each, "10.42.0.1") for each in declared))
    assert judged(TO_BERLIN, declared=given)["10.1.0.0/16"][0] == state


def test_members_that_are_let_in_and_not_declared_are_named_and_hold_up_nothing() -> None:
    """Leyline leaves them alone for good."""
    outside = member("c000000001", "10.42.0.9", authorised=False)
    found = left(network(ON_LINK), by_id(BERLIN, PARIS, LAPTOP, outside), inventory(TO_BERLIN), {})
    assert (found.members, found.done) == ((LAPTOP,), True)
    strange = route("10.9.0.0/24", "10.42.0.1")
    assert not left(network(ON_LINK, strange), by_id(BERLIN), inventory(TO_BERLIN), {}).done


def test_the_segment_and_leylines_own_routes_are_not_left() -> None:
    given = imported(network(ON_LINK, TO_BERLIN), by_id(BERLIN, LAPTOP)).inventory
    assert given is not None
    found = left(network(ON_LINK, TO_BERLIN), by_id(BERLIN, LAPTOP), given, {})
    assert (found.routes, found.kept, found.done) == ((), (TO_BERLIN,), True)
    alone = replace(given, hosts=())
    assert left(network(ON_LINK), by_id(BERLIN), alone, {}) == Left()
