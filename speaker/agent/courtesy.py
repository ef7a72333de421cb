"""Lets another task of the loop go first, for a while."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic

LOOK_SECONDS = 0.01


class Courtesy:
    """`wait` returns when `busy` is over, `most` seconds after it began at the latest. Free when nobody is busy."""

    def __init__(self, busy: Callable[[], bool], most: float) -> None:
        self._busy = busy
        self._most = most
        self._until: float | None = None  # While somebody is busy: how long we wait for him.

    async def wait(self) -> None:
        while self._busy():
            if self._until is None:
                self._until = monotonic() + self._most
            if monotonic() >= self._until:  # It lasts, and may for ever: not one wait of this length per call.
                return
            await asyncio.sleep(LOOK_SECONDS)
        self._until = None
