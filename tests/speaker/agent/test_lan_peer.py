"""A gateway and a router in its LAN, in messages: what the one says reaches the hub, what the hub says reaches it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

import msgspec

from speaker.agent.router import Router
from speaker.bgp.encode import encode_updates
from speaker.bgp.events import PeerDown, PeerUp, UpdateReceived
from speaker.bgp.wire import HEADER_OCTETS, end_of_rib
from speaker.plan import AllocationPlan, ImportPlan, NextHopPlan, Plan, SessionPlan, UplinkPlan
from speaker.rib.attributes import AS_SEQUENCE, Attributes
from speaker.rib.facts import facts_of
from speaker.rib.prefix import Family, key_of
from tests.speaker.agent.test_router import BERLIN, EVERY_FAMILY, HUB, RecordingFib, plan, run, session
from tests.speaker.agent.test_views import EVERYWHERE, PLAIN, Held, Peers

ASN, LAN_AS = 64512, 65001
CORE, US = "10.1.9.2", "10.1.9.1"
ITS, FABRICS, OURS = "10.1.50.0/24", "10.2.0.0/24", "10.1.0.0/24"
SECOND = UplinkPlan(5, "lte", "zt1", "10.42.0.5", None, "lte", 50, 0)
END = end_of_rib(Family.IPV4)


def lan_session() -> SessionPlan:
    hop = NextHopPlan(2, CORE, None, 200, (f"{ASN}:1:7",), 0)
    return msgspec.structs.replace(
        session(HUB, "hub"),
        peer="core",
        peer_role="lan",
        peer_asn=LAN_AS,
        peer_address=CORE,
        local_address=US,
        add_path=False,
        peer_is_ours=False,
        interface="lan0",
        imports=ImportPlan((hop,), (AllocationPlan("10.1.0.0/16", 24),)),
    )


def a_plan(*, lan: bool = True, second: bool = False) -> Plan:
    made = plan(BERLIN, [session(HUB, "hub"), *([lan_session()] if lan else [])], [OURS])
    return msgspec.structs.replace(made, uplinks=(*made.uplinks, *([SECOND] if second else [])))


@dataclass
class Bench:
    patience: float = 0.0

    def __post_init__(self) -> None:
        self.peers = Peers({HUB: EVERYWHERE, CORE: PLAIN}, frozenset({CORE}))
        self.fib = RecordingFib()
        the_plan = a_plan()
        self.router = Router(
            facts_of(the_plan), self.peers, self.fib, lambda: None, patience=self.patience, slice_routes=100
        )
        self.give(the_plan)

    def give(self, the_plan: Plan) -> None:
        self.router.apply(the_plan, facts_of(the_plan))

    def up(self, peer: str) -> None:
        packed = ip_address(peer).packed
        agreed = self.peers.agreed[peer]
        self.router.peer_up(
            PeerUp(peer, packed, agreed, EVERY_FAMILY, refresh=True, enhanced_refresh=True, resumed=False)
        )

    def says(self, peer: str, announced: str = "", withdrawn: str = "") -> None:
        ebgp = peer == CORE
        as_path = ((AS_SEQUENCE, (LAN_AS,)),) if ebgp else ()
        hop = CORE if ebgp else "10.42.0.9"
        attributes = Attributes(next_hop=ip_address(hop).packed, local_pref=150, as_path=as_path)
        messages = encode_updates(
            Family.IPV4,
            self.peers.agreed[peer],
            [(9, [key_of(ip_network(withdrawn))])] if withdrawn else [],
            [(9, attributes, [key_of(ip_network(announced))])] if announced else [],
            ibgp=not ebgp,
        )
        for message in messages:
            self.router.update(UpdateReceived(peer, message[HEADER_OCTETS:]))

    def says_all(self, peer: str) -> None:
        self.router.update(UpdateReceived(peer, END[HEADER_OCTETS:]))

    async def settle(self) -> None:
        for _ in range(20):
            await self.router.pump()
            await asyncio.sleep(0)
        self.router.tick()

    def has(self, peer: str) -> Held:
        return self.peers.tables[peer]

    def hub_has(self, prefix: str) -> dict[int, str]:
        """Path id -> next hop."""
        held = self.has(HUB).items()
        return {number: str(ip_address(each.next_hop)) for (text, number), each in held if text == prefix}

    def ended(self, peer: str) -> bool:
        return ((peer,), END) in self.peers.messages


async def established(patience: float = 0.0) -> Bench:
    bench = Bench(patience)
    for peer in (HUB, CORE):
        bench.up(peer)
    bench.says(CORE, ITS)
    bench.says(HUB, FABRICS)
    await bench.settle()
    return bench


def test_both_hear_of_each_other_and_the_kernel_of_both() -> None:
    async def story() -> None:
        bench = await established()
        assert bench.fib.routes == {ITS: [CORE], FABRICS: ["10.42.0.9"]}
        assert bench.hub_has(ITS) == {2: BERLIN}
        assert bench.hub_has(FABRICS) == {}
        told = bench.has(CORE)
        assert told.keys() == {(FABRICS, 0), (OURS, 0)}, "not its own"
        fabrics = told[FABRICS, 0]
        assert (fabrics.next_hop, fabrics.as_path) == (ip_address(US).packed, ((AS_SEQUENCE, (ASN,)),))
        assert (fabrics.med, fabrics.local_pref) == (2**32 - 151, None)
        bench.says(CORE, withdrawn=ITS)
        bench.says(HUB, withdrawn=FABRICS)
        await bench.settle()
        assert (bench.hub_has(ITS), bench.fib.routes) == ({}, {})
        assert bench.has(CORE).keys() == {(OURS, 0)}

    run(story())


def test_a_new_uplink_announces_it_too_in_the_same_session() -> None:
    async def story() -> None:
        bench = await established()
        bench.give(a_plan(second=True))
        await bench.settle()
        assert bench.hub_has(ITS) == {2: BERLIN, 5: "10.42.0.5"}
        bench.give(a_plan())
        await bench.settle()
        assert bench.hub_has(ITS) == {2: BERLIN}
        sent = len(bench.peers.messages)
        bench.give(a_plan())
        await bench.settle()
        assert len(bench.peers.messages) == sent, "an equal plan says nothing"

    run(story())


def test_while_the_lan_is_dead_its_routes_are_not_used_and_the_fabrics_are() -> None:
    async def story() -> None:
        bench = await established()
        bench.says(HUB, ITS)
        await bench.settle()
        assert bench.fib.routes[ITS] == [CORE]
        bench.router.cut_off(frozenset({CORE}))
        await bench.settle()
        assert (bench.hub_has(ITS), bench.fib.routes[ITS]) == ({}, ["10.42.0.9"])
        bench.router.cut_off(frozenset())
        await bench.settle()
        assert (bench.hub_has(ITS), bench.fib.routes[ITS]) == ({2: BERLIN}, [CORE])

    run(story())


def test_its_routes_stay_while_it_restarts_and_go_with_a_notification_or_a_plan_without_it() -> None:
    async def story() -> None:
        bench = await established()
        bench.router.peer_down(PeerDown(CORE, "peer closed", established=True, notification=False))
        await bench.settle()
        assert bench.hub_has(ITS) == {2: BERLIN}
        bench.up(CORE)
        bench.says_all(CORE)
        await bench.settle()
        assert (bench.hub_has(ITS), ITS in bench.fib.routes) == ({}, False), "it did not say that again"
        bench.says(CORE, ITS)
        bench.router.peer_down(PeerDown(CORE, "Cease", established=True, notification=True))
        await bench.settle()
        assert bench.hub_has(ITS) == {}
        bench.up(CORE)
        bench.says(CORE, ITS)
        await bench.settle()
        assert bench.hub_has(ITS) == {2: BERLIN}
        bench.give(a_plan(lan=False))
        await bench.settle()
        assert (bench.hub_has(ITS), ITS in bench.fib.routes) == ({}, False)

    run(story())


def test_the_hub_hears_the_end_when_the_lan_was_heard_and_the_lan_when_the_hub_was() -> None:
    """Else a restarted gateway would make the one forget what it has not heard yet from the other."""

    async def story() -> None:
        bench = await established(patience=3600.0)
        assert (bench.ended(HUB), bench.ended(CORE)) == (False, False)
        assert not bench.router.heard_everybody
        bench.says_all(CORE)
        await bench.settle()
        assert (bench.ended(HUB), bench.ended(CORE)) == (True, False)
        bench.says_all(HUB)
        await bench.settle()
        assert bench.ended(CORE)
        assert bench.router.heard_everybody

    run(story())


def test_nobody_waits_for_a_router_that_does_not_come() -> None:
    async def story() -> None:
        bench = Bench()
        bench.up(HUB)
        await bench.settle()
        assert bench.ended(HUB)

    run(story())
