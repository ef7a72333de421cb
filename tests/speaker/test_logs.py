"""How much is logged is not a peer's choice, and nobody waits for who reads it."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import structlog

from speaker.logs import LINES_AT_ONCE, Budget

MANY = """
from speaker.logs import configure_logging
import structlog
configure_logging()
for number in range(20_000):
    structlog.get_logger("some.module").info("a line that nobody reads", number=number)
"""


def test_a_peer_that_errs_all_the_time_gets_so_many_lines_and_then_one_a_second() -> None:
    now = [0.0]
    budget = Budget(lambda: now[0])

    def said(peer: str = "berlin-1", event: str = "UPDATE with faults") -> dict[str, Any] | None:
        try:
            return dict(budget(None, "warning", {"event": event, "peer": peer}))
        except structlog.DropEvent:
            return None

    lines = [said() for _ in range(LINES_AT_ONCE + 50)]
    assert lines[LINES_AT_ONCE - 1] == {"event": "UPDATE with faults", "peer": "berlin-1"}
    assert lines[LINES_AT_ONCE:] == [None] * 50
    assert said("paris-1") is not None
    assert said(event="session down") is not None
    now[0] = 1.0
    assert said() == {"event": "UPDATE with faults", "peer": "berlin-1", "left_out": 50}
    assert said() is None
    now[0] = 1e6
    assert [said() is not None for _ in range(LINES_AT_ONCE + 1)] == [True] * LINES_AT_ONCE + [False]


def test_lines_about_no_peer_are_not_counted() -> None:
    budget = Budget(lambda: 0.0)
    assert all(budget(None, "info", {"event": "sysctl"}) for _ in range(10 * LINES_AT_ONCE))


def test_what_is_remembered_is_bounded() -> None:
    budget = Budget(lambda: 0.0)
    for number in range(5000):
        budget(None, "info", {"event": "session up", "peer": str(number)})
    assert len(budget._spent) <= 1000


@pytest.mark.slow
def test_a_reader_that_has_stopped_holds_nobody_up() -> None:
    with subprocess.Popen([sys.executable, "-c", MANY], stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        try:
            assert process.wait(20) == 0
        except subprocess.TimeoutExpired:
            process.kill()
            pytest.fail("it waits for its reader")
        lines = process.stderr.read().splitlines()
    assert lines
    assert all(b"a line that nobody reads" in line and b"number=" in line for line in lines), "whole lines only"
