"""Whatever happens, once it stops happening the kernel holds what is wanted, and strangers' routes are as they were."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from speaker.kernel import nexthops, table
from speaker.kernel.choice import Relay
from speaker.kernel.fake import FakeKernel, FakeRoute, FakeWay
from speaker.kernel.fib import Fib
from speaker.kernel.port import TABLE_MAIN, Fault, KernelError, NextHopRecord
from speaker.rib.path import Tiers
from speaker.rib.prefix import Family, Key
from tests.speaker.kernel.world import SEGMENTS, name_of, via

PREFIXES = [name_of(p) for p in ("10.1.0.0/16", "10.1.1.0/24", "10.1.1.128/25", "11.0.0.0/8", "2001:db8::/48")]
V6 = ("fd42:42::3", "fd42:42::4")
TIERS: list[Tiers] = [
    via("10.42.0.3"),
    via("10.42.0.4"),
    via("10.42.0.3", "10.42.0.4"),
    via("10.42.0.3", "10.42.0.5", weight=7),
    (*via("10.42.0.3"), *via("10.42.0.6")),
    (*via("10.42.0.3", "10.42.0.4"), *via("10.42.0.6", "10.42.0.5"), *via("10.42.0.4")),
]
TIERS6: list[Tiers] = [via("fd42:42::3"), via("fd42:42::3", "fd42:42::4"), (*via("fd42:42::3"), *via("fd42:42::4"))]
LINKS = {"eth0": 1, "eth1": 2}
NEXT_HOPS = [ip_address(hop).packed for hop in ("10.42.0.3", "10.42.0.4", "10.42.0.5", "10.42.0.6", *V6)]
HUBS = [ip_address(hop).packed for hop in ("10.42.0.3", "10.42.0.200", "fd42:42::c8")]
pairs = st.frozensets(st.tuples(st.sampled_from(sorted(LINKS)), st.sampled_from([*NEXT_HOPS, *HUBS])))
relays = st.dictionaries(
    st.sampled_from(NEXT_HOPS),
    st.lists(st.builds(Relay, st.sampled_from(sorted(LINKS)), st.sampled_from(HUBS), st.sampled_from([None, 16003]))),
).map(lambda ways: {hop: tuple(way for way in found if len(way.address) == len(hop)) for hop, found in ways.items()})
liveness = st.tuples(st.just("liveness"), pairs, relays, pairs, pairs)


def death(*next_hops: bytes) -> tuple[Any, ...]:
    return "liveness", frozenset((name, hop) for name in LINKS for hop in next_hops), {}, frozenset(), frozenset()


deaths = st.sampled_from([death(), death(NEXT_HOPS[0]), death(NEXT_HOPS[1])])
WITHDRAWN = [  # Two routes with different paths are on one object: the dead one was withdrawn for one of them.
    ("want", PREFIXES[0], via("10.42.0.3", "10.42.0.4")),
    ("want", PREFIXES[1], via("10.42.0.3", "10.42.0.4")),
    ("flush",),
    death(NEXT_HOPS[0]),
    ("flush",),
    ("want", PREFIXES[0], via("10.42.0.4")),
]
beginnings = st.sampled_from([[], WITHDRAWN])

wishes = st.sampled_from(PREFIXES).flatmap(
    lambda name: st.tuples(
        st.just("want"),
        st.just(name),
        st.sampled_from([None, (), *(TIERS if name[0] is Family.IPV4 else TIERS6)]),
    )
)
events = st.one_of(
    wishes,
    wishes,
    wishes,
    st.tuples(st.just("flush")),
    st.tuples(st.just("audit")),
    st.tuples(st.just("restart")),
    st.tuples(st.just("down"), st.sampled_from(sorted(LINKS)), st.booleans()),
    st.tuples(st.just("up"), st.sampled_from(sorted(LINKS))),
    st.tuples(st.just("fail"), st.sampled_from(["nexthop", "group", "route", "removal", "submit", "answer", "dump"])),
    st.tuples(st.just("reject"), st.sets(st.sampled_from(["10.0.0.0/8", "10.1.0.0/16", "2001:db8::/32"]))),
    st.tuples(st.just("absent"), st.integers(0, 20)),
    st.tuples(st.just("extra"), st.sampled_from(PREFIXES), st.sampled_from([1000, 4999, 5])),
    st.tuples(st.just("modified"), st.integers(0, 20)),
    st.tuples(st.just("lost object"), st.integers(0, 20)),
    st.tuples(st.just("extra object"), st.integers(1, 9)),
    st.tuples(st.just("stolen object"), st.integers(0, 20)),
    st.tuples(st.just("foreign"), st.sampled_from(PREFIXES), st.sampled_from([20, 1000])),
    st.tuples(st.just("may remove"), st.booleans()),
    liveness,
    deaths,
    deaths,
    st.tuples(st.just("lo down")),
)


class Story:
    """A gateway's life, and beside it the plainest oracle: what was wished last."""

    def __init__(self, resilient: bool = True) -> None:
        self.kernel = FakeKernel({1: True, 2: True})
        self.kernel.resilient = resilient
        self.wanted: dict[tuple[Family, Key], Tiers | None] = {}
        self.rejects: set[str] = set()
        self.links = dict(LINKS)
        self.dead: frozenset[tuple[str, bytes]] = frozenset()
        self.held: frozenset[tuple[str, bytes]] = frozenset()
        self.silent: frozenset[tuple[str, bytes]] = frozenset()
        self.relays: dict[bytes, tuple[Relay, ...]] = {}
        self.calm = True  # Nothing went wrong since the last audit that worked.
        self.fib = self._new_fib()

    def _new_fib(self) -> Fib:
        fib = Fib(self.kernel, ["eth0", "eth1"], segments=SEGMENTS)
        for name, index in self.links.items():
            fib.set_link(name, index)
        return fib

    def happen(self, event: tuple[Any, ...]) -> None:
        getattr(self, "on_" + event[0].replace(" ", "_"))(*event[1:])

    def on_want(self, name: tuple[Family, Key], tiers: Tiers | None) -> None:
        self.wanted[name] = tiers
        assert self.fib.want(*name, tiers) == ""

    def on_liveness(
        self,
        dead: frozenset[tuple[str, bytes]],
        relays: dict[bytes, tuple[Relay, ...]],
        back: frozenset[tuple[str, bytes]],
        silent: frozenset[tuple[str, bytes]],
    ) -> None:
        self.dead, self.relays, self.held, self.silent = dead, relays, dead & back, silent - dead
        self.fib.set_liveness(dead, relays, self.held, self.silent)

    def on_lo_down(self) -> None:
        self.kernel.lo_up = False
        self.calm = False

    def on_flush(self) -> None:
        outcome = self.fib.flush()
        if outcome.converged and self.calm and all(name in self.links for name in LINKS):
            self.check_paths()

    def on_audit(self) -> None:
        with suppress(KernelError):
            self.fib.audit()

    def check_paths(self) -> None:
        """Nothing went wrong: every route stands on what is alive, and on nothing else."""
        for name, ways in self.expected().items():
            assert self.kernel.ways(name) == ways, name

    def on_restart(self) -> None:
        self.fib = self._new_fib()
        with suppress(KernelError):
            self.fib.adopt()
        self.fib.set_liveness(self.dead, self.relays, self.held, self.silent)
        self.fib.want_rejects(self.rejects)
        for name, tiers in self.wanted.items():
            self.fib.want(*name, tiers)

    def on_down(self, name: str, told: bool) -> None:
        """With told False the interface is back before anybody looked, and the news is lost."""
        self.kernel.link_down(LINKS[name])
        if told:
            self.links.pop(name, None)
            self.fib.set_link(name, None)
        else:
            self.kernel.link_up(LINKS[name])
            self.fib.suspect()
            self.on_up(name)

    def on_up(self, name: str) -> None:
        self.kernel.link_up(LINKS[name])
        self.links[name] = LINKS[name]
        self.fib.set_link(name, LINKS[name])

    def on_fail(self, kind: str) -> None:
        self.calm = False
        self.kernel.failures[kind] += 1

    def on_reject(self, prefixes: set[str]) -> None:
        self.rejects = prefixes
        self.fib.want_rejects(prefixes)

    def on_absent(self, number: int) -> None:
        self.calm = False
        ours = list(self.kernel.ours())
        if ours:
            del self.kernel.routes_by_name[ours[number % len(ours)]]

    def on_extra(self, name: tuple[Family, Key], metric: int) -> None:
        self.calm = False
        self.kernel.routes_by_name.setdefault((*name, metric), FakeRoute(76, 0, 7))

    def on_modified(self, number: int) -> None:
        self.calm = False
        ours = list(self.kernel.ours())
        groups = [r.id for r in self.kernel.nexthops_by_id.values() if r.group and len(_gateway(self.kernel, r)) == 4]
        if ours:
            name = ours[number % len(ours)]
            nhid = groups[number % len(groups)] if groups and name[0] is Family.IPV4 else 0
            self.kernel.routes_by_name[name] = FakeRoute(76, nhid, 1 if nhid else 7)

    def on_lost_object(self, number: int) -> None:
        self.calm = False
        objects = list(self.kernel.nexthops_by_id)
        if objects:
            self.kernel._delete_nexthop(objects[number % len(objects)])

    def on_stolen_object(self, number: int) -> None:
        """Somebody takes an id of ours that is in use, and we hear of it.

        Unheard of, a group that we replace before the next audit is taken back: Linux replaces whoever's it is.
        """
        self.calm = False
        objects = [id_ for id_, r in self.kernel.nexthops_by_id.items() if r.group and r.protocol == 76]
        if objects and self.kernel.links[1]:
            id_ = objects[number % len(objects)]
            self.kernel.nexthops_by_id[9] = NextHopRecord(9, 11, 1, bytes([10, 42, 0, 3]))
            self.kernel.nexthops_by_id[id_] = NextHopRecord(id_, 11, group=((9, 1),))
            self.fib.suspect()

    def on_extra_object(self, number: int) -> None:
        self.calm = False
        id_ = 0x4C000000 + number
        if id_ not in self.kernel.nexthops_by_id and self.kernel.links[1]:
            self.kernel.nexthops_by_id[id_] = NextHopRecord(id_, 76, 1, bytes([10, 42, 0, number]))

    def on_foreign(self, name: tuple[Family, Key], metric: int) -> None:
        """Where a route of ours was lost and nobody knows, we hear of it: Linux replaces whoever's it is."""
        self.calm = False
        if name[1] in self.fib._routes[TABLE_MAIN, name[0]].actual:
            self.fib.suspect()
        self.kernel.routes_by_name.setdefault((*name, metric), FakeRoute(4, 0, 7))

    def on_may_remove(self, may_remove: bool) -> None:
        self.fib.set_may_remove(may_remove)

    def settle(self) -> None:
        for name in LINKS:
            self.on_up(name)
        self.kernel.failures.clear()
        self.kernel.lo_up = True
        self.fib.set_may_remove(True)
        for _ in range(5):
            self.fib.audit()

    def expected(self) -> dict[tuple[Family, Key, int], dict[FakeWay, int]]:
        """The oracle, with both interfaces up: way -> weight, {} = unreachable."""
        found: dict[tuple[Family, Key, int], dict[FakeWay, int]] = {}
        for (family, key), tiers in self.wanted.items():
            if tiers is not None:
                found[family, key, 1000] = self.ways(tiers)
        for prefix in self.rejects:
            found[(*name_of(prefix), 4999)] = {}
        return {name: value for name, value in found.items() if name not in self.kernel.foreign()}

    def ways(self, tiers: Tiers) -> dict[FakeWay, int]:
        for place, tier in enumerate(tiers):
            direct: dict[FakeWay, int] = {}
            for member in tier:
                alive = self.alive(member.next_hop)
                if place > 0 or alive[:1] != ["eth0"]:  # A flight, and not to who was never heard.
                    alive = [name for name in alive if (name, member.next_hop) not in self.silent]
                if alive:
                    direct[LINKS[alive[0]], member.next_hop, None] = member.weight
            if direct:
                return direct
        for tier in tiers:
            around: Counter[FakeWay] = Counter()
            for member in tier:
                for way in self.relays.get(member.next_hop, ()):
                    if (way.device, way.address) not in self.dead:
                        around[LINKS[way.device], way.address, way.label] += member.weight
            if around:
                return dict(around)
        for tier in tiers:
            never = [m for m in tier if not any((name, m.next_hop) in self.dead for name in LINKS)]
            found = [(self.alive(member.next_hop), member) for member in never]
            untried: dict[FakeWay, int] = {(LINKS[alive[0]], m.next_hop, None): m.weight for alive, m in found if alive}
            if untried:
                return untried
        for tier in tiers:
            last: dict[FakeWay, int] = {}
            for member in tier:
                back = [name for name in ("eth0", "eth1") if (name, member.next_hop) in self.held]
                if back:
                    last[LINKS[back[0]], member.next_hop, None] = member.weight
            if last:
                return last
        return {}

    def alive(self, next_hop: bytes) -> list[str]:
        return [name for name in ("eth0", "eth1") if (name, next_hop) not in self.dead]


def _gateway(kernel: FakeKernel, record: NextHopRecord) -> bytes:
    return kernel.nexthops_by_id[record.group[0][0]].gateway


@pytest.mark.slow
@settings(max_examples=300)
@given(beginning=beginnings, story=st.lists(events, max_size=40), resilient=st.booleans())
def test_converges_whatever_happened(
    beginning: list[tuple[Any, ...]], story: list[tuple[Any, ...]], resilient: bool
) -> None:
    life = Story(resilient)
    strangers: dict[tuple[Family, Key, int], FakeRoute] = {}
    for event in [*beginning, *story]:
        life.happen(event)
        strangers |= life.kernel.foreign()
    life.settle()

    assert {name: life.kernel.ways(name) for name in life.kernel.ours()} == life.expected()
    assert life.kernel.foreign() == strangers
    assert life.fib.audit() == 0
    used = {route.nhid for route in life.kernel.ours().values() if route.nhid}
    ours = [record for record in life.kernel.nexthops_by_id.values() if record.protocol == 76]
    groups = {record.id for record in ours if record.group}
    members = {member for id_ in groups for member, _ in life.kernel.nexthops_by_id[id_].group}
    idle = {tiers for name, tiers in life.wanted.items() if tiers and (*name, 1000) in strangers}
    idle |= {tiers for tiers in life.wanted.values() if tiers and not life.ways(tiers)}  # Void.
    assert groups >= used
    assert len(groups) <= len(used) + len(idle), "groups that nothing refers to"
    assert {r.id for r in ours if not r.group} >= members
    known = {member.next_hop for tiers in life.wanted.values() for tier in tiers or () for member in tier}
    known |= {way.address for ways in life.relays.values() for way in ways}
    assert {r.gateway for r in ours if not r.group and not r.blackhole} <= known, "unused gateways"
    gone = {(LINKS[name], hop) for name, hop in life.dead - life.held}
    assert not {(r.ifindex, r.gateway) for r in ours} & gone, "the dead"
    assert all(group.routes == 0 or group.nhid in used for group in life.fib._objects.held.groups.values())


@given(story=st.lists(wishes, max_size=60), splits=st.lists(st.integers(0, 60), max_size=6))
def test_flushing_in_between_changes_nothing(story: list[tuple[Any, ...]], splits: list[int]) -> None:
    once, often = Story(), Story()
    for position, event in enumerate(story):
        once.happen(event)
        often.happen(event)
        if position in splits:
            often.on_flush()
    for life in (once, often):
        life.settle()
        assert {name: life.kernel.ways(name) for name in life.kernel.ours()} == life.expected()


meanwhile = st.one_of(
    wishes,
    liveness,
    deaths,
    st.tuples(st.just("down"), st.sampled_from(sorted(LINKS)), st.just(True)),
    st.tuples(st.just("up"), st.sampled_from(sorted(LINKS))),
    st.tuples(st.just("reject"), st.sets(st.sampled_from(["10.0.0.0/8", "10.1.0.0/16"]))),
)


@pytest.mark.slow
@settings(max_examples=300)
@given(
    before=st.one_of(st.lists(wishes, max_size=8), st.just(WITHDRAWN)),
    story=st.lists(meanwhile, max_size=30),
    width=st.integers(1, 3),
    audit=st.booleans(),
)
@example(  # The interface that a group is moving to goes: the kernel dropped the group, and the route in it.
    before=[("want", PREFIXES[1], via("10.42.0.3"))],
    story=[
        ("liveness", frozenset({("eth0", NEXT_HOPS[0])}), {}, frozenset({("eth0", NEXT_HOPS[0])}), frozenset()),
        ("want", PREFIXES[0], None),
        ("down", "eth1", True),
    ],
    width=1,
    audit=False,
)
def test_converges_whatever_happens_between_two_batches(
    before: list[tuple[Any, ...]], story: list[tuple[Any, ...]], width: int, audit: bool
) -> None:
    """Wishes, deaths and links change while a batch is under way, and while routes turn unreachable and back."""
    life = Story()
    life.fib.set_may_remove(True)
    waiting = list(reversed(story))
    submit = life.kernel.submit

    def interrupted(messages: bytes) -> list[Fault]:
        faults = submit(messages)
        if waiting:
            life.happen(waiting.pop())
        return faults

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table, "BATCH", width)
        patch.setattr(table, "WALK", width)
        patch.setattr(nexthops, "GROUPS_A_BATCH", width)
        for event in before:
            life.happen(event)
        life.fib.flush()
        patch.setattr(life.kernel, "submit", interrupted)
        while waiting:
            life.happen(waiting.pop())
            life.fib.audit() if audit else life.fib.flush()
        for name in LINKS:
            life.on_up(name)
        while not life.fib.flush().converged:
            pass
    life.check_paths()
    assert set(life.kernel.ours()) == set(life.expected())
    life.settle()
    assert {name: life.kernel.ways(name) for name in life.kernel.ours()} == life.expected()
