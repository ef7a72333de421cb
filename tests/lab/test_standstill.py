"""A run during which the machine stood still is made again; one that failed on a machine that ran is a failure."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest
from rich.console import Console

from lab import runner, standstill
from lab.runner import Outcome

NAME = ModuleType("pretended")


def hog(processor: int, seconds: float, policy: int) -> None:
    """Holds a processor for so long, as nobody of less priority can interrupt."""
    pid = os.fork()
    if pid == 0:
        os.sched_setaffinity(0, {processor})
        if policy != os.SCHED_OTHER:
            os.sched_setscheduler(0, policy, os.sched_param(os.sched_get_priority_max(policy)))
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            pass
        os._exit(0)
    os.waitpid(pid, 0)


@pytest.mark.root
@pytest.mark.parametrize("processor", sorted(os.sched_getaffinity(0))[:2])
def test_a_processor_that_runs_nobody_is_noticed(processor: int) -> None:
    with standstill.watched() as machine:
        time.sleep(0.1)
        hog(processor, 0.3, os.SCHED_FIFO)
        time.sleep(0.1)
    assert 0.2 < machine.seconds < 2
    assert machine.void


@pytest.mark.root
def test_a_busy_machine_is_no_standstill() -> None:
    """Else what Leyline itself burns would excuse it."""
    with standstill.watched() as machine:
        hog(min(os.sched_getaffinity(0)), 0.5, os.SCHED_OTHER)
    assert 0 < machine.seconds < standstill.MOST_SECONDS


@pytest.mark.parametrize(
    ("outcomes", "stalls", "ok", "void"),
    [
        ([True], [0.5], True, None),  # It held all the same.
        ([False], [0.02], False, None),
        ([False, True], [0.5, 0.0], True, 1),
        ([False, False], [0.5, 0.0], False, 1),
        ([False, False, True], [0.5, 0.5, 0.5], True, 2),
        ([False, False, False], [0.5, 0.5, 0.5], False, 2),
    ],
)
def test_what_is_made_again(
    outcomes: list[bool], stalls: list[float], ok: bool, void: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, still = iter(outcomes), iter(stalls)

    class Pretended(standstill.Standstill):
        seconds = 0.0

    @contextmanager
    def watched() -> Iterator[standstill.Standstill]:
        machine = Pretended()
        machine.seconds = next(still)
        yield machine

    monkeypatch.setattr(runner, "run_once", lambda *_: Outcome("pretended", next(left), {}))
    monkeypatch.setattr(standstill, "watched", watched)
    said = io.StringIO()
    outcome = runner.run_believably(Path("pretended"), NAME, Console(file=said, width=300))
    assert outcome.ok is ok
    assert outcome.figures.get("void_runs") == void
    assert said.getvalue().count("pretended: void: a processor") == (void or 0)
    assert next(left, None) is None
