"""Our receiving end without a kernel: `python -m tests.bench.receiver PLAN STATE ROUTES`, started by receive_1m.

Everything is the agent's own: BridgeClient, Decoder, import policy, table, decision and the export to
neighbours. Only the FIB behind it does nothing. Prints "up" and then, once ROUTES prefixes are decided, when.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import structlog

from speaker import plan as p
from speaker.agent.router import Router
from speaker.bgp.bridge import SOCKET
from speaker.bgp.client import BridgeClient
from speaker.bgp.events import PeerUp, UpdateReceived
from speaker.rib.facts import facts_of
from speaker.rib.path import Tiers
from speaker.rib.prefix import Family, Key
from speaker.state import StateDir


class NoKernel:
    """Takes routes and forgets them: what is timed ends before the kernel."""

    def want_many(self, family: Family, keys: Iterable[Key], tiers: Tiers | None) -> list[tuple[Key, str]]:  # noqa: ARG002
        return []


async def receive(plan: p.Plan, state: StateDir, routes: int) -> None:
    facts = facts_of(plan)
    async with BridgeClient(state.bridge / SOCKET) as bridge:
        router = Router(facts, bridge, NoKernel(), lambda: None, patience=30, slice_routes=20_000)
        router.apply(plan, facts)
        async for events in bridge.batches():
            for event in events:
                if isinstance(event, UpdateReceived):
                    router.update(event)
                elif isinstance(event, PeerUp):
                    router.peer_up(event)
                    print("up", flush=True)
            await router.pump()
            if router.rib.size(Family.IPV4) >= routes:
                print(time.monotonic(), flush=True)
                return


if __name__ == "__main__":
    # As the agent's main does.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    asyncio.run(receive(p.decode(Path(sys.argv[1]).read_bytes()), StateDir(Path(sys.argv[2])), int(sys.argv[3])))
    sys.stdin.read()  # Its memory is looked at before it may go.
