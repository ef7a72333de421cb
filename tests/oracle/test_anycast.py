"""A service at sites of several regions, in the oracle and in the compiled fabric."""

from __future__ import annotations

from typing import Any

from tests.oracle.given import client, document, gateway, world
from tests.oracle.tables import expected
from tests.oracle.test_fabric import assert_same, run
from tests.oracle.words import Announced

SERVICE = "10.200.0.0/24"
SITES = ("b", "c")
"""In eu and in us."""
ROUTERS = (
    gateway("a1", 1, "hub", drained=False),
    gateway("b1", 2, "spoke", "fiber", "lte", drained=False),
    gateway("c1", 4, "spoke", "satellite", drained=False),
)


def service(*rules: dict[str, Any], routers: tuple[dict[str, Any], ...] = ROUTERS, **more: Any) -> dict[str, Any]:
    return document(
        *routers,
        allocations=[{"site": site, "prefix": SERVICE, "anycast": True} for site in SITES],
        prefixes=[{"site": site, "prefix": SERVICE} for site in SITES],
        rules=list(rules),
        **more,
    )


def test_a_part_of_it_is_no_sites_to_blackhole_for_the_others() -> None:
    rogue = client("rogue", 9, "c")
    heard = {"rogue": [Announced("10.200.0.10/32", communities=frozenset({"65535:666"}))]}
    state = world(service(routers=(*ROUTERS, rogue), fabric={"blackhole": True}), heard)
    wanted = expected(state)
    assert not [name for name, routes in wanted.kernels.items() if "10.200.0.10/32" in routes]
    assert_same(run([state]), wanted)
