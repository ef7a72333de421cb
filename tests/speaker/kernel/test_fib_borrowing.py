"""Tiers that differ only in the dead, on one kernel object: flows stay, no route is written, and nobody is wronged."""

from __future__ import annotations

from collections import defaultdict
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speaker.kernel import nexthops, table
from speaker.kernel.choice import Relay
from speaker.kernel.fib import Fib
from speaker.kernel.port import Fault
from speaker.rib.path import Tiers
from speaker.rib.prefix import Family
from tests.speaker.kernel.world import SEGMENTS, FakeWorld, name_of, prefix_of, via, want

B, C, D, E = "10.42.0.2", "10.42.0.3", "10.42.0.4", "10.42.0.5"
PREFIX, OTHER = "10.1.1.0/24", "10.1.2.0/24"
HUB = ip_address("10.42.0.200").packed


def hop(address: str) -> bytes:
    return ip_address(address).packed


def dead(*addresses: str) -> frozenset[tuple[str, bytes]]:
    return frozenset(("eth0", hop(address)) for address in addresses)


@pytest.fixture
def world() -> FakeWorld:
    return FakeWorld()


@pytest.fixture
def fib(world: FakeWorld) -> Fib:
    fib = world.fib()
    fib.set_may_remove(True)
    return fib


def die(fib: Fib, *addresses: str) -> None:
    fib.set_liveness(dead(*addresses), {})
    assert fib.flush().converged


def objects(world: FakeWorld) -> dict[str, int]:
    """prefix -> id of the object that its route is on."""
    return {prefix_of(family, key): route.nhid for (family, key, _), route in world.kernel.ours().items()}


def settled(world: FakeWorld, fib: Fib) -> int:
    """Two audits sweep what is unused. How many groups are left in the kernel."""
    assert [fib.audit() for _ in range(4)] == [0] * 4
    return sum(bool(record.group) for record in world.kernel.nexthops_by_id.values())


def test_a_dead_path_that_is_withdrawn_moves_no_route(world: FakeWorld, fib: Fib) -> None:
    keys = [bytes([24, 20 + (n >> 8), n & 255, 0]) for n in range(3000)]
    fib.want_many(Family.IPV4, keys, via(B, C, D))
    fib.flush()
    before = objects(world)
    die(fib, B)
    world.kernel.log.clear()
    for at in range(0, 3000, 500):
        fib.want_many(Family.IPV4, keys[at : at + 500], via(C, D))
        assert fib.flush().converged
    assert "put route" not in world.kernel.log
    assert objects(world) == before
    assert settled(world, fib) == 1
    assert fib.next_hops() == {hop(C), hop(D)}
    die(fib, B, C)
    assert set(map(str, world.routes().values())) == {str({D: 1})}
    assert objects(world) == before


def test_what_some_routes_still_have_comes_back_to_those_alone(world: FakeWorld, fib: Fib) -> None:
    want(fib, PREFIX, via(B, C, D))
    want(fib, OTHER, via(B, C, D))
    fib.flush()
    die(fib, B)
    want(fib, PREFIX, via(C, D))
    assert fib.flush().converged
    assert len(set(objects(world).values())) == 1
    die(fib)
    assert world.routes() == {(PREFIX, 1000): {C: 1, D: 1}, (OTHER, 1000): {B: 1, C: 1, D: 1}}
    assert settled(world, fib) == 2


def test_a_dead_path_that_is_announced_moves_no_route_either(world: FakeWorld, fib: Fib) -> None:
    want(fib, PREFIX, via(C, D))
    die(fib, B)
    before = objects(world)
    want(fib, PREFIX, via(B, C, D))
    die(fib, B)
    assert objects(world) == before
    die(fib)
    assert objects(world) == before
    assert world.routes() == {(PREFIX, 1000): {B: 1, C: 1, D: 1}}
    assert settled(world, fib) == 1


def test_while_they_part_their_object_holds_what_both_want(
    world: FakeWorld, fib: Fib, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "BATCH", 1)
    monkeypatch.setattr(table, "WALK", 1)
    for number in range(4):
        want(fib, f"10.1.{number}.0/24", via(B, C, D))
    fib.flush()
    die(fib, B)
    for number in range(3):
        want(fib, f"10.1.{number}.0/24", via(C, D))
    fib.flush()
    held: list[set[str]] = []
    submit = world.kernel.submit

    def recorded(messages: bytes) -> list[Fault]:
        faults = submit(messages)
        held.append({hop for number in range(3) for hop in world.routes()[f"10.1.{number}.0/24", 1000]})
        return faults

    monkeypatch.setattr(world.kernel, "submit", recorded)
    fib.set_liveness(dead(C), {})
    assert fib.flush().converged
    assert len(held) > 3
    assert all(members <= {C, D} and D in members for members in held)
    assert world.routes()["10.1.3.0/24", 1000] == {B: 1, D: 1}


@pytest.mark.parametrize("tiers", [(*via(C), *via(E)), (*via(B, C), *via(E))])
def test_a_backup_that_lives_is_a_difference(world: FakeWorld, fib: Fib, tiers: Tiers) -> None:
    """When C dies these must not have to part first."""
    want(fib, PREFIX, (*via(B, C), *via(D), *via(E)))
    want(fib, OTHER, (*via(B, C), *via(D), *via(E)))
    fib.flush()
    die(fib, B)
    want(fib, PREFIX, tiers)
    assert fib.flush().converged
    assert len(set(objects(world).values())) == 2


def test_they_part_when_a_backup_returns_and_not_when_it_is_needed(world: FakeWorld, fib: Fib) -> None:
    want(fib, PREFIX, (*via(C), *via(B)))
    want(fib, OTHER, (*via(C), *via(B)))
    fib.flush()
    die(fib, B)
    want(fib, PREFIX, via(C))
    assert fib.flush().converged
    assert len(set(objects(world).values())) == 1
    die(fib)
    assert len(set(objects(world).values())) == 2
    assert world.routes() == {(PREFIX, 1000): {C: 1}, (OTHER, 1000): {C: 1}}


def test_they_part_when_the_same_member_counts_less_for_one(world: FakeWorld, fib: Fib) -> None:
    """Nobody flees to who is silent while a hub leads there; who stands first may be."""
    want(fib, PREFIX, (*via(B), *via(C)))
    want(fib, OTHER, (*via(B), *via(C)))
    fib.flush()
    die(fib, B)
    want(fib, PREFIX, via(C))
    assert fib.flush().converged
    assert len(set(objects(world).values())) == 1
    fib.set_liveness(dead(B), {hop(C): (Relay("eth0", HUB),)}, frozenset(), dead(C))
    assert fib.flush().converged
    assert world.routes() == {(PREFIX, 1000): {C: 1}, (OTHER, 1000): {"10.42.0.200": 1}}


def test_one_withdrawal_after_the_other(world: FakeWorld, fib: Fib) -> None:
    want(fib, PREFIX, via(B, C, D))
    want(fib, OTHER, via(B, C, D))
    fib.flush()
    before = objects(world)
    die(fib, B)
    want(fib, PREFIX, via(C, D))
    want(fib, OTHER, via(C, D))
    die(fib, B, C)
    want(fib, PREFIX, via(D))
    die(fib, B, C)
    assert objects(world) == before
    die(fib, B)
    assert world.routes() == {(PREFIX, 1000): {D: 1}, (OTHER, 1000): {C: 1, D: 1}}
    assert objects(world)[OTHER] == before[OTHER]
    assert settled(world, fib) == 2


def test_a_route_is_refused_that_by_now_stands_there_with_other_paths(
    world: FakeWorld, fib: Fib, monkeypatch: pytest.MonkeyPatch
) -> None:
    want(fib, OTHER, via(B, C, D))
    fib.flush()
    die(fib, B)
    want(fib, PREFIX, via(B, C, D))
    world.kernel.failures["route"] = 1
    submit = world.kernel.submit

    def interrupted(messages: bytes) -> list[Fault]:
        faults = submit(messages)
        want(fib, PREFIX, via(C, D))
        return faults

    monkeypatch.setattr(world.kernel, "submit", interrupted)
    assert fib.flush().converged
    assert world.routes() == {(PREFIX, 1000): {C: 1, D: 1}, (OTHER, 1000): {C: 1, D: 1}}


def test_the_interface_of_a_shared_object_goes(world: FakeWorld, fib: Fib) -> None:
    want(fib, PREFIX, via(B, C, D))
    want(fib, OTHER, via(B, C, D))
    fib.flush()
    die(fib, B)
    want(fib, PREFIX, via(C, D))
    fib.flush()
    world.link_down()
    fib.set_link("eth0", None)
    assert not fib.installed(*name_of(PREFIX))
    world.link_up()
    fib.set_link("eth0", 1)
    assert fib.flush().converged
    assert world.routes() == {(PREFIX, 1000): {C: 1, D: 1}, (OTHER, 1000): {C: 1, D: 1}}
    assert settled(world, fib) == 2


def test_what_stands_on_a_borrowed_object_is_said(fib: Fib) -> None:
    want(fib, PREFIX, via(B, C, D))
    want(fib, OTHER, via(B, C, D))
    fib.flush()
    die(fib, B)
    want(fib, PREFIX, via(C, D))
    fib.flush()
    standing = fib.standing(*name_of(PREFIX))
    assert (standing.state, {way.address for way in standing.ways}) == ("group", {hop(C), hop(D)})


# Whatever happens in between

HOPS = [B, C, D]
PREFIXES = [f"10.1.{number}.0/24" for number in range(3)]
TIERS: list[Tiers] = [
    via(B, C, D),
    via(C, D),
    via(B, D),
    via(D),
    (*via(B), *via(C, D)),
    (*via(C, D), *via(B)),
    (*via(C), *via(D)),
]
some_hops = st.sets(st.sampled_from(HOPS))
nobody = st.just(frozenset[str]())
wishes = st.tuples(st.just("want"), st.sampled_from(PREFIXES), st.sampled_from(TIERS))
deaths = st.tuples(st.just("liveness"), st.sampled_from([{B}, {B}, {C}, {B, C}, set()]), nobody, nobody)
flush = st.tuples(st.just("flush"))
rare = st.one_of(
    st.tuples(st.just("want"), st.sampled_from(PREFIXES), st.none()),
    st.tuples(st.just("liveness"), some_hops, some_hops, some_hops),
    st.tuples(st.sampled_from(["audit", "flap", "restart"])),
)
all_of_them = st.tuples(st.just("want all"), st.sampled_from(TIERS))
story = st.lists(
    st.one_of(wishes, wishes, wishes, all_of_them, deaths, flush, flush, flush, rare), min_size=6, max_size=20
)
meanwhile = st.lists(st.one_of(wishes, deaths, all_of_them), max_size=12)
BEFORE = [("want all", via(B, C, D)), ("flush",), ("liveness", {B}, set(), set()), ("flush",)]


class Life:
    """After each batch: no route leads anywhere that none of its paths led to since it was last all right."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.world = FakeWorld()
        self.wanted: dict[str, Tiers] = {}
        self.dead: set[str] = set()
        self.held: set[str] = set()
        self.around: set[str] = set()
        self.since: dict[str, list[Tiers]] = defaultdict(list)
        self.later: list[tuple[Any, ...]] = []  # What happens between two batches.
        self.fib = self.world.fib()
        self.fib.set_may_remove(True)
        submit = self.world.kernel.submit

        def watched(messages: bytes) -> list[Fault]:
            faults = submit(messages)
            assert not faults, faults
            self.look()
            if self.later:
                self.happen(*self.later.pop(), nested=True)
            return faults

        patch.setattr(self.world.kernel, "submit", watched)

    def look(self) -> None:
        for (prefix, _), members in self.world.routes().items():
            ways = {str(ip_address(member.next_hop)) for tiers in self.since[prefix] for t in tiers for member in t}
            assert members.keys() <= ways | {"blackhole", "10.42.0.200"}, prefix

    def happen(self, what: str, *details: Any, nested: bool = False) -> None:
        if what == "want":
            self.want(*details)
        elif what == "want all":
            for prefix in PREFIXES:
                self.want(prefix, *details)
        elif what == "liveness":
            self.dead, self.held, self.around = details[0], details[0] & details[1], details[2]
            self.tell()
        elif nested:
            return
        elif what == "flap":
            self.world.link_down()
            self.fib.set_link("eth0", None)
            self.world.link_up()
            self.fib.set_link("eth0", 1)
        elif what == "restart":
            self.fib = Fib(self.world.kernel, ["eth0"], segments=SEGMENTS)
            self.fib.set_link("eth0", 1)
            self.fib.adopt()
            self.tell()
            for prefix, tiers in self.wanted.items():
                want(self.fib, prefix, tiers)
            self.fib.set_may_remove(True)
        else:
            if what == "audit":
                self.fib.audit()
            assert any(self.fib.flush().converged for _ in range(3))
            self.check()

    def want(self, prefix: str, tiers: Tiers | None) -> None:
        if tiers is None:
            self.wanted.pop(prefix, None)
        else:
            self.wanted[prefix] = tiers
            self.since[prefix].append(tiers)
        want(self.fib, prefix, tiers)

    def tell(self) -> None:
        relays = {hop(each): (Relay("eth0", HUB),) for each in self.around}
        self.fib.set_liveness(dead(*self.dead), relays, dead(*self.held))

    def check(self) -> None:
        """All is as it would be if each set of paths had an object of its own."""
        expected = {(prefix, 1000): self.members(tiers) for prefix, tiers in self.wanted.items()}
        assert self.world.routes() == expected
        for prefix in self.since:
            self.since[prefix] = [self.wanted[prefix]] if prefix in self.wanted else []

    def members(self, tiers: Tiers) -> dict[str, int]:
        named = [[str(ip_address(member.next_hop)) for member in tier] for tier in tiers]
        for tier in named:
            if alive := [each for each in tier if each not in self.dead]:
                return dict.fromkeys(alive, 1)
        for tier in named:
            if around := [each for each in tier if each in self.around]:
                return {"10.42.0.200": len(around)}
        for tier in named:
            if back := [each for each in tier if each in self.held]:
                return dict.fromkeys(back, 1)
        return {}


@pytest.mark.slow
@settings(max_examples=200)
@given(story=story, later=meanwhile, width=st.integers(1, 2))
def test_no_route_leads_where_it_has_no_path(
    story: list[tuple[Any, ...]], later: list[tuple[Any, ...]], width: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table, "BATCH", width)
        patch.setattr(table, "WALK", width)
        patch.setattr(nexthops, "GROUPS_A_BATCH", width)
        life = Life(patch)
        for event in BEFORE:
            life.happen(*event)
        life.later += later
        for event in story:
            life.happen(*event)
        life.happen("flush")
        life.later.clear()
        life.happen("audit")
        count = settled(life.world, life.fib)
    groups = {route.nhid for route in life.world.kernel.ours().values() if route.nhid}
    void = {tiers for tiers in life.wanted.values() if not life.members(tiers)}
    assert count <= len(groups) + len(void), "groups that nothing refers to"
    known = life.fib._objects
    assert len(known._groups) == len(set(life.wanted.values())), "groups that nobody asks for"
    assert not known._parting
    assert all(lender.borrowers for lender in known._lenders)
