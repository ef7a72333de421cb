"""Keeps ExaBGP's configuration as the plan says; it is reloaded only when its bytes change."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable

import structlog

from speaker.bgp.client import BridgeClient
from speaker.bgp.exabgp.config import Unrenderable, render
from speaker.bgp.exabgp.reconfigure import ReconfigureFailed, in_force, reconfigure
from speaker.plan import Plan
from speaker.state import StateDir

log = structlog.get_logger()

RETRY_SECONDS = 1.0


class SessionKeeper:
    """`wake` it when plan or bridge moved. `failed` is told what went wrong."""

    def __init__(
        self, bridge: BridgeClient, state: StateDir, plan: Callable[[], Plan], failed: Callable[[str], None]
    ) -> None:
        self._bridge = bridge
        self._state = state
        self._plan = plan
        self._failed = failed
        self._due = asyncio.Event()

    def wake(self) -> None:
        self._due.set()

    async def run(self) -> None:
        while True:
            await self._due.wait()
            self._due.clear()
            hello = self._bridge.hello
            if hello is not None and hello.mode == "stock":
                continue  # Somebody else's ExaBGP, somebody else's configuration.
            try:
                text = render(self._plan(), str(self._state.bridge), sys.executable)
                if not await in_force(self._bridge, self._state.exabgp_config, text):
                    await reconfigure(self._bridge, self._state.exabgp_config, text)
            except (Unrenderable, ReconfigureFailed, OSError) as error:
                log.error("sessions", error=str(error))
                self._failed(str(error))
                await asyncio.sleep(RETRY_SECONDS)
                self._due.set()
