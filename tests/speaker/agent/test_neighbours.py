"""Whose MAC is known, and what of it goes into the kernel."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from ipaddress import ip_address
from itertools import count
from typing import Any

import pytest

from speaker.agent import neighbours
from speaker.agent.neighbours import Neighbours, known_macs
from speaker.kernel.neighbour_messages import Name
from speaker.kernel.neighbours import NeighbourTable
from speaker.mac import mac_of
from speaker.plan import ImportPlan, NextHopPlan, Plan, SessionPlan, UplinkPlan
from speaker.rib.attributes import Attributes
from speaker.rib.communities import routers_mac
from speaker.rib.hops import Hop, Hops
from speaker.rib.path import Path, Source, SourceKind
from speaker.rib.prefix import Family
from tests.speaker.kernel.fake_neighbours import FakeNeighbours

NETWORK = "8056c2e21c000001"
HUB, SPOKE, STRANGER, OWN = "a000000001", "a000000002", "a000000003", "a000000009"


def packed(text: str) -> bytes:
    return ip_address(text).packed


def mac(node: str) -> bytes:
    return mac_of(node, NETWORK)


def session(role: Any, imports: ImportPlan | None = None, node: str = HUB) -> SessionPlan:
    return SessionPlan(
        peer="peer",
        peer_role=role,
        peer_asn=64512,
        peer_address="10.42.0.1",
        local_address="10.42.0.9",
        passive=False,
        families=("ipv4", "ipv6"),
        add_path=True,
        hold_time=90,
        restart_time=120,
        password="",
        imports=imports,
        peer_address6="fd42::1",
        peer_node_id=node,
    )


def plan(*sessions: SessionPlan, **fields: Any) -> Plan:
    uplinks = tuple(
        UplinkPlan(n, f"u{n}", f"zt{n}", f"10.42.0.{8 + n}", f"fd42::{8 + n}", "fiber", 200, 0, node_id=OWN)
        for n in (1, 2)
    )
    values: dict[str, Any] = {
        "version": 4, "gateway": "g", "role": "spoke", "asn": 64512, "router_id": "10.42.0.9",
        "segments": ("10.42.0.0/16", "fd42::/64"), "uplinks": uplinks, "announcements": (), "sessions": sessions,
        "rejects": (), "max_paths": 8, "network": NETWORK, "permanent_neighbours": True,
    }  # fmt: skip
    return Plan(**values | fields)


IMPORTS = ImportPlan((NextHopPlan(7, "10.42.0.2", "fd42::2", 200, (), 0, node_id=SPOKE),), ())
FROM_PLAN = {packed("10.42.0.1"): mac(HUB), packed("fd42::1"): mac(HUB)}
LEARNT = Hop(packed("10.42.0.3"), 3, mac=mac(STRANGER))


def test_hubs_are_known_from_the_plan_and_strangers_from_their_paths() -> None:
    learnt6 = Hop(packed("fd42::3"), 3, mac=mac(STRANGER))
    assert known_macs(plan(session("hub")), [LEARNT, learnt6, Hop(packed("10.42.0.4"), 4)]) == {
        **FROM_PLAN,
        packed("10.42.0.3"): mac(STRANGER),
        packed("fd42::3"): mac(STRANGER),
    }


def test_a_hub_knows_its_clients_from_the_plan() -> None:
    assert known_macs(plan(session("client", IMPORTS)), []) == {
        **FROM_PLAN,
        packed("10.42.0.2"): mac(SPOKE),
        packed("fd42::2"): mac(SPOKE),
    }


@pytest.mark.parametrize("fields", [{"permanent_neighbours": False}, {"network": ""}])
def test_with_the_switch_off_nothing_is_known(fields: dict[str, Any]) -> None:
    assert known_macs(plan(session("hub"), **fields), [LEARNT]) == {}


def test_nodes_that_nobody_knows_are_resolved_by_arp() -> None:
    assert known_macs(plan(session("hub", node="")), []) == {}


def test_of_what_is_told_in_two_ways_nothing_is_believed() -> None:
    other = LEARNT._replace(mac=mac(SPOKE))
    assert known_macs(plan(), [LEARNT, other]) == {}
    assert known_macs(plan(), [LEARNT, LEARNT]) == {LEARNT.next_hop: mac(STRANGER)}
    assert known_macs(plan(session("hub")), [Hop(packed("10.42.0.1"), 1, mac=mac(SPOKE))]) == FROM_PLAN, "the plan"


@pytest.mark.parametrize("mac", [bytes(6), bytes.fromhex("ffffffffffff"), bytes.fromhex("010203040506")])
def test_a_mac_that_no_member_has_is_not_believed(mac: bytes) -> None:
    assert known_macs(plan(), [LEARNT._replace(mac=mac)]) == {}


def test_our_own_addresses_are_no_neighbours() -> None:
    assert known_macs(plan(), [Hop(packed("10.42.0.10"), 2, mac=mac(OWN))]) == {}


def learnt(*hops: Hop) -> Hops:
    """A registry that has learnt exactly these, in a version of its own."""
    source = Source("hub", SourceKind.HUB, packed("10.42.0.1"), packed("10.42.0.1"))
    registry = Hops(64512, version=next(VERSIONS))
    for hop in hops:
        extended = (routers_mac(hop.mac),) if hop.mac else ()
        path = Path(source, hop.uplink, hop.uplink, Attributes(hop.next_hop, extended_communities=extended))
        registry.note(Family.IPV4 if len(hop.next_hop) == 4 else Family.IPV6, path)
    return registry


VERSIONS = count(1, 1000)


class Bench:
    """Neighbours over a kernel in memory; zt1 and zt2 are 1 and 2."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.kernel = FakeNeighbours(1, 2)
        self.neighbours = Neighbours(NeighbourTable(self.kernel))
        self.now = 1000.0
        monkeypatch.setattr(neighbours, "monotonic", lambda: self.now)
        monkeypatch.setattr(neighbours, "_index", lambda device: {"zt1": 1, "zt2": 2}.get(device, 0))

    def follow(
        self,
        plan: Plan,
        *hops: Hop,
        used: frozenset[bytes] | None = None,
        links: Mapping[str, int] | None = None,
        may_remove: bool = True,
    ) -> set[tuple[int, str]]:
        used = frozenset(hop.next_hop for hop in hops) if used is None else used
        links = {"zt1": 1, "zt2": 2} if links is None else links
        asyncio.run(self.neighbours.follow(plan, learnt(*hops), used, links, may_remove=may_remove))
        return {(name.ifindex, str(ip_address(name.address))) for name in self.kernel.table}


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(monkeypatch)


V4, V6 = "10.42.0.1", "fd42::1"


def test_entries_stand_on_every_uplink(bench: Bench) -> None:
    assert bench.follow(plan(session("hub"))) == {(1, V4), (1, V6), (2, V4), (2, V6)}
    assert bench.neighbours.outcome.standing == 4


def test_what_did_not_move_is_looked_at_once_a_minute(bench: Bench) -> None:
    bench.follow(plan(session("hub")))
    bench.kernel.table.clear()
    assert bench.follow(plan(session("hub"))) == set()
    assert bench.neighbours.due == 60
    bench.now += 61
    assert len(bench.follow(plan(session("hub")))) == 4


def test_a_refusal_is_tried_again_soon(bench: Bench) -> None:
    bench.kernel.failures["put"] = 1
    assert len(bench.follow(plan(session("hub")))) == 3
    assert bench.neighbours.due == 10
    bench.now += 11
    assert len(bench.follow(plan(session("hub")))) == 4


def test_there_is_an_entry_while_a_route_leads_there(bench: Bench) -> None:
    """What is known of a next hop outlives its last route."""
    assert len(bench.follow(plan(), LEARNT)) == 2
    assert bench.follow(plan(), LEARNT, used=frozenset()) == set()
    assert len(bench.follow(plan(), LEARNT)) == 2


def test_an_entry_goes_with_its_next_hop_and_with_the_switch(bench: Bench) -> None:
    learnt = {(1, "10.42.0.3"), (2, "10.42.0.3")}
    assert bench.follow(plan(), LEARNT) == learnt
    assert bench.follow(plan()) == set()
    bench.follow(plan(), LEARNT)
    assert bench.follow(plan(permanent_neighbours=False), LEARNT) == set()


def test_a_restarted_agent_adopts_and_removes_only_when_everybody_was_heard(bench: Bench) -> None:
    bench.follow(plan(), LEARNT)
    bench.neighbours = Neighbours(NeighbourTable(bench.kernel))
    bench.kernel.log.clear()
    assert len(bench.follow(plan(), may_remove=False)) == 2
    assert bench.kernel.log == [], "what stands is not even written again"
    assert bench.follow(plan(), may_remove=True) == set()


def test_an_interface_that_returns_has_its_entries_again(bench: Bench) -> None:
    bench.follow(plan(session("hub")))
    bench.kernel.link_gone(2)
    assert bench.follow(plan(session("hub")), links={"zt1": 1}) == {(1, V4), (1, V6)}
    bench.kernel.links.add(5)
    assert (5, V4) in bench.follow(plan(session("hub")), links={"zt1": 1, "zt2": 5})


def test_a_flap_that_is_over_before_anybody_looks_is_no_matter_of_a_minute(bench: Bench) -> None:
    bench.follow(plan(session("hub")))
    bench.kernel.table.clear()
    bench.neighbours.suspect()
    assert len(bench.follow(plan(session("hub")))) == 4
    assert bench.neighbours.due == 60


def test_nothing_is_taken_from_an_uplink_that_is_only_down(bench: Bench) -> None:
    bench.follow(plan(session("hub")))
    assert bench.follow(plan(), links={"zt1": 1}) == {(2, V4), (2, V6)}


def test_the_bound_keeps_those_of_the_plan(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "MAX_ENTRIES", 4)
    assert bench.follow(plan(session("hub")), LEARNT) == {(1, V4), (1, V6), (2, V4), (2, V6)}


def test_somebody_elses_entry_stays_and_is_named(bench: Bench) -> None:
    name = Name(1, packed(V4))
    bench.follow(plan(session("hub")))
    bench.kernel.add(bench.kernel.table[name]._replace(protocol=0, mac=bytes(6)))
    bench.now += 61
    bench.follow(plan(session("hub")))
    assert bench.kernel.table[name].mac == bytes(6)
    assert bench.neighbours.outcome.foreign == [name]
