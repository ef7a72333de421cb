"""Costly asks take turns: the agent has other things to do, and whoever asked does not wait for ever."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from speaker.report import Answer, Ask

LEAST_SECONDS, MOST_SECONDS = 5.0, 10.0
"""That somebody waits for an answer: one who asks the controller, one who asks on the gateway itself."""


def patience(expires: float, now: float) -> float:
    """Seconds that it is worth to wait. `expires` is by the asker's clock, which may go otherwise than ours."""
    return min(max(expires - now, LEAST_SECONDS), MOST_SECONDS)


class Turn:
    """One at a time; what has waited until nobody asks for it any more is refused, not carried out."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    async def take(self, ask: Ask, work: Callable[[], Awaitable[Answer]]) -> Answer:
        until = time.monotonic() + patience(ask.expires, time.time())
        async with self._lock:
            if time.monotonic() > until:
                return Answer(ask.id, ok=False, body={"error": "others asked before, and it took too long; ask again"})
            return await work()
