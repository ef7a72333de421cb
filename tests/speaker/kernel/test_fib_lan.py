"""Next hops in LANs: each behind its own interface, and none of liveness's business."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from speaker.kernel.choice import Relay
from speaker.kernel.fake import FakeKernel
from speaker.kernel.fib import Fib
from speaker.rib.prefix import Family
from tests.speaker.kernel.world import SEGMENTS, FakeWorld, name_of, via, want

ROUTER, FAR = "10.1.9.2", "10.42.0.2"
LANS = {ip_address(ROUTER).packed: "lan0"}
PREFIX, REMOTE = "10.1.50.0/24", "10.2.0.0/24"


class Box(FakeWorld):
    """eth0 on the segment is interface 1, lan0 is interface 2."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = FakeKernel({1: True, 2: True})

    def fib(self) -> Fib:
        fib = Fib(self.kernel, ["eth0"], segments=SEGMENTS, lans=LANS)
        fib.set_link("eth0", 1)
        fib.set_link("lan0", 2)
        fib.adopt()
        fib.set_may_remove(True)
        return fib

    def interfaces(self, prefix: str) -> set[int]:
        """Those that the route's members go through; 0 is the blackhole's."""
        hops = {record.id: record for record in self.kernel.nexthops()}
        family, key = name_of(prefix)
        (route,) = (each for chunk in self.kernel.routes(family) for each in chunk if each.key == key)
        return {hops[member].ifindex for member, _ in hops[route.nhid].group} if route.nhid else set()


@pytest.fixture
def box() -> Box:
    return Box()


@pytest.fixture
def fib(box: Box) -> Fib:
    fib = box.fib()
    want(fib, PREFIX, via(ROUTER))
    want(fib, REMOTE, via(FAR))
    assert fib.flush().converged
    return fib


def test_it_goes_through_its_lan_and_others_never_do(box: Box, fib: Fib) -> None:
    assert (box.interfaces(PREFIX), box.interfaces(REMOTE)) == ({2}, {1})
    assert fib.link_states(ip_address(ROUTER).packed) == {"lan0": "usable"}
    assert fib.link_states(ip_address(FAR).packed) == {"eth0": "usable"}


def test_liveness_is_not_asked_to_watch_it(fib: Fib) -> None:
    assert fib.next_hops() == {ip_address(FAR).packed}


def test_what_liveness_says_does_not_touch_it(box: Box, fib: Fib) -> None:
    router, far = ip_address(ROUTER).packed, ip_address(FAR).packed
    relay = (Relay("eth0", ip_address("10.42.0.200").packed),)
    fib.set_liveness(frozenset({("eth0", router), ("eth0", far)}), {far: relay})
    assert fib.flush().converged
    assert box.interfaces(PREFIX) == {2}


def test_without_its_lan_the_route_is_unreachable_and_comes_back(box: Box, fib: Fib) -> None:
    box.kernel.link_down(2)
    fib.set_link("lan0", None)
    assert fib.flush().converged
    assert box.interfaces(PREFIX) == set()
    assert box.interfaces(REMOTE) == {1}
    box.kernel.link_up(2)
    fib.set_link("lan0", 2)
    assert fib.flush().converged
    assert box.interfaces(PREFIX) == {2}


def test_it_stays_when_all_uplinks_are_down(box: Box, fib: Fib) -> None:
    box.kernel.link_down(1)
    fib.set_link("eth0", None)
    fib.flush()
    assert box.interfaces(PREFIX) == {2}


@pytest.mark.usefixtures("fib")
def test_a_restart_moves_no_route(box: Box) -> None:
    before = box.routes(Family.IPV4)
    again = box.fib()
    want(again, PREFIX, via(ROUTER))
    want(again, REMOTE, via(FAR))
    box.kernel.log.clear()
    assert again.flush().converged
    assert (box.routes(Family.IPV4), box.kernel.log) == (before, [])


def test_a_plan_without_it_leaves_it_where_it_is_until_its_routes_have_gone(box: Box, fib: Fib) -> None:
    fib.configure(["eth0"], SEGMENTS)
    assert fib.flush().converged
    assert box.interfaces(PREFIX) == {2}
    want(fib, PREFIX, None)
    assert fib.flush().converged
    assert (PREFIX, 1000) not in box.routes()
