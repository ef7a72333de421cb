"""The speaker's own probes: round trip, loss and MTU between pairs of uplinks in use. Pure; sockets are elsewhere.

A probe is an ICMP echo over the segment: the far end's kernel answers, and nothing of ours need run there. Nothing
fails over because of it; BFD does that. So it may be slow: at most MAX_PAIRS pairs, one probe each in INTERVAL_SECONDS.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from speaker.liveness.damping import Pair
from speaker.report import PathProbeReport

MAX_PAIRS = 256
WINDOW = 60
"""Probes that figures are made of: five minutes."""
INTERVAL_SECONDS, QUICK_SECONDS = 5.0, 1.0
QUICK_PROBES = 10
"""The first ones of a pair, and those of a search for the MTU, come quicker."""
APART_SECONDS = 0.015
"""Between the first probes of two pairs."""
PATIENCE_SECONDS = 3.0
"""A probe that is not answered by then is lost."""
MTU_SECONDS = 600.0
"""Between two searches for the MTU of one pair."""
MTU_TRIES = 3
"""A size does not pass when so many in a row were lost."""
LEAST_SIZE = {4: 576, 6: 1280}
"""RFC 791, RFC 8200: what every link has to carry."""
HEADERS = {4: 28, 6: 48}
"""IP and ICMP, in bytes."""
SMALL = 84
"""Size of a probe whose round trip is measured, with all headers."""
CARRIES_SECONDS = 16.0
"""A path carries packets if an answer came within three probes; less than ZeroTier's own 19 s."""


class Probe(NamedTuple):
    """One echo to be sent now."""

    pair: Pair
    sequence: int  # 16 bits, unique among those under way.
    size: int  # Of the whole packet, in bytes; never fragmented.


class _Sent(NamedTuple):
    pair: Pair
    size: int
    search: bool
    at: float


class MtuSearch:
    """Which sizes pass: first the one that should, then by halves between the largest that did and the least that did
    not. `found` is 0 until it is known, and stays 0 when not even the smallest passes: then the path is down."""

    def __init__(self, wanted: int, least: int) -> None:
        self._low, self._high = least, wanted
        self._low_known = False
        self._high_known = False
        self._failures = 0
        self.found = 0
        self.done = False

    @property
    def size(self) -> int:
        """What to try next."""
        if not self._high_known:
            return self._high
        return (self._low + self._high) // 2 if self._low_known else self._low

    def answered(self, passed: bool) -> None:
        """What became of a probe of `size`."""
        size = self.size
        self._failures = 0 if passed else self._failures + 1
        if not passed and self._failures < MTU_TRIES:
            return
        self._failures = 0
        if passed and not self._high_known:
            self.found, self.done = size, True
        elif passed:
            self._low, self._low_known = size, True
        elif self._high_known and not self._low_known:
            self.done = True
        else:
            self._high, self._high_known = size, True
        if self._low_known and self._high - self._low <= 1:
            self.found, self.done = self._low, True


class _Path:
    """One pair."""

    def __init__(self, now: float, version: int) -> None:
        self.results: deque[float | None] = deque(maxlen=WINDOW)  # Milliseconds; None: lost.
        self.version = version
        self.sent = 0
        self.due = now
        self.answered_at: float | None = None
        self.lost_in_a_row = 0
        self.mtu = 0
        self.search: MtuSearch | None = None
        self.search_due = now + QUICK_PROBES * QUICK_SECONDS
        self.searching = False  # A probe of the search is under way.


class PathProbes:
    """On the clock of `now`, in seconds. `device` is one of our interfaces, `remote` a far overlay address."""

    def __init__(self) -> None:
        self._paths: dict[Pair, _Path] = {}
        self._flying: dict[int, _Sent] = {}
        self._sequence = 0
        self._mtu: dict[str, int] = {}

    def configure(self, pairs: Iterable[Pair], mtu: dict[str, int], now: float) -> None:
        """These from now on, the first MAX_PAIRS. `mtu`: device -> what should pass there; none: no search."""
        kept = list(dict.fromkeys(pairs))[:MAX_PAIRS]
        starts = iter(range(MAX_PAIRS))  # New ones begin one after the other, and so they go on.
        self._mtu = mtu
        self._paths = {
            pair: self._paths.get(pair) or _Path(now + next(starts) * APART_SECONDS, 6 if ":" in pair[1] else 4)
            for pair in kept
        }

    def due(self, now: float) -> list[Probe]:
        """What is to be sent now; what was sent too long ago is lost."""
        self._expire(now)
        return [probe for pair, path in self._paths.items() for probe in self._of(pair, path, now)]

    def next_at(self, now: float) -> float:
        """When `due` has something to do next."""
        times = [path.due for path in self._paths.values()]
        times += [sent.at + PATIENCE_SECONDS for sent in self._flying.values()]
        return max(now, min(times, default=now + INTERVAL_SECONDS))

    def answered(self, pair: Pair, sequence: int, rtt_seconds: float, now: float) -> None:
        """An answer came. One that nobody waits for any more, or that came another way, says nothing."""
        sent = self._flying.get(sequence)
        if sent is None or sent.pair != pair or not 0 <= rtt_seconds <= PATIENCE_SECONDS:
            return
        del self._flying[sequence]
        self._note(sent, rtt_seconds * 1000, now)

    def refused(self, probe: Probe, now: float) -> None:
        """It could not be sent: for a search, that size does not even leave this box; else it is lost."""
        sent = self._flying.pop(probe.sequence, None)
        if sent is not None:
            self._note(sent, None, now)

    def reports(self, uplinks: dict[str, str]) -> tuple[PathProbeReport, ...]:
        """`uplinks`: device -> name. Pairs of which nothing is known yet are left out."""
        return tuple(
            _report(remote, uplinks.get(device, device), path)
            for (device, remote), path in self._paths.items()
            if path.results
        )

    def carries(self, pair: Pair, now: float) -> bool | None:
        """Whether packets get there and back; None: it is not known."""
        path = self._paths.get(pair)
        if path is None or not path.results:
            return None
        if path.answered_at is not None and now - path.answered_at <= CARRIES_SECONDS and path.lost_in_a_row < 3:
            return True
        return False if path.lost_in_a_row >= 3 else None

    def _of(self, pair: Pair, path: _Path, now: float) -> Iterator[Probe]:
        if now < path.due:
            return
        quick = path.sent < QUICK_PROBES or (path.search is not None and not path.search.done)
        path.due = now + (QUICK_SECONDS if quick else INTERVAL_SECONDS)
        path.sent += 1
        yield self._fly(pair, SMALL, False, now)
        wanted = self._mtu.get(pair[0], 0)
        if now >= path.search_due and wanted >= LEAST_SIZE[path.version]:
            path.search, path.search_due = MtuSearch(wanted, LEAST_SIZE[path.version]), now + MTU_SECONDS
        if path.search is not None and not path.search.done and not path.searching:
            path.searching = True
            yield self._fly(pair, path.search.size, True, now)

    def _fly(self, pair: Pair, size: int, search: bool, now: float) -> Probe:
        while True:  # At most MAX_PAIRS * 2 * PATIENCE_SECONDS are under way, of 65,536.
            self._sequence = (self._sequence + 1) & 0xFFFF
            if self._sequence not in self._flying:
                break
        self._flying[self._sequence] = _Sent(pair, size, search, now)
        return Probe(pair, self._sequence, size)

    def _expire(self, now: float) -> None:
        for sequence, sent in list(self._flying.items()):
            if now - sent.at >= PATIENCE_SECONDS:
                del self._flying[sequence]
                self._note(sent, None, now)

    def _note(self, sent: _Sent, rtt_ms: float | None, now: float) -> None:
        path = self._paths.get(sent.pair)
        if path is None:
            return
        if not sent.search:
            path.results.append(rtt_ms)
            path.lost_in_a_row = 0 if rtt_ms is not None else path.lost_in_a_row + 1
            if rtt_ms is not None:
                path.answered_at = now
            return
        path.searching = False
        if path.search is None or path.search.size != sent.size:
            return
        path.search.answered(rtt_ms is not None)
        if path.search.done and path.search.found:  # Else the path is down, and the MTU is what it was.
            path.mtu = path.search.found


def _report(remote: str, uplink: str, path: _Path) -> PathProbeReport:
    times = sorted(rtt for rtt in path.results if rtt is not None)
    return PathProbeReport(
        address=remote,
        uplink=uplink,
        rtt_p50_ms=percentile(times, 50),
        rtt_p95_ms=percentile(times, 95),
        loss=1 - len(times) / len(path.results),
        mtu=path.mtu,
        sent=len(path.results),
    )


def percentile(ordered: list[float], percent: int) -> float:
    """By nearest rank; -1 of nothing."""
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)] if ordered else -1.0
