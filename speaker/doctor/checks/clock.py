"""Does the clock go right? Tokens and certificates expire by it, and reports would look old."""

from __future__ import annotations

from collections.abc import Iterator

from speaker.doctor.facts import Facts
from speaker.doctor.finding import Found

WARN_SECONDS, WRONG_SECONDS = 5.0, 60.0
HOW = "run chrony or systemd-timesyncd, and see that it reaches its servers"


def check(facts: Facts) -> Iterator[Found]:
    offset = facts.controller.clock_offset if facts.controller is not None else None
    if offset is not None and abs(offset) > WARN_SECONDS:
        behind = "behind" if offset > 0 else "ahead of"
        what = f"{abs(offset):.0f} s {behind} the controller's"
        yield Found("error" if abs(offset) > WRONG_SECONDS else "warning", "clock", what, HOW)
    elif facts.clock_synchronised is False:
        yield Found("warning", "clock", "the kernel says that nobody keeps it right", HOW)
