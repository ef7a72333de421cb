"""Desired x actual: {absent, never let in, extra, modified} x {ours, foreign}."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.zerotier.desired import Desired, in_order
from controller.zerotier.difference import LEAVE, MAX_REMOVALS, THE_NETWORK, Difference, Pace, difference, removed
from controller.zerotier.port import (
    MAX_ROUTES,
    ManagedRoute,
    MemberChange,
    MemberState,
    NetworkChange,
    NetworkState,
    Pool,
)
from tests.controller.zerotier.segments import NETWORK, SEGMENT, SEGMENT6, small, wanted

WANTED = wanted(small())
NODE = "a000000001"
ALL = frozenset({THE_NETWORK, *WANTED.members})
ACCEPT = ({"type": "ACTION_ACCEPT"},)


def network(**fields: Any) -> NetworkState:
    stands = NetworkState(NETWORK, "demo", routes=WANTED.network.routes, mtu=1280, rules=ACCEPT)
    return replace(stands, **fields)


def members(**fields: Any) -> dict[str, MemberState]:
    """As wanted; `fields` into NODE's."""
    found = {
        each.node_id: MemberState(each.node_id, True, each.addresses, each.name, no_auto_assign=True)
        for each in WANTED.members.values()
    }
    found[NODE] = replace(found[NODE], **fields)
    return found


def found(
    state: NetworkState | None, those: dict[str, MemberState], owned: frozenset[str] = ALL, asked: Desired = WANTED
) -> Difference:
    return difference(asked, state, those, owned)


def test_nothing_to_do() -> None:
    assert found(network(), members()).as_declared
    assert found(network(), members()).takes == frozenset()


def test_what_is_as_it_should_be_is_taken() -> None:
    assert found(network(), members(), frozenset()).takes == ALL


def test_a_network_that_is_not_there_gets_everything() -> None:
    change = found(None, {}, frozenset()).network
    assert change is not None
    assert (change.name, change.private, change.routes, change.mtu) == ("demo", True, (ManagedRoute(SEGMENT),), 1280)
    assert not any((change.auto_assign4, change.auto_assign6, change.auto_6plane, change.auto_rfc4193))
    assert (change.rules, change.pools) == (None, None)


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "other"},
        {"private": False},
        {"mtu": 2800},
        {"auto_assign4": True},
        {"auto_6plane": True},
        {"routes": ()},
        {"routes": (ManagedRoute(SEGMENT, SEGMENT[1]),)},
        {"routes": (ManagedRoute(SEGMENT), ManagedRoute(ip_network("10.42.0.0/25")))},
    ],
    ids=str,
)
def test_a_modified_field_of_ours_is_written_and_no_other(fields: dict[str, Any]) -> None:
    (field,) = fields
    found_ = found(network(**fields), members())
    assert found_.network == NetworkChange(**{field: getattr(whole(), field)})
    assert not found_.settled


def whole() -> NetworkChange:
    change = found(None, {}).network
    assert change is not None
    return change


def test_the_order_of_routes_means_nothing() -> None:
    both = wanted(small(segment6=SEGMENT6))
    state = network(routes=(ManagedRoute(SEGMENT6), ManagedRoute(SEGMENT)))
    assert difference(both, state, {}, ALL).network is None


def routes(*vias: int) -> tuple[ManagedRoute, ...]:
    """10.N.0.0/16 by way of the N-th of `vias`, behind the segment; 0: none."""
    some = [ManagedRoute(ip_network(f"10.{n}.0.0/16"), SEGMENT[via]) for n, via in enumerate(vias, 1) if via]
    return in_order([ManagedRoute(SEGMENT), *some])


def moved(actual: tuple[ManagedRoute, ...], *vias: int) -> tuple[ManagedRoute, ...] | None:
    asked = replace(WANTED, network=replace(WANTED.network, routes=routes(*vias)))
    change = found(network(routes=actual), members(), asked=asked).network
    return change.routes if change else None


def test_a_route_moves_by_going_first() -> None:
    """Members never apply another via of a route that they have."""
    assert moved(routes(1, 1), 2, 1) == routes(0, 1)
    assert moved(routes(0, 1), 2, 1) == routes(2, 1)
    assert moved(routes(2, 1), 2, 1) is None
    assert moved(routes(1), 2, 3) == routes(0, 3), "what is new comes at once"


@pytest.mark.parametrize("vias", [[2] * 10, [0] * 10, [0, 2] * 5, [0, 2, 1] * 4], ids=str)
def test_few_routes_go_at_a_time_and_what_is_between_is_a_network(vias: list[int]) -> None:
    """Each removal stalls every member for about a second: whoever is to go, or to move, waits for its turn."""
    first = state = routes(*[1] * 10)
    passes = 0
    while (change := moved(state, *vias)) is not None:
        assert len(removed(state, change)) <= MAX_REMOVALS
        assert set(change) <= {*first, *routes(*vias)}
        assert len({each.target for each in change}) == len(change), "one way for each"
        assert ManagedRoute(SEGMENT) in change
        state, passes = change, passes + 1
        assert passes < 12
    assert state == routes(*vias)


VIAS = st.lists(st.integers(0, 4), min_size=6, max_size=6)


@given(VIAS, VIAS, VIAS)
def test_any_routes_become_any_others_step_by_step(first: list[int], second: list[int], asked: list[int]) -> None:
    """No way changes in place, the segment is always there, and it ends."""
    state = in_order({*routes(*first), *routes(*second)})  # Some targets have two ways.
    for _ in range(14):
        change = moved(state, *asked)
        if change is None:
            break
        before, after = ({each.target: each.via for each in some} for some in (state, change))
        assert len(before.keys() - after.keys()) <= MAX_REMOVALS
        assert {target for target in before.keys() & after.keys() if after[target] not in vias(state, target)} == set()
        assert ManagedRoute(SEGMENT) in change
        state = change
    assert state == routes(*asked)


def vias(state: tuple[ManagedRoute, ...], target: Any) -> set[Any]:
    return {each.via for each in state if each.target == target}


def test_a_route_with_two_ways_goes_whole_and_comes_back_with_one() -> None:
    """Members have one of the two, nobody knows which, and would never apply the other."""
    both = in_order([*routes(1), *routes(2)])
    assert moved(both, 1) == routes()
    assert moved(in_order([*routes(1, 3), *routes(2)]), 1, 3) == routes(0, 3)


def test_what_is_new_waits_until_there_is_room() -> None:
    """More than MAX_ROUTES are refused, and the old ones go one by one."""
    old = [ManagedRoute(ip_network(f"10.200.{n}.0/24"), SEGMENT[1]) for n in range(MAX_ROUTES - 2)]
    state = in_order([ManagedRoute(SEGMENT), *old])
    passes = 0
    while (change := moved(state, 1, 1, 1)) is not None:
        assert len(change) <= MAX_ROUTES
        state, passes = change, passes + 1
    assert state == routes(1, 1, 1)
    assert passes == len(old)


def test_what_members_do_not_have_goes_at_once() -> None:
    """Services store more than MAX_ROUTES, and deliver as many; a write of more is refused."""
    old = [ManagedRoute(ip_network(f"10.200.{n}.0/24"), SEGMENT[1]) for n in range(MAX_ROUTES + 20)]
    change = moved(in_order([ManagedRoute(SEGMENT), *old]), 0)
    assert change is not None
    assert len(change) == MAX_ROUTES - 1
    assert ManagedRoute(SEGMENT) in change


def test_without_leave_to_remove_only_what_is_new_comes() -> None:
    asked = replace(WANTED, network=replace(WANTED.network, routes=routes(0, 1, 1)))
    none = Pace(removals=0)
    change = difference(asked, network(routes=routes(1, 1)), members(), ALL, none).network
    assert change is not None
    assert change.routes == routes(1, 1, 1)
    assert difference(asked, network(routes=change.routes), members(), ALL, none).network is None
    assert difference(asked, network(routes=change.routes), members(), ALL).network == NetworkChange(
        routes=routes(0, 1, 1)
    )


def test_a_route_that_has_just_gone_rests() -> None:
    """Services tell members one after another what is so when their turn comes, not what was."""
    asked = replace(WANTED, network=replace(WANTED.network, routes=routes(2, 2)))
    rests = Pace(resting=frozenset({ip_network("10.1.0.0/16")}))
    assert difference(asked, network(routes=routes()), members(), ALL, rests).network == NetworkChange(
        routes=routes(0, 2)
    )
    assert difference(asked, network(routes=routes(0, 2)), members(), ALL, rests).network is None


def test_fields_that_are_not_ours_are_left_alone() -> None:
    pool = Pool(SEGMENT[1], SEGMENT[9])
    strange = network(pools=(pool,), multicast_limit=64, tags=({"id": 1},), rules=({"type": "ACTION_DROP"},))
    assert found(strange, members(bridge=True, tags=((1, 2),), capabilities=(3,))).as_declared


def test_rules_that_are_owned_are_written_also_on_a_network_that_is_not_ours_yet() -> None:
    owned = wanted(small(segment_rules="owned"))
    change = found(network(rules=({"type": "ACTION_DROP"},)), members(), frozenset(), owned).network
    assert change == NetworkChange(rules=ACCEPT)
    assert found(network(), members(), ALL, owned).as_declared


def test_a_fresh_network_is_taken_and_a_used_one_waits_for_the_operator() -> None:
    fresh = found(NetworkState(NETWORK, rules=ACCEPT), {}, frozenset())
    assert fresh.network == NetworkChange(name="demo", routes=(ManagedRoute(SEGMENT),), mtu=1280)
    assert THE_NETWORK in fresh.takes
    used = found(network(name="old", mtu=2800, auto_assign4=True), members(), frozenset())
    assert (used.network, used.network_held) == (None, ("name", "auto_assign4"))
    assert THE_NETWORK not in used.takes
    assert used.settled
    assert not used.as_declared


@pytest.mark.parametrize("actual", [None, MemberState(NODE), MemberState(NODE, name="former", identity="x")])
def test_who_is_absent_or_was_never_let_in_is_let_in(actual: MemberState | None) -> None:
    those = {**members(), **({NODE: actual} if actual else {})}
    if actual is None:
        del those[NODE]
    got = found(network(), those, frozenset())
    assert got.members == {NODE: MemberChange(True, (SEGMENT[3],), "hub-1/u0", True)}
    assert NODE in got.takes


@pytest.mark.parametrize(
    ("fields", "change"),
    [
        ({"authorised": False}, {"authorised": True}),
        ({"addresses": ()}, {"addresses": (SEGMENT[3],)}),
        ({"addresses": (SEGMENT[3], SEGMENT[77])}, {"addresses": (SEGMENT[3],)}),
        ({"addresses": (SEGMENT[77],)}, {"addresses": (SEGMENT[3],)}),
        ({"name": "x"}, {"name": "hub-1/u0"}),
        ({"no_auto_assign": False}, {"no_auto_assign": True}),
    ],
)
def test_a_modified_member_is_put_right_if_it_is_ours_and_held_if_not(
    fields: dict[str, Any], change: dict[str, Any]
) -> None:
    assert found(network(), members(**fields)).members == {NODE: MemberChange(**change)}
    foreign = found(network(), members(**fields), ALL - {NODE})
    assert not foreign.members
    assert [(each.node_id, each.label, each.differs) for each in foreign.held] == [
        (NODE, "uplink hub-1/u0", tuple(change))
    ]
    assert NODE not in foreign.takes


def test_a_stranger_is_listed_and_left_alone() -> None:
    got = found(network(), {**members(), "d000000001": MemberState("d000000001", True, (SEGMENT[99],))})
    assert got.strangers == (MemberState("d000000001", True, (SEGMENT[99],)),)
    assert got.as_declared


def test_who_is_ours_and_no_longer_declared_leaves() -> None:
    gone = {**members(), "d000000001": MemberState("d000000001", True, (SEGMENT[99],))}
    assert found(network(), gone, ALL | {"d000000001"}).leaving == ("d000000001",)
    out = {**members(), "d000000001": MemberState("d000000001")}
    assert found(network(), out, ALL | {"d000000001"}).leaving == ()
    assert MemberChange(authorised=False, addresses=()) == LEAVE


def test_an_address_that_somebody_else_has_is_given_to_nobody() -> None:
    """ZeroTier takes one address for two members, and both use it."""
    thief = MemberState("d000000001", True, (IPv4Address("10.42.0.3"),))
    those = {**members(), thief.node_id: thief}
    del those[NODE]
    got = found(network(), those)
    assert not got.members
    assert [(each.label, str(each.address), each.holder) for each in got.conflicts] == [
        ("uplink hub-1/u0", "10.42.0.3", "d000000001")
    ]
    asleep = {**those, thief.node_id: replace(thief, authorised=False)}
    assert NODE in found(network(), asleep).members
