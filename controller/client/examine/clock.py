"""Do the gateways' clocks go as the controller's? Tokens and certificates expire by them."""

from __future__ import annotations

from collections.abc import Iterator

from controller.client.examine.facts import Facts, Found, Level
from controller.client.tables import unix

WARN_SECONDS, WRONG_SECONDS = 5.0, 60.0


def check(facts: Facts) -> Iterator[Found]:
    for status in facts.statuses:
        if status["report"] is None or status["received_at"] is None:
            continue
        offset = status["report"]["reported_at"] - unix(status["received_at"])
        if abs(offset) > WARN_SECONDS:
            where = "ahead of" if offset > 0 else "behind"
            what = f"its clock is {abs(offset):.0f} s {where} the controller's"
            level: Level = "error" if abs(offset) > WRONG_SECONDS else "warning"
            yield Found(level, status["gateway"], what, "run chrony or systemd-timesyncd on both")
