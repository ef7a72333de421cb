"""A service at sites of several regions, in the oracle and in the compiled fabric."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.oracle.fabrics import Size, worlds_of
from tests.oracle.given import client, document, gateway, world
from tests.oracle.tables import expected
from tests.oracle.test_fabric import assert_same, run
from tests.oracle.words import Announced, World

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


HERE = frozenset({"10.42.0.2", "10.42.0.3"})
"""In eu, where a1 is."""


def first_tier(state: World, name: str) -> frozenset[str]:
    """Of the service, where `name` sends it first."""
    wanted = expected(state)
    assert_same(run([state]), wanted)
    return wanted.kernels[name][SERVICE][0]


@pytest.mark.parametrize(
    ("match", "action"),
    [
        ({}, {"preference": 40}),
        ({}, {"preference": 40, "preference_add": -1000}),
        ({}, {"preference": 40, "last": True}),
        ({}, {"preference_add": -5000, "last": True}),
        ({"prefixes": ["10.200.0.0/16 ge 24 le 32", "10.1.0.0/16"]}, {"preference": 40, "last": True}),
        ({"prefixes": ["10.1.0.0/16 le 24"]}, {"preference": 40, "last": True}),
        ({"communities": ["65000:1"]}, {"preference": 40, "remove_communities": ["65000:1"], "last": True}),
    ],
)
def test_own_region_comes_first_whatever_a_viewers_rules_say_of_preference(
    match: dict[str, Any], action: dict[str, Any]
) -> None:
    marked = {"name": "a-marked", "match": {"regions": ["eu"]}, "action": {"add_communities": ["65000:1"]}}
    ruled = {
        "name": "ruled",
        "match": {"regions": ["eu"]} | match,
        "viewer": {"regions": ["eu"]},
        "action": action,
    }
    assert first_tier(world(service(marked, ruled)), "a1") <= HERE


def test_a_rule_of_the_viewers_promotes_among_those_of_its_own_region() -> None:
    ruled = {
        "name": "ruled",
        "match": {"circuit_classes": ["lte"]},
        "viewer": {"regions": ["eu"]},
        "action": {"preference": 500},
    }
    assert first_tier(world(service(ruled)), "a1") == {"10.42.0.3"}


def test_own_region_comes_first_also_where_a_rule_raises_the_others_as_high_as_may_be() -> None:
    far = {
        "name": "far",
        "match": {"regions": ["us"]},
        "viewer": {"regions": ["eu"]},
        "action": {"preference": 999_999},
    }
    assert first_tier(world(service(far)), "a1") <= HERE


@pytest.mark.slow
@given(st.integers(0, 100_000), st.frozensets(st.sampled_from(["clients", "closed", "drained", "max_paths"])))
def test_whatever_viewers_rules_say_the_compiled_fabric_equals_the_oracle(seed: int, more: frozenset[str]) -> None:
    size = Size(sites=4, hubs=1, spokes=3, clients=1, rules=4)
    state = worlds_of(random.Random(seed), size, frozenset({"anycast", "rules", "viewers"}) | more)[0]
    assert_same(run([state], seed), expected(state))


def test_a_part_of_it_is_no_sites_to_blackhole_for_the_others() -> None:
    rogue = client("rogue", 9, "c")
    heard = {"rogue": [Announced("10.200.0.10/32", communities=frozenset({"65535:666"}))]}
    state = world(service(routers=(*ROUTERS, rogue), fabric={"blackhole": True}), heard)
    wanted = expected(state)
    assert not [name for name, routes in wanted.kernels.items() if "10.200.0.10/32" in routes]
    assert_same(run([state]), wanted)
