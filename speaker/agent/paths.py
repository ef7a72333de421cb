"""Paths as this gateway sees them: what ZeroTier says of its peers, what our own echoes measure, and what a relayed
path costs here. Off the failover path: nothing waits for it, and what it cannot read it does not know.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path
from time import monotonic, time
from typing import NamedTuple, Protocol

import msgspec
import structlog
from msgspec.structs import replace

from speaker.agent.neighbours import known_macs
from speaker.liveness.damping import Pair
from speaker.liveness.echo import Echoes, NoEchoes
from speaker.liveness.path_probes import PathProbes, Probe
from speaker.liveness.relayed import Relayed, states_of
from speaker.mac import node_of
from speaker.plan import Plan
from speaker.report import PathProbeReport, PeerReport
from speaker.rib.hops import Hop
from speaker.state import StateDir, write_atomically
from speaker.zerotier.local import LocalError, LocalService
from speaker.zerotier.nat import Nat, kind_of, noted
from speaker.zerotier.peers import Peer, PeersUnreadable, PeerWatch, read_peers
from speaker.zerotier.placed import placed

log = structlog.get_logger()

LOOK_SECONDS = 5.0
TURN_SECONDS, SHORTEST_NAP = 1.0, 0.05
"""Between two looks at which pairs are in use, and between two rounds of probes."""
FORBIDDEN_SECONDS = 60.0


class LivenessView(Protocol):
    """The part of liveness that says which pairs matter."""

    def in_use(self) -> list[Pair]: ...

    def ways(self) -> dict[int, Pair]: ...

    def is_up(self, pair: Pair) -> bool | None: ...


class Seen(NamedTuple):
    """What one service said."""

    peers: tuple[Peer, ...]
    nat: str


class Paths:
    """`moved` is called when the far uplinks whose paths cost something have changed: see `relayed`.

    `homes`: (name of the uplink or "" to find it, home of its ZeroTier service). The connections are our own, for
    others use theirs in threads of theirs.
    """

    def __init__(
        self,
        state: StateDir,
        homes: Sequence[tuple[str, Path]],
        liveness: LivenessView,
        hops: Iterable[Hop],
        moved: Callable[[], None],
    ) -> None:
        self.peers: tuple[PeerReport, ...] = ()
        self.nat: dict[str, Nat] = read_nat(state.nat)
        self._state = state
        self._services = [(name, LocalService(home)) for name, home in homes]
        self._liveness = liveness
        self._hops = hops
        self._moved = moved
        self._plan: Plan | None = None
        self._watch = PeerWatch()
        self._relayed = Relayed()
        self._probes = PathProbes()
        self._echoes = Echoes(lambda pair, sequence, rtt: self._probes.answered(pair, sequence, rtt, monotonic()))
        self._said = ""

    def configure(self, plan: Plan) -> None:
        self._plan = plan
        addresses = {}
        for uplink in plan.uplinks:
            addresses[uplink.interface, 4] = uplink.address
            if uplink.address6 is not None:
                addresses[uplink.interface, 6] = uplink.address6
        self._echoes.configure(addresses)

    def close(self) -> None:
        self._echoes.close()
        for _, service in self._services:
            service.close()

    @property
    def relayed(self) -> frozenset[int]:
        """Numbers of the far uplinks whose paths cost something now, because ZeroTier has relayed them for long."""
        return self._relayed.uplinks

    @property
    def measured(self) -> tuple[PathProbeReport, ...]:
        return self._probes.reports(self._uplink_names())

    async def run(self) -> None:
        """For ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._probe())
            tasks.create_task(self._look_for_ever())

    # Our own echoes

    async def _probe(self) -> None:
        turn = 0.0
        while True:
            now = monotonic()
            if self._plan is not None and now >= turn:
                turn = now + TURN_SECONDS
                self._probes.configure(self._pairs(), self._mtu(self._plan), now)
            if not all(map(self._sent, self._probes.due(now))):
                self._probes.configure((), {}, now)  # Nothing is lost that could not be sent.
                await asyncio.sleep(FORBIDDEN_SECONDS)
            await asyncio.sleep(min(TURN_SECONDS, max(SHORTEST_NAP, self._probes.next_at(now) - monotonic())))

    def _pairs(self) -> list[Pair]:
        """Those in use, after those that are relayed: whether these become direct must be seen."""
        ways = self._liveness.ways() if self.relayed else {}
        return [*(ways[number] for number in sorted(self.relayed) if number in ways), *self._liveness.in_use()]

    def _mtu(self, plan: Plan) -> dict[str, int]:
        return {uplink.interface: plan.mtu for uplink in plan.uplinks} if plan.mtu else {}

    def _sent(self, probe: Probe) -> bool:
        """False when this process may send none at all."""
        try:
            self._echoes.send(probe)
        except NoEchoes as error:
            self._say("no echoes", str(error))
            return False
        except OSError:  # Too long, dropped by nftables on the way out, no route: it does not get there.
            self._probes.refused(probe, monotonic())
        return True

    # What ZeroTier says

    async def _look_for_ever(self) -> None:
        while True:
            if self._plan is not None and self._plan.network:
                seen = await asyncio.to_thread(self._read, self._plan)
                await self._take(self._plan, seen)
            await asyncio.sleep(LOOK_SECONDS)

    def _read(self, plan: Plan) -> dict[str, Seen]:
        """In a thread. Who does not answer is left out."""
        found = {}
        for uplink, service in placed(plan.uplinks, self._services).items():
            try:
                status = service.status()
                peers = read_peers(service.peers(), status.clock_ms)
            except (LocalError, PeersUnreadable) as error:
                self._say(f"peers of {uplink}", str(error))
            else:
                roots = [path for peer in peers if peer.root for path in peer.alive]
                found[uplink] = Seen(peers, kind_of(status.listening, status.surface, roots))
        return found

    async def _take(self, plan: Plan, seen: Mapping[str, Seen]) -> None:
        devices = {uplink.name: uplink.interface for uplink in plan.uplinks}
        now = monotonic()

        def carries(uplink: str, address: str) -> bool | None:
            pair = devices[uplink], address
            return self._liveness.is_up(pair) or self._probes.carries(pair, now)

        known = {uplink: each.peers for uplink, each in seen.items() if uplink in devices}
        self.peers = self._watch.look(known, addresses_of(plan, self._hops), carries, time())
        names = self._uplink_names()
        ways = {number: (names[device], remote) for number, (device, remote) in self._liveness.ways().items()}
        if self._relayed.look(states_of(self.peers, ways), plan.relayed_seconds, now):
            log.info("relayed paths cost preference", uplinks=sorted(self.relayed), added=plan.relayed_preference)
            self._moved()
        await self._note_nat({uplink: each.nat for uplink, each in seen.items()})

    async def _note_nat(self, kinds: Mapping[str, str]) -> None:
        """Kept over restarts: that a NAT is another one than yesterday is what the doctor wants to know."""
        after = {**self.nat, **{uplink: noted(self.nat.get(uplink), kind, time()) for uplink, kind in kinds.items()}}
        if after != self.nat:
            self.nat = after
            data = msgspec.json.encode({key: list(nat) for key, nat in after.items()})
            try:
                await asyncio.to_thread(write_atomically, self._state.nat, data)
            except OSError as error:
                self._say("NAT not remembered", error.strerror or str(error))

    def _uplink_names(self) -> dict[str, str]:
        """Of two uplinks on one interface the first."""
        uplinks = self._plan.uplinks if self._plan is not None else ()
        return {uplink.interface: uplink.name for uplink in reversed(uplinks)}

    def _say(self, what: str, why: str) -> None:
        if (said := f"{what}: {why}") != self._said:
            self._said = said
            log.warning("paths", what=what, reason=why)


def addresses_of(plan: Plan, hops: Iterable[Hop]) -> dict[str, str]:
    """Node id -> overlay address (IPv4 before IPv6), of all that plan and routing table know. Pure.

    Known by their MACs, whether permanent entries are made of them or not.
    """
    macs = sorted(known_macs(replace(plan, permanent_neighbours=True), hops).items(), key=lambda known: -len(known[0]))
    return {node_of(mac, plan.network): str(ip_address(address)) for address, mac in macs}


def read_nat(path: Path) -> dict[str, Nat]:
    """What an agent before us wrote; nothing when it cannot be read."""
    try:
        said = msgspec.json.decode(path.read_bytes(), type=dict[str, tuple[str, str, float]])
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return {}
    return {uplink: Nat(*nat) for uplink, nat in said.items()}
