"""The figures of a path against echoes that come, come late, or do not come."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speaker.liveness.path_probes import (
    INTERVAL_SECONDS,
    LEAST_SIZE,
    MAX_PAIRS,
    MTU_SECONDS,
    MTU_TRIES,
    PATIENCE_SECONDS,
    QUICK_PROBES,
    QUICK_SECONDS,
    SMALL,
    WINDOW,
    MtuSearch,
    PathProbes,
    percentile,
)

PAIR = ("zt0", "10.42.0.2")
NAMES = {"zt0": "main"}


class World:
    """A path with a round trip, a loss and an MTU, and the clock."""

    def __init__(self, rtt: float = 0.010, carries: int = 10_000, pairs: tuple[tuple[str, str], ...] = (PAIR,)) -> None:
        self.now = 0.0
        self.rtt, self.carries, self.loss = rtt, carries, 0.0
        self.chance = random.Random(7)
        self.sent: list[tuple[float, int]] = []
        self.probes = PathProbes()
        self.probes.configure(pairs, {"zt0": 2800}, 0.0)

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while (at := self.probes.next_at(self.now)) <= end:
            self.now = at
            due = self.probes.due(self.now)
            for probe in due:
                self.sent.append((self.now, probe.size))
                if probe.size <= self.carries and self.chance.random() >= self.loss:
                    self.probes.answered(probe.pair, probe.sequence, self.rtt, self.now)
            if not due and self.probes.next_at(self.now) == self.now:
                raise AssertionError("due, and nothing to do")
        self.now = end


def test_round_trips_loss_and_mtu_of_a_good_path() -> None:
    world = World()
    world.run(120)
    (report,) = world.probes.reports(NAMES)
    assert (report.address, report.uplink) == ("10.42.0.2", "main")
    assert (report.rtt_p50_ms, report.rtt_p95_ms, report.loss, report.mtu) == (10.0, 10.0, 0.0, 2800)


def test_a_path_that_breaks_loses_everything_and_keeps_its_mtu() -> None:
    world = World()
    world.run(120)
    world.carries = 0
    world.run(2 * MTU_SECONDS)
    (report,) = world.probes.reports(NAMES)
    assert (report.rtt_p50_ms, report.rtt_p95_ms, report.loss, report.sent) == (-1, -1, 1.0, WINDOW)
    assert report.mtu == 2800, "not even the smallest passes: that is no MTU"
    assert world.probes.carries(PAIR, world.now) is False


@pytest.mark.parametrize("carries", [576, 577, 1280, 1392, 1500, 2799])
def test_the_largest_size_that_passes_is_found(carries: int) -> None:
    world = World(carries=carries)
    world.run(300)
    assert world.probes.reports(NAMES)[0].mtu == carries


def test_loss_is_no_small_mtu() -> None:
    world = World(carries=1392)
    world.loss = 0.1
    found = []
    for _ in range(10):
        world.run(MTU_SECONDS)
        found.append(world.probes.reports(NAMES)[0].mtu)
    assert sorted(found)[5] == 1392, found
    assert 0.02 < world.probes.reports(NAMES)[0].loss < 0.3


@pytest.mark.slow
def test_what_is_sent_is_bounded() -> None:
    pairs = tuple(("zt0", f"10.42.{n // 250}.{n % 250 + 1}") for n in range(MAX_PAIRS + 50))
    world = World(pairs=pairs)
    world.run(60)
    world.sent.clear()
    world.run(100)
    assert len(world.sent) <= MAX_PAIRS * (100 / INTERVAL_SECONDS + 1)
    assert len(world.probes._flying) <= MAX_PAIRS


def test_the_first_probes_come_quicker() -> None:
    world = World()
    world.probes.configure([PAIR], {}, 0.0)
    world.run(QUICK_PROBES * QUICK_SECONDS + 4 * INTERVAL_SECONDS)
    times = [at for at, size in world.sent if size == SMALL]
    gaps = [after - before for before, after in pairwise(times)]
    assert gaps[: QUICK_PROBES - 1] == [QUICK_SECONDS] * (QUICK_PROBES - 1)
    assert set(gaps[QUICK_PROBES:]) == {INTERVAL_SECONDS}


def test_an_answer_that_is_late_foreign_or_second_does_not_count() -> None:
    probes = PathProbes()
    probes.configure([PAIR, ("zt0", "10.42.0.3")], {}, 0.0)
    first, other = (*probes.due(0.0), *probes.due(0.1))
    probes.answered(("zt0", "10.42.0.3"), first.sequence, 0.01, 0.01)
    probes.answered(("zt1", PAIR[1]), first.sequence, 0.01, 0.01)
    probes.answered(PAIR, 4711, 0.01, 0.01)
    probes.answered(PAIR, first.sequence, -1.0, 0.01)  # The clock was set back.
    assert probes.reports(NAMES) == ()
    probes.answered(PAIR, first.sequence, 0.01, 0.01)
    probes.answered(PAIR, first.sequence, 0.02, 0.02)
    assert [(each.address, each.sent) for each in probes.reports(NAMES)] == [("10.42.0.2", 1)]
    probes.due(0.1 + PATIENCE_SECONDS)
    probes.answered(other.pair, other.sequence, PATIENCE_SECONDS + 1, PATIENCE_SECONDS + 1)
    losses = {each.address: each.loss for each in probes.reports(NAMES)}
    assert losses == {"10.42.0.2": 0.0, "10.42.0.3": 1.0}


def test_whether_it_carries_is_not_known_before_an_answer_and_long_after_one() -> None:
    world = World()
    assert world.probes.carries(PAIR, 0.0) is None
    world.run(1)
    assert world.probes.carries(PAIR, world.now) is True
    assert world.probes.carries(PAIR, world.now + 60) is None
    assert world.probes.carries(("zt0", "10.42.0.9"), world.now) is None


def test_a_pair_that_goes_is_forgotten_and_comes_back_anew() -> None:
    world = World()
    world.run(60)
    world.probes.configure([], {}, world.now)
    assert world.probes.reports(NAMES) == ()
    world.probes.configure([PAIR], {}, world.now)
    world.run(0.5)
    assert world.probes.reports(NAMES)[0].sent == 1


def test_what_the_kernel_refuses_to_send_does_not_pass() -> None:
    probes = PathProbes()
    probes.configure([PAIR], {}, 0.0)
    for probe in probes.due(0.0):
        probes.refused(probe, 0.0)
    assert probes.reports(NAMES)[0].loss == 1.0


@given(st.integers(577, 9890), st.integers(1, 9890))
def test_a_search_ends_soon_with_the_truth(wanted: int, carries: int) -> None:
    search = MtuSearch(wanted, LEAST_SIZE[4])
    tries = 0
    while not search.done:
        search.answered(search.size <= carries)
        tries += 1
    assert tries <= 15 * MTU_TRIES
    assert search.found == (min(wanted, carries) if carries >= LEAST_SIZE[4] else 0)


def test_two_losses_in_a_row_are_no_answer_about_a_size() -> None:
    search = MtuSearch(2800, LEAST_SIZE[4])
    for passed in (False, False, True):
        assert search.size == 2800
        search.answered(passed)
    assert (search.done, search.found) == (True, 2800)


@given(st.lists(st.floats(0, 1000), max_size=70))
def test_percentiles_are_of_the_sample(times: list[float]) -> None:
    ordered = sorted(times)
    p50, p95 = percentile(ordered, 50), percentile(ordered, 95)
    assert (p50, p95) == (-1, -1) if not times else p50 <= p95
    if times:
        assert sum(each <= p95 for each in times) >= 0.95 * len(times)
        assert {p50, p95} <= set(times)
