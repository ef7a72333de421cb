"""From what BFD says of a pair to whether the pair may be used: quick down, slow up, longer the more it flaps.

A *pair* is (local interface, remote address of its BFD session). `down` and `held` are dead, everything
else is alive: only a session that was up and broke says that a path is dead (RFC 5882 3.2).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, NamedTuple

from speaker.liveness.bfd.control import Status
from speaker.plan import LivenessPlan

Pair = tuple[str, str]
State = Literal["unknown", "up", "down", "held"]

LEAST_QUIET_SECONDS = 60.0
"""Flaps are forgotten when a pair has been up for so long, or for twice the longest hold if that is longer."""
LEAST_DOUBLED_SECONDS = 1.0
"""What doubles from the second flap on, when the up delay is set lower."""

MAX_PENALTY = 32
MOST_TRIED = 2
"""A pair with so many recent flaps may still be used before its time, when there is nothing else."""

DIAGNOSTICS = {
    1: "nothing heard for the detection time",
    2: "echo failed",
    3: "the far end says Down: it hears nothing, or goes down",
    4: "forwarding plane reset",
    5: "path down",
    6: "concatenated path down",
    7: "administratively down",
    8: "reverse concatenated path down",
}
"""RFC 5880 4.1, in words."""


class Verdict(NamedTuple):
    state: State
    since: float  # On the clock of the calls' `now`.
    reason: str  # Why it is not used; "" when it is.
    flaps: int  # Times that an up session broke, since the agent started.

    @property
    def dead(self) -> bool:
        return self.state in ("down", "held")


UNKNOWN = Verdict("unknown", 0.0, "", 0)


@dataclass(slots=True)
class _Record:
    verdict: Verdict
    downs: int = 0  # As last heard.
    penalty: int = 0  # Flaps that still count.
    session: bool = True  # leyline-bfd has one.
    up: bool = False  # The session is, whatever the verdict.
    due: float | None = None  # When `held` ends, or the flaps of an `up` pair are forgotten.


class Damper:
    """The verdicts of all pairs. One record per session, and per dead pair that a path still uses (`retain`)."""

    def __init__(self, plan: LivenessPlan) -> None:
        self._records: dict[Pair, _Record] = {}
        self.configure(plan)

    def configure(self, plan: LivenessPlan) -> None:
        """Holds that run end as they would have; the next ones are of `plan`."""
        self._delay = plan.up_delay_ms / 1000
        self._longest = max(plan.hold_max_ms / 1000, self._delay)
        self._quiet = max(LEAST_QUIET_SECONDS, 2 * self._longest)

    def hear(self, status: Status, now: float) -> bool:
        """How a session stands, anew or again. True when the pair's state changed."""
        pair = (status.device, status.remote)
        record = self._records.get(pair)
        if record is None:
            record = self._records[pair] = _Record(Verdict("unknown", now, "", 0))
            if status.state == "Up":
                record.downs = status.downs  # What happened before we came is over: it is used as it was.
        before = record.verdict
        # leyline-bfd counts from 0 when it starts anew.
        broke = status.downs - (record.downs if status.downs >= record.downs else 0)
        failed = status.state in ("Down", "Init") and status.ever_up
        record.session, record.up, record.downs = True, status.state == "Up", status.downs
        for _ in range(min(max(broke, int(failed and not before.dead)), MAX_PENALTY)):
            self._count_flap(record)
        if record.up:
            self._up(record, now)
        elif failed:
            record.due = None
            _set(record, "down", now, DIAGNOSTICS.get(status.diagnostic, "session down"))
        elif not (before.dead and status.state == "AdminDown"):
            _set(record, "unknown", now)
        # Else it is AdminDown of our own, which says nothing of the path: dead stays dead, a hold runs to its end.
        return record.verdict.state != before.state

    def gone(self, pair: Pair) -> bool:
        """The session ended. A dead pair stays dead until `retain` lets it go: nobody has said that it lives.

        True when the pair's state changed.
        """
        record = self._records.get(pair)
        if record is None:
            return False
        record.session = record.up = False
        record.downs = 0
        if record.verdict.dead:
            return False
        del self._records[pair]
        return record.verdict.state == "up"

    def retain(self, wanted: Collection[Pair]) -> bool:
        """Forgets dead pairs that have no session and are not `wanted`. True when there were some."""
        over = [pair for pair, record in self._records.items() if not record.session and pair not in wanted]
        for pair in over:
            del self._records[pair]
        return bool(over)

    def due(self) -> float | None:
        """When `tick` has something to do next; None: not before something is heard."""
        return min((record.due for record in self._records.values() if record.due is not None), default=None)

    def tick(self, now: float) -> bool:
        """Ends holds whose time is over, and forgets old flaps. True when a pair came alive."""
        revived = False
        for record in self._records.values():
            if record.due is None or now < record.due:
                continue
            if record.verdict.state == "held":
                self._alive(record, "up" if record.up else "unknown", now)
                revived = True
            else:
                record.penalty, record.due = 0, None
        return revived

    def verdict(self, pair: Pair) -> Verdict:
        record = self._records.get(pair)
        return UNKNOWN if record is None else record.verdict

    def dead(self) -> set[Pair]:
        return {pair for pair, record in self._records.items() if record.verdict.dead}

    def answering(self) -> set[Pair]:
        """Dead pairs whose session is up again: better than nothing. Not those that have flapped more than twice."""
        return {
            pair
            for pair, record in self._records.items()
            if record.verdict.state == "held" and record.up and record.penalty <= MOST_TRIED
        }

    def up(self) -> set[Pair]:
        return {pair for pair, record in self._records.items() if record.verdict.state == "up"}

    def _up(self, record: _Record, now: float) -> None:
        state = record.verdict.state
        if state == "unknown":
            self._alive(record, "up", now)
        elif state == "down":
            hold = self._hold(record.penalty)
            if hold <= 0:
                self._alive(record, "up", now)
            else:
                record.due = now + hold
                times = f" after {record.penalty} flaps" if record.penalty > 1 else ""
                _set(record, "held", now, f"up again, must stay so for {hold:g} s{times}")

    def _alive(self, record: _Record, state: State, now: float) -> None:
        record.due = now + self._quiet if record.penalty else None
        _set(record, state, now)

    def _count_flap(self, record: _Record) -> None:
        record.penalty = min(record.penalty + 1, MAX_PENALTY)
        record.verdict = record.verdict._replace(flaps=record.verdict.flaps + 1)

    def _hold(self, penalty: int) -> float:
        """Seconds that a session must stay up: the up delay, doubled for each flap but the first."""
        if penalty < 2:
            return self._delay
        return min(max(self._delay, LEAST_DOUBLED_SECONDS) * 2.0 ** (penalty - 1), self._longest)


def _set(record: _Record, state: State, now: float, reason: str = "") -> None:
    if state == "unknown":
        record.due = None
    if record.verdict.state != state:
        record.verdict = Verdict(state, now, reason, record.verdict.flaps)
