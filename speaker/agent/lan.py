"""The LAN side: prefixes whose LAN is dead are withdrawn, and hosts find their first hop at the healthiest gateway."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from time import monotonic

import structlog

from speaker.kernel.lan import LanLinks, routed_by
from speaker.kernel.port import KernelError
from speaker.liveness.keepalived import DRAINED, NOT_FORWARDING, Keepalived
from speaker.liveness.lan import LanWatch
from speaker.liveness.probes import Prober
from speaker.plan import Plan
from speaker.report import LanReport
from speaker.state import StateDir

log = structlog.get_logger()

ROUTES_SECONDS = 10.0  # Between two looks for routes to prefixes that no interface has an address in.
AGAIN_SECONDS = 1.0


class LanSide:
    """`withdraw` is called with the prefixes that are not to be announced, and the addresses of routers cut off.
    `forwards` says whether traffic that hosts give us can leave; None while that is not known yet."""

    def __init__(
        self,
        state: StateDir,
        withdraw: Callable[[frozenset[str], frozenset[str]], None],
        forwards: Callable[[], bool | None],
    ) -> None:
        self._links = LanLinks(self._ports_moved)
        self._watch = LanWatch(self._withdrawn_moved)
        self._prober = Prober(self._probes_moved)
        self._keepalived = Keepalived(state)
        self._withdraw = withdraw
        self._forwards = forwards
        self._plan: Plan | None = None
        self._due = asyncio.Event()
        self._routes_at = 0.0
        self._faults: tuple[str, ...] = ()

    def start(self, plan: Plan) -> None:
        """Raises KernelError."""
        self.configure(plan)
        self._links.start()

    def close(self) -> None:
        self._links.close()
        self._watch.close()

    def configure(self, plan: Plan) -> None:
        self._plan = plan
        self._watch.configure(plan)
        self._placed()
        self._routes_at = 0.0

    def wake(self) -> None:
        """Something that `forwards` depends on moved."""
        self._due.set()

    @property
    def interfaces(self) -> frozenset[str]:
        """Those with a LAN of ours."""
        return self._watch.watched()

    def reports(self) -> tuple[LanReport, ...]:
        return self._watch.reports()

    async def run(self) -> None:
        """For ever: carriers, probes, and keepalived's files."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._links.run(self._watch.watched))
            tasks.create_task(self._prober.run())
            tasks.create_task(self._follow())

    async def _follow(self) -> None:
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._due.wait(), AGAIN_SECONDS)
            self._due.clear()
            if self._plan is None:
                continue
            if monotonic() >= self._routes_at:
                self._routes_at = monotonic() + ROUTES_SECONDS
                await self._look_for_routes()
            self._told(await asyncio.to_thread(self._write, self._plan))

    async def _look_for_routes(self) -> None:
        unplaced = self._watch.unplaced()
        try:
            self._watch.routes(await asyncio.to_thread(routed_by, unplaced) if unplaced else {})
        except KernelError as error:
            log.warning("routes of LANs not read", error=str(error))
        self._placed()

    def _write(self, plan: Plan) -> tuple[str, ...]:
        """keepalived's files, the weight first: a new instance must not start as if all were well."""
        forwards = self._forwards()
        weighed = ""
        if forwards is not None and plan.first_hops:
            weighed = self._keepalived.set_weight(DRAINED if plan.drained else 0 if forwards else NOT_FORWARDING)
        faults = self._keepalived.apply(plan.first_hops, self._watch.interfaces())
        return (weighed, *faults) if weighed else faults

    def _told(self, faults: tuple[str, ...]) -> None:
        if faults != self._faults:
            self._faults = faults
            for fault in faults:
                log.warning("first hop", reason=fault)

    def _ports_moved(self) -> None:
        self._watch.ports(self._links.ports)
        self._placed()
        self._due.set()

    def _probes_moved(self) -> None:
        self._watch.probes(self._prober.failing)

    def _withdrawn_moved(self) -> None:
        withdrawn, cut_off = self._watch.withdrawn, self._watch.cut_off
        log.info("LANs", withdrawn=sorted(withdrawn)[:20], routers_cut_off=sorted(cut_off))
        self._withdraw(withdrawn, cut_off)

    def _placed(self) -> None:
        if self._plan is not None:
            self._prober.configure(self._plan.probes, self._watch.interfaces())
