"""What would capture ZeroTier's own packets stands in a table of its own, and is kept there as everything of ours."""

from __future__ import annotations

import pytest

from speaker.kernel.fib import Fib
from speaker.kernel.port import TABLE_LAN
from speaker.rib.path import Tiers
from speaker.rib.prefix import Family
from tests.speaker.kernel.world import SEGMENTS, FakeWorld, name_of, via, want

A, A6 = via("10.42.0.2"), via("fd42:42::2")
UNDERLAY = ("198.51.100.7/32", "2001:db8:7::/48")
ROUTE = {"10.42.0.2": 1}


@pytest.fixture
def world() -> FakeWorld:
    return FakeWorld()


def fib_of(world: FakeWorld, *underlay: str) -> Fib:
    """As after a restart."""
    fib = Fib(world.kernel, ["eth0"], segments=SEGMENTS, underlay=underlay)
    fib.set_link("eth0", world.index)
    fib.adopt()
    return fib


@pytest.mark.parametrize(
    ("prefix", "tiers"),
    [("0.0.0.0/0", A), ("::/0", A6), ("198.51.100.0/24", A), ("128.0.0.0/1", A), ("2001:db8::/32", A6)],
)
def test_it_is_in_no_main_table(world: FakeWorld, prefix: str, tiers: Tiers) -> None:
    fib = fib_of(world, *UNDERLAY)
    family, key = name_of(prefix)
    assert want(fib, prefix, tiers) == ""
    assert fib.flush().converged
    assert (world.routes(family), set(world.routes(family, TABLE_LAN))) == ({}, {(prefix, 1000)})
    assert (fib.installed(family, key), fib.standing(family, key).state) == (True, "group")
    assert fib.counts()[family.value] == 1
    assert fib.lan_lengths()[family] == {key[0]}
    assert fib.audit() == 0
    want(fib, prefix, None)
    fib.set_may_remove(True)
    assert fib.flush().converged
    assert (world.kernel.lan_routes_by_name, fib.lan_lengths()[family]) == ({}, frozenset())


def test_others_stay_in_table_main(world: FakeWorld) -> None:
    fib = fib_of(world, *UNDERLAY)
    keys = [name_of(prefix)[1] for prefix in ("198.51.101.0/24", "198.51.100.0/24", "10.1.1.0/24", "0.0.0.0/0")]
    assert fib.want_many(Family.IPV4, keys, A) == []
    assert fib.flush().converged
    assert set(world.routes()) == {("198.51.101.0/24", 1000), ("10.1.1.0/24", 1000)}
    assert set(world.routes(table=TABLE_LAN)) == {("198.51.100.0/24", 1000), ("0.0.0.0/0", 1000)}


def test_a_restarted_speaker_takes_it_over_and_repairs_it(world: FakeWorld) -> None:
    first = fib_of(world)
    want(first, "0.0.0.0/0", A)
    first.flush()
    first.close()
    world.kernel.log.clear()
    again = fib_of(world)
    assert again.lan_lengths()[Family.IPV4] == {0}
    want(again, "0.0.0.0/0", A)
    again.set_may_remove(True)
    assert again.flush().converged
    assert world.kernel.log == []
    world.kernel.lan_routes_by_name.clear()
    assert again.audit() == 1
    assert world.routes(table=TABLE_LAN) == {("0.0.0.0/0", 1000): ROUTE}


def test_what_is_left_over_goes(world: FakeWorld) -> None:
    first = fib_of(world)
    want(first, "0.0.0.0/0", A)
    first.flush()
    again = fib_of(world)
    again.set_may_remove(True)
    assert again.flush().converged
    assert (world.kernel.lan_routes_by_name, again.lan_lengths()[Family.IPV4]) == ({}, frozenset())


def test_rejects_of_space_around_the_underlay_stand_with_it(world: FakeWorld) -> None:
    """Beneath everything, but not beneath what ZeroTier sends."""
    fib = fib_of(world, *UNDERLAY)
    fib.want_rejects(["198.51.100.0/22", "10.0.0.0/8"])
    assert fib.flush().converged
    assert set(world.routes()) == {("10.0.0.0/8", 4999)}
    assert world.routes(table=TABLE_LAN) == {("198.51.100.0/22", 4999): {}}
    assert fib.standing(*name_of("198.51.100.0/22"), reject=True).state == "unreachable"
    assert fib.lan_lengths()[Family.IPV4] == {22}


def test_another_underlay_moves_what_stands(world: FakeWorld) -> None:
    fib = fib_of(world)
    fib.set_may_remove(True)
    rejects = ["198.51.0.0/16"]
    for prefix, tiers in (("198.51.100.0/24", A), ("198.51.96.0/20", ()), ("10.1.1.0/24", A)):
        want(fib, prefix, tiers)
    fib.want_rejects(rejects)
    fib.flush()
    before = world.routes()
    fib.configure(["eth0"], SEGMENTS, UNDERLAY)
    fib.want_rejects(rejects)
    assert fib.flush().converged
    assert world.routes() == {("10.1.1.0/24", 1000): ROUTE}
    assert world.routes(table=TABLE_LAN) == {
        ("198.51.100.0/24", 1000): ROUTE,
        ("198.51.96.0/20", 1000): {},
        ("198.51.0.0/16", 4999): {},
    }
    fib.configure(["eth0"], SEGMENTS)
    fib.want_rejects(rejects)
    assert fib.flush().converged
    assert (world.routes(), world.routes(table=TABLE_LAN)) == (before, {})


def test_it_is_unreachable_when_nobody_is_alive_and_comes_back(world: FakeWorld) -> None:
    fib = fib_of(world)
    want(fib, "0.0.0.0/0", A)
    fib.flush()
    dead = frozenset({("eth0", bytes((10, 42, 0, 2)))})
    fib.set_liveness(dead, {})
    assert fib.flush().converged
    assert world.routes(table=TABLE_LAN) == {("0.0.0.0/0", 1000): {}}
    fib.set_liveness(frozenset(), {})
    assert fib.flush().converged
    assert world.routes(table=TABLE_LAN) == {("0.0.0.0/0", 1000): ROUTE}


def test_it_comes_back_with_the_interface(world: FakeWorld) -> None:
    fib = fib_of(world)
    want(fib, "0.0.0.0/0", A)
    fib.flush()
    world.link_down()
    fib.set_link("eth0", None)
    fib.flush()
    assert world.routes(table=TABLE_LAN) == {}
    world.link_up()
    fib.set_link("eth0", world.index)
    assert fib.flush().converged
    assert world.routes(table=TABLE_LAN) == {("0.0.0.0/0", 1000): ROUTE}
