"""The ask `explain`: a routing table and a FIB over a kernel that is a fake, asked where a packet goes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Mapping
from dataclasses import replace
from ipaddress import IPv4Address, ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speaker.agent.answers import answer
from speaker.agent.explain import MOST_PATHS
from speaker.kernel.choice import Pair, Reach, Relay, choose
from speaker.kernel.fake import FakeKernel
from speaker.kernel.fib import Fib
from speaker.plan import PolicyPlan, StepPlan
from speaker.report import Ask
from speaker.rib.attributes import Attributes
from speaker.rib.communities import BLACKHOLE
from speaker.rib.path import Source, SourceKind, Update
from speaker.rib.policy import SpokeImport
from speaker.rib.prefix import Family
from speaker.rib.rib import Rib
from speaker.rib.steps import CompiledPolicy
from tests.speaker.agent.test_router import HUB, plan
from tests.speaker.kernel.world import SEGMENTS, FakeWorld
from tests.speaker.rib.given import ASN, FACTS, hop, key, peer

HUBS = peer("hub-1", SourceKind.HUB, 31), peer("hub-2", SourceKind.HUB, 32)
LAN = "10.9.8.0/24"  # That FACTS is attached to.


class Gateway:
    def __init__(self, rejects: Iterable[str] = ("10.0.0.0/8",), **facts: Any) -> None:
        self.rib = Rib(replace(FACTS, **facts))
        self.world = FakeWorld()
        self.fib: Fib = self.world.fib()
        self.fib.want_rejects(rejects)
        for hub in HUBS:
            self.rib.set_session(hub, SpokeImport(self.rib.router))
        self.settle()

    def hear(self, prefix: str, *numbers: int, source: Source = HUBS[0], **attributes: Any) -> None:
        """`source` tells of paths over these uplinks."""
        for number in numbers:
            said = Attributes(**{"next_hop": hop(number), "originator_id": hop(number)} | attributes)
            self.rib.receive(source, Update(announced=[(Family.IPV4, number, [key(prefix)], said)]))
        self.settle()

    def settle(self) -> None:
        for family, tiers, keys in self.rib.routes(self.rib.take(1 << 20)):
            self.fib.want_many(family, keys, tiers)
        self.fib.flush()

    def die(self, *numbers: int, held: Iterable[int] = (), relay: Relay | None = None) -> None:
        gone = frozenset(("eth0", hop(number)) for number in numbers)
        around = {} if relay is None else {hop(number): (relay,) for number in numbers}
        self.fib.set_liveness(gone, around, frozenset(("eth0", hop(number)) for number in held))
        self.fib.flush()

    def ask(self, address: str, *own: str) -> dict[str, Any]:
        ours = frozenset(ip_address(text).packed for text in own)
        found = asyncio.run(answer(Ask("1", "explain", {"address": address}, 0.0), self.rib, self.fib, ours))
        assert found.ok, found.body
        body: dict[str, Any] = found.body
        return body

    def verdict(self, address: str) -> tuple[str, str, list[str]]:
        """(what, prefix, addresses of the neighbours)."""
        verdict = self.ask(address)["verdict"]
        return verdict["what"], verdict["prefix"], [way["address"] for way in verdict["ways"]]


def test_the_longest_prefix_with_a_route_takes_it() -> None:
    gateway = Gateway()
    gateway.hear("10.1.0.0/16", 3)
    gateway.hear("10.1.1.0/24", 4, 5)
    assert gateway.verdict("10.1.1.9") == ("route", "10.1.1.0/24", ["10.42.0.4", "10.42.0.5"])
    assert gateway.verdict("10.1.2.9") == ("route", "10.1.0.0/16", ["10.42.0.3"])
    assert [each["prefix"] for each in gateway.ask("10.1.1.9")["prefixes"]] == [
        "10.1.1.0/24",
        "10.1.0.0/16",
        "10.0.0.0/8",
    ]
    assert [each["taken"] for each in gateway.ask("10.1.1.9")["prefixes"]] == [True, False, False]


def test_what_is_not_routed_is_named() -> None:
    gateway = Gateway()
    gateway.rib.originate(plan(HUB, (), ["10.7.0.0/24"]))
    gateway.settle()
    assert gateway.verdict("10.9.8.7") == ("connected", LAN, [])
    assert gateway.verdict("10.7.0.1") == ("own", "10.7.0.0/24", [])
    assert gateway.verdict("10.42.0.1") == ("itself", "10.42.0.1/32", [])
    assert gateway.verdict("10.42.0.9") == ("segment", "10.42.0.0/16", [])
    assert gateway.verdict("10.200.0.1") == ("declared", "10.0.0.0/8", [])
    assert gateway.verdict("192.0.2.1") == ("none", "", [])
    assert gateway.verdict("2001:db8::1") == ("none", "", [])
    assert gateway.ask("192.0.2.1")["verdict"]["text"].startswith("no prefix of the fabric")


@pytest.mark.parametrize("own", ["10.9.8.1", "10.7.0.1", "192.0.2.1", "2001:db8:9::1"])
def test_an_address_of_any_interface_is_its_own(own: str) -> None:
    gateway = Gateway()
    gateway.rib.originate(plan(HUB, (), ["10.7.0.0/24"]))
    gateway.settle()
    assert gateway.ask(own)["verdict"]["what"] != "itself"
    verdict = gateway.ask(own, own)["verdict"]
    assert (verdict["what"], verdict["prefix"]) == ("itself", f"{own}/{128 if ':' in own else 32}")


def test_every_path_has_its_fate() -> None:
    gateway = Gateway()
    prefix = "10.1.1.0/24"
    gateway.hear(prefix, 3, local_pref=300, communities=(65000 << 16 | 1,))
    gateway.hear(prefix, 3, source=HUBS[1], local_pref=300)
    gateway.hear(prefix, 4, local_pref=100)
    gateway.hear(prefix, 5, next_hop=ip_address("192.0.2.5").packed)
    gateway.rib.session_lost(HUBS[1], keep=True)
    while gateway.rib.pending:
        gateway.rib.step()
    found = gateway.ask("10.1.1.1")["prefixes"][0]
    shown = [
        (each["next_hop"], each["from"], each["tier"], each["step"], each["stale"], each["copy_of"])
        for each in found["paths"]
    ]
    assert shown == [
        ("10.42.0.3", "hub-1", 1, "", False, ""),
        ("10.42.0.3", "hub-2", 1, "", True, "10.42.0.3 from hub-1"),
        ("10.42.0.4", "hub-1", 2, "LOCAL_PREF", False, ""),
        ("192.0.2.5", "hub-1", 0, "refused", False, ""),
    ]
    loser, refused = found["paths"][2], found["paths"][3]
    assert (loser["why"], loser["beaten_by"]) == ("LOCAL_PREF 100 is lower than 300", "10.42.0.3 from hub-1")
    assert refused["rejected"] == "next-hop-off-segment"
    assert refused["why"] == "the next hop is not on the fabric's segment"
    assert found["paths"][0]["communities"] == ["65000:1"]
    assert [[member["next_hop"] for member in tier] for tier in found["tiers"]] == [["10.42.0.3"], ["10.42.0.4"]]


def test_the_dead_the_held_and_detours() -> None:
    gateway = Gateway()
    gateway.hear("10.1.1.0/24", 3, local_pref=300)
    gateway.hear("10.1.1.0/24", 4, local_pref=100)
    gateway.die(3)
    found = gateway.ask("10.1.1.1")
    assert [way["address"] for way in found["verdict"]["ways"]] == ["10.42.0.4"]
    assert [member["state"] for tier in found["prefixes"][0]["tiers"] for member in tier] == ["dead", "usable"]
    gateway.die(3, 4, relay=Relay("eth0", hop(99), 16003))
    (way,) = gateway.ask("10.1.1.1")["verdict"]["ways"]
    assert (way["address"], way["label"], way["detour"]) == ("10.42.0.99", 16003, True)
    assert way["towards"] == ["10.42.0.3"], "the second tier waits"
    gateway.die(3, 4)
    found = gateway.ask("10.1.1.1")
    assert found["verdict"]["what"] == "unreachable"
    assert found["verdict"]["text"] == "unreachable: no next hop of any tier is alive"
    gateway.die(3, 4, held=[4])
    found = gateway.ask("10.1.1.1")
    assert [way["address"] for way in found["verdict"]["ways"]] == ["10.42.0.4"]
    assert found["prefixes"][0]["tiers"][1][0]["state"] == "held"


class TwoLines(Gateway):
    """With two uplinks on one segment."""

    def __init__(self) -> None:
        super().__init__()
        self.fib = Fib(FakeKernel({1: True, 2: True}), ["eth0", "eth1"], segments=SEGMENTS)
        self.fib.set_link("eth0", 1)
        self.fib.set_link("eth1", 2)

    def members(self, prefix: int = 0) -> list[tuple[str, dict[str, str], list[str]]]:
        """(state, by interface, interfaces that its traffic takes) of every member of the tiers."""
        tiers = self.ask("10.1.1.1")["prefixes"][prefix]["tiers"]
        return [(m["state"], m["interfaces"], [w["interface"] for w in m["ways"]]) for tier in tiers for m in tier]

    def chosen(self) -> dict[str, Any] | None:
        found: dict[str, Any] | None = self.ask("10.1.1.1")["prefixes"][0]["chosen"]
        return found

    def live(self, dead: Iterable[tuple[str, int]], silent: Iterable[tuple[str, int]]) -> None:
        pairs = (frozenset((device, hop(number)) for device, number in some) for some in (dead, silent))
        gone, unheard = pairs
        self.fib.set_liveness(gone, {}, silent=unheard)
        self.fib.flush()


BOTH_USABLE = {"eth0": "usable", "eth1": "usable"}
BOTH_SILENT = {"eth0": "silent", "eth1": "silent"}


def test_who_was_never_heard_is_called_silent_and_fled_to_last() -> None:
    gateway = TwoLines()
    for number, local_pref in ((3, 300), (4, 200), (5, 100)):
        gateway.hear("10.1.1.0/24", number, local_pref=local_pref)
    gateway.live([], [("eth0", 4), ("eth1", 4)])
    assert gateway.members() == [
        ("usable", BOTH_USABLE, ["eth0"]), ("silent", BOTH_SILENT, []), ("usable", BOTH_USABLE, [])
    ]  # fmt: skip
    dead = [("eth0", 3), ("eth1", 3)]
    gateway.live(dead, [("eth0", 4), ("eth1", 4)])
    assert [taken for _, _, taken in gateway.members()] == [[], [], ["eth0"]], "passed over"
    assert gateway.chosen() == {"tier": 3, "manner": "direct"}
    gateway.live([*dead, ("eth0", 5), ("eth1", 5)], [("eth0", 4), ("eth1", 4)])
    assert [taken for _, _, taken in gateway.members()] == [[], ["eth0"], []], "better than nothing"
    assert gateway.chosen() == {"tier": 2, "manner": "unheard"}


def test_silence_behind_one_line_is_no_life_where_it_died_behind_another() -> None:
    gateway = TwoLines()
    gateway.hear("10.1.1.0/24", 3)
    gateway.live([("eth0", 3)], [("eth1", 3)])
    assert gateway.members() == [("dead", {"eth0": "dead", "eth1": "silent"}, [])]
    assert (gateway.ask("10.1.1.1")["verdict"]["what"], gateway.chosen()) == ("unreachable", None)


def test_who_is_silent_and_stands_first_is_used() -> None:
    gateway = TwoLines()
    gateway.hear("10.1.1.0/24", 3)
    gateway.live([], [("eth0", 3), ("eth1", 3)])
    assert gateway.members() == [("silent", BOTH_SILENT, ["eth0"])]


def test_a_way_that_was_chosen_for_its_liveness_names_whom_it_leads_to() -> None:
    gateway = TwoLines()
    gateway.hear("10.1.1.0/24", 3, local_pref=300)
    gateway.hear("10.1.1.0/24", 4, local_pref=200)
    gateway.live([("eth0", 3), ("eth1", 3)], [("eth0", 4)])
    (way,) = gateway.ask("10.1.1.1")["verdict"]["ways"]
    assert (way["interface"], way["towards"], way["detour"]) == ("eth1", ["10.42.0.4"], False)


NUMBERS = range(3, 8)
pairs = st.sets(st.tuples(st.sampled_from(("eth0", "eth1")), st.sampled_from(NUMBERS)))


@given(
    preferences=st.lists(st.sampled_from((100, 200, 300)), min_size=5, max_size=5),
    dead=pairs,
    held=pairs,
    silent=pairs,
    relays=st.sets(st.sampled_from(NUMBERS)),
    links=st.sets(st.sampled_from(("eth0", "eth1"))),
)
def test_whom_it_says_is_used_is_whom_the_group_holds(
    preferences: list[int],
    dead: set[tuple[str, int]],
    held: set[tuple[str, int]],
    silent: set[tuple[str, int]],
    relays: set[int],
    links: set[str],
) -> None:
    gateway = TwoLines()
    for number, local_pref in zip(NUMBERS, preferences, strict=True):
        gateway.hear("10.1.1.0/24", number, local_pref=local_pref)
    gone, answering, unheard = (frozenset((d, hop(n)) for d, n in some) for some in (dead, held & dead, silent - dead))
    around = {hop(number): (Relay("eth1", hop(99), 16000 + number), Relay("eth0", hop(98))) for number in relays}
    for device in {"eth0", "eth1"} - links:
        gateway.fib.set_link(device, None)
    gateway.fib.set_liveness(gone, around, answering, unheard)
    gateway.fib.flush()
    found = gateway.ask("10.1.1.1")["prefixes"][0]
    members = [member for tier in found["tiers"] for member in tier]
    said = {_relay(way) for member in members for way in member["ways"]}
    assert said == set(by_choice(gateway, gone, around, answering, unheard))
    if links:
        assert said == {_relay(way) for way in found["kernel"]["ways"]}
    for member in members:
        hopes = {"usable": True, "silent": True, "held": True, "dead": False, "down": False}[member["state"]]
        assert hopes or not any(way["address"] == member["next_hop"] for way in member["ways"])


def by_choice(
    gateway: Gateway,
    dead: frozenset[Pair],
    relays: Mapping[bytes, tuple[Relay, ...]],
    held: frozenset[Pair],
    silent: frozenset[Pair],
) -> Iterable[Relay]:
    """What the group of 10.1.1.0/24 should hold, asked of the choice itself."""
    reach = Reach(("eth0", "eth1"))
    reach.links = dict(gateway.fib._objects.reach.links)
    reach.update(dead, relays, held, silent)
    tiers = gateway.rib.decide(gateway.rib.lookup(Family.IPV4, key("10.1.1.0/24"))).tiers
    return choose(tiers, reach, lambda _: False) or ()


def _relay(way: dict[str, Any]) -> Relay:
    return Relay(way["interface"], ip_address(way["address"]).packed, way["label"])


def test_a_route_that_the_kernel_refuses_takes_nothing() -> None:
    gateway = Gateway()
    gateway.hear("10.1.0.0/16", 3)
    gateway.world.kernel.failures["route"] = 99
    gateway.hear("10.1.1.0/24", 4)
    found = gateway.ask("10.1.1.1")
    assert (found["verdict"]["what"], found["verdict"]["prefix"]) == ("route", "10.1.0.0/16")
    assert found["prefixes"][0]["text"] == "the kernel refuses it: Cannot allocate memory"


def test_a_blackhole_and_a_view() -> None:
    gateway = Gateway(blackhole=True)
    gateway.hear("10.1.1.1/32", 3, communities=(BLACKHOLE,))
    assert gateway.ask("10.1.1.1")["verdict"]["text"] == "unreachable: a path says so (BLACKHOLE, RFC 7999)"
    steps = (
        StepPlan("near", communities=("65000:1",), preference=900),
        StepPlan("far", communities=("65000:2",), deny=True),
    )
    gateway.rib.router_changed(gateway.rib.router, CompiledPolicy.of(PolicyPlan(1, steps), ASN))
    gateway.hear("10.1.2.0/24", 3, communities=(65000 << 16 | 1,))
    gateway.hear("10.1.2.0/24", 4, communities=(65000 << 16 | 2,))
    used, denied = gateway.ask("10.1.2.1")["prefixes"][0]["paths"]
    assert (used["view_rules"], used["seen"]) == (["near"], {"local_pref": 900, "med": None})
    assert (denied["step"], denied["why"]) == ("rule", "rule far denies it here")


def test_many_paths_are_bounded() -> None:
    gateway = Gateway()
    for hub in HUBS:
        gateway.hear("10.1.1.0/24", *range(2, 252), source=hub)
    gateway.hear("10.1.0.0/16", 3, 4)
    found = gateway.ask("10.1.1.1")
    assert found["truncated"]
    assert [(len(each["paths"]), each["paths_total"]) for each in found["prefixes"][:2]] == [(MOST_PATHS, 500), (0, 2)]


@pytest.mark.parametrize("text", ["", "10.1.0.0/16", "berlin"])
def test_what_is_no_address_is_said(text: str) -> None:
    gateway = Gateway()
    found = asyncio.run(answer(Ask("1", "explain", {"address": text}, 0.0), gateway.rib, gateway.fib))
    assert (found.ok, found.body) == (False, {"error": f"{text!r} is no address; write it like 10.1.0.7"})


prefixes = st.tuples(st.sampled_from((8, 12, 16, 20, 24, 32)), st.integers(0, 7)).map(
    lambda drawn: str(ip_network((int(IPv4Address("10.64.0.0")) + (drawn[1] << 8), drawn[0]), strict=False))
)


@given(
    heard=st.lists(st.tuples(prefixes, st.integers(3, 6), st.sampled_from((100, 200))), max_size=6),
    dead=st.sets(st.integers(3, 6)),
    seed=st.integers(0, 9),
)
def test_it_says_what_a_look_up_in_the_kernel_finds(
    heard: list[tuple[str, int, int]], dead: set[int], seed: int
) -> None:
    gateway = Gateway()
    for prefix, number, local_pref in heard:
        gateway.hear(prefix, number, local_pref=local_pref)
    gateway.die(*dead)
    address = IPv4Address(int(IPv4Address("10.64.0.0")) + random.Random(seed).randrange(1 << 11))
    holders = {name: ways for name, ways in gateway.world.routes().items() if address in ip_network(name[0])}
    prefix, metric = max(holders, key=lambda name: (ip_network(name[0]).prefixlen, -name[1]))
    what, said, ways = gateway.verdict(str(address))
    assert said == prefix
    assert set(ways) == set(holders[prefix, metric])
    assert what == ("declared" if metric == 4999 else "route" if ways else "unreachable")
