"""Managed summaries: what is generated, by way of whom; and an oracle that follows packets through the floor."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.inventory.allocate import allocate
from controller.inventory.checks import check
from controller.inventory.model import (
    Allocation,
    Fabric,
    Gateway,
    Host,
    Inventory,
    LanPeer,
    Network,
    Prefix,
    Region,
    Role,
    Site,
    Uplink,
    residents,
)
from controller.zerotier.port import MAX_ROUTES, ManagedRoute
from controller.zerotier.summaries import ALL, CODES, Summaries, flaws, summaries
from tests.controller.zerotier.segments import NETWORK, SEGMENT, SEGMENT6

SOME_GONE: dict[str, frozenset[str]] = {}


def fabric(*sites: tuple[list[str], list[str], int], **fields: Any) -> Inventory:
    """Of each site its allocations, its prefixes ("PREFIX by NAME,NAME"), and how many gateways: s0-0, s0-1, ..."""
    names = [f"s{n}" for n in range(len(sites))]
    gateways = []
    for n, (_, _, count) in enumerate(sites):
        for k in range(count):
            role: Role = "hub" if n == k == 0 else "spoke"
            gateways.append(Gateway(f"s{n}-{k}", f"s{n}", role, (Uplink("u", f"{n:05x}{k:05x}", "zt0", "fiber"),)))
    inventory = Inventory(
        fabric=replace(Fabric("demo", 64512, SEGMENT, network=NETWORK), **fields),
        regions=(Region("eu"),),
        sites=tuple(Site(name, "eu") for name in names),
        allocations=tuple(
            Allocation(name, ip_network(each.removeprefix("any ")), 128 if ":" in each else 32, anycast="any" in each)
            for name, (some, _, _) in zip(names, sites, strict=True)
            for each in some
        ),
        prefixes=tuple(prefix(name, each) for name, (_, some, _) in zip(names, sites, strict=True) for each in some),
        gateways=tuple(gateways),
        hosts=(Host("nas", "c000000001"),),
    )
    full = allocate(inventory)
    assert check(full) == []
    return full


def prefix(site: str, text: str) -> Prefix:
    network, _, by = text.partition(" by ")
    return Prefix(site, ip_network(network), gateways=tuple(by.split(",")) if by else ())


def names(inventory: Inventory, found: Summaries) -> dict[str, str]:
    """Target -> gateway."""
    owners: dict[Any, str] = {each.uplinks[0].address: each.name for each in inventory.gateways}
    owners |= {each.uplinks[0].address6: each.name for each in inventory.gateways}
    return {str(each.target): owners[each.via] for each in found.routes}


def made(inventory: Inventory, gone: Any = SOME_GONE, current: Iterable[ManagedRoute] = ()) -> dict[str, str]:
    return names(inventory, summaries(inventory, gone, current))


TWO = (["10.1.0.0/16"], ["10.1.1.0/24", "10.1.2.0/24"], 2), (["10.2.0.0/16"], ["10.2.1.0/24"], 1)


def test_hosts_get_whole_allocations() -> None:
    inventory = fabric(*TWO)
    assert made(inventory) == {"10.1.0.0/16": "s0-0", "10.2.0.0/16": "s1-0"}
    assert summaries(inventory, {}, ()).remarks == ()


def test_a_floor_is_what_is_declared_with_neighbours_as_one() -> None:
    inventory = fabric((["10.1.0.0/16"], ["10.1.2.0/24", "10.1.3.0/24", "10.1.4.0/24"], 1), managed_floor=True)
    assert made(inventory) == {"10.1.2.0/23": "s0-0", "10.1.4.0/24": "s0-0"}


def test_nothing_without_hosts_and_floor() -> None:
    inventory = replace(fabric(*TWO), hosts=())
    assert summaries(inventory, {}, ()) == Summaries()
    with_hosts = fabric(*TWO)
    assert with_hosts.fabric is not None
    assert summaries(replace(with_hosts, fabric=replace(with_hosts.fabric, network="")), {}, ()) == Summaries()


def test_the_routes_of_a_gateway_that_is_gone_move_and_do_not_move_back() -> None:
    inventory = fabric(*TWO)
    first = summaries(inventory, {}, ())
    dead = summaries(inventory, {"s0-0": frozenset({ALL})}, first.routes)
    assert names(inventory, dead) == {"10.1.0.0/16": "s0-1", "10.2.0.0/16": "s1-0"}
    assert summaries(inventory, {}, dead.routes) == dead, "it is back, and nothing moves"


def test_with_all_gone_the_route_stays_where_it_was() -> None:
    inventory = fabric(*TWO)
    there = summaries(inventory, {"s0-0": frozenset({ALL})}, ())
    every = {"s0-0": frozenset({ALL}), "s0-1": frozenset({ALL})}
    found = summaries(inventory, every, there.routes)
    assert found.routes == there.routes
    assert [each.code for each in found.remarks] == ["summary-dead"]


def test_a_dead_lan_moves_what_it_is_in() -> None:
    inventory = fabric(*TWO, managed_floor=True)
    assert made(inventory, {"s0-0": frozenset({"10.1.2.0/24"})})["10.1.2.0/24"] == "s0-1"
    assert made(inventory, {"s0-0": frozenset({"10.1.2.0/24"})})["10.1.1.0/24"] == "s0-0"


def test_a_drained_gateway_is_the_last_choice() -> None:
    inventory = fabric(*TWO)
    drained = tuple(replace(each, drained=each.name == "s0-0") for each in inventory.gateways)
    assert made(replace(inventory, gateways=drained))["10.1.0.0/16"] == "s0-1"


def test_prefixes_of_different_gateways_are_not_one_summary() -> None:
    inventory = fabric((["10.1.0.0/16"], ["10.1.1.0/24 by s0-0", "10.1.2.0/24 by s0-1"], 2))
    assert made(inventory) == {"10.1.1.0/24": "s0-0", "10.1.2.0/24": "s0-1"}


def test_a_prefix_inside_another_needs_a_gateway_that_has_both() -> None:
    both = ["10.1.0.0/20 by s0-0,s0-1", "10.1.1.0/24 by s0-1"]
    assert made(fabric((["10.1.0.0/16"], both, 2), managed_floor=True)) == {"10.1.0.0/20": "s0-1"}
    split = ["10.1.0.0/20 by s0-0", "10.1.1.0/24 by s0-1"]
    found = summaries(fabric((["10.1.0.0/16"], split, 2), managed_floor=True), {}, ())
    assert (found.routes, [each.code for each in found.remarks]) == ((), ["summary-split"])


def test_anycast_goes_to_any_site_that_lives() -> None:
    inventory = fabric((["any 10.9.0.0/24"], ["10.9.0.0/24"], 1), (["any 10.9.0.0/24"], ["10.9.0.0/24"], 1))
    assert made(inventory) == {"10.9.0.0/24": "s0-0"}
    assert made(inventory, {"s0-0": frozenset({ALL})}) == {"10.9.0.0/24": "s1-0"}


def test_both_families() -> None:
    inventory = fabric((["10.1.0.0/16", "fd00:1::/48"], ["10.1.1.0/24", "fd00:1::/64"], 1), segment6=SEGMENT6)
    assert made(inventory) == {"10.1.0.0/16": "s0-0", "fd00:1::/48": "s0-0"}


def test_a_site_without_gateways_has_none_and_it_is_said() -> None:
    inventory = fabric((["10.1.0.0/16"], ["10.1.1.0/24"], 1), (["10.2.0.0/16"], ["10.2.1.0/24"], 0))
    found = summaries(inventory, {}, ())
    assert (names(inventory, found), [each.code for each in found.remarks]) == (
        {"10.1.0.0/16": "s0-0"},
        ["summary-no-gateway"],
    )


def behind_one(networks: list[str], **fields: Any) -> Inventory:
    """Sites with a /24 each, of which a /25 is announced, all by s0-0."""
    sites = [([f"{each}/24"], [f"{each}/25"], int(n == 0)) for n, each in enumerate(networks)]
    inventory = fabric(*sites, **fields)
    return replace(inventory, prefixes=tuple(replace(each, gateways=("s0-0",)) for each in inventory.prefixes))


@pytest.mark.parametrize("floor", [False, True])
def test_neighbours_of_the_same_gateways_become_one_where_there_is_no_room(floor: bool) -> None:
    """Wider than an allocation, so the guard hides it from gateways; hosts reach all of it."""
    few = [f"10.1.{n}.0" for n in range(100)]
    assert len(summaries(behind_one(few, managed_floor=floor), {}, ()).routes) == 100
    found = summaries(behind_one([*few, *(f"10.2.{n}.0" for n in range(100))], managed_floor=floor), {}, ())
    if floor:  # Halves of allocations are no neighbours, so the allocations stand in.
        assert [each.code for each in found.remarks] == ["floor-hidden"]
    else:
        assert found.remarks == ()
    assert {str(each.target) for each in found.routes} == {
        "10.1.0.0/18", "10.1.64.0/19", "10.1.96.0/22", "10.2.0.0/18", "10.2.64.0/19", "10.2.96.0/22"
    }  # fmt: skip


@pytest.mark.parametrize("six", [None, SEGMENT6])
def test_at_most_128_with_the_segment_and_what_is_left_out_is_said(six: Any) -> None:
    found = summaries(behind_one([f"10.{n // 100}.{n % 100 * 2}.0" for n in range(200)], segment6=six), {}, ())
    assert len(found.routes) + 1 + (six is not None) == MAX_ROUTES
    (remark,) = found.remarks
    room = MAX_ROUTES - 1 - (six is not None)
    first, *_ = found.left_out
    assert len(found.left_out) == 200 - room
    assert {str(each) for each in found.left_out}.isdisjoint(str(each.target) for each in found.routes)
    assert remark.code == "summaries-too-many"
    assert remark.message.startswith(f"200 are needed and {room} fit: hosts do not reach {first}, ")
    assert f"({200 - room} in all)" in remark.message


def test_a_floor_that_does_not_fit_is_widened_where_it_saves_most() -> None:
    many = [f"10.1.{n}.0/24" for n in range(0, 200, 2)]
    few = [f"10.2.{n}.0/24" for n in range(0, 80, 2)]
    inventory = fabric((["10.1.0.0/16"], many, 1), (["10.2.0.0/16"], few, 1), managed_floor=True)
    found = summaries(inventory, {}, ())
    assert len(found.routes) == 41
    assert [each.code for each in found.remarks] == ["floor-hidden"]


def test_what_a_router_in_a_lan_announces_is_in_the_allocation_that_leads_to_its_gateway() -> None:
    """Nobody declares its prefixes; it may announce what is in the allocations of its gateway's site, and no more."""
    sites = ((["10.1.0.0/16", "10.5.0.0/16"], ["10.1.1.0/24"], 2), (["10.2.0.0/16"], ["10.2.1.0/24 by s1-0"], 2))
    lan = ip_address("10.1.1.9")
    inventory = fabric(*sites)
    assert made(inventory) == {"10.1.0.0/16": "s0-0", "10.2.0.0/16": "s1-0"}
    peers = (LanPeer("core", "s0-1", lan, 65001, "lan0", lan), LanPeer("edge", "s1-1", lan, 65001, "lan0", lan))
    peered = replace(inventory, lan_peers=peers)
    assert made(peered) == {"10.1.0.0/16": "s0-1", "10.5.0.0/16": "s0-1", "10.2.0.0/16": "s1-0"}
    assert made(peered, {"s0-1": frozenset({ALL})}) == {
        "10.1.0.0/16": "s0-0", "10.5.0.0/16": "s0-1", "10.2.0.0/16": "s1-0"
    }  # fmt: skip
    six = ip_address("fd00::9")
    by_six = replace(inventory, lan_peers=(LanPeer("core", "s0-1", six, 65001, "lan0", six),))
    assert made(by_six) == made(inventory), "a session by IPv6 tells no IPv4 routes"
    (remark,) = [each for each in summaries(peered, {}, ()).remarks if each.code == "summary-peer"]
    assert remark.message.startswith("10.2.0.0/16 ")


def test_a_floor_is_only_of_what_is_declared_whatever_routers_in_lans_announce() -> None:
    lan = ip_address("10.1.1.9")
    inventory = fabric((["10.1.0.0/16", "10.5.0.0/16"], ["10.1.1.0/24"], 2), managed_floor=True)
    peered = replace(inventory, lan_peers=(LanPeer("core", "s0-1", lan, 65001, "lan0", lan),))
    assert made(peered) == {"10.1.1.0/24": "s0-0"}


def test_limits_are_said() -> None:
    open_ = summaries(fabric(*TWO, guard_default=False), {}, ())
    assert [each.code for each in open_.remarks] == ["summary-on-gateways"]


def test_flaws_are_found_whoever_made_the_routes() -> None:
    inventory = fabric(*TWO)
    via = {each.name: each.uplinks[0].address for each in inventory.gateways}
    cases: list[tuple[list[tuple[str, Any]], str]] = [
        ([("10.1.0.0/16", SEGMENT[99])], "its via is no gateway's first address"),
        ([("10.2.0.0/16", via["s0-0"])], "s0-0 does not announce 10.2.1.0/24"),
        ([("10.0.0.0/8", via["s0-0"])], "s0-0 does not announce 10.2.1.0/24"),
        ([("10.1.1.0/25", via["s0-0"])], "it is inside 10.1.1.0/24, so it would beat BGP's route"),
        ([("10.1.0.0/16", via["s0-0"]), ("10.1.1.0/24", via["s0-1"])], "it overlaps 10.1.0.0/16"),
        ([("10.1.0.0/16", via["s0-0"]), ("10.1.0.0/16", via["s0-1"])], "it overlaps 10.1.0.0/16"),
    ]
    for some, said in cases:
        routes = [ManagedRoute(ip_network(target), hop) for target, hop in some]
        found = list(flaws(inventory, routes))
        assert found, some
        assert {each.code for each in found} == {"floor-flaw"}
        assert any(said in each.message for each in found), found


def test_every_code_means_something() -> None:
    assert all(meaning.endswith(".") for meaning in CODES.values())


@st.composite
def fabrics(draw: st.DrawFn) -> Inventory:
    """Sites with nested and neighbouring prefixes, announced by any of their gateways."""
    chance = random.Random(draw(st.integers(0, 10_000)))
    sites = []
    for n in range(draw(st.integers(1, 4))):
        count = chance.randint(1, 3)
        those = set()
        for _ in range(chance.randint(0, 6)):
            length = chance.choice([20, 22, 23, 24])
            base = chance.randrange(0, 16) * 256
            network = ip_network((int(ip_address(f"10.{n}.0.0")) + base, length), strict=False)
            by = chance.sample([f"s{n}-{k}" for k in range(count)], chance.randint(0, count))
            those.add((str(network), ",".join(sorted(by))))
        texts = [f"{network} by {by}" if by else network for network, by in dict(sorted(those)).items()]
        sites.append(([f"10.{n}.0.0/16"], texts, count))
    return fabric(*sites, managed_floor=chance.random() < 0.7, guard_default=chance.random() < 0.5)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(fabrics(), st.integers(0, 1000))
def test_a_packet_that_follows_the_floor_arrives_or_ends_and_never_circles(inventory: Inventory, seed: int) -> None:
    """With all BGP routes gone, from every gateway and from a host, to every declared prefix and beside it."""
    chance = random.Random(seed)
    all_names = [each.name for each in inventory.gateways]
    gone = {name: frozenset({ALL}) for name in all_names if chance.random() < 0.2}
    found = summaries(inventory, gone, ())
    assert list(flaws(inventory, found.routes)) == []
    table = {each.target: name for each, name in zip(found.routes, names(inventory, found).values(), strict=True)}
    connected = announced(inventory)
    for target in connected:
        for address in (target[1], target[-2]):
            covered = longest(address, table) is not None
            for start in (*all_names, "a host"):
                path = followed(address, start, table, connected)
                assert len(path) == len(set(path)), f"{address} circles: {path}"
                assert not covered or address_arrives(address, path[-1], connected), f"{address} is lost: {path}"


def announced(inventory: Inventory) -> dict[Network, set[str]]:
    at_site = residents(inventory)
    return {each.prefix: set(each.gateways or at_site[each.site]) for each in inventory.prefixes}


def followed(address: Any, start: str, table: dict[Network, str], connected: dict[Network, set[str]]) -> list[str]:
    """Who forwards it. A gateway has its LANs (longest match with managed routes), and ignores routes by itself."""
    path = [start]
    while len(path) < 10:
        here = path[-1]
        own = {network: here for network, those in connected.items() if here in those}
        others = {network: via for network, via in table.items() if via != here}
        best = longest(address, {**others, **own})
        if best is None or {**others, **own}[best] == here:
            return path
        path.append({**others, **own}[best])
    return path


def longest(address: Any, table: dict[Network, Any]) -> Network | None:
    return max((each for each in table if address in each), key=lambda each: each.prefixlen, default=None)


def address_arrives(address: Any, at: str, connected: dict[Network, set[str]]) -> bool:
    return any(address in network and at in those for network, those in connected.items())
