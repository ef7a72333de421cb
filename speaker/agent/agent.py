"""The agent: holds the plan, and keeps sessions, routing table and kernel as the plan says.

Its parts are tasks on one loop. They share the `Gateway` (what the plan has become on this box);
events wake them, and only `Router.pump` and `Fib.flush_async` act.
"""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from speaker.agent.answers import WHOLE_TABLE, answer
from speaker.agent.control import serve
from speaker.agent.gateway import Gateway
from speaker.agent.health import Health
from speaker.agent.plans import PlanState, PlanStore
from speaker.agent.poll import ControllerClient
from speaker.agent.renewal import renew_for_ever
from speaker.agent.reporting import build_report
from speaker.agent.settings import AgentSettings
from speaker.agent.turn import Turn
from speaker.kernel.connected import own_addresses
from speaker.report import Answer, Ask, Report

log = structlog.get_logger()


class IdentityChanged(Exception):
    """The plan changes AS number, router id or the like: the next agent starts with it from a clean sheet."""


class Agent:
    def __init__(self, settings: AgentSettings) -> None:
        self._settings = settings
        self._store = PlanStore(settings.state, settings.gateway)
        self._plans = PlanState()
        self._plan_moved = asyncio.Event()
        self._report_due = asyncio.Event()
        self._gateway: Gateway | None = None
        self._controller: ControllerClient | None = None
        self._store_error = ""
        self._started_at = time.time()
        self._health = Health()
        self._doctor, self._tables = Turn(), Turn()

    async def run(self) -> None:
        """Runs until it is cancelled. Raises what ends it: an unreadable kernel, IdentityChanged, our own bugs."""
        self._load()
        self._serve_metrics()
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
            control = await serve(self._settings.state.control, self._answer)
            stack.callback(control.close)
            if self._settings.access is not None:
                self._controller = ControllerClient(
                    self._settings.access, self._take_plan, self._answer, lambda: self._plans.digest
                )
                stack.push_async_callback(self._controller.close)
                tasks.create_task(self._controller.poll_for_ever())
                tasks.create_task(self._report_for_ever())
                tasks.create_task(renew_for_ever(self._settings.state, self._settings.access, self._controller))
            tasks.create_task(self._carry_out())
            tasks.create_task(self._health.run(lambda: self._gateway))

    def _serve_metrics(self) -> None:
        """A port that is taken costs the metrics, and no packet."""
        if self._settings.metrics is None:
            return
        address, port = self._settings.metrics
        try:
            self._health.serve(address, port)
        except OSError as error:
            log.error("no metrics: choose another --metrics", address=address, port=port, error=error.strerror)

    def _load(self) -> None:
        """The plan to start with: a file that was named, or the last good one. SIGHUP reads a named file again."""
        if self._settings.plan_file is not None:
            self._read_plan_file(self._settings.plan_file)
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._read_plan_file, self._settings.plan_file)
            return
        self._plans = self._store.load()
        if self._plans.error:
            log.error("no plan to start with", error=self._plans.error)
        if self._plans.plan is not None:
            self._plan_moved.set()

    def _read_plan_file(self, path: Path) -> None:
        try:
            data = path.read_bytes()
        except OSError as error:
            log.error("plan file not read", path=str(path), error=error.strerror)
            return
        self._plans = self._plans.accept(data, self._settings.gateway)
        if self._plans.error:
            log.error("plan", path=str(path), error=self._plans.error)
        else:
            self._plan_moved.set()

    async def _take_plan(self, data: bytes) -> None:
        """A plan from the controller. It is stored first; one that cannot be stored is carried out all the same."""
        before = self._plans
        self._plans = before.accept(data, self._settings.gateway)
        if self._plans.error:
            log.error("plan", error=self._plans.error)
        elif self._plans.digest != before.digest:
            self._store_error = await asyncio.to_thread(self._store.save, data)
            if self._store_error:
                log.error("plan", error=self._store_error)
            self._plan_moved.set()
        self._report_due.set()

    async def _carry_out(self) -> None:
        """Makes the gateway of the first plan, then takes it from plan to plan."""
        await self._plan_moved.wait()
        plan = self._plans.plan
        assert plan is not None
        async with Gateway(self._settings, plan, self._report_due.set) as gateway:
            self._gateway = gateway
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(gateway.failed())
                tasks.create_task(self._follow_plans(gateway))

    async def _follow_plans(self, gateway: Gateway) -> None:
        while True:
            await self._plan_moved.wait()
            self._plan_moved.clear()
            plan = self._plans.plan
            assert plan is not None
            if not gateway.takes(plan):
                raise IdentityChanged(f"plan {self._plans.digest} changes what this gateway is; starting again")
            if plan != gateway.plan:
                await gateway.apply(plan)
            log.info("plan in force", digest=self._plans.digest, sessions=len(plan.sessions))
            self._report_due.set()

    async def _report_for_ever(self) -> None:
        """A report every so often, and soon after something moved; a burst of moves is one report."""
        while True:
            try:
                await asyncio.wait_for(self._report_due.wait(), self._settings.report_seconds)
                await asyncio.sleep(0.3)
            except TimeoutError:
                pass
            self._report_due.clear()
            retried = await asyncio.to_thread(self._store.retry)
            if retried is not None:
                self._store_error = retried
            if self._controller is not None:
                await self._controller.report(self._report())

    def _report(self) -> Report:
        session_error = self._gateway.session_error if self._gateway is not None else ""
        plan_error = self._plans.error or self._store_error or session_error
        return build_report(
            self._settings.gateway, self._plans, plan_error, self._gateway, self._started_at, self._health
        )

    async def _answer(self, ask: Ask) -> Answer:
        if ask.kind == "report":
            return Answer(ask.id, ok=True, body=self._report())
        if ask.kind == "doctor":
            return await self._doctor.take(ask, partial(self._examine, ask))
        if self._gateway is None:
            return Answer(ask.id, ok=False, body={"error": f"no plan yet: {self._plans.error or 'none has arrived'}"})
        own = await asyncio.to_thread(own_addresses) if ask.kind == "explain" else frozenset()
        answered = partial(answer, ask, self._gateway.router.rib, self._gateway.fib, own)
        return await (self._tables.take(ask, answered) if ask.kind in WHOLE_TABLE else answered())

    async def _examine(self, ask: Ask) -> Answer:
        return Answer(ask.id, ok=True, body=await asyncio.to_thread(self._examined))

    def _examined(self) -> Any:
        """What `leyline speaker doctor` says here. In a thread; it asks this agent in turn, over the socket.

        Whoever asked us to has come by the controller: that it is reached needs no proof.
        """
        from speaker.doctor.command import examined
        from speaker.doctor.gather import Patient

        settings = self._settings
        return examined(Patient(settings.state, homes=settings.zerotier, plan_file=settings.plan_file))
