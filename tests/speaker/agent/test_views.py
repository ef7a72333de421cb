"""Viewers: each gets what its own view makes of the paths, and the difference when its view changes meanwhile."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from speaker.agent.router import Router
from speaker.bgp.decode import Decoder
from speaker.bgp.encode import encode_updates
from speaker.bgp.events import PeerUp, UpdateReceived
from speaker.bgp.negotiated import Negotiated
from speaker.bgp.wire import HEADER_OCTETS, UPDATE, end_of_rib
from speaker.plan import AllocationPlan, ImportPlan, NextHopPlan, Plan, PolicyPlan, SessionPlan, StepPlan
from speaker.rib.attributes import AS_SEQUENCE, Attributes
from speaker.rib.facts import facts_of
from speaker.rib.hops import LABEL_RELAY, RELAY
from speaker.rib.prefix import Family, key_of, network_of
from speaker.rib.relayed import with_relayed
from tests.speaker.agent.test_router import HUB, RecordingFib, plan, run, session

ASN, FOREIGN = 64512, 65001
SENDERS = ("10.42.0.2", "10.42.0.3")
VIEWERS = ("10.42.0.4", "10.42.0.5")
NUMBERS = {HUB: 1, **{peer: number for number, peer in enumerate((*SENDERS, *VIEWERS), start=2)}}
PREFIXES = ("10.1.1.0/24", "10.1.2.0/24", "10.1.3.0/24")
EVERYWHERE = Negotiated(families=frozenset(Family), add_path_receive=frozenset(Family), add_path_send=frozenset(Family))
PLAIN = Negotiated(families=frozenset(Family))

Held = dict[tuple[str, int], Attributes]
"""(prefix, path id) -> attributes: what a peer has when it does as it was told."""


@dataclass
class Peers:
    """A transport that carries everything to tables of the peers' own."""

    agreed: dict[str, Negotiated]
    ebgp: frozenset[str] = frozenset()
    tables: dict[str, Held] = field(default_factory=lambda: defaultdict(dict))
    messages: list[tuple[tuple[str, ...], bytes]] = field(default_factory=list)

    def send(self, peers: Sequence[str], messages: Iterable[bytes]) -> None:
        for message in messages:
            self.messages.append((tuple(peers), message))
            for peer in peers if message[18] == UPDATE else ():
                self._take(peer, message[HEADER_OCTETS:])

    def _take(self, peer: str, body: bytes) -> None:
        sending = replace_direction(self.agreed[peer])
        update = Decoder(sending, ibgp=peer not in self.ebgp).decode(body)
        assert update.faults == [], (peer, update.faults)
        for family, path_id, keys in update.withdrawn:
            for key in keys:
                self.tables[peer].pop((str(network_of(family, key)), path_id), None)
        for family, path_id, keys, attributes in update.announced:
            for key in keys:
                self.tables[peer][str(network_of(family, key)), path_id] = attributes

    async def drain(self, peers: Sequence[str] | None = None) -> None:  # noqa: ARG002
        await asyncio.sleep(0)

    def teardown(self, peer: str, subcode: int) -> None:
        raise AssertionError(f"{peer} was reset: {subcode}")


def replace_direction(ours: Negotiated) -> Negotiated:
    return Negotiated(families=ours.families, add_path_receive=ours.add_path_send, as4=ours.as4)


class World:
    """A hub, two clients that announce and two that look."""

    def __init__(
        self,
        views: dict[str, PolicyPlan],
        ebgp: frozenset[str] = frozenset(),
        without_add_path: frozenset[str] = frozenset(),
    ) -> None:
        self.ebgp = ebgp
        self.agreed = {peer: PLAIN if peer in without_add_path else EVERYWHERE for peer in NUMBERS}
        self.peers = Peers(self.agreed, ebgp)
        the_plan = self.plan(views)
        self.router = Router(facts_of(the_plan), self.peers, RecordingFib(), lambda: None, patience=0.0, slice_routes=2)
        self.router.apply(the_plan, facts_of(the_plan))

    def plan(self, views: dict[str, PolicyPlan], own: PolicyPlan | None = None) -> Plan:
        """`views` by viewer; `own`: that of the hub itself."""
        sessions = []
        for peer in (*SENDERS, *VIEWERS):
            one = self._session(peer)
            sessions.append(replace(one, view=views[peer].number if peer in views else 0))
        hub = plan(HUB, sessions, ["10.0.0.0/24"])
        policies = {each.number: each for each in (*views.values(), *([own] if own else []))}
        return replace(hub, version=3, policies=tuple(policies.values()), own_view=own.number if own else 0)

    def _session(self, peer: str) -> SessionPlan:
        one = session(SENDERS[0], "client", 1)
        number = NUMBERS[peer]
        hop = NextHopPlan(number, peer, None, 200, (f"{ASN}:4:{number}",), 0)
        return replace(
            one,
            peer=f"gw-{peer}",
            peer_address=peer,
            peer_asn=FOREIGN if peer in self.ebgp else ASN,
            imports=ImportPlan((hop,), (AllocationPlan("10.1.0.0/16", 24),)),
        )

    def apply(
        self, views: dict[str, PolicyPlan], own: PolicyPlan | None = None, seen_as_relayed: Collection[int] = ()
    ) -> None:
        the_plan = with_relayed(replace(self.plan(views, own), relayed_preference=-1), seen_as_relayed)
        self.router.apply(the_plan, facts_of(the_plan))

    def up(self, peer: str) -> None:
        packed = ip_address(peer).packed
        agreed = self.agreed[peer]
        self.router.peer_up(PeerUp(peer, packed, agreed, None, refresh=True, enhanced_refresh=True, resumed=False))

    def says(self, peer: str, announced: Sequence[str] = (), withdrawn: Sequence[str] = (), **more: object) -> None:
        as_path = ((AS_SEQUENCE, (FOREIGN,)),) if peer in self.ebgp else ()
        attributes = Attributes(
            **{"next_hop": ip_address(peer).packed, "local_pref": 100, "as_path": as_path, **more}  # type: ignore[arg-type]
        )
        number = NUMBERS[peer]
        messages = encode_updates(
            Family.IPV4,
            self.agreed[peer],
            [(number, [key_of(ip_network(text)) for text in withdrawn])],
            [(number, attributes, [key_of(ip_network(text)) for text in announced])],
            ibgp=peer not in self.ebgp,
        )
        for message in messages:
            self.router.update(UpdateReceived(peer, message[HEADER_OCTETS:]))

    def says_all(self, peer: str) -> None:
        self.router.update(UpdateReceived(peer, end_of_rib(Family.IPV4)[HEADER_OCTETS:]))

    async def settle(self) -> None:
        for _ in range(30):
            await self.router.pump()
            await asyncio.sleep(0)
        self.router.tick()

    def relays(self, viewer: str) -> set[tuple[int, int]]:
        """(uplink, function of the community): what the hub says to `viewer` that it relays to, and how."""
        return {
            (number, function)
            for (_, number), sent in self.peers.tables[viewer].items()
            for _, function, _ in sent.large_communities
            if function in (RELAY, LABEL_RELAY)
        }

    def holds(self, viewer: str) -> dict[tuple[str, str], int | None]:
        """(prefix, next hop) -> LOCAL_PREF."""
        return {
            (prefix, str(ip_address(sent.next_hop))): sent.local_pref
            for (prefix, _), sent in self.peers.tables[viewer].items()
            if prefix != "10.0.0.0/24"
        }


def view(number: int, *steps: StepPlan) -> PolicyPlan:
    return PolicyPlan(number, steps)


def of_uplink(number: int, **action: object) -> StepPlan:
    """A step for what came through this uplink."""
    return StepPlan(f"uplink-{number}", large=((f"{ASN}:4:{number}",),), **action)  # type: ignore[arg-type]


DENY_2 = view(1, of_uplink(2, deny=True))
PREFER_2 = view(2, of_uplink(2, preference_add=50))
CLOSED = view(3, StepPlan("closed", deny=True))
ALL_VIEWS = (None, DENY_2, PREFER_2, view(4, of_uplink(3, preference=7)), CLOSED)
LOOKING, OTHER = VIEWERS


async def two_senders(world: World) -> None:
    for peer in NUMBERS:
        if peer != HUB:
            world.up(peer)
    for sender in SENDERS:
        world.says(sender, PREFIXES)
    for peer in (*SENDERS, *VIEWERS):
        world.says_all(peer)
    await world.settle()


def the_same_for(preferences: dict[str, int]) -> dict[tuple[str, str], int | None]:
    return {(prefix, sender): value for prefix in PREFIXES for sender, value in preferences.items()}


def test_each_viewer_gets_what_its_own_view_makes_of_the_paths() -> None:
    async def story() -> None:
        world = World({LOOKING: DENY_2, OTHER: PREFER_2})
        await two_senders(world)
        assert world.holds(LOOKING) == the_same_for({SENDERS[1]: 200})
        assert world.holds(OTHER) == the_same_for({SENDERS[0]: 250, SENDERS[1]: 200})

    run(story())


def test_viewers_of_equal_steps_share_every_message() -> None:
    async def story() -> None:
        world = World({LOOKING: DENY_2, OTHER: view(9, *DENY_2.steps)})
        await two_senders(world)
        world.peers.messages.clear()
        world.says(SENDERS[1], ["10.1.4.0/24"])
        await world.settle()
        assert [peers for peers, _ in world.peers.messages if LOOKING in peers or OTHER in peers] == [VIEWERS]

    run(story())


def test_a_detour_by_plain_ip_is_offered_only_to_those_who_see_what_the_hub_itself_does() -> None:
    """Else the packet would end at the hub, or go where a rule does not want it. A label knows the way."""

    async def story() -> None:
        world = World({LOOKING: PREFER_2})
        world.apply({LOOKING: PREFER_2}, own=view(7, *PREFER_2.steps))
        world.router.relay_to(frozenset({2, 3}), frozenset({3}))
        await two_senders(world)
        by_label = {(3, LABEL_RELAY)}
        everything = {(2, RELAY), (3, RELAY), *by_label}
        assert world.relays(LOOKING) == everything
        assert world.relays(OTHER) == by_label

        world.apply({LOOKING: PREFER_2})
        await world.settle()
        assert world.relays(LOOKING) == by_label, "now the hub is the one without a rule"
        assert world.relays(OTHER) == everything

        world.peers.messages.clear()
        world.apply({LOOKING: PREFER_2}, seen_as_relayed=[2])
        await world.settle()
        assert world.peers.messages == [], "what ZeroTier relays to the hub itself is nobody else's business"

    run(story())


def test_without_add_path_a_viewer_gets_the_best_of_its_own_view() -> None:
    async def story() -> None:
        world = World({LOOKING: view(1, of_uplink(3, preference_add=50))}, without_add_path=frozenset(VIEWERS))
        await two_senders(world)
        assert world.holds(LOOKING) == the_same_for({SENDERS[1]: 250})
        assert world.holds(OTHER) == the_same_for({SENDERS[0]: 200}), "tie: the lower ORIGINATOR_ID"

    run(story())


def test_an_ebgp_client_end_to_end() -> None:
    async def story() -> None:
        steps = (of_uplink(2, prepend=2), of_uplink(3, med=30))
        world = World({LOOKING: view(1, *steps)}, ebgp=frozenset({LOOKING}))
        await two_senders(world)
        world.says(LOOKING, ["10.1.9.0/24"], local_pref=None)
        await world.settle()
        table = world.peers.tables[LOOKING]
        fabric = (AS_SEQUENCE, (ASN, ASN, ASN)), (AS_SEQUENCE, (ASN,))
        assert {sent.as_path for (prefix, number), sent in table.items() if number == 2} == {(fabric[0],)}
        assert {(sent.as_path, sent.med) for (_, number), sent in table.items() if number == 3} == {((fabric[1],), 30)}
        assert {sent.med for (_, number), sent in table.items() if number == 2} == {2**32 - 201}
        assert not any(prefix == "10.1.9.0/24" for prefix, _ in table), "its own"
        (told,) = (sent for (prefix, _), sent in world.peers.tables[OTHER].items() if prefix == "10.1.9.0/24")
        assert (told.as_path, told.local_pref) == (((AS_SEQUENCE, (FOREIGN,)),), 200)

    run(story())


@pytest.mark.parametrize("without", [frozenset(), frozenset(VIEWERS)], ids=["add-path", "best path only"])
def test_a_view_that_changes_while_the_session_is_up_costs_the_difference(without: frozenset[str]) -> None:
    async def story() -> None:
        world = World({LOOKING: DENY_2, OTHER: DENY_2}, without_add_path=without)
        await two_senders(world)
        world.peers.messages.clear()
        world.apply({LOOKING: CLOSED, OTHER: DENY_2})
        await world.settle()
        assert world.peers.tables[LOOKING] == {}
        assert {peers for peers, _ in world.peers.messages} == {(LOOKING,)}
        world.peers.messages.clear()
        world.apply({LOOKING: DENY_2, OTHER: view(8, *DENY_2.steps)})
        await world.settle()
        assert world.holds(LOOKING) == world.holds(OTHER) == the_same_for({SENDERS[1]: 200})
        assert {peers for peers, _ in world.peers.messages} == {(LOOKING,)}

    run(story())


def test_those_who_go_from_one_view_to_another_together_share_the_messages() -> None:
    async def story() -> None:
        world = World({LOOKING: DENY_2, OTHER: DENY_2})
        await two_senders(world)
        world.peers.messages.clear()
        world.apply({LOOKING: PREFER_2, OTHER: PREFER_2})
        await world.settle()
        assert {peers for peers, _ in world.peers.messages} == {VIEWERS}
        assert world.holds(LOOKING) == world.holds(OTHER)

    run(story())


def test_a_row_that_changes_and_changes_back_while_a_peer_is_told_everything_is_known_rightly() -> None:
    """The row is read in between, when its change is not yet told: nothing would ever take it back."""

    async def story() -> None:
        world = World({})
        await two_senders(world)
        fresh = World({})  # The same, up to the moment at which LOOKING comes.
        for peer in (*SENDERS, OTHER):
            fresh.up(peer)
        for sender in SENDERS:
            fresh.says(sender, PREFIXES)
        await fresh.settle()
        fresh.says(SENDERS[0], ["10.1.7.0/24"])
        fresh.up(LOOKING)
        await asyncio.sleep(0)  # Its resend begins.
        await asyncio.sleep(0)
        fresh.says(SENDERS[0], withdrawn=["10.1.7.0/24"])
        await fresh.settle()
        assert fresh.holds(LOOKING) == world.holds(LOOKING)

    run(story())


# What happens, in any order: (announce or withdraw, sender, prefix), a plan with other views, or a breath.
views = st.fixed_dictionaries({}, optional={viewer: st.sampled_from(ALL_VIEWS[1:]) for viewer in VIEWERS})
happenings = st.one_of(
    st.tuples(st.sampled_from(("announce", "withdraw")), st.sampled_from(SENDERS), st.sampled_from(PREFIXES)),
    st.tuples(st.just("views"), views),
    st.tuples(st.just("pump")),
    st.tuples(st.just("breathe")),
)


@given(
    first=views,
    story=st.lists(happenings, max_size=12),
    ebgp=st.sets(st.sampled_from(VIEWERS)),
    without=st.sets(st.sampled_from(VIEWERS)),
    calm=st.booleans(),
)
def test_whatever_happens_a_viewer_ends_as_one_who_comes_last(
    first: dict[str, PolicyPlan], story: list[tuple[object, ...]], ebgp: set[str], without: set[str], calm: bool
) -> None:
    """So the order of UPDATEs and plans does not matter, and no viewer's result depends on another's view."""

    async def play() -> None:
        world = World(first, frozenset(ebgp), frozenset(without))
        for peer in (*SENDERS, *VIEWERS):
            world.up(peer)
        last, announced = first, set()
        for kind, *rest in story:
            if calm:  # Everybody has been told everything before the next thing happens.
                await world.settle()
            if kind == "views":
                (last,) = rest  # type: ignore[assignment]
                world.apply(last)
            elif kind == "pump":
                await world.router.pump()
            elif kind == "breathe":
                await asyncio.sleep(0)
            else:
                sender, prefix = rest
                world.says(sender, **{"announced" if kind == "announce" else "withdrawn": [prefix]})  # type: ignore[arg-type]
                (announced.add if kind == "announce" else announced.discard)((sender, prefix))
        await world.settle()
        for viewer in VIEWERS:
            alone = World(
                {viewer: last[viewer]} if viewer in last else {},
                frozenset(ebgp & {viewer}),
                frozenset(without & {viewer}),
            )
            for sender in SENDERS:
                alone.up(sender)
            for sender, prefix in sorted(announced):  # type: ignore[misc]
                alone.says(sender, [prefix])  # type: ignore[has-type]
            await alone.settle()
            alone.up(viewer)
            await alone.settle()
            assert world.peers.tables[viewer] == alone.peers.tables[viewer]

    run(play())
