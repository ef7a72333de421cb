"""Whether the machine itself stood still: what a laboratory measures then says nothing about what it measures.

A virtual processor that its host gives to somebody else for half a second is, for everybody on it, half a second
without packets. No program can be quick enough against that; but a program of real-time priority can tell.
"""

from __future__ import annotations

import mmap
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

TICK_SECONDS = 0.01
MOST_SECONDS = 0.1
"""A machine that keeps its real-time processes waiting for longer cannot say whether BFD's 250 ms were kept."""


class Standstill:
    """The longest time for which a processor ran nobody of real-time priority. 0 where that may not be asked for."""

    def __init__(self) -> None:
        self._worst: list[memoryview[float]] = []

    @property
    def seconds(self) -> float:
        return max((worst[0] for worst in self._worst), default=0.0)

    @property
    def void(self) -> bool:
        """Nothing that took place meanwhile is to be believed."""
        return self.seconds > MOST_SECONDS


@contextmanager
def watched() -> Iterator[Standstill]:
    """One watcher for each processor, while the block runs."""
    found, watchers = Standstill(), []
    try:
        for processor in sorted(os.sched_getaffinity(0)):
            worst = memoryview(mmap.mmap(-1, 8)).cast("d")
            watcher = os.fork()
            if watcher == 0:
                _watch(processor, worst)
            watchers.append(watcher)
            found._worst.append(worst)
        yield found
    finally:
        for watcher in watchers:
            os.kill(watcher, signal.SIGKILL)
            os.waitpid(watcher, 0)


def _watch(processor: int, worst: memoryview[float]) -> None:
    """The child: until it is killed, or its maker is gone."""
    with suppress(BaseException):
        maker = os.getppid()
        os.sched_setaffinity(0, {processor})
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(os.sched_get_priority_max(os.SCHED_FIFO)))
        before = time.monotonic()
        while os.getppid() == maker:
            time.sleep(TICK_SECONDS)
            now = time.monotonic()
            worst[0] = max(worst[0], now - before - TICK_SECONDS)
            before = now
    os._exit(0)
