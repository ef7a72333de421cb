"""How a prefix stands in the kernel, in words for people: it says what the kernel has, whatever is wanted."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from speaker.kernel.choice import Relay
from speaker.kernel.fib import Fib
from speaker.kernel.standing import Standing, Way
from tests.speaker.kernel.world import FakeWorld, name_of, via, want

PREFIX = "10.1.1.0/24"
A, B, HUB = (ip_address(text).packed for text in ("10.42.0.2", "10.42.0.3", "10.42.0.200"))


@pytest.fixture
def world() -> FakeWorld:
    return FakeWorld()


@pytest.fixture
def fib(world: FakeWorld) -> Fib:
    return world.fib()


def stands(fib: Fib, prefix: str = PREFIX, *, reject: bool = False) -> Standing:
    return fib.standing(*name_of(prefix), reject=reject)


def test_a_wish_is_no_route_yet(fib: Fib) -> None:
    assert stands(fib) == Standing("absent")
    want(fib, PREFIX, via("10.42.0.2"))
    assert stands(fib) == Standing("absent", moving=True)
    fib.flush()
    assert stands(fib) == Standing("group", (Way("eth0", A, None, 1),))
    want(fib, PREFIX, via("10.42.0.3"))
    assert stands(fib) == Standing("group", (Way("eth0", A, None, 1),), moving=True)


def test_members_leave_and_detours_come(fib: Fib) -> None:
    want(fib, PREFIX, via("10.42.0.2", "10.42.0.3"))
    fib.flush()
    assert {way.address for way in stands(fib).ways} == {A, B}
    fib.set_liveness(frozenset({("eth0", A)}), {})
    fib.flush()
    assert stands(fib).ways == (Way("eth0", B, None, 1),)
    assert (fib.link_states(A), fib.link_states(B)) == ({"eth0": "dead"}, {"eth0": "usable"})
    both = frozenset({("eth0", A), ("eth0", B)})
    fib.set_liveness(both, {A: (Relay("eth0", HUB, 16002),)})
    fib.flush()
    assert stands(fib).ways == (Way("eth0", HUB, 16002, 1),)
    fib.set_liveness(both, {})
    fib.flush()
    assert stands(fib) == Standing("unreachable")
    fib.set_liveness(both, {}, held=frozenset({("eth0", B)}))
    fib.flush()
    assert stands(fib).ways == (Way("eth0", B, None, 1),)
    assert fib.link_states(B) == {"eth0": "held"}


def test_without_an_interface_there_is_nothing(world: FakeWorld, fib: Fib) -> None:
    want(fib, PREFIX, via("10.42.0.2"))
    fib.flush()
    world.link_down()
    fib.set_link("eth0", None)
    assert stands(fib) == Standing("absent", moving=True)
    assert fib.link_states(A) == {"eth0": "down"}


def test_rejects_have_their_own_place(fib: Fib) -> None:
    fib.want_rejects(["10.0.0.0/8"])
    want(fib, PREFIX, ())
    fib.flush()
    assert stands(fib, "10.0.0.0/8", reject=True) == Standing("unreachable")
    assert stands(fib, "10.0.0.0/8") == Standing("absent")
    assert stands(fib) == Standing("unreachable")


def test_what_the_kernel_refuses_is_said_in_its_words(world: FakeWorld, fib: Fib) -> None:
    want(fib, PREFIX, via("10.42.0.2"))
    world.kernel.failures["route"] = 9
    fib.flush()
    found = stands(fib)
    assert (found.state, found.moving) == ("absent", False)
    assert found.refused
