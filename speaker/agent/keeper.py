"""Keeps ExaBGP's configuration as the plan says; it is reloaded only when its bytes change."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable

import structlog

from speaker.agent import dialling
from speaker.bgp.client import BridgeClient
from speaker.bgp.exabgp.config import Unrenderable, render
from speaker.bgp.exabgp.reconfigure import ReconfigureFailed, in_force, reconfigure
from speaker.plan import Plan
from speaker.state import StateDir

log = structlog.get_logger()

RETRY_SECONDS = 1.0


class SessionKeeper:
    """`wake` it when plan or bridge moved. `failed` is told what went wrong, "" when nothing did; `moving` which peer
    is dialled anew."""

    def __init__(
        self,
        bridge: BridgeClient,
        state: StateDir,
        plan: Callable[[], Plan],
        dead: dialling.Dead,
        moving: Callable[[str], None],
        failed: Callable[[str], None],
    ) -> None:
        self._bridge = bridge
        self._state = state
        self._plan = plan
        self._dead = dead
        self._moving = moving
        self._failed = failed
        self._dialled = dialling.in_force(state.exabgp_config)
        self._due = asyncio.Event()

    def wake(self) -> None:
        self._due.set()

    def look(self) -> None:
        """Whether a session has to be dialled from another uplink."""
        if dialling.addresses(self._plan_now()) != self._dialled:
            self._due.set()

    def _plan_now(self) -> Plan:
        return dialling.dialled(self._plan(), self._dialled, self._dead)

    def _dial(self) -> Plan:
        plan = self._plan_now()
        wanted = dialling.addresses(plan)
        for peer in wanted.keys() & self._dialled.keys():
            if wanted[peer] != self._dialled[peer]:
                log.warning("dialled from another address", peer=peer, local=wanted[peer], was=self._dialled[peer])
                self._moving(peer)
        self._dialled = wanted
        return plan

    async def run(self) -> None:
        while True:
            await self._due.wait()
            self._due.clear()
            hello = self._bridge.hello
            if hello is not None and hello.mode == "stock":
                continue  # Somebody else's ExaBGP, somebody else's configuration.
            try:
                text = render(self._dial(), str(self._state.bridge), sys.executable)
                if not await in_force(self._bridge, self._state.exabgp_config, text):
                    await reconfigure(self._bridge, self._state.exabgp_config, text)
            except (Unrenderable, ReconfigureFailed, OSError) as error:
                log.error("sessions", error=str(error))
                self._failed(str(error))
                await asyncio.sleep(RETRY_SECONDS)
                self._due.set()
            else:
                self._failed("")
