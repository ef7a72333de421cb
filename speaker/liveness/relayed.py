"""Which far uplinks have been relayed by ZeroTier for so long that they are to cost something. Pure.

Slow in, slower out, so that nothing flaps: one that was direct again has to stay so, for twice as long after each time.
What is not known moves nothing, in neither direction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from speaker.report import PeerReport

LEAST_DIRECT_SECONDS = 60.0
LONGEST_DIRECT_SECONDS = 3_600.0
QUIET_SECONDS = 2 * LONGEST_DIRECT_SECONDS
"""One that was direct for so long begins anew."""
MAX_TIMES = 16


@dataclass(slots=True)
class _Record:
    state: str = "unknown"
    since: float = 0.0
    costs: bool = False
    times: int = 0  # That it began to cost, of late.


class Relayed:
    """One record per far uplink of the last look. On the clock of `now`, which must not jump."""

    def __init__(self) -> None:
        self._records: dict[int, _Record] = {}

    @property
    def uplinks(self) -> frozenset[int]:
        """Numbers of those that cost something now."""
        return frozenset(number for number, record in self._records.items() if record.costs)

    def look(self, states: Mapping[int, str], seconds: int, now: float) -> bool:
        """`states`: number of each far uplink that a path leads to -> "direct", "relayed" or "unknown", by the local
        uplink that is used. `seconds`: how long is too long; 0: never. True: `uplinks` has changed."""
        before = self.uplinks
        self._records = {number: self._records.get(number) or _Record(since=now) for number in states}
        for number, state in states.items():
            record = self._records[number]
            if state != record.state:
                record.state, record.since = state, now
            self._judge(record, seconds, now - record.since)
        return self.uplinks != before

    def _judge(self, record: _Record, seconds: int, lasted: float) -> None:
        if not seconds:
            record.costs = False
        elif not record.costs and record.state == "relayed" and lasted >= seconds:
            record.costs, record.times = True, min(record.times + 1, MAX_TIMES)
        elif record.costs and record.state == "direct" and lasted >= _hold(seconds, record.times):
            record.costs = False
        elif record.state == "direct" and lasted >= QUIET_SECONDS:
            record.times = 0


def _hold(seconds: int, times: int) -> float:
    return min(max(float(seconds), LEAST_DIRECT_SECONDS) * 2.0 ** (times - 1), LONGEST_DIRECT_SECONDS)


def states_of(peers: tuple[PeerReport, ...], ways: Mapping[int, tuple[str, str]]) -> dict[int, str]:
    """`ways`: number of a far uplink -> (our uplink that is used, its overlay address)."""
    seen = {(peer.uplink, peer.address): peer.state for peer in peers if peer.address}
    return {number: seen.get(way, "unknown") for number, way in ways.items()}
