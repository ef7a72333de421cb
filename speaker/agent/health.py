"""How the agent and its box fare: loop lag, packets forwarded, and the metrics made of it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from time import monotonic, time
from typing import TYPE_CHECKING

from speaker.agent.counters import Rate, forwarded
from speaker.agent.lag import LoopLag
from speaker.agent.metrics import Metrics

if TYPE_CHECKING:
    from speaker.agent.gateway import Gateway

LOOK_SECONDS = 1.0
RATE_LOOKS = 5
"""The rate of forwarding is over so many looks."""


class Health:
    def __init__(self) -> None:
        self._metrics = Metrics()
        self.lag = LoopLag(self._metrics.observe_lag)
        self.forwarded = 0
        self._rate = Rate()

    @property
    def forwarded_pps(self) -> float:
        return self._rate.per_second

    def serve(self, address: str, port: int) -> None:
        """Metrics on this address. Raises OSError."""
        self._metrics.serve(address, port)

    async def run(self, gateway: Callable[[], Gateway | None]) -> None:
        """For ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.lag.run())
            tasks.create_task(self._look(gateway))

    async def _look(self, gateway: Callable[[], Gateway | None]) -> None:
        looks = 0
        while True:
            self.forwarded = forwarded()
            if looks % RATE_LOOKS == 0:
                self._rate.note(monotonic(), self.forwarded)
            looks += 1
            present = gateway()
            if present is not None:
                self._metrics.set(
                    p999_ms=self.lag.p999_ms,
                    states=Counter(verdict.state for verdict, _ in present.liveness.pairs().values()),
                    routes=present.fib.counts(),
                    failovers=present.liveness.failovers,
                )
                if looks % RATE_LOOKS == 1:
                    paths = present.paths
                    self._metrics.set_segment(present.plan.mtu)
                    self._metrics.set_paths(paths.peers, paths.measured, len(paths.relayed), time())
            await asyncio.sleep(LOOK_SECONDS)
