"""Loss windows, worked out from what was sent when and what is missing."""

from __future__ import annotations

from lab.loss import Tally, Window, told, windows, worst_ms

TIMES = [10.0 + number / 1000 for number in range(10)]


def gaps(*missing: int) -> list[tuple[int, int, int, bool]]:
    """Each window as milliseconds since the first packet."""
    return [(round((w.start - 10) * 1000), round((w.end - 10) * 1000), w.lost, w.over) for w in windows(TIMES, missing)]


def test_nothing_missing_is_no_window() -> None:
    assert gaps() == []
    assert Tally(10, (), TIMES).window_ms == 0.0
    assert Tally(10, (), TIMES).recovered


def test_a_window_lasts_from_the_last_that_came_through_to_the_first_that_does_again() -> None:
    assert gaps(3, 4, 5) == [(2, 6, 3, True)]
    assert gaps(0, 1) == [(0, 2, 2, True)]
    assert gaps(1, 3, 4, 7) == [(0, 2, 1, True), (2, 5, 2, True), (6, 8, 1, True)]


def test_what_lasts_until_the_end_is_not_over() -> None:
    assert gaps(8, 9) == [(7, 9, 2, False)]
    assert not Tally(10, (8, 9), TIMES).recovered
    assert not Tally(0, ()).recovered


def test_the_longest_window_counts_and_may_be_asked_for_from_some_moment_on() -> None:
    tally = Tally(10, (1, 2, 3, 7), TIMES)
    assert round(tally.window_ms, 6) == 4.0
    assert round(tally.window_since(10.005), 6) == 2.0
    assert worst_ms({"a": tally, "b": Tally(10, (), TIMES)}) == tally.window_ms
    assert worst_ms({}) == 0.0


def test_a_sender_that_stalled_says_so_and_a_window_covers_the_stall() -> None:
    times = [0.0, 0.001, 0.051, 0.052]
    tally = Tally(4, (2,), times)
    assert round(tally.stall_ms, 6) == 50.0
    assert tally.windows == (Window(0.001, 0.052, 1, True),)


def test_unreachable_is_told_as_seconds_from_a_moment() -> None:
    tally = Tally(10, (), TIMES, unreachable=(9.0, 10.5, 11.0))
    assert tally.unreachable_after(10.0) == 0.5
    assert tally.unreachable_after(12.0) is None


def test_as_text() -> None:
    text = told({"there": Tally(10, (3, 4), TIMES), "back": Tally(10, (), TIMES)})
    assert text == "there: 2 of 10 lost, longest gap 3 ms: number 3, 4\nback: 0 of 10 lost"
