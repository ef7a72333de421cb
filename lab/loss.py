"""What became of a train of numbered packets: which are missing, and for how long nothing came through. Pure."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


class Window(NamedTuple):
    """A time in which nothing came through. Times are time.monotonic of sending."""

    start: float  # When the last packet before it was sent that did come through.
    end: float  # When the first one after it was sent, or the last of all.
    lost: int
    over: bool  # False: it lasted until the train ended.

    @property
    def ms(self) -> float:
        return (self.end - self.start) * 1000


def windows(times: Sequence[float], missing: Sequence[int]) -> tuple[Window, ...]:
    """The gaps that `missing` (numbers, ascending) makes in a train whose packets were sent at `times`.

    From the last packet that came through to the next one that did: never shorter than the truth, at most two
    intervals longer.
    """
    found: list[Window] = []
    index = 0
    while index < len(missing):
        first = last = missing[index]
        while index < len(missing) and missing[index] - last <= 1:
            last = missing[index]
            index += 1
        over = last + 1 < len(times)
        found.append(Window(times[max(first - 1, 0)], times[min(last + 1, len(times) - 1)], last - first + 1, over))
    return tuple(found)


@dataclass(frozen=True)
class Tally:
    """What one flow of a train came to."""

    sent: int
    missing: tuple[int, ...]  # Numbers, from 0, of those that did not come through (or back).
    times: Sequence[float] = field(default_factory=lambda: array("d"), repr=False)  # time.monotonic of each sending
    unreachable: tuple[float, ...] = ()  # When an ICMP unreachable (type 3; ICMPv6 type 1) came back to the sender.
    expired: int = 0  # How many ICMP time exceeded came back: a loop.
    duplicates: int = 0  # Numbers that came more than once.

    @property
    def lost(self) -> int:
        return len(self.missing)

    @property
    def windows(self) -> tuple[Window, ...]:
        return windows(self.times, self.missing)

    @property
    def window_ms(self) -> float:
        """The longest time without a packet that came through; 0 when none is missing."""
        return max((window.ms for window in self.windows), default=0.0)

    @property
    def recovered(self) -> bool:
        """Did the last packets come through?"""
        return self.sent > 0 and (not self.missing or self.missing[-1] < self.sent - 1)

    @property
    def stall_ms(self) -> float:
        """The longest pause of the sender itself: what is measured is not finer than that."""
        return max((b - a for a, b in zip(self.times, self.times[1:], strict=False)), default=0.0) * 1000

    def window_since(self, at: float) -> float:
        """As `window_ms`, of the gaps that end after `at` (time.monotonic)."""
        return max((window.ms for window in self.windows if window.end >= at), default=0.0)

    def unreachable_after(self, at: float) -> float | None:
        """Seconds from `at` until the first ICMP unreachable came back; None when none did."""
        return next((moment - at for moment in self.unreachable if moment >= at), None)

    def __str__(self) -> str:
        shown = ", ".join(map(str, self.missing[:20]))
        gap = f", longest gap {self.window_ms:.0f} ms" if self.times and self.missing else ""
        return f"{self.lost} of {self.sent} lost{gap}{f': number {shown}' if self.missing else ''}"


def worst_ms(tallies: Mapping[str, Tally], since: float = 0.0) -> float:
    """The longest gap of all flows."""
    return max((tally.window_since(since) for tally in tallies.values()), default=0.0)


def told(tallies: Mapping[str, Tally]) -> str:
    """All flows as text, one a line."""
    return "\n".join(f"{name}: {tally}" for name, tally in tallies.items())
