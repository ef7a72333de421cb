"""One plan on this box: kernel, sessions, routing table and liveness, from the first plan on until the agent ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from ipaddress import ip_address
from time import monotonic
from types import TracebackType
from typing import Self

import structlog

from speaker.agent.courtesy import Courtesy
from speaker.agent.guard import Guard
from speaker.agent.hubless import Hubless, hears_a_hub, may_go
from speaker.agent.keeper import SessionKeeper
from speaker.agent.labels import Labels
from speaker.agent.lan import LanSide
from speaker.agent.lan_table import LanTable
from speaker.agent.liveness import Liveness
from speaker.agent.neighbours import Neighbours
from speaker.agent.paths import Paths
from speaker.agent.router import Router
from speaker.agent.segment import SegmentSide
from speaker.agent.settings import AgentSettings
from speaker.agent.stale import over
from speaker.agent.tasks import Tasks
from speaker.bgp.bridge import SOCKET
from speaker.bgp.client import BridgeClient
from speaker.bgp.events import Event, Hello, PeerDown, PeerUp, RefreshReceived, UpdateReceived
from speaker.kernel.arp import ANNOUNCE_NUM, ANNOUNCE_SECONDS, announce
from speaker.kernel.connected import connected_prefixes
from speaker.kernel.fib import Fib
from speaker.kernel.links import LinkWatch
from speaker.kernel.port import KernelError
from speaker.kernel.socket import LinuxKernel
from speaker.kernel.sysctls import apply_sysctls, listened_keys
from speaker.plan import Plan
from speaker.rib.facts import RouterFacts, facts_of
from speaker.rib.hops import Hops
from speaker.rib.relayed import with_relayed

log = structlog.get_logger()

TICK_SECONDS = 0.25
LOOK_SECONDS = 1.0
RETRY_SECONDS = 1.0
SETTLE_SECONDS = 0.2
WALK_SECONDS = 5.0
"""UPDATEs wait at most so long while routes of dead groups turn `unreachable`. Who sends there is in the dark
meanwhile, and a hub has a word to say about each of these routes just then."""


class Gateway:
    """Context manager: entering adopts what a former agent left in the kernel, leaving touches nothing."""

    def __init__(self, settings: AgentSettings, plan: Plan, moved: Callable[[], None]) -> None:
        """`moved` is called when something happened that a report should tell soon."""
        self.plan = plan
        self.last_error = ""  # Of the kernel.
        self.session_error = ""  # Why ExaBGP's sessions are not those of the plan.
        self.sysctls: dict[str, str] = {}
        self.converged = False
        self._settings = settings
        self._moved = moved
        self._stack = AsyncExitStack()
        self._fib_wake = asyncio.Event()
        self._links_moved = asyncio.Event()
        self._pump_due = asyncio.Event()
        self._guard = Guard()
        self._labels = Labels()
        self._lan_table = LanTable()
        self.neighbours = Neighbours()
        self.segment = SegmentSide(settings.zerotier, settings.state.root / "orbits.json", moved)
        self._neighbours_due = asyncio.Event()
        self._views_due = asyncio.Event()
        self._deaf: frozenset[str] = frozenset()
        self._removal_at: float | None = monotonic() + settings.removal_seconds
        self._hubless = Hubless(settings.state.hubless)
        self._hub_told = False  # A hub has told everything since this agent started.
        self._keeping = False  # Nobody is there who could say again what a former agent has left: it stays.

    async def __aenter__(self) -> Self:
        self._kernel = LinuxKernel()
        self._stack.callback(self._kernel.close)
        plan = self.plan
        self.fib = Fib(self._kernel, plan.interfaces, segments=plan.segments, underlay=plan.underlay, lans=self._lans)
        self._stack.callback(self.fib.close)
        self._links = LinkWatch(self._watched, self._link_changed, self._links_lost)
        self._stack.callback(self._links.close)
        self._links.start()
        await self.fib.adopt_async()
        if self._settings.break_before_make:
            self.fib.set_may_remove(True)
            await self.fib.flush_async()
        self._bridge = BridgeClient(self._settings.state.bridge / SOCKET)
        self.lan = LanSide(self._settings.state, self._withdraw, self._forwards)
        self._stack.callback(self.lan.close)
        self._stack.callback(self.segment.close)
        tasks = await self._stack.enter_async_context(Tasks())
        await self._start_liveness(tasks)
        self._keeper = SessionKeeper(
            self._bridge,
            self._settings.state,
            lambda: self.plan,
            self._cannot_dial,
            self.router.moving,
            self._session_error,
        )
        await self.apply(self.plan)
        self.lan.start(self.plan)
        await self._stack.enter_async_context(self._bridge)
        for work in (
            self._events,
            self._flush,
            self._tick,
            self._look,
            self._audit,
            self._follow_links,
            self._follow_neighbours,
            self._follow_views,
        ):
            tasks.start(work())
        tasks.start(self._hubless.run())
        tasks.start(self._keeper.run())
        tasks.start(self.lan.run())
        tasks.start(self.segment.run())
        tasks.start(self.paths.run())
        self.failed = tasks.failed
        return self

    def _cannot_dial(self, local: str, peer: str) -> bool:
        """Whether another uplink is to dial this hub. Silence alone ends no session: that may be a firewall's doing."""
        if self.liveness.dead_for_long(local, peer):
            return True
        return not self.router.is_up(peer) and self.liveness.never_heard(local, peer)

    async def _start_liveness(self, tasks: Tasks) -> None:
        """Before the first flush: what is dead must not come alive because we have only just started."""
        facts = await self._facts()
        hops = Hops(facts.asn)
        self.liveness = Liveness(
            self.plan,
            self._settings.state.bfd,
            self.fib,
            hops,
            lambda: self._links.usable,
            self._liveness_moved,
            self._moved,
        )
        self.router = Router(
            facts,
            self._bridge,
            self.fib,
            self._routes_moved,
            patience=self._settings.patience_seconds,
            slice_routes=self._settings.slice_routes,
            hops=hops,
            clients=self.liveness,
        )
        self.paths = Paths(self._settings.state, self._settings.zerotier, self.liveness, hops, self._views_due.set)
        self._stack.callback(self.paths.close)
        tasks.start(self.liveness.client.run())
        tasks.start(self.liveness.run())
        await self._guard.apply(self.plan)
        self.liveness.guarded = self._guard.in_force
        self.liveness.labels = self._labels.pushes
        await self.liveness.hear_first()
        await self._say_whom_we_relay_to()  # Else a restarted hub would take back what it said of itself.

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def takes(self, plan: Plan) -> bool:
        """Whether `plan` can follow the present one without a fresh start."""
        now = self.plan
        return (plan.asn, plan.router_id, plan.role) == (now.asn, now.router_id, now.role)

    async def apply(self, plan: Plan) -> None:
        """Carry out `plan`: denials first, then routes, then ExaBGP's configuration."""
        await self._set_sysctls(plan)
        self.plan = plan
        self._links.watch(self._watched)
        self.fib.configure(plan.interfaces, plan.segments, plan.underlay, lans=self._lans)
        self.fib.want_rejects(plan.rejects)
        self.liveness.configure(plan)
        self.lan.configure(plan)
        self.segment.configure(plan)
        self.paths.configure(plan)
        await self._apply_facts()
        await self.router.pump()
        self._fib_wake.set()
        self._neighbours_due.set()
        self._keeper.wake()

    @property
    def links_up(self) -> set[str]:
        return set(self._links.usable)

    @property
    def _lans(self) -> dict[bytes, str]:
        """Routers in our LANs: address -> interface."""
        lan = (session for session in self.plan.sessions if session.peer_role == "lan")
        return {ip_address(session.peer_address).packed: session.interface for session in lan}

    @property
    def _watched(self) -> list[str]:
        return sorted({*self.plan.interfaces, *self._lans.values()})

    async def _facts(self) -> RouterFacts:
        connected = await asyncio.to_thread(connected_prefixes, self.plan.interfaces)
        return facts_of(self.plan, connected)

    async def _apply_facts(self) -> None:
        facts = await self._facts()
        self.router.apply(over(with_relayed(self.plan, self.paths.relayed), self._deaf), facts)

    # Tasks

    async def _events(self) -> None:
        walk = Courtesy(lambda: self.fib.walking, WALK_SECONDS)
        async for events in self._bridge.batches():
            await walk.wait()
            for event in events:
                self._handle(event)
            await self.router.pump()

    def _handle(self, event: Event) -> None:
        if isinstance(event, UpdateReceived):
            self.router.update(event)
        elif isinstance(event, PeerUp):
            self.router.peer_up(event)
            self._moved()
        elif isinstance(event, PeerDown):
            self.router.peer_down(event)
            if event.established:
                self._moved()
        elif isinstance(event, RefreshReceived):
            self.router.refresh(event)
        elif isinstance(event, Hello):
            log.info("bridge", mode=event.mode, exabgp_pid=event.pid)
            self._keeper.wake()

    async def _flush(self) -> None:
        """Brings the kernel to the wishes whenever they moved, and again when it did not work."""
        while True:
            await self._fib_wake.wait()
            self._fib_wake.clear()
            outcome = await self.fib.flush_async()
            self._neighbours_due.set()  # Which next hops have routes is known now.
            self._note(outcome.faults, outcome.failures)
            was, self.converged = self.converged, outcome.converged
            if was != self.converged:
                self._moved()
            if not outcome.converged and not self._fib_wake.is_set():
                await asyncio.sleep(RETRY_SECONDS)
                self._fib_wake.set()

    def _note(self, faults: list[str], failures: int) -> None:
        error = faults[0] if faults else f"{failures} routes refused" if failures else ""
        if error != self.last_error:
            self.last_error = error
            if error:
                log.error("kernel", error=error)

    async def _tick(self) -> None:
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._pump_due.wait(), TICK_SECONDS)
            self._pump_due.clear()
            self.router.tick()
            await self.router.pump()
            heard = hears_a_hub(self.router.sessions)
            hubless = self._hubless.note(heard=heard)
            if self._removal_at is not None:
                self._hub_told = self._hub_told or heard
                await self._settle(self._removal_at, None if self._hub_told else hubless)

    async def _settle(self, removal_at: float, hubless: float | None) -> None:
        """What a former agent left in the kernel goes, or stays because nobody is there who could say it again."""
        patient, keep_seconds = monotonic() < removal_at, self.plan.liveness.hubless_seconds
        heard = self.router.heard_everybody
        if may_go(everybody=heard, patient=patient, hubless=hubless, keep_seconds=keep_seconds):
            log.info("everybody was heard" if heard else "patience is over", removing=True)
            for _ in self.fib.let_go():
                await asyncio.sleep(0)
            self._removal_at, self._keeping = None, False
            self._neighbours_due.set()
            self._settled()
        elif self._keeping:
            if not patient and not self.fib.may_remove:
                self._settled()  # Routers in LANs, too, had their time.
        elif hubless is not None and not (patient and self._may_reach_a_hub()):
            for _ in self.fib.keep_adopted():
                await asyncio.sleep(0)
            self._keeping = True
            self.liveness.keep(self.fib.next_hops())
            if self.fib.kept:
                log.warning("no hub is heard, routes stay as they were", routes=self.fib.kept, seconds=keep_seconds)

    def _settled(self) -> None:
        """What nobody wants by now may go."""
        self.fib.set_may_remove(True)
        self._fib_wake.set()
        if not self._keeping:
            self.liveness.keep(())
        self.liveness.complete()
        self.lan.wake()

    async def _look(self) -> None:
        """What only shows once a second: which next hops are in use, and whom a hub relays to."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self._guard.apply(self.plan)
            self.liveness.guarded = self._guard.in_force
            self.liveness.look(await self._guard.used())
            await self._say_whom_we_relay_to()
            self._hear()
            await self._lan_table.follow(
                self.fib.lan_lengths(), self.lan.interfaces, may_remove=self._removal_at is None
            )
            self._keeper.look()

    def _hear(self) -> None:
        """Nothing is announced by uplinks that reach no hub and never did."""
        deaf = self.liveness.deaf()
        if deaf != self._deaf:
            self._deaf = deaf
            if deaf:
                log.warning("uplinks that hear no hub are not announced", interfaces=sorted(deaf))
            else:
                log.info("all uplinks are announced again")
            self._views_due.set()

    async def _say_whom_we_relay_to(self) -> None:
        """As a hub: labels into the kernel first, then what the clients' paths say."""
        relayed = self.liveness.relayed(self.router.uplinks_with_many_paths)
        wanted = self.liveness.relay_labels(relayed)
        labelled = await self._labels.follow(wanted, self._links.usable, may_remove=self._removal_at is None)
        self.router.relay_to(relayed, labelled)

    async def _audit(self) -> None:
        while True:
            await asyncio.sleep(self._settings.audit_seconds)
            try:
                differences = await self.fib.audit_async()
            except KernelError as error:
                log.error("kernel not read", error=str(error))
                continue
            if differences:
                log.warning("kernel differed, put right", differences=differences)
                self._moved()

    def _link_changed(self, name: str, index: int | None) -> None:
        """Called in the kernel's order: a flap is down and up, and each loses its routes."""
        self.fib.set_link(name, index)
        self.neighbours.suspect()
        self._fib_wake.set()
        self._links_moved.set()  # Liveness follows there: what it tells of links is not on the failover path.

    def _links_lost(self) -> None:
        """Events about interfaces were lost: the kernel may have dropped anything."""
        self.fib.suspect()
        self.neighbours.suspect()
        self._fib_wake.set()
        self._neighbours_due.set()

    async def _follow_links(self) -> None:
        """Slower consequences of a link's change: sysctls of a new interface, connected prefixes, a report."""
        while True:
            await self._links_moved.wait()
            self._links_moved.clear()
            self.liveness.links_moved()
            self._neighbours_due.set()
            self.lan.wake()
            await self._set_sysctls(self.plan)
            await self._apply_facts()
            await self.router.pump()
            self._moved()

    async def _follow_neighbours(self) -> None:
        """Entries for the next hops that are known now. A burst of paths is one pass."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._neighbours_due.wait(), self.neighbours.due + TICK_SECONDS)
            self._neighbours_due.clear()
            known = self.plan, self.router.rib.hops, self.fib.next_hops()
            await self.neighbours.follow(*known, self._links.usable, may_remove=self._removal_at is None)
            await asyncio.sleep(SETTLE_SECONDS)

    async def _follow_views(self) -> None:
        """Relayed paths began to cost preference here, or an uplink to be heard: every route may be another one."""
        while True:
            await self._views_due.wait()
            self._views_due.clear()
            await self._apply_facts()
            await self.router.pump()
            self._moved()

    def _routes_moved(self) -> None:
        self.liveness.routes_moved()
        self._neighbours_due.set()
        self._fib_wake.set()

    def _liveness_moved(self) -> None:
        self._fib_wake.set()
        self.lan.wake()

    def _withdraw(self, prefixes: frozenset[str], cut_off: frozenset[str]) -> None:
        """What has a dead LAN, or one that lives again: told to the hubs now, not at the next tick."""
        self.router.withdraw(prefixes)
        self.router.cut_off(cut_off)
        self._pump_due.set()
        self._moved()

    def _forwards(self) -> bool | None:
        """Whether what hosts give us can leave. Not known before all was heard that would make it so."""
        if self._removal_at is not None and not self._keeping:
            return None
        return self._may_reach_a_hub()

    def _may_reach_a_hub(self) -> bool:
        return self.liveness.any_hub(self.router.is_up)

    def _session_error(self, error: str) -> None:
        if error != self.session_error:
            self.session_error = error
            self._moved()

    async def _set_sysctls(self, plan: Plan) -> None:
        """In a thread: a knob may wait for the kernel's lock as long as a large batch of routes does."""
        outcome = await asyncio.to_thread(apply_sysctls, plan.interfaces, md5_keys=listened_keys(plan))
        for name, change in outcome.changed.items():
            log.info("sysctl", name=name, change=change)
        for name, why in outcome.failed.items():
            log.warning("sysctl not set", name=name, error=why)
        self.sysctls |= outcome.changed
        if any(name.endswith(".arp_ignore") for name in outcome.changed):
            self._announce_uplinks(ANNOUNCE_NUM)

    def _announce_uplinks(self, times: int) -> None:
        """Until now each of our interfaces has answered for all addresses, and others may have taken its word.

        They would keep it for as long as TCP is answered, whichever way it came; BFD is not.
        """
        for uplink in self.plan.uplinks:
            with suppress(OSError):  # An interface that is away is said when it returns.
                announce(uplink.interface, uplink.address)
        if times > 1:
            asyncio.get_running_loop().call_later(ANNOUNCE_SECONDS, self._announce_uplinks, times - 1)
