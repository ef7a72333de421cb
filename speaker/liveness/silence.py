"""Which pairs have not said a word although we have asked for long enough.

Such a pair is not dead: who has no BFD is silent, and carries traffic. But nobody knows that anything is behind it.
"""

from __future__ import annotations

from typing import NamedTuple

from speaker.liveness.bfd.control import Status
from speaker.liveness.damping import Pair

SILENT_SECONDS = 5.0
"""A session that is asked for comes up within two packets of the slower end; this leaves room for lost ones."""
DETECTIONS = 3.0
"""Where packets are rarer: so many detection times."""


class _Asked(NamedTuple):
    since: float
    patience: float


class Silence:
    """The pairs whose sessions we want and that have not been up, nor taken their leave. On the clock of `now`."""

    def __init__(self) -> None:
        self._asked: dict[Pair, _Asked] = {}
        self._heard_of: set[Pair] = set()

    def hear(self, status: Status, now: float, *, waited: float = 0.0, detection: float = 0.0) -> None:
        """How a session stands. `waited`: for how long its state is what it is, `detection`: by our own timers.

        What a new agent is told of first has waited before it came; of others what is said has just happened. A pair
        that wavers between Down and Init has not come up, however often it does so.
        """
        pair = (status.device, status.remote)
        waits = status.active and not status.ever_up and status.state in ("Down", "Init")
        if not waits or status.remote_state == "AdminDown":
            self._asked.pop(pair, None)
        else:
            since = now - (waited if pair not in self._heard_of else 0.0)
            if pair in self._asked:
                since = self._asked[pair].since
            slowest = max(detection, status.detection_us * 1e-6)
            self._asked[pair] = _Asked(since, max(SILENT_SECONDS, DETECTIONS * slowest))
        self._heard_of.add(pair)

    def gone(self, pair: Pair) -> None:
        self._asked.pop(pair, None)
        self._heard_of.discard(pair)

    def pairs(self, now: float) -> dict[Pair, float]:
        """The silent ones, and since when they were asked."""
        return {pair: asked.since for pair, asked in self._asked.items() if now - asked.since >= asked.patience}
