"""How the speaker's own processes log: one line an event on standard error, for journald and people alike."""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Callable
from contextlib import suppress

import structlog
from structlog.typing import EventDict, WrappedLogger

LINES_AT_ONCE, LINES_A_SECOND = 200, 1.0
"""Of one event about one peer. What a peer does wrong a thousand times a second must not fill a disk."""
MOST_REMEMBERED = 1000
STDERR = 2
LINE_OCTETS = 4096  # What a pipe takes whole whenever it takes anything: see pipe(7).


class Budget:
    """Drops what is beyond it; the next line about that says how many were left out."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._spent: dict[tuple[str, str], tuple[float, float, int]] = {}  # lines left, as of when, left out since

    def __call__(self, _logger: WrappedLogger, _level: str, event: EventDict) -> EventDict:
        if "peer" not in event:
            return event
        now, key = self._clock(), (str(event["event"]), str(event["peer"]))
        lines, at, left_out = self._spent.pop(key, (float(LINES_AT_ONCE), now, 0))
        lines = min(LINES_AT_ONCE, lines + (now - at) * LINES_A_SECOND)
        if len(self._spent) >= MOST_REMEMBERED:
            del self._spent[next(iter(self._spent))]  # Of whom nothing was said for longest.
        if lines < 1:
            self._spent[key] = lines, now, left_out + 1
            raise structlog.DropEvent
        self._spent[key] = lines - 1, now, 0
        return {**event, "left_out": left_out} if left_out else event


class StandardError:
    """Takes a line if it can be written at once: forwarding must not wait for who reads the log."""

    def msg(self, line: str) -> None:
        with suppress(OSError):
            if select.select([], [STDERR], [], 0)[1]:
                os.write(STDERR, line.encode(errors="replace")[: LINE_OCTETS - 1] + b"\n")

    debug = info = warning = error = critical = msg


def configure_logging() -> None:
    """logfmt, or something more readable on a terminal."""
    structlog.configure(
        processors=[
            Budget(),
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.dev.ConsoleRenderer(colors=False)
            if sys.stderr.isatty()
            else structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"]),
        ],
        logger_factory=lambda *_: StandardError(),
    )
