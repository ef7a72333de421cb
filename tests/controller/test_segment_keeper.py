"""The thread that keeps the segment: wakes, waits, and survives whatever a pass does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from controller import segment_keeper
from controller.segment import Segment, SegmentBusy, SegmentUnmanaged
from controller.segment_keeper import Keeper
from controller.store.engine import StoreUnavailable
from controller.zerotier.state import Failure, Pass
from tests.controller.api.served import wait_until

FAILING = Pass(0.0, failures=(Failure("a", "b"),))


class FakeSegment:
    """Every pass takes the next of `outcomes`; the last one is kept."""

    def __init__(self, *outcomes: Pass | Exception) -> None:
        self.outcomes = list(outcomes)
        self.passes = 0
        self.held = threading.Event()
        self.held.set()
        self.lost: list[bool | Exception] = []
        self.leaving: list[bool | Exception] = [False]

    def due(self) -> bool:
        """Each of `lost` is told once."""
        answer = self.lost.pop(0) if self.lost else False
        if isinstance(answer, Exception):
            raise answer
        return answer

    def must_leave(self) -> bool:
        """The next of `leaving`; the last one is kept."""
        answer = self.leaving.pop(0) if len(self.leaving) > 1 else self.leaving[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def synchronise(self, wait: float) -> Pass:
        assert wait == 0.0
        self.passes += 1
        assert self.held.wait(10)
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


Start = Callable[..., tuple[FakeSegment, Keeper]]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """A keeper that waits for nothing but news, unless `soon` says how long a second is."""
    started: list[Keeper] = []

    def begin(*outcomes: Any, soon: float = 60.0) -> tuple[FakeSegment, Keeper]:
        monkeypatch.setattr(segment_keeper, "SOON_SECONDS", soon)
        monkeypatch.setattr(segment_keeper, "pause_after", lambda done: soon if done.failures else 60.0)
        segment = FakeSegment(*outcomes)
        keeper = Keeper(cast("Segment", segment))
        started.append(keeper)
        keeper.start()
        wait_until(lambda: segment.passes >= 1)
        return segment, keeper

    yield begin
    for each in started:
        each.stop()


@pytest.mark.parametrize(
    "outcome", [Pass(0.0), SegmentUnmanaged(""), StoreUnavailable("gone"), RuntimeError("a bug")], ids=repr
)
def test_it_starts_at_once_and_news_wake_it_whatever_came_before(start: Start, outcome: Pass | Exception) -> None:
    segment, keeper = start(outcome)
    keeper.wake()
    wait_until(lambda: segment.passes == 2)


def test_news_during_a_pass_are_not_lost(start: Start) -> None:
    segment, keeper = start(Pass(0.0))
    segment.held.clear()
    keeper.wake()
    wait_until(lambda: segment.passes == 2)
    keeper.wake()
    segment.held.set()
    wait_until(lambda: segment.passes == 3)


def test_who_finds_another_pass_running_comes_back_soon(start: Start) -> None:
    segment, _ = start(SegmentBusy(""), SegmentBusy(""), Pass(0.0), soon=0.01)
    wait_until(lambda: segment.passes == 3)


def test_what_fails_is_tried_again(start: Start) -> None:
    segment, _ = start(FAILING, FAILING, Pass(0.0), soon=0.01)
    wait_until(lambda: segment.passes == 3)


@pytest.mark.slow
def test_a_service_that_asks_for_a_pause_gets_it_also_when_there_are_news(start: Start) -> None:
    segment, keeper = start(Pass(0.0, error="slow down", after=0.5), Pass(0.0))
    keeper.wake()
    assert segment.passes == 1
    wait_until(lambda: segment.passes == 2)


@pytest.mark.slow
@pytest.mark.parametrize("pause", [Pass(0.0, error="slow down", after=3600.0), Pass(0.0)], ids=["asked for", "ours"])
def test_who_must_leave_does_not_wait_for_a_long_pause(
    start: Start, monkeypatch: pytest.MonkeyPatch, pause: Pass
) -> None:
    monkeypatch.setattr(segment_keeper, "WATCH_SECONDS", 0.01)
    monkeypatch.setattr(segment_keeper, "LEAVE_SECONDS", 0.2)
    segment, keeper = start(pause)
    began = time.monotonic()
    segment.leaving = [False, StoreUnavailable("gone"), RuntimeError("a bug"), True]
    if pause.after:
        keeper.wake()
    wait_until(lambda: segment.passes >= 4)
    assert time.monotonic() - began >= 0.3, "each time after a pause, which is a short one"


def test_a_gateway_that_goes_is_news(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment_keeper, "WATCH_SECONDS", 0.01)
    segment, _ = start(Pass(0.0))
    segment.lost += [False, StoreUnavailable("gone"), RuntimeError("a bug"), True]
    wait_until(lambda: segment.passes == 2)
    assert not segment.lost


def test_stopping_ends_the_longest_pause_at_once(start: Start) -> None:
    segment, keeper = start(Pass(0.0, error="slow down", after=3600.0))
    keeper.wake()
    keeper.stop()
    assert not keeper._thread.is_alive()
    assert segment.passes == 1
