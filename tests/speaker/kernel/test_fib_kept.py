"""What a former process left, and nobody is there to say again: it stays, is judged like all else, and is let go."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from speaker.kernel import fib as module
from speaker.kernel.fib import Fib, Relay
from speaker.rib.path import Tiers
from speaker.rib.prefix import Family
from tests.speaker.kernel.world import SEGMENTS, FakeWorld, name_of, via, want

B, C = "10.42.0.2", "10.42.0.3"
ONE, TWO, V6 = "10.1.1.0/24", "10.1.2.0/24", "2001:db8::/48"
LAN_ROUTER = "192.168.1.2"


def dead(*addresses: str) -> frozenset[tuple[str, bytes]]:
    return frozenset(("eth0", ip_address(address).packed) for address in addresses)


def kept(world: FakeWorld) -> Fib:
    """An agent that was started again, and has waited in vain."""
    fib = world.fib()
    keep(fib)
    return fib


def keep(fib: Fib) -> None:
    for _ in fib.keep_adopted():
        pass
    fib.set_may_remove(True)


def let_go(fib: Fib) -> None:
    for _ in fib.let_go():
        pass


def left_by_an_agent(world: FakeWorld, **routes: Tiers) -> None:
    fib = world.fib()
    for prefix, tiers in routes.items():
        want(fib, prefix, tiers)
    assert fib.flush().converged
    world.kernel.log.clear()


@pytest.fixture
def world() -> FakeWorld:
    world = FakeWorld()
    left_by_an_agent(world, **{ONE: via(B), TWO: via(B, C, weight=3), V6: via("fd42:42::2")})
    return world


def test_what_is_kept_is_not_touched(world: FakeWorld) -> None:
    before = world.routes()
    fib = kept(world)
    assert fib.flush().converged
    assert [fib.audit(), fib.audit(), fib.audit()] == [0, 0, 0]
    assert (world.routes(), world.kernel.log, fib.kept) == (before, [], 3)


def test_without_that_it_goes(world: FakeWorld) -> None:
    fib = world.fib()
    fib.set_may_remove(True)
    fib.flush()
    assert world.routes() == {}


def test_let_go_it_goes_but_for_what_was_said_again(world: FakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLICE", 1)
    fib = kept(world)
    want(fib, ONE, via(C))
    want(fib, V6, via("fd42:42::2"))
    let_go(fib)
    assert fib.flush().converged
    assert world.routes() == {(ONE, 1000): {C: 1}}
    assert world.routes(Family.IPV6) == {(V6, 1000): {"fd42:42::2": 1}}
    assert fib.kept == 0
    let_go(fib)
    assert fib.flush().removed == 0


def test_what_is_said_and_taken_back_goes_at_once(world: FakeWorld) -> None:
    fib = kept(world)
    want(fib, ONE, via(C))
    want(fib, ONE, None)
    fib.flush()
    assert (ONE, 1000) not in world.routes()


def test_what_was_declined_before_is_not_kept(world: FakeWorld) -> None:
    """A prefix that is our own by now, or whose path is refused: somebody knows of it, and does not want it."""
    fib = world.fib()
    want(fib, ONE, None)
    family, key = name_of(TWO)
    fib.want_many(family, [key], None)
    assert fib.flush().removed == 0
    keep(fib)
    fib.flush()
    assert world.routes() == {}
    assert fib.kept == 1


def test_a_next_hop_that_dies_is_not_used_and_comes_back(world: FakeWorld) -> None:
    fib = kept(world)
    fib.flush()
    assert fib.next_hops() == {ip_address(text).packed for text in (B, C, "fd42:42::2")}, "BFD is asked about them"
    fib.set_liveness(dead(B), {})
    assert fib.flush().converged
    assert world.routes() == {(ONE, 1000): {}, (TWO, 1000): {C: 3}}, "unreachable, and the one that lives"
    fib.set_liveness(frozenset(), {})
    assert fib.flush().converged
    assert world.routes() == {(ONE, 1000): {B: 1}, (TWO, 1000): {B: 3, C: 3}}


def test_an_interface_that_flaps_costs_nothing_for_good(world: FakeWorld) -> None:
    before = world.routes()
    fib = kept(world)
    fib.flush()
    world.link_down()
    fib.set_link("eth0", None)
    fib.flush()
    assert world.routes() == {}
    world.link_up()
    fib.set_link("eth0", 1)
    assert fib.flush().converged
    assert world.routes() == before


def test_what_was_dead_before_stays_unreachable() -> None:
    world = FakeWorld()
    fib = world.fib()
    want(fib, ONE, via(B))
    fib.set_liveness(dead(B), {})
    fib.flush()
    again = kept(world)
    again.set_liveness(dead(B), {})
    assert again.flush().converged
    assert world.routes() == {(ONE, 1000): {}}


def test_routes_into_a_lan_are_not_kept() -> None:
    """A router of a LAN is no hub: it has had its time to say them again."""
    world = FakeWorld()
    before = Fib(world.kernel, ["eth0"], segments=SEGMENTS, lans={ip_address(LAN_ROUTER).packed: "eth0"})
    before.set_link("eth0", world.index)
    want(before, ONE, via(LAN_ROUTER))
    before.flush()
    assert world.routes() == {(ONE, 1000): {LAN_ROUTER: 1}}
    fib = kept(world)
    fib.flush()
    assert world.routes() == {}


def test_a_route_that_leads_into_a_detour_by_label_is_unreachable() -> None:
    """Only the hub's label led there, and the hub is gone."""
    world = FakeWorld()
    hub = ip_address("10.42.0.200").packed
    before = world.fib()
    want(before, ONE, via(B))
    before.set_liveness(dead(B), {ip_address(B).packed: (Relay("eth0", hub, 16002),)})
    before.flush()
    assert world.routes() == {(ONE, 1000): {"10.42.0.200": 1}}
    fib = kept(world)
    fib.flush()
    assert world.routes() == {(ONE, 1000): {}}


def test_what_a_new_plan_forbids_goes(world: FakeWorld) -> None:
    fib = kept(world)
    fib.configure(["eth0"], [*SEGMENTS, "10.1.1.0/24"])
    fib.flush()
    assert set(world.routes()) == {(TWO, 1000)}
