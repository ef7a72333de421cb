"""When the key of a hub may be changed, and when its sessions are back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.inventory.model import Inventory
from controller.policy.rotation import SETTLES_SECONDS, SILENT_SECONDS, Fleet, Heard, Missing
from speaker.report import KernelReport, Report, SessionReport
from tests.controller.policy.test_md5 import declared

# hub-1 dials hub-2; far dials both, and has a second uplink. All of these names are of that inventory.
PEERS = {"hub-1": ("far", "far/u1", "hub-2", "frr1"), "hub-2": ("far", "far/u1", "hub-1", "frr1"),
         "far": ("hub-1", "hub-2", "core")}  # fmt: skip
REPORTED = 1_000.0


@dataclass
class World:
    """Reports that say all is well, until somebody changes them."""

    ages: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PEERS, 1.0))
    digests: dict[str, str] = field(default_factory=lambda: dict.fromkeys(PEERS, "now"))
    errors: dict[str, str] = field(default_factory=dict)
    down: dict[tuple[str, str], str] = field(default_factory=dict)
    session_ages: dict[tuple[str, str], float] = field(default_factory=dict)
    key_ages: dict[str, float] = field(default_factory=dict)
    moved: set[tuple[str, str]] = field(default_factory=set)
    unheard: set[str] = field(default_factory=set)
    inventory: Inventory = field(default_factory=declared)

    def cut(self, one: str, other: str) -> None:
        self.down |= {(one, other): "connection lost", (other, one): "connection lost"}

    def fleet(self) -> Fleet:
        heard = {name: Heard(self.report(name), self.ages[name], "now") for name in PEERS if name not in self.unheard}
        return Fleet(self.inventory, heard, self.key_ages)

    def report(self, name: str) -> Report:
        return Report(
            1, name, "0.1.0", (3,), self.digests[name], self.errors.get(name, ""), 0.0, REPORTED, True,
            tuple(self.session(name, peer) for peer in PEERS[name]), (), KernelReport({}, 0, 0, 0, "", {}),
        )  # fmt: skip

    def session(self, name: str, peer: str) -> SessionReport:
        state: Any = (
            "down"
            if (name, peer) in self.down
            else "up"
            if "/" not in peer or (name, peer) in self.moved
            else "standby"
        )
        since = REPORTED - self.session_ages.get((name, peer), 500.0)
        return SessionReport(peer, "", state, since, self.down.get((name, peer), ""), True, {}, {}, {})

    def against(self, hub: str) -> list[str]:
        return list(self.fleet().against(hub))


@pytest.fixture
def world() -> World:
    return World()


def test_all_is_well(world: World) -> None:
    assert (world.against("hub-1"), world.against("hub-2")) == ([], [])
    hubs = world.fleet().hubs
    assert {name: (each.gateways, each.missing, each.away) for name, each in hubs.items()} == {
        "hub-1": (("far",), (), ()),
        "hub-2": (("far", "hub-1"), (), ()),
    }


def test_a_session_of_another_hub_that_is_down_stands_in_the_way_and_one_of_its_own_does_not(world: World) -> None:
    world.cut("far", "hub-2")
    assert world.against("hub-1") == ["far with hub-2: down at far: connection lost"]
    assert world.against("hub-2") == []
    assert world.fleet().hubs["hub-2"].missing == (Missing("far", "down at far: connection lost"),)


def test_one_end_alone_that_says_it_is_down_is_enough(world: World) -> None:
    world.down[("hub-2", "far")] = ""
    assert world.against("hub-1") == ["far with hub-2: down at hub-2: it was never up"]


def test_a_session_by_the_second_uplink_is_one(world: World) -> None:
    world.down[("hub-2", "far")] = "the uplink is dead"
    world.moved = {("hub-2", "far/u1")}
    assert world.against("hub-1") == []


@pytest.mark.parametrize("hub", ["hub-1", "hub-2"])
def test_who_has_not_taken_its_plan_would_be_left_behind(world: World, hub: str) -> None:
    world.digests["far"] = "old"
    assert world.against(hub) == ["far has not taken its plan yet"]
    world.errors["far"] = "unknown field"
    assert world.against(hub) == ["far refuses its plan: unknown field"]


@pytest.mark.parametrize("hub", ["hub-1", "hub-2"])
def test_who_is_silent_but_has_sessions_would_lose_them(world: World, hub: str) -> None:
    """Its controller is out of its reach, and it forwards: the new key would never come to it."""
    world.ages["far"] = SILENT_SECONDS + 10
    assert world.against(hub) == ["far was not heard for 40 s"]
    assert world.fleet().away == frozenset()


@pytest.mark.parametrize("never", [False, True])
def test_who_is_off_is_not_waited_for(world: World, never: bool) -> None:
    world.ages["far"] = SILENT_SECONDS + 10
    world.unheard |= {"far"} if never else set()
    for hub in ("hub-1", "hub-2"):
        world.down |= {(hub, "far"): "hold time expired"}
    assert world.fleet().away == {"far"}
    assert (world.against("hub-1"), world.against("hub-2")) == ([], [])
    hubs = world.fleet().hubs
    assert (hubs["hub-1"].gateways, hubs["hub-1"].missing, hubs["hub-1"].away) == ((), (), ("far",))


def test_a_hub_that_is_off_stands_in_the_way_of_every_other(world: World) -> None:
    world.unheard.add("hub-2")
    world.down |= {("far", "hub-2"): "hold time expired", ("hub-1", "hub-2"): "hold time expired"}
    assert world.against("hub-1") == ["hub-2 was never heard"]
    assert world.fleet().away == frozenset()


def test_a_session_is_back_when_it_is_younger_than_the_key_at_both_ends(world: World) -> None:
    """The plan is named by a report before the sessions follow it, and clocks differ."""
    world.key_ages = {"hub-2": 4.0}
    old = "it is still the one of before the key was changed"
    assert [each.reason for each in world.fleet().hubs["hub-2"].missing] == [f"at far {old}", f"at hub-1 {old}"]
    assert world.fleet().hubs["hub-1"].missing == ()
    assert world.against("hub-1") == [f"far with hub-2: at far {old}", f"hub-1 with hub-2: at hub-1 {old}"]
    world.session_ages |= {("far", "hub-2"): 2.5, ("hub-1", "hub-2"): 2.5, ("hub-2", "hub-1"): 2.5}
    assert [each.reason for each in world.fleet().hubs["hub-2"].missing] == [f"at hub-2 {old}"]
    world.session_ages[("hub-2", "far")] = 2.5
    assert world.fleet().hubs["hub-2"].missing == ()
    world.ages["hub-2"] = 2.0  # The report itself is two seconds old.
    assert len(world.fleet().hubs["hub-2"].missing) == 2


def test_long_after_a_key_changed_a_clock_that_jumped_stands_in_nobodys_way(world: World) -> None:
    world.key_ages = {"hub-2": SETTLES_SECONDS}
    assert world.against("hub-1") == []


def test_a_fabric_with_one_hub_can_change_its_key(world: World) -> None:
    world.inventory = Inventory(
        **{name: getattr(world.inventory, name) for name in ("fabric", "sites", "regions")},
        gateways=tuple(each for each in world.inventory.gateways if each.name != "hub-2"),
    )
    assert world.against("hub-1") == []


@given(st.sets(st.sampled_from([("far", "hub-1"), ("far", "hub-2"), ("hub-1", "hub-2")])))
def test_what_stands_in_the_way_is_just_what_the_others_wait_for(cut: set[tuple[str, str]]) -> None:
    world = World()
    for one, other in cut:
        world.cut(one, other)
    for hub in ("hub-1", "hub-2"):
        assert len(world.against(hub)) == len([each for each in cut if each[1] != hub])
