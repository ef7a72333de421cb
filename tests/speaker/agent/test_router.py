"""Events in, UPDATEs and routes out: the agent's BGP side with a transport that only remembers."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Coroutine, Iterable, Sequence
from ipaddress import ip_address, ip_network
from typing import Any

import msgspec
import pytest

from speaker.agent.router import Router
from speaker.agent.sessions import Session
from speaker.bgp.decode import Decoder
from speaker.bgp.encode import encode_updates
from speaker.bgp.events import PeerDown, PeerUp, RefreshReceived, UpdateReceived
from speaker.bgp.negotiated import Negotiated
from speaker.bgp.opens import GracefulRestart
from speaker.bgp.wire import HEADER_OCTETS, ROUTE_REFRESH, UPDATE, end_of_rib
from speaker.plan import (
    AllocationPlan,
    AnnouncementPlan,
    ImportPlan,
    NextHopPlan,
    Plan,
    SessionPlan,
    UplinkPlan,
)
from speaker.rib.attributes import Attributes
from speaker.rib.facts import facts_of
from speaker.rib.path import Tiers
from speaker.rib.prefix import Family, Key, key_of, network_of

AGREED = Negotiated(
    families=frozenset(Family), add_path_receive=frozenset(Family), add_path_send=frozenset(Family), as4=True
)
EVERY_FAMILY = GracefulRestart(restarting=True, seconds=120, families=frozenset(Family), forwarding=frozenset(Family))
"""What a gateway of ours says of itself."""
HUB, BERLIN, PARIS = "10.42.0.1", "10.42.0.2", "10.42.0.3"
NUMBERS = {HUB: 1, BERLIN: 2, PARIS: 3}


CLOSED = [("EoRR", "ipv4"), ("EoR", "ipv4")]
"""What ends a resend inside a session: EoRR, and End-of-RIB for those who wait for one (BIRD)."""


class RecordingTransport:
    """Keeps what each peer was sent: ("announce", path id, prefix), ("withdraw", ...), ("EoR", family), ..."""

    def __init__(self) -> None:
        self.sent: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
        self.torn_down: list[tuple[str, int]] = []
        self._decoder = Decoder(AGREED, ibgp=True)

    def send(self, peers: Sequence[str], messages: Iterable[bytes]) -> None:
        for message in messages:
            for peer in peers:
                self.sent[peer] += self._told(message)

    async def drain(self, peers: Sequence[str] | None = None) -> None:  # noqa: ARG002
        await asyncio.sleep(0)

    def teardown(self, peer: str, subcode: int) -> None:
        self.torn_down.append((peer, subcode))

    def _told(self, message: bytes) -> Iterable[tuple[Any, ...]]:
        kind, body = message[18], message[HEADER_OCTETS:]
        if kind == ROUTE_REFRESH:
            return [(("request", "BoRR", "EoRR")[body[2]], "ipv4" if body[1] == 1 else "ipv6")]
        assert kind == UPDATE, f"unexpected message type {kind}"
        update = self._decoder.decode(body)
        if update.end_of_rib is not None:
            return [("EoR", update.end_of_rib.value)]
        told: list[tuple[Any, ...]] = []
        for family, path_id, keys in update.withdrawn:
            told += [("withdraw", path_id, text_of(family, key)) for key in keys]
        for family, path_id, keys, _ in update.announced:
            told += [("announce", path_id, text_of(family, key)) for key in keys]
        return told


class RecordingFib:
    def __init__(self) -> None:
        self.routes: dict[str, list[str]] = {}

    def want_many(self, family: Family, keys: Iterable[Key], tiers: Tiers | None) -> list[tuple[Key, str]]:
        for key in keys:
            if tiers is None:
                self.routes.pop(text_of(family, key), None)
            else:
                self.routes[text_of(family, key)] = [str(ip_address(member.next_hop)) for member in tiers[0]]
        return []


def text_of(family: Family, key: Key) -> str:
    return str(network_of(family, key))


def session(peer: str, role: str, site: int = 0) -> SessionPlan:
    imports = None
    if role == "client":
        hop = NextHopPlan(NUMBERS[peer], peer, None, 200, (f"64512:4:{NUMBERS[peer]}",), 0)
        imports = ImportPlan((hop,), (AllocationPlan(f"10.{site}.0.0/16", 24),))
    return SessionPlan(
        peer=f"gw-{peer}",
        peer_role=role,  # type: ignore[arg-type]
        peer_asn=64512,
        peer_address=peer,
        local_address=HUB if role == "client" else BERLIN,
        passive=role == "client",
        families=("ipv4",),
        add_path=True,
        hold_time=9,
        restart_time=120,
        password="",
        imports=imports,
    )


def plan(address: str, sessions: Sequence[SessionPlan], prefixes: Sequence[str] = ()) -> Plan:
    uplink = UplinkPlan(NUMBERS[address], "main", "zt0", address, None, "fiber", 200, 0)
    return Plan(
        version=3,
        gateway=f"gw-{address}",
        role="hub" if address == HUB else "spoke",
        asn=64512,
        router_id=address,
        segments=("10.42.0.0/16",),
        uplinks=(uplink,),
        announcements=(AnnouncementPlan(tuple(prefixes), ()),) if prefixes else (),
        sessions=tuple(sessions),
        rejects=(),
        max_paths=16,
    )


class Bench:
    """A router with its surroundings, and peers that speak in messages."""

    def __init__(
        self, the_plan: Plan, *, patience: float = 3600.0, transport: RecordingTransport | None = None
    ) -> None:
        self.transport = transport or RecordingTransport()
        self.fib = RecordingFib()
        self.router = Router(
            facts_of(the_plan), self.transport, self.fib, lambda: None, patience=patience, slice_routes=1000
        )
        self.router.apply(the_plan, facts_of(the_plan))

    def up(
        self,
        peer: str,
        graceful: GracefulRestart | None = EVERY_FAMILY,
        *,
        resumed: bool = False,
        refresh: bool = True,
        enhanced: bool = True,
    ) -> None:
        packed = ip_address(peer).packed
        self.router.peer_up(
            PeerUp(peer, packed, AGREED, graceful, refresh=refresh, enhanced_refresh=enhanced, resumed=resumed)
        )

    def says(self, peer: str, *prefixes: str, withdrawn: Sequence[str] = (), next_hop: str | None = None) -> None:
        attributes = Attributes(next_hop=ip_address(next_hop or peer).packed, local_pref=100)
        messages = encode_updates(
            Family.IPV4,
            AGREED,
            [(NUMBERS[peer], [key_of(ip_network(text)) for text in withdrawn])] if withdrawn else [],
            [(NUMBERS[peer], attributes, [key_of(ip_network(text)) for text in prefixes])] if prefixes else [],
        )
        for message in messages:
            self.router.update(UpdateReceived(peer, message[HEADER_OCTETS:]))

    def says_all(self, peer: str) -> None:
        self.router.update(UpdateReceived(peer, end_of_rib(Family.IPV4)[HEADER_OCTETS:]))

    async def settle(self) -> None:
        for _ in range(20):
            await self.router.pump()
            await asyncio.sleep(0)
        self.router.tick()

    def heard(self, peer: str) -> list[tuple[Any, ...]]:
        told, self.transport.sent[peer] = self.transport.sent[peer], []
        return told


def a_hub(**options: float) -> Bench:
    return Bench(plan(HUB, [session(BERLIN, "client", 1), session(PARIS, "client", 2)]), **options)


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 20))


def test_a_hub_reflects_and_ends_only_when_all_clients_were_heard() -> None:
    async def story() -> None:
        hub = a_hub()
        hub.up(BERLIN)
        hub.says(BERLIN, "10.1.1.0/24")
        hub.says_all(BERLIN)
        hub.up(PARIS)
        await hub.settle()
        assert hub.heard(PARIS) == [("announce", 2, "10.1.1.0/24")], "no end yet: Paris itself was not heard"
        hub.says_all(PARIS)
        await hub.settle()
        assert hub.heard(PARIS) == [("EoR", "ipv4")]
        assert hub.fib.routes == {"10.1.1.0/24": [BERLIN]}

    run(story())


def test_a_hub_does_not_wait_for_a_dead_client_for_ever() -> None:
    async def story() -> None:
        hub = a_hub(patience=0.0)
        hub.up(PARIS)
        await hub.settle()
        assert hub.heard(PARIS) == [("EoR", "ipv4")]

    run(story())


def test_a_spoke_says_its_end_at_once_so_that_hub_and_spoke_never_wait_for_each_other() -> None:
    async def story() -> None:
        spoke = Bench(plan(BERLIN, [session(HUB, "hub")], ["10.1.1.0/24"]))
        spoke.up(HUB)
        await spoke.settle()
        assert spoke.heard(HUB) == [("announce", 2, "10.1.1.0/24"), ("EoR", "ipv4")]

    run(story())


def test_tcp_loss_keeps_routes_and_end_of_rib_purges_what_did_not_come_back() -> None:
    async def story() -> None:
        hub = a_hub(patience=0.0)
        for peer in (BERLIN, PARIS):
            hub.up(peer)
            hub.says_all(peer)
        hub.says(BERLIN, "10.1.1.0/24", "10.1.2.0/24")
        await hub.settle()
        hub.heard(PARIS)
        hub.router.peer_down(PeerDown(BERLIN, "peer closed", established=True, notification=False))
        await hub.settle()
        assert set(hub.fib.routes) == {"10.1.1.0/24", "10.1.2.0/24"}
        assert hub.heard(PARIS) == [], "a restart of Berlin is no news in Paris"
        hub.up(BERLIN)
        hub.says(BERLIN, "10.1.1.0/24")
        await hub.settle()
        assert hub.heard(PARIS) == []
        hub.says_all(BERLIN)
        await hub.settle()
        assert hub.heard(PARIS) == [("withdraw", 2, "10.1.2.0/24")]
        assert set(hub.fib.routes) == {"10.1.1.0/24"}

    run(story())


def graceful(families: Iterable[Family] = (), forwarding: Iterable[Family] = (), seconds: int = 120) -> GracefulRestart:
    return GracefulRestart(False, seconds, frozenset(families), frozenset(forwarding))


async def a_hub_that_lost_berlin(said: GracefulRestart | None, *, ours: bool = False) -> Bench:
    """Berlin had one prefix, and `said` that of graceful restart."""
    hub = a_hub(patience=0.0)
    hub.up(BERLIN, said)
    hub.up(PARIS)
    for peer in (BERLIN, PARIS):
        hub.says_all(peer)
    hub.says(BERLIN, "10.1.1.0/24")
    await hub.settle()
    hub.heard(PARIS)
    hub.router.peer_down(PeerDown(BERLIN, "hold timer", established=True, notification=False, ours=ours))
    await hub.settle()
    return hub


@pytest.mark.parametrize("said", [None, graceful(), graceful([Family.IPV6])], ids=["nothing", "helper", "other"])
def test_what_a_peer_does_not_restart_gracefully_goes_with_the_session(said: GracefulRestart | None) -> None:
    """RFC 4724 4.2: only families of its capability are kept. FRR that merely helps others names none."""

    async def story() -> None:
        hub = await a_hub_that_lost_berlin(said)
        assert hub.heard(PARIS) == [("withdraw", 2, "10.1.1.0/24")]
        assert hub.fib.routes == {}
        hub.router.peer_down(PeerDown(BERLIN, "connection refused", established=False, notification=False))
        await hub.settle()
        assert hub.heard(PARIS) == []

    run(story())


@pytest.mark.parametrize("said", [None, graceful([Family.IPV4]), graceful(Family, [Family.IPV6])])
def test_what_a_peer_did_not_go_on_forwarding_goes_when_it_is_back(said: GracefulRestart | None) -> None:
    """RFC 4724 4.2: a family without F bit, or without mention, in the new OPEN."""

    async def story() -> None:
        hub = await a_hub_that_lost_berlin(EVERY_FAMILY)
        assert set(hub.fib.routes) == {"10.1.1.0/24"}
        hub.up(BERLIN, said)
        await hub.settle()
        assert hub.heard(PARIS) == [("withdraw", 2, "10.1.1.0/24")]
        assert hub.fib.routes == {}
        hub.says(BERLIN, "10.1.1.0/24")
        await hub.settle()
        assert set(hub.fib.routes) == {"10.1.1.0/24"}

    run(story())


def test_when_it_is_we_who_restart_paths_stay_whatever_the_peer_can() -> None:
    """RFC 4724 4.1: our own ExaBGP died. The kernel goes on, and the peer says all again."""

    async def story() -> None:
        hub = await a_hub_that_lost_berlin(None, ours=True)
        hub.router.peer_down(PeerDown(BERLIN, "connection refused", established=False, notification=False))
        hub.up(BERLIN, None)
        await hub.settle()
        assert hub.heard(PARIS) == []
        assert set(hub.fib.routes) == {"10.1.1.0/24"}
        hub.says_all(BERLIN)
        await hub.settle()
        assert hub.heard(PARIS) == [("withdraw", 2, "10.1.1.0/24")]

    run(story())


def test_a_session_that_lived_on_while_we_could_not_see_it_loses_nothing() -> None:
    async def story() -> None:
        hub = await a_hub_that_lost_berlin(graceful([Family.IPV4]), ours=True)
        hub.up(BERLIN, graceful([Family.IPV4]), resumed=True)
        await hub.settle()
        assert set(hub.fib.routes) == {"10.1.1.0/24"}

    run(story())


@pytest.mark.parametrize("ours", [False, True], ids=["its", "ours"])
def test_a_notification_purges_at_once(ours: bool) -> None:
    async def story() -> None:
        hub = a_hub(patience=0.0)
        for peer in (BERLIN, PARIS):
            hub.up(peer)
        hub.says(BERLIN, "10.1.1.0/24")
        await hub.settle()
        hub.heard(PARIS)
        hub.router.peer_down(PeerDown(BERLIN, "cease", established=True, notification=True, ours=ours))
        await hub.settle()
        assert hub.heard(PARIS) == [("withdraw", 2, "10.1.1.0/24")]
        assert hub.fib.routes == {}

    run(story())


def test_what_a_client_may_not_announce_goes_nowhere() -> None:
    async def story() -> None:
        hub = a_hub(patience=0.0)
        for peer in (BERLIN, PARIS):
            hub.up(peer)
            await hub.settle()
            hub.heard(peer)
        hub.says(BERLIN, "10.2.1.0/24", "10.1.1.0/25", "0.0.0.0/0")
        hub.says(BERLIN, "10.1.9.0/24", next_hop=PARIS)
        await hub.settle()
        assert hub.heard(PARIS) == []
        assert hub.fib.routes == {}

    run(story())


def test_a_resumed_session_is_asked_and_told_between_borr_and_eorr() -> None:
    async def story() -> None:
        spoke = Bench(plan(BERLIN, [session(HUB, "hub")], ["10.1.1.0/24"]))
        spoke.up(HUB, resumed=True)
        await spoke.settle()
        assert spoke.heard(HUB) == [
            ("request", "ipv4"),
            ("BoRR", "ipv4"),
            ("announce", 2, "10.1.1.0/24"),
            ("EoRR", "ipv4"),
            ("EoR", "ipv4"),
        ]
        assert not spoke.router.heard_everybody
        spoke.router.refresh(RefreshReceived(HUB, Family.IPV4, 1))
        spoke.router.refresh(RefreshReceived(HUB, Family.IPV4, 2))
        assert spoke.router.heard_everybody

    run(story())


def test_a_second_family_is_refreshed_only_after_the_end_of_the_first() -> None:
    """FRR keeps one refresh timer per peer, and takes no EoRR of a family that began before another one ended."""

    async def story() -> None:
        both = msgspec.structs.replace(session(HUB, "hub"), families=("ipv4", "ipv6"))
        spoke = Bench(plan(BERLIN, [both], ["10.1.1.0/24"]))
        families = frozenset({Family.IPV4, Family.IPV6})
        agreed = Negotiated(families=families, add_path_send=families, add_path_receive=families)
        address = ip_address(HUB).packed
        spoke.router.peer_up(PeerUp(HUB, address, agreed, None, refresh=True, enhanced_refresh=True, resumed=True))
        await spoke.settle()
        told = [each for each in spoke.heard(HUB) if each[0] in ("BoRR", "EoRR")]
        assert told == [("BoRR", "ipv4"), ("EoRR", "ipv4"), ("BoRR", "ipv6"), ("EoRR", "ipv6")]

    run(story())


def test_an_end_of_rib_before_borr_proves_nothing_and_makes_us_ask_again() -> None:
    async def story() -> None:
        spoke = Bench(plan(BERLIN, [session(HUB, "hub")]))
        spoke.up(HUB, resumed=True)
        await spoke.settle()
        spoke.heard(HUB)
        spoke.says_all(HUB)
        assert spoke.heard(HUB) == [("request", "ipv4")]
        assert not spoke.router.heard_everybody
        spoke.router.refresh(RefreshReceived(HUB, Family.IPV4, 1))
        spoke.router.refresh(RefreshReceived(HUB, Family.IPV4, 2))
        spoke.says_all(HUB)
        await spoke.settle()
        assert spoke.router.heard_everybody
        assert spoke.heard(HUB) == []

    run(story())


def test_a_resumed_peer_without_enhanced_refresh_is_reset_so_that_no_wrong_route_stays() -> None:
    async def story() -> None:
        spoke = Bench(plan(BERLIN, [session(HUB, "hub")]))
        spoke.up(HUB, resumed=True, enhanced=False)
        await spoke.settle()
        assert spoke.transport.torn_down == [(HUB, 4)]

    run(story())


def test_a_request_for_refresh_is_answered_whole() -> None:
    async def story() -> None:
        hub = a_hub(patience=0.0)
        for peer in (BERLIN, PARIS):
            hub.up(peer)
        hub.says(BERLIN, "10.1.1.0/24")
        await hub.settle()
        hub.heard(PARIS)
        hub.router.refresh(RefreshReceived(PARIS, Family.IPV4, 0))
        await hub.settle()
        assert hub.heard(PARIS) == [("BoRR", "ipv4"), ("announce", 2, "10.1.1.0/24"), *CLOSED]

    run(story())


def test_a_resend_that_fails_is_not_kept_in_silence() -> None:
    """Its peer would wait for End-of-RIB, and we for nothing."""

    async def story() -> None:
        hub, errors = a_hub(), []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context["exception"]))

        async def tell_all(_: Session) -> None:
            raise RuntimeError("a bug")

        hub.router._outbound.tell_all = tell_all  # type: ignore[method-assign]
        hub.up(BERLIN)
        await hub.settle()
        assert list(map(str, errors)) == ["a bug"]

    run(story())


def test_a_peer_that_does_not_read_holds_up_nobody_else() -> None:
    async def story() -> None:
        hub = a_hub(patience=0.0)
        for peer in (BERLIN, PARIS):
            hub.up(peer)
        await hub.settle()
        hub.heard(PARIS)

        async def drain(peers: Sequence[str] | None = None) -> None:
            if peers is None or BERLIN in peers:
                await asyncio.Event().wait()

        hub.transport.drain = drain  # type: ignore[method-assign]
        hub.router.refresh(RefreshReceived(BERLIN, Family.IPV4, 0))
        hub.says(BERLIN, "10.1.1.0/24")
        await hub.settle()
        assert hub.heard(PARIS) == [("announce", 2, "10.1.1.0/24")]

    run(story())


def test_a_peer_that_leaves_the_plan_is_forgotten_at_once() -> None:
    async def story() -> None:
        hub = a_hub(patience=0.0)
        for peer in (BERLIN, PARIS):
            hub.up(peer)
        hub.says(BERLIN, "10.1.1.0/24")
        await hub.settle()
        hub.heard(PARIS)
        smaller = plan(HUB, [session(PARIS, "client", 2)])
        hub.router.apply(smaller, facts_of(smaller))
        hub.says(BERLIN, "10.1.2.0/24")
        await hub.settle()
        assert hub.heard(PARIS) == [("withdraw", 2, "10.1.1.0/24")]
        assert hub.fib.routes == {}

    run(story())


@pytest.mark.parametrize("body", [b"\x00", b"\x00\x00\xff\xff", b"\xff" * 30], ids=["short", "attributes", "junk"])
def test_bytes_that_cannot_be_parsed_reset_one_session_and_touch_no_other(body: bytes) -> None:
    async def story() -> None:
        hub = a_hub(patience=0.0)
        hub.up(BERLIN)
        hub.up(PARIS)
        await hub.settle()
        hub.heard(BERLIN)
        sent: list[tuple[Sequence[str], bytes]] = []
        hub.transport.send = lambda peers, messages: sent.extend((peers, m) for m in messages)  # type: ignore[method-assign]
        hub.router.update(UpdateReceived(BERLIN, body))
        assert [(list(peers), message[18], message[19]) for peers, message in sent] == [([BERLIN], 3, 3)]

    run(story())


def test_what_a_hub_says_of_its_relays_reaches_the_other_clients() -> None:
    """Only when it differs, and only for paths of the uplink that it is about."""

    async def story() -> None:
        hub = a_hub()
        for peer in (BERLIN, PARIS):
            hub.up(peer)
            hub.says_all(peer)
        hub.says(BERLIN, "10.1.1.0/24")
        await hub.settle()
        assert ("announce", 2, "10.1.1.0/24") in hub.heard(PARIS)
        hub.router.relay_to(frozenset({2}))
        await hub.settle()
        assert hub.heard(PARIS) == [("announce", 2, "10.1.1.0/24")]
        hub.router.relay_to(frozenset({2, 3}))
        await hub.settle()
        assert hub.heard(PARIS) == []

    run(story())


def test_a_withdrawn_prefix_comes_back() -> None:
    async def story() -> None:
        spoke = Bench(plan(BERLIN, [session(HUB, "hub")], ["10.1.1.0/24", "10.1.2.0/24"]))
        spoke.up(HUB)
        await spoke.settle()
        spoke.heard(HUB)
        spoke.router.withdraw(frozenset({"10.1.1.0/24"}))
        await spoke.settle()
        assert spoke.heard(HUB) == [("withdraw", 2, "10.1.1.0/24")]
        spoke.router.withdraw(frozenset())
        await spoke.settle()
        assert spoke.heard(HUB) == [("announce", 2, "10.1.1.0/24")]

    run(story())
