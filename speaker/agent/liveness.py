"""From what BFD says to what the kernel does: no decision is run, no route is touched, nothing waits for the RIB.

A status comes in, verdict and detours are worked out over small sets, the FIB is told in the same turn of the
loop, and its flush is woken. What only shows once a second (which next hops are in use) is `look`ed at.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from time import monotonic, time
from typing import NamedTuple, Protocol

import structlog

from speaker.kernel.choice import Relay
from speaker.liveness import reach
from speaker.liveness.bfd import control
from speaker.liveness.bfd.control import BfdUplink, Status, Want
from speaker.liveness.client import BfdClient
from speaker.liveness.damping import Damper, Pair, Verdict
from speaker.liveness.reach import DeadHops, Demand, Directory, Lingering, Via
from speaker.liveness.silence import Silence
from speaker.liveness.spares import spares
from speaker.plan import Plan, SessionPlan
from speaker.rib.hops import Hops

log = structlog.get_logger()

REPLAY_SECONDS = 1.0
"""A starting agent waits so long for leyline-bfd's replay: without it a dead next hop would come alive."""
REDIAL_SECONDS = 3.0
"""A hub is dialled from another uplink when BFD has been down for so long: a shorter loss TCP bears."""
GONE_SECONDS = 3.0
"""A client whose session was lost is gone when BFD has been down for so long: what a moment of deafness takes away
only a new session brings back. Until then liveness keeps packets off it, here and at every receiver."""
DRAIN_SECONDS = 5.0
"""After so long a drained gateway takes its sessions to AdminDown: its traffic has gone elsewhere by then."""


class LiveTable(Protocol):
    """The part of the FIB that liveness moves."""

    def set_liveness(
        self,
        dead: frozenset[tuple[str, bytes]],
        relays: Mapping[bytes, tuple[Relay, ...]],
        held: frozenset[tuple[str, bytes]],
        silent: frozenset[tuple[str, bytes]],
    ) -> None: ...

    def next_hops(self) -> frozenset[bytes]: ...

    def beside(self, next_hops: Collection[bytes]) -> frozenset[bytes]: ...


class _Told(NamedTuple):
    """What the FIB was told last."""

    dead: DeadHops = frozenset()
    held: DeadHops = frozenset()
    silent: DeadHops = frozenset()
    around: Mapping[bytes, tuple[Via, ...]] = {}


class Liveness:
    """Verdicts of all pairs of one gateway. `wake` makes the FIB flush; `moved` asks for a report."""

    def __init__(
        self,
        plan: Plan,
        bfd_socket: Path,
        fib: LiveTable,
        hops: Hops,
        usable: Callable[[], Collection[str]],
        wake: Callable[[], None],
        moved: Callable[[], None],
    ) -> None:
        self.client = BfdClient(bfd_socket, self._changed, self._gone)
        self.failovers = 0  # Pairs that died, since start.
        self.guarded = False  # The guard against loops is in force: detours by plain IP may be used.
        self.labels = False  # This kernel pushes labels: detours by relay label may be used.
        self._fib = fib
        self._hops = hops
        self._usable = usable
        self._wake = wake
        self._moved = moved
        self._damper = Damper(plan.liveness)
        self._silence = Silence()
        self._demand = Demand()
        self._spares: frozenset[Pair] = frozenset()  # As of the last look.
        self._relayed = Lingering()
        self._relayed_long = Lingering(reach.LONG_LINGER_SECONDS)
        self._drained_at: float | None = None
        self._starting = True  # Nothing is wanted yet: leyline-bfd would end what it has.
        self._complete = False  # The routing table knows all that it will know.
        self._kept: frozenset[str] = frozenset()  # Far ends that it does not know, and routes lead to.
        self._timer = asyncio.Event()
        self._judging = False
        self._told = _Told()
        self.configure(plan)

    def configure(self, plan: Plan) -> None:
        """A new plan: other sessions, at once."""
        if not plan.drained:
            self._drained_at = None
        elif self._drained_at is None:
            self._drained_at = monotonic()
        self._damper.configure(plan.liveness)
        self._known = self._directory(plan)
        self._spares = frozenset(pair for pair in self._spares if pair[0] in self._known.local)
        self._judge()

    # At start

    async def hear_first(self) -> None:
        """Waits for the replay of a leyline-bfd that runs, for a moment. `run` must run already."""
        if self._known.local and self.client.path.exists():  # Else it has only just been started, and knows nothing.
            with suppress(TimeoutError):
                async with asyncio.timeout(REPLAY_SECONDS):
                    while not self.client.connected:
                        await asyncio.sleep(0.01)
            if not self.client.connected:
                log.warning("leyline-bfd does not answer; next hops count as alive until it does")
        self._starting = False
        self._judge()

    def keep(self, next_hops: Iterable[bytes]) -> None:
        """Routes lead to these without a path that says so: their gateways may ask how we are."""
        self._kept = frozenset(str(ip_address(next_hop)) for next_hop in next_hops)
        self._judge()

    def complete(self) -> None:
        """Everybody was heard: what no path leads to now is really not wanted."""
        self._complete = True
        self._judge()

    # Events

    async def run(self) -> None:
        """For ever: holds that end."""
        while True:
            due = self._damper.due()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._timer.wait(), None if due is None else max(0.0, due - monotonic()))
            self._timer.clear()
            if self._damper.tick(monotonic()):
                self._judge()
                self._moved()

    def links_moved(self) -> None:
        self._judge()

    def routes_moved(self) -> None:
        """The RIB may have learnt next hops: what is dead may have a sibling of the other family now."""
        if self._told.dead and self._hops.version != self._seen:
            self._known = self._directory(self._known.plan)
            self._judge()

    def look(self, used: Collection[str] | None) -> None:
        """Once a second. `used`: next hops that packets went to lately; None: nobody can tell."""
        if self._hops.version != self._seen:
            self._known = self._directory(self._known.plan)
        self._demand.note(self._known, used, self._fib.next_hops(), monotonic())
        dead = self._damper.dead()
        wanted = self._in_use(dead)
        lost = {
            remote for _, remote in wanted & dead
        }  # What their traffic fell to must not be forgotten: they go first.
        self._spares = spares(self._known, wanted, (lost, {*self._demand}), self._fib.beside, self._usable())
        self._judge()

    def relayed(self, many: frozenset[int] = frozenset()) -> frozenset[int]:
        """As a hub: the numbers of the uplinks that we relay to; for a while also those that we just lost.

        `many`: uplinks of clients with many paths.
        """
        now = monotonic()
        up = reach.relayed(self._known, self._damper.up())
        return self._relayed.update(up, now) | (self._relayed_long.update(up, now) & many)

    def relay_labels(self, numbers: Collection[int]) -> dict[int, tuple[str, str]]:
        """Where a hub's relay labels lead, uplink number -> (interface, overlay address)."""
        return reach.relay_labels(self._known, self._told.dead, self._usable(), numbers)

    def _changed(self, status: Status) -> None:
        pair = (status.device, status.remote)
        before = self._damper.verdict(pair)
        now, end = monotonic(), self._known.local.get(status.device)
        detection = end.interval_us * end.multiplier * 1e-6 if end is not None else 0.0
        self._silence.hear(status, now, waited=max(0.0, time() - status.since), detection=detection)
        moved = self._damper.hear(status, now)
        self._timer.set()
        if not moved:
            return
        after = self._damper.verdict(pair)
        log.info("liveness", device=pair[0], remote=pair[1], state=after.state, was=before.state, reason=after.reason)
        self.failovers += after.dead and not before.dead
        self._judge_soon()
        self._moved()

    def _gone(self, device: str, remote: str) -> None:
        self._silence.gone((device, remote))
        if self._damper.gone((device, remote)):
            self._judge_soon()

    def _judge_soon(self) -> None:
        """At once, but of a burst only the first and, when it is over, the rest together."""
        if not self._judging:
            self._judge()
            self._judging = True
            asyncio.get_running_loop().call_soon(self._judge_rest)

    def _judge_rest(self) -> None:
        self._judging = False
        self._judge()

    # Judgement

    def _judge(self) -> None:
        known, damper = self._known, self._damper
        dead_pairs = damper.dead()
        dead = reach.dead_hops(known, dead_pairs)
        silent = reach.dead_hops(known, self._silence.pairs(monotonic())) - dead
        around: dict[bytes, tuple[Via, ...]] = {}
        if dead and (self.guarded or self.labels):
            lost, up = dead | silent, damper.up()
            around = reach.relays(known, lost, up, self._usable(), labels=self.labels, plain=self.guarded)
        told = _Told(dead, reach.dead_hops(known, damper.answering()) & dead, silent, around)
        if told != self._told:
            self._told = told
            relays = {hop: tuple(Relay(*via) for via in vias) for hop, vias in around.items()}
            self._fib.set_liveness(dead, relays, told.held, silent)
            self._wake()
        self._want(dead_pairs)

    def _want(self, dead_pairs: set[Pair]) -> None:
        if self._starting:
            return
        known = self._known
        used = self._in_use(dead_pairs)
        wanted, accept = used | self._spares, known.accept | self._kept
        if not self._complete:  # The agent before us had its reasons; we do not know the paths yet.
            former = {pair for pair, status in self.client.statuses.items() if status.active}
            wanted |= {pair for pair in former | dead_pairs if pair[0] in known.local}
            accept |= {remote for _, remote in self.client.statuses}
        if len(accept) > control.MAX_ACCEPT:
            accept = known.accept
        # Beyond the bound of leyline-bfd: first those whose end would revive something, then the hubs', spares last.
        chosen = sorted(wanted, key=lambda p: (p not in dead_pairs, p not in known.always, p not in used, p))
        self.client.want(
            Want(
                uplinks=tuple(BfdUplink(*end) for end in known.local.values()),
                sessions=tuple(sorted(chosen[: control.MAX_SESSIONS])),
                accept=accept,
                admin_down=self._drained_at is not None and monotonic() - self._drained_at > DRAIN_SECONDS,
            )
        )
        if self._damper.retain(wanted):
            self._judge_soon()

    def _in_use(self, dead_pairs: set[Pair]) -> frozenset[Pair]:
        """The sessions that are wanted for what there is; spares are for what may come."""
        return reach.sessions(self._known, self._demand, dead_pairs, self._fib.next_hops(), self._usable())

    def _directory(self, plan: Plan) -> Directory:
        self._seen = self._hops.version
        return reach.directory(plan, self._hops)

    # What is so

    def pairs(self) -> dict[Pair, tuple[Verdict, Status | None]]:
        """Every pair that has a session, or is dead. A silent one says so as its reason."""
        found: dict[Pair, tuple[Verdict, Status | None]] = {}
        for pair, status in self.client.statuses.items():
            found[pair] = self._damper.verdict(pair), status
        for pair in self._damper.dead():
            found.setdefault(pair, (self._damper.verdict(pair), None))
        for pair, since in self._silence.pairs(monotonic()).items():
            if pair in found and not found[pair][0].dead:
                found[pair] = found[pair][0]._replace(since=since, reason="never answered"), found[pair][1]
        return found

    def in_use(self) -> list[Pair]:
        """The pairs that packets go by, those in use first."""
        return reach.in_use(self._known, self._demand, self._damper.dead(), self._usable())

    def ways(self) -> dict[int, Pair]:
        """Number of each far uplink that a path leads to -> the pair by which packets to it leave."""
        dead, usable, found = self._damper.dead(), self._usable(), dict[int, Pair]()
        for hop in self._hops:
            remote = self._known.far_uplink(hop.next_hop).remote
            device = reach.way(self._known, remote, dead, usable) if hop.uplink else None
            if device is not None:
                found[hop.uplink] = device, remote
        return found

    def is_up(self, pair: Pair) -> bool | None:
        """What BFD says of it; None without a session that has ever been up."""
        state = self._damper.verdict(pair).state
        return None if state == "unknown" else state == "up"

    def any_hub(self, talks: Callable[[str], bool]) -> bool:
        """Whether any uplink may still reach a hub; for a gateway without hubs, whether any uplink is usable.

        A hub that has never answered is none, unless BGP with this address `talks`: what has no hub has no routes.
        """
        known, usable = self._known, self._usable()
        lost = self._lost | reach.dead_hops(known, self._silence.pairs(monotonic()))
        said = {packed for packed, hub in known.hubs.items() if talks(hub.peer_address)}
        return any(reach.lives(known, hub, self._lost if hub in said else lost, usable) for hub in known.hubs or [b""])

    @property
    def _lost(self) -> DeadHops:
        """The dead that do not answer."""
        return self._told.dead - self._told.held

    def client_is_dead(self, session: SessionPlan) -> bool:
        """Whether BFD has said for GONE_SECONDS that no uplink of this client can be reached."""
        hops, lost, usable = self._hops_of(session), self._lost, self._usable()
        then = monotonic() - GONE_SECONDS
        ways = ((device, hop) for hop in hops for device in self._known.devices)
        gone = frozenset(way for way in ways if way in lost and self._since(*way) <= then)
        return bool(hops and lost) and not any(reach.lives(self._known, hop, gone, usable) for hop in hops)

    def _since(self, device: str, hop: bytes) -> float:
        return self._damper.verdict((device, self._known.far_uplink(hop).remote)).since

    def client_has_left(self, session: SessionPlan) -> bool:
        """Whether this client's BFD has taken its leave on every uplink that we have a session with."""
        remotes = {self._known.far_uplink(hop).remote for hop in self._hops_of(session)}
        said = [status for (_, remote), status in self.client.statuses.items() if remote in remotes]
        return bool(said) and all(each.state != "Up" and each.remote_state == "AdminDown" for each in said)

    def dead_for_long(self, local: str, remote: str) -> bool:
        """Whether the uplink with this address is down, or has not reached that far end for REDIAL_SECONDS."""
        device = self._device(local)
        if device not in self._usable():
            return True
        verdict = self._damper.verdict((device, remote))
        return verdict.dead and monotonic() - verdict.since >= REDIAL_SECONDS

    def never_heard(self, local: str, remote: str) -> bool:
        """Whether the uplink with this address has asked that far end for long enough, and has not heard a word."""
        return (self._device(local), remote) in self._silence.pairs(monotonic())

    def _device(self, local: str) -> str:
        """The interface of the uplink with this address; "" when there is none."""
        return next((each.interface for each in self._known.plan.uplinks if each.address == local), "")

    def deaf(self) -> frozenset[str]:
        """As a spoke: interfaces that have not heard any hub yet, while another one hears one.

        Who was never heard counts as alive at every receiver, so nothing must be announced there. Who was heard once
        is announced whatever becomes of it: receivers judge by what they hear themselves.
        """
        hubs = [hub.peer_address for hub in self._known.hubs.values()]
        silent, up = self._silence.pairs(monotonic()), {device for device, hub in self._damper.up() if hub in hubs}
        deaf = frozenset(d for d in self._known.local if hubs and all((d, hub) in silent for hub in hubs))
        return deaf if up else frozenset()

    def _hops_of(self, session: SessionPlan) -> list[bytes]:
        hops = session.imports.next_hops if session.imports is not None else ()
        return [ip_address(hop.address).packed for hop in hops]
