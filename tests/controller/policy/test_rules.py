"""Rules in plans. What they do to a path, taken together, is compared with the oracle elsewhere."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from ipaddress import IPv4Address, ip_network
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.inventory.allocate import allocate
from controller.inventory.model import (
    Action,
    Allocation,
    CircuitClass,
    Client,
    Fabric,
    Gateway,
    Inventory,
    LanPeer,
    Match,
    PrefixMatch,
    Region,
    Rule,
    Site,
    Uplink,
    Viewer,
    community_value,
)
from controller.policy.compile import compile_plans
from speaker.plan import AllocationPlan, NextHopPlan, Plan, PolicyPlan, SessionPlan, StepPlan, encode
from tests.controller.inventories import inventories, shuffled
from tests.controller.ruled import ruled_inventories

some = settings(max_examples=50)
EU, US, CN = (f"64512:2:{community_value(name)}" for name in ("eu", "us", "cn"))
OFFICES = (PrefixMatch(ip_network("10.2.0.0/16"), 20, 24),)


def world(*rules: Rule, closed: tuple[str, ...] = (), **more: Any) -> Inventory:
    """A hub in eu; spokes berlin (eu, fiber and lte), nyc (us, fiber); eBGP client frr at nyc. Numbers 1 to 5."""

    def gateway(name: str, site: str, role: Any, *classes: str) -> Gateway:
        first = {"hub": 1, "berlin": 2, "nyc": 4}[name]
        return Gateway(
            name,
            site,
            role,
            tuple(Uplink(f"u{n}", f"{first + n:010x}", f"zt{n}", c, first + n) for n, c in enumerate(classes)),
        )

    inventory = Inventory(
        fabric=Fabric("demo", 64512, ip_network("10.42.0.0/24"), **more.pop("fabric", {})),  # type: ignore[arg-type]
        regions=tuple(Region(name, name in closed) for name in ("eu", "us", "cn")),
        circuit_classes=(CircuitClass("fiber", 200), CircuitClass("lte", 100)),
        sites=(Site("core", "eu", 1), Site("berlin", "eu", 2, tags=("branch",), max_prefixes=9), Site("nyc", "us", 3)),
        allocations=(Allocation("berlin", ip_network("10.2.0.0/16"), 24),),
        gateways=(
            gateway("hub", "core", "hub", "fiber"),
            gateway("berlin", "berlin", "spoke", "fiber", "lte"),
            gateway("nyc", "nyc", "spoke", "fiber"),
        ),
        clients=(Client("frr", "nyc", "fiber", number=5, asn=65001),),
        rules=rules,
    )
    return allocate(replace(inventory, **more))


def hub_of(inventory: Inventory) -> Plan:
    return compile_plans(inventory)["hub"]


def hop(plan: Plan, number: int) -> NextHopPlan:
    (found,) = {
        each
        for session in plan.sessions
        if session.imports
        for each in session.imports.next_hops
        if each.number == number
    }
    return found


def steps(plan: Plan, policy: int) -> tuple[StepPlan, ...]:
    return next(each.steps for each in plan.policies if each.number == policy) if policy else ()


def session(plan: Plan, peer: str) -> SessionPlan:
    return next(each for each in plan.sessions if each.peer == peer)


@some
@given(ruled_inventories(), st.integers())
def test_equal_inventories_have_equal_bytes_whatever_the_order_of_rows(inventory: Inventory, seed: int) -> None:
    plans = {name: encode(plan) for name, plan in compile_plans(allocate(inventory)).items()}
    again = compile_plans(allocate(shuffled(inventory, seed)))
    assert {name: encode(plan) for name, plan in again.items()} == plans


@some
@given(ruled_inventories())
def test_every_number_is_of_a_policy_and_every_policy_is_of_use_to_a_hub(inventory: Inventory) -> None:
    plans = compile_plans(allocate(inventory))
    hubs = [plan for plan in plans.values() if plan.role == "hub"]
    used: set[int] = set()
    for plan in hubs:
        numbers = {policy.number for policy in plan.policies}
        assert (numbers, plan.policies) == (set(range(1, len(numbers) + 1)), hubs[0].policies)
        imports = [each.imports for each in plan.sessions if each.peer_role == "client" and each.imports]
        own = {plan.own_view, *(each.view for each in plan.sessions)}
        own |= {each.policy for each_import in imports for each in each_import.next_hops}
        own |= {each.policy for each in plan.uplinks}
        assert own <= numbers | {0}
        used |= own
        assert len({policy.steps for policy in plan.policies}) == len(numbers)
        sets = {step.prefix_set for policy in plan.policies for step in policy.steps} - {0}
        assert {each.number for each in plan.prefix_sets} == sets
    assert used >= {policy.number for policy in hubs[0].policies}
    for plan in plans.values():
        if plan.role == "spoke":
            assert (plan.policies, plan.prefix_sets, plan.own_view) == ((), (), 0)
            assert {each.policy for each in plan.uplinks} == {0}


@some
@given(inventories())
def test_without_intent_plans_hold_nothing_of_it(inventory: Inventory) -> None:
    for plan in compile_plans(allocate(inventory)).values():
        assert (plan.policies, plan.prefix_sets, plan.own_view, plan.underlay) == ((), (), 0, ())
        for each in plan.sessions:
            assert each.view == 0
            assert each.imports is None or {hop.policy for hop in each.imports.next_hops} == {0}


def test_what_is_true_of_every_path_is_said_by_the_next_hop() -> None:
    plan = hub_of(
        world(
            Rule("a", Action(preference_add=-300), order=10),
            Rule("b", Action(preference_add=50, add_communities=("65000:1:1",)), Match(regions=("eu",)), order=20),
            Rule("c", Action(max_paths=2, open=True), Match(circuit_classes=("lte",)), order=30),
        )
    )
    assert {hop(plan, n).policy for n in (2, 3, 4, 5)} == {0}
    assert [hop(plan, n).preference for n in (2, 3, 4)] == [51, 51, 1]
    assert hop(plan, 2).large_communities[-1] == "65000:1:1"
    assert hop(plan, 3).large_communities[-3:] == ("65000:1:1", "64512:8:2", "64512:10:2")
    assert hop(plan, 4).large_communities[-1] == "64512:4:4"


def test_what_follows_a_look_at_the_path_is_a_step() -> None:
    plan = hub_of(
        world(
            Rule("first", Action(preference=300), order=1),
            Rule("offices", Action(preference=400), Match(prefixes=OFFICES), order=2),
            Rule("all", Action(preference_add=1), order=3),
        )
    )
    assert hop(plan, 2).preference == 300
    assert steps(plan, hop(plan, 2).policy) == (
        StepPlan("offices", prefix_set=1, preference=400),
        StepPlan("all", preference_add=1),
    )
    assert len({hop(plan, n).policy for n in (2, 3, 4, 5)}) == 1
    assert [(each.prefix, each.ge, each.le) for each in plan.prefix_sets[0].ranges] == [("10.2.0.0/16", 20, 24)]


def test_what_a_hub_announces_itself_goes_through_all_steps_uplink_by_uplink() -> None:
    plans = compile_plans(
        world(
            Rule("all", Action(preference=300), order=1),
            Rule("fiber", Action(med=4), Match(regions=("eu",), circuit_classes=("fiber",)), order=2),
            Rule("not-ours", Action(deny=True), Match(sites=("berlin",)), order=3),
            Rule("seen", Action(deny=True), Match(sites=("core",)), Viewer(regions=("us",)), order=4),
        )
    )
    (uplink,) = plans["hub"].uplinks
    assert steps(plans["hub"], uplink.policy) == (StepPlan("all", preference=300), StepPlan("fiber", med=4))
    assert uplink.preference == 200
    assert [each.policy for each in plans["berlin"].uplinks] == [0, 0]


@pytest.mark.parametrize(
    "action",
    [
        Action(med=1),
        Action(prepend=1),
        Action(add_communities=("65000:1",)),
        Action(remove_communities=("65000:1:1",)),
        Action(deny=True),
    ],
)
def test_what_a_next_hop_cannot_say_is_a_step(action: Action) -> None:
    plan = hub_of(world(Rule("r", action), Rule("s", Action(preference=300))))
    names = [step.rule for step in steps(plan, hop(plan, 2).policy)]
    assert names == (["r"] if action.deny else ["r", "s"])
    assert hop(plan, 2).preference == 200


@pytest.mark.parametrize("end", [Action(preference=300, last=True), Action(deny=True)])
def test_behind_the_end_there_is_nothing(end: Action) -> None:
    plan = hub_of(world(Rule("end", end, order=1), Rule("offices", Action(preference=9), Match(prefixes=OFFICES))))
    assert [step.rule for step in steps(plan, hop(plan, 2).policy)] == (["end"] if end.deny else [])
    assert hop(plan, 2).preference == (200 if end.deny else 300)


def test_an_end_for_some_paths_is_none_for_others() -> None:
    rules = Rule("end", Action(preference=9, last=True), Match(prefixes=OFFICES), order=1), Rule("b", Action(med=1))
    plan = hub_of(world(*rules))
    assert [step.rule for step in steps(plan, hop(plan, 2).policy)] == ["end", "b"]


def test_a_viewer_rule_knows_the_origin_by_communities() -> None:
    match = Match(sites=("berlin",), tags=("branch",), gateways=("berlin",), circuit_classes=("lte",), regions=("eu",))
    plan = hub_of(world(Rule("view", Action(deny=True), match, Viewer(regions=("us",)))))
    assert steps(plan, session(plan, "nyc").view) == (
        StepPlan(
            "view",
            large=(
                ("64512:1:2",),
                (EU,),
                (f"64512:5:{community_value('branch')}",),
                ("64512:4:2", "64512:4:3"),
                (f"64512:3:{community_value('lte')}",),
            ),
            deny=True,
        ),
    )
    assert session(plan, "frr").view == session(plan, "nyc").view
    assert (session(plan, "berlin").view, session(plan, "berlin/u1").view, plan.own_view) == (0, 0, 0)


def test_a_hub_has_a_view_of_its_own_and_clients_that_stand_by_have_theirs() -> None:
    plan = hub_of(world(Rule("view", Action(preference_add=1), viewer=Viewer(regions=("eu",)))))
    assert plan.own_view == session(plan, "berlin").view == session(plan, "berlin/u1").view == 1
    assert session(plan, "nyc").view == 0


def test_a_closed_region_keeps_its_routes_and_gets_none() -> None:
    plan = hub_of(world(closed=("us", "cn")))
    closed = "64512:2:" + str(community_value("cn")), US
    assert steps(plan, session(plan, "nyc").view) == (
        StepPlan("closed region", large_none=("64512:8:2", US), deny=True),
    )
    assert steps(plan, plan.own_view) == (
        StepPlan("closed region", large=(closed,), large_none=("64512:8:2",), deny=True),
    )


def test_what_the_fabric_implies_comes_before_the_rules_and_own_region_first_behind_them() -> None:
    anycast = ip_network("10.9.0.0/16")
    plan = hub_of(
        world(
            Rule("keep", Action(region_only=True), Match(prefixes=OFFICES)),
            Rule("view", Action(preference=1), viewer=Viewer()),
            closed=("cn",),
            allocations=(Allocation("berlin", anycast, 24, anycast=True), Allocation("nyc", anycast, 28, anycast=True)),
        )
    )
    found = steps(plan, session(plan, "nyc").view)
    assert [step.rule for step in found] == [
        "told in its own region only",
        "closed region",
        "view",
        "anycast: own region first",
    ]
    assert found[0] == StepPlan(found[0].rule, large=(("64512:8:1",),), large_none=(US,), deny=True)
    assert found[3] == StepPlan(found[3].rule, prefix_set=2, large=((US,),), preference_add=1_000_000)
    assert [(each.prefix, each.ge, each.le) for each in plan.prefix_sets[1].ranges] == [("10.9.0.0/16", 16, 28)]


def test_last_does_not_keep_own_region_first_away() -> None:
    anycast = tuple(Allocation(site, ip_network("10.9.0.0/16"), 24, anycast=True) for site in ("berlin", "nyc"))
    wide = PrefixMatch(ip_network("10.8.0.0/15"), 20, 32), PrefixMatch(ip_network("10.2.0.0/16"), 16, 24)
    action = Action(preference=40, med=7, last=True)
    plan = hub_of(
        world(Rule("view", action, Match(prefixes=wide), viewer=Viewer(regions=("us",))), allocations=anycast)
    )
    found = steps(plan, session(plan, "nyc").view)
    ranges = {each.number: [(one.prefix, one.ge, one.le) for one in each.ranges] for each in plan.prefix_sets}
    inside = partial(StepPlan, prefix_set=found[0].prefix_set, large=((US,),))
    assert ranges[found[0].prefix_set] == [("10.9.0.0/16", 20, 24)]
    assert found == (
        inside("view", preference=40),
        inside("anycast: own region first", preference_add=1_000_000),
        inside("view", med=7, last=True),
        StepPlan("view", prefix_set=found[3].prefix_set, preference=40, med=7, last=True),
        StepPlan("anycast: own region first", prefix_set=found[4].prefix_set, large=((US,),), preference_add=1_000_000),
    )


def test_guard_rails_go_to_every_gateway() -> None:
    underlay = ip_network("203.0.113.0/24"), ip_network("192.0.2.0/24")
    plans = compile_plans(world(fabric={"guard_default": False, "blackhole": True, "underlay": underlay}))
    for plan in plans.values():
        assert (plan.rejects, plan.blackhole, plan.underlay) == ((), True, ("192.0.2.0/24", "203.0.113.0/24"))
    limits = {each.peer: each.imports.max_prefixes for each in plans["hub"].sessions if each.imports}
    assert limits == {"berlin": 9, "berlin/u1": 9, "nyc": 0, "frr": 0}


def test_a_default_route_is_no_space_and_what_is_around_the_underlay_stays_by_itself() -> None:
    texts = "0.0.0.0/0", "10.2.0.0/16", "10.3.0.0/16", "10.4.0.0/16", "10.5.0.0/16"
    space = tuple(Allocation("berlin", ip_network(text), 24 if text[0] == "1" else 0) for text in texts)
    plans = compile_plans(world(fabric={"underlay": (ip_network("10.3.7.7/32"),)}, allocations=space))
    assert plans["nyc"].rejects == ("10.2.0.0/16", "10.4.0.0/15", "10.42.0.0/24", "10.3.0.0/16")
    client = next(each for each in plans["hub"].sessions if each.peer == "berlin")
    assert client.imports is not None
    assert client.imports.allocations[0] == AllocationPlan("0.0.0.0/0", 0)


def test_a_client_with_an_as_of_its_own_is_served_by_ebgp() -> None:
    plan = hub_of(world())
    assert [(each.peer, each.peer_asn) for each in plan.sessions if not each.standby] == [
        ("berlin", 64512),
        ("frr", 65001),
        ("nyc", 64512),
    ]
    frr = session(plan, "frr")
    assert frr.add_path
    assert frr.imports is not None
    assert [each.address for each in frr.imports.next_hops] == ["10.42.0.5"]


def test_a_router_in_the_lan_has_a_session_with_its_gateway_alone() -> None:
    peer = LanPeer("core-switch", "berlin", IPv4Address("10.2.0.2"), 65010, "eth1", IPv4Address("10.2.0.1"))
    plans = compile_plans(world(lan_peers=(peer,)))
    assert [name for name, plan in plans.items() if any(each.peer_role == "lan" for each in plan.sessions)] == [
        "berlin"
    ]
    lan = session(plans["berlin"], "core-switch")
    assert (lan.peer_asn, lan.peer_address, lan.local_address) == (65010, "10.2.0.2", "10.2.0.1")
    assert (lan.passive, lan.families, lan.interface, lan.peer_is_ours) == (False, ("ipv4",), "eth1", False)
    assert lan.imports is not None
    assert [each.address for each in lan.imports.next_hops] == ["10.2.0.2"]
    assert [each.prefix for each in lan.imports.allocations] == ["10.2.0.0/16"]


def test_policies_are_numbered_by_what_they_are() -> None:
    rules = [Rule(f"r{n}", Action(med=n), Match(sites=(site,))) for n, site in enumerate(("berlin", "nyc"))]
    assert hub_of(world(*rules)).policies == (
        PolicyPlan(1, (StepPlan("r0", med=0),)),
        PolicyPlan(2, (StepPlan("r1", med=1),)),
    )
