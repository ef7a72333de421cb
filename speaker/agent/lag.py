"""How late the event loop is: sampled, for the report and for Prometheus."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from math import ceil
from time import monotonic

SAMPLE_SECONDS = 0.05
SAMPLES = 3600
"""Three minutes."""


class LoopLag:
    """`observe` is called with each sample, in seconds."""

    def __init__(self, observe: Callable[[float], None] = lambda _: None) -> None:
        self._samples: deque[float] = deque(maxlen=SAMPLES)
        self._observe = observe

    @property
    def p999_ms(self) -> float:
        """99.9th percentile of the last three minutes."""
        return percentile(self._samples, 0.999) * 1000

    async def run(self) -> None:
        """For ever."""
        while True:
            due = monotonic() + SAMPLE_SECONDS
            await asyncio.sleep(SAMPLE_SECONDS)
            late = max(0.0, monotonic() - due)
            self._samples.append(late)
            self._observe(late)


def percentile(samples: Sequence[float], share: float) -> float:
    """The least sample that at least `share` of all do not exceed; 0 without samples."""
    ordered = sorted(samples)
    return ordered[max(0, ceil(share * len(ordered)) - 1)] if ordered else 0.0
