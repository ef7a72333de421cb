"""A whole fabric in memory: every gateway's own BGP side, joined by queues of UPDATEs as they are on the wire.

Between two routers order holds, as with TCP; which pair is served next is drawn, and routers work at any time.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

from speaker.agent.router import Router
from speaker.bgp.decode import Decoder
from speaker.bgp.encode import encode_updates
from speaker.bgp.events import PeerDown, PeerUp, UpdateReceived
from speaker.bgp.negotiated import Negotiated
from speaker.bgp.wire import HEADER_OCTETS, UPDATE, end_of_rib
from speaker.plan import Plan, SessionPlan
from speaker.rib.attributes import AS_SEQUENCE, Attributes
from speaker.rib.facts import facts_of
from speaker.rib.path import Tiers as KernelTiers
from speaker.rib.prefix import Family, Key, key_of_text, network_of
from tests.oracle.words import Announced, Tiers, Told

BOTH = frozenset(Family)
WITH_ADD_PATH = Negotiated(families=BOTH, add_path_receive=BOTH, add_path_send=BOTH)
WITHOUT = Negotiated(families=BOTH)
RELAYS = (6, 7)
"""Functions of large communities that say what lives. The oracle does not speak of them."""


class Kernel:
    """The forwarding table that a router fills. It hears changes only, so it sees what was not said, too."""

    def __init__(self) -> None:
        self.routes: dict[str, Tiers] = {}

    def want_many(self, family: Family, keys: Sequence[Key], tiers: KernelTiers | None) -> list[tuple[Key, str]]:
        for key in keys:
            if tiers is None:
                self.routes.pop(str(network_of(family, key)), None)
            else:
                self.routes[str(network_of(family, key))] = tuple(
                    frozenset(str(ip_address(member.next_hop)) for member in tier) for tier in tiers
                )
        return []


@dataclass
class Wire:
    """What is under way, by (from, to) in addresses. `Fabric` carries it."""

    queues: dict[tuple[str, str], deque[bytes]] = field(default_factory=lambda: defaultdict(deque))

    @property
    def busy(self) -> list[tuple[str, str]]:
        return [ends for ends, queue in self.queues.items() if queue]


@dataclass
class Port:
    """The transport of one router."""

    address: str
    wire: Wire

    def send(self, peers: Sequence[str], messages: Iterable[bytes]) -> None:
        for message in messages:
            assert message[18] == UPDATE, "nothing but UPDATEs is needed while sessions stay up"
            for peer in peers:
                self.wire.queues[self.address, peer].append(message[HEADER_OCTETS:])

    async def drain(self, peers: Sequence[str] | None = None) -> None:  # noqa: ARG002
        await asyncio.sleep(0)

    def teardown(self, peer: str, subcode: int) -> None:
        raise AssertionError(f"{self.address} resets its session with {peer}: {subcode}")


class Stranger:
    """A router that is not ours: it says what it is made to say, and keeps what it is told but for loops."""

    def __init__(self, address: str, asn: int, fabric_asn: int, add_path: bool, wire: Wire) -> None:
        self.address, self.asn, self.fabric_asn, self.wire = address, asn, fabric_asn, wire
        self.negotiated = WITH_ADD_PATH if add_path else WITHOUT
        self.ibgp = asn == fabric_asn
        self.hubs: list[str] = []
        self.decoders: dict[str, Decoder] = {}
        self.tables: dict[str, dict[tuple[str, int], Attributes]] = defaultdict(dict)
        self.said: dict[tuple[Family, Key, int], Attributes] = {}

    def up(self, hub: str) -> None:
        self.hubs.append(hub)
        self.decoders[hub] = Decoder(self.negotiated, ibgp=self.ibgp)
        self._tell([hub], [], list(self.said.items()))
        for family in Family:
            self.wire.queues[self.address, hub].append(end_of_rib(family)[HEADER_OCTETS:])

    def loses(self, hub: str) -> None:
        if hub in self.hubs:
            self.hubs.remove(hub)
            self.tables.pop(hub, None)

    def says(self, routes: Iterable[Announced]) -> None:
        """From now on these, said anew, and nothing else."""
        now = {}
        for each in routes:
            family, key = key_of_text(each.prefix)
            path_id = each.path_id if self.negotiated.add_path_send else 0
            if family is Family.IPV4 or each.next_hop:
                now[family, key, path_id] = self._attributes(each)
        self._tell(self.hubs, [place for place in self.said if place not in now], list(now.items()))
        self.said = now

    def _attributes(self, each: Announced) -> Attributes:
        standard = [text for text in each.communities if text.count(":") == 1]
        large = [text for text in each.communities if text.count(":") == 2]
        return Attributes(
            next_hop=ip_address(each.next_hop or self.address).packed,
            origin=each.origin,
            as_path=((AS_SEQUENCE, each.as_path),) if each.as_path else (),
            med=each.med,
            local_pref=4000 if self.ibgp else None,  # Worth nothing: hubs have their own.
            communities=tuple(sorted(int(h) << 16 | int(low) for h, low in (text.split(":") for text in standard))),
            large_communities=tuple(sorted(_three(text) for text in large)),
            originator_id=ip_address(each.originator_id).packed if each.originator_id else None,
        )

    def _tell(
        self,
        hubs: Iterable[str],
        gone: Iterable[tuple[Family, Key, int]],
        said: Iterable[tuple[tuple[Family, Key, int], Attributes]],
    ) -> None:
        for family in Family:
            messages = encode_updates(
                family,
                self.negotiated,
                [(path_id, [key]) for its, key, path_id in gone if its is family],
                [(path_id, attributes, [key]) for (its, key, path_id), attributes in said if its is family],
                ibgp=self.ibgp,
            )
            for hub in hubs:
                self.wire.queues[self.address, hub] += [message[HEADER_OCTETS:] for message in messages]

    def hears(self, hub: str, body: bytes) -> None:
        update = self.decoders[hub].decode(body)
        assert not update.faults, update.faults
        for family, path_id, keys in update.withdrawn:
            for key in keys:
                self.tables[hub].pop((str(network_of(family, key)), path_id), None)
        for family, path_id, keys, attributes in update.announced:
            for key in keys:
                self.tables[hub][str(network_of(family, key)), path_id] = attributes

    def table(self, hub: str) -> frozenset[Told]:
        return frozenset(
            self._told(prefix, path_id, attributes)
            for (prefix, path_id), attributes in self.tables[hub].items()
            if attributes.originator_id != ip_address(self.address).packed
            if self.ibgp or all(self.asn not in asns for _, asns in attributes.as_path)
        )

    def _told(self, prefix: str, path_id: int, attributes: Attributes) -> Told:
        large = [c for c in attributes.large_communities if c[0] != self.fabric_asn or c[1] not in RELAYS]
        if not self.ibgp:
            assert (attributes.local_pref, attributes.originator_id, attributes.cluster_list) == (None, None, ())
        return Told(
            prefix=prefix,
            path_id=path_id,
            next_hop=str(ip_address(attributes.next_hop)),
            local_pref=attributes.local_pref,
            med=attributes.med,
            as_path=tuple(asn for _, asns in attributes.as_path for asn in asns),
            origin=attributes.origin,
            communities=frozenset(
                [f"{value >> 16}:{value & 0xFFFF}" for value in attributes.communities]
                + ["{}:{}:{}".format(*community) for community in large]
            ),
        )


def _three(text: str) -> tuple[int, int, int]:
    first, second, third = map(int, text.split(":"))
    return first, second, third


class Fabric:
    """Gateways by their plans, and strangers. All sessions of living ones come up, but for those in `cut`."""

    def __init__(
        self,
        plans: Mapping[str, Plan],
        strangers: Mapping[str, tuple[str, int]],
        chance: random.Random,
        *,
        without_add_path: Iterable[str] = (),
        cut: Iterable[tuple[str, str]] = (),
    ) -> None:
        """`strangers`: name -> (address, AS number)."""
        self.chance, self.wire = chance, Wire()
        self.dead: list[Router | None] = []  # Kept, so that what they were about to do ends with the loop.
        self.asn = next(iter(plans.values())).asn
        self.plain, self.cut = frozenset(without_add_path), frozenset(cut)
        self.addresses = {name: plan.router_id for name, plan in plans.items()}
        self.addresses |= {name: address for name, (address, _) in strangers.items()}
        self.names = {address: name for name, address in self.addresses.items()}
        self.kernels = {name: Kernel() for name in plans}
        self.routers = {name: self._router(name, plan) for name, plan in plans.items()}
        self.strangers = {
            name: Stranger(address, asn, self.asn, name not in self.plain, self.wire)
            for name, (address, asn) in strangers.items()
        }
        self.sessions = [
            (name, session)
            for name, plan in sorted(plans.items())
            for session in plan.sessions
            if self._comes_up(name, session)
        ]

    def _router(self, name: str, plan: Plan) -> Router:
        port = Port(self.addresses[name], self.wire)
        return Router(facts_of(plan), port, self.kernels[name], lambda: None, patience=0.0, slice_routes=3)

    def _comes_up(self, name: str, session: SessionPlan) -> bool:
        there = session.peer in self.routers or session.peer in self.strangers
        return there and not session.standby and not {(name, session.peer), (session.peer, name)} & self.cut

    def apply(self, plans: Mapping[str, Plan], connected: Mapping[str, Iterable[str]] | None = None) -> None:
        """One gateway after the other gets its plan, and sees which prefixes its interfaces have."""
        for name in self.chance.sample(sorted(self.routers), len(self.routers)):
            lans = frozenset(map(ip_network, (connected or {}).get(name, ())))
            self.routers[name].apply(plans[name], facts_of(plans[name], lans))

    def dies(self, name: str) -> None:
        """A router goes, with a NOTIFICATION, so nobody waits for its return (RFC 4724)."""
        address = self.addresses[name]
        self.dead.append(self.routers.pop(name, None))
        self.strangers.pop(name, None)
        self.kernels.pop(name, None)
        self.sessions = [each for each in self.sessions if name not in (each[0], each[1].peer)]
        for ends in [ends for ends in self.wire.queues if address in ends]:
            del self.wire.queues[ends]
        for router in self.routers.values():
            if router.sessions.get(address) is not None:
                router.peer_down(PeerDown(address, "Cease", established=True, notification=True))
        for stranger in self.strangers.values():
            stranger.loses(address)

    async def come_up(self) -> None:
        """All sessions in any order, while those that are up already carry their routes."""
        self.chance.shuffle(self.sessions)
        done = set()
        for name, session in self.sessions:
            ends = frozenset({name, session.peer})
            if ends in done:
                continue
            done.add(ends)
            for one, other in ((name, session.peer), (session.peer, name)):
                self._up(one, other)
            await self.some(self.chance.randrange(4))

    def _up(self, name: str, peer: str) -> None:
        if name in self.strangers:
            self.strangers[name].up(self.addresses[peer])
            return
        address = self.addresses[peer]
        agreed = WITHOUT if peer in self.plain else WITH_ADD_PATH
        self.routers[name].peer_up(
            PeerUp(
                address, ip_address(address).packed, agreed, None, refresh=True, enhanced_refresh=True, resumed=False
            )
        )

    async def some(self, messages: int) -> None:
        """A few messages are carried, a few routers work."""
        for _ in range(messages):
            for ends in self.chance.sample(self.wire.busy, min(1, len(self.wire.busy))):
                self._carry(ends)
            if self.chance.random() < 0.3:
                await self.routers[self.chance.choice(sorted(self.routers))].pump()

    async def settle(self) -> None:
        """Until nothing is under way and nobody has anything to say."""
        for _ in range(10_000):
            for name in self.chance.sample(sorted(self.routers), len(self.routers)):
                await self.routers[name].pump()
            for _ in range(5):
                await asyncio.sleep(0)
            if not self.wire.busy and not any(router.rib.changed for router in self.routers.values()):
                return
            for _ in range(self.chance.randint(1, 20)):
                if self.wire.busy:
                    self._carry(self.chance.choice(self.wire.busy))
        raise AssertionError("the fabric does not come to rest")

    def _carry(self, ends: tuple[str, str]) -> None:
        sender, receiver = ends
        body = self.wire.queues[ends].popleft()
        name = self.names[receiver]
        if name in self.strangers:
            self.strangers[name].hears(sender, body)
        else:
            self.routers[name].update(UpdateReceived(sender, body))
