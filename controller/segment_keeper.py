"""The thread that keeps the segment: a pass after each change, and one a minute.

Nothing that fails in it ends it (ADR 17). A gateway that goes is a change, too, where managed summaries lead to it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from controller.segment import Segment, SegmentBusy, SegmentUnmanaged
from controller.store.engine import StoreError
from controller.zerotier.state import EVERY_SECONDS, LEAVE_SECONDS, SOON_SECONDS, Pass, pause_after

log = structlog.get_logger()

WATCH_SECONDS = 5.0
"""How often gateways are looked after between two passes."""
STOP_SECONDS = 5.0
"""How long `stop` waits for a pass; what it leaves half done the next controller finishes."""


class Keeper:
    """`wake` may be called from any thread and never waits."""

    def __init__(self, segment: Segment, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._segment = segment
        self._clock = clock
        self._news = threading.Event()
        self._stopped = threading.Event()
        self._said = ""
        self._thread = threading.Thread(target=self._run, name="segment", daemon=True)

    def start(self) -> None:
        self._news.set()
        self._thread.start()

    def wake(self) -> None:
        self._news.set()

    def stop(self) -> None:
        """Changes nothing in ZeroTier."""
        self._stopped.set()
        self._news.set()
        self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        pause, after = 0.0, 0.0
        while not self._stopped.is_set():
            self._wait(pause, after)
            if self._stopped.is_set():
                return
            self._news.clear()  # Before the pass, so that what comes during it is not lost.
            pause, after = self._once()

    def _wait(self, pause: float, after: float) -> None:
        """For news, at most `pause` seconds, and never less than `after`; for who must leave LEAVE_SECONDS at most."""
        began = self._clock()
        while not self._stopped.is_set() and (waited := self._clock() - began) < max(pause, after):
            if waited >= LEAVE_SECONDS and self._asked(self._segment.must_leave):
                return
            if waited < after:  # A service that asked for a pause gets it, whatever the news.
                self._stopped.wait(min(after - waited, WATCH_SECONDS))
            elif self._news.wait(min(pause - waited, WATCH_SECONDS)) or self._asked(self._segment.due):
                return

    def _asked(self, question: Callable[[], bool]) -> bool:
        try:
            return question()
        except StoreError:
            return False
        except Exception:
            log.exception("it is not known whether a pass is due; the next one comes in its time")
            return False

    def _once(self) -> tuple[float, float]:
        """One pass: (pause until the next one, how much of it the service has asked for), in seconds."""
        try:
            done = self._segment.synchronise(wait=0.0)
        except SegmentUnmanaged:
            return EVERY_SECONDS, 0.0
        except SegmentBusy:
            return SOON_SECONDS, 0.0  # That pass may have begun before the change that woke this one.
        except StoreError as error:
            self._say("segment not looked at", str(error))
            return EVERY_SECONDS, 0.0
        except Exception:
            log.exception("the pass over the segment failed; gateways are not touched by it")
            return EVERY_SECONDS, 0.0
        self._tell(done)
        return pause_after(done), done.after

    def _tell(self, done: Pass) -> None:
        reasons = [done.error, *(f"{each.object}: {each.message}" for each in done.failures[:3])]
        self._say("segment not as declared" if any(reasons) else "", "; ".join(filter(None, reasons)))
        if done.written:
            log.info("segment written", objects=done.written, condition=done.condition)

    def _say(self, event: str, reason: str) -> None:
        """Once, until it is another."""
        if event and reason != self._said:
            log.warning(event, reason=reason)
        self._said = reason
