"""Two sessions over a virtual wire that loses packets: they converge whatever happened before."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speaker.liveness.bfd.packet import DOWN, UP, Discard, decode
from speaker.liveness.bfd.session import Session, Timers

timers = st.builds(Timers, st.sampled_from([10_000, 50_000, 100_000, 300_000, 1_000_000, 2_000_000]), st.integers(2, 6))
STEP = 0.001


class Wire:
    """Two ends, 1 ms apart, on a clock of 1 ms steps. `loss` is the part of packets that is lost, each way."""

    def __init__(self, left: Session, right: Session, seed: int) -> None:
        self.ends = (left, right)
        self.random = random.Random(seed)
        self.now = 0.0
        self.loss = 0.0
        self.on_the_way: list[tuple[float, int, bytes]] = []

    def run(self, seconds: float) -> None:
        """Jumps from event to event, so that hours cost little."""
        end = self.now + seconds
        while self.now < end:
            arrivals = [at for at, _, _ in self.on_the_way]
            self.now = min(end, max(self.now + STEP, min([*arrivals, *(e.wake_at for e in self.ends)])))
            due = [item for item in self.on_the_way if item[0] <= self.now]
            self.on_the_way = [item for item in self.on_the_way if item[0] > self.now]
            for _, to, data in due:
                self.ends[to].receive(decode(data), self.now)
                self.pump(to)
            for number in (0, 1):
                self.ends[number].expire(self.now)
                self.pump(number)

    def pump(self, number: int) -> None:
        sent = 0
        while data := self.ends[number].transmit(self.now, self.random.random()):
            sent += 1
            assert sent < 4, "a storm"
            if self.random.random() >= self.loss:
                self.on_the_way.append((self.now + STEP, 1 - number, data))

    def settled(self) -> bool:
        left, right = self.ends
        pace = max(left.timers.interval_us, right.timers.interval_us)
        return (
            all(end.state == UP and not end.polling and end.transmit_us == pace for end in self.ends)
            and left.detection_us == right.timers.multiplier * pace
            and right.detection_us == left.timers.multiplier * pace
        )


def ends(one: Timers, other: Timers, active: tuple[bool, bool] = (True, True)) -> tuple[Session, Session]:
    return Session(11, one, active[0], 0.0), Session(22, other, active[1], 0.0)


@pytest.mark.slow
@given(timers, timers, st.sampled_from([(True, True), (True, False), (False, True)]), st.integers(0, 2**32))
def test_two_ends_agree_on_the_slower_pace(one: Timers, other: Timers, active: tuple[bool, bool], seed: int) -> None:
    wire = Wire(*ends(one, other, active), seed)
    wire.run(15.0)
    assert wire.settled()
    assert all(end.downs == 0 for end in wire.ends)


def test_two_passive_ends_stay_silent() -> None:
    wire = Wire(*ends(Timers(100_000, 3), Timers(100_000, 3), (False, False)), 1)
    wire.run(60.0)
    assert [end.state for end in wire.ends] == [DOWN, DOWN]


moves = st.one_of(
    st.tuples(st.just("loss"), st.sampled_from([0.0, 0.2, 0.5, 1.0])),
    st.tuples(st.just("admin"), st.integers(0, 1)),
    st.tuples(st.just("enable"), st.integers(0, 1)),
    st.tuples(st.just("timers"), st.tuples(st.integers(0, 1), timers)),
    st.tuples(st.just("restart"), st.integers(0, 1)),
    st.tuples(st.just("replay"), st.integers(0, 1)),
)


@given(st.lists(st.tuples(moves, st.floats(0.001, 5.0)), max_size=12), st.integers(0, 2**32))
def test_they_converge_once_the_trouble_ends(steps: list[tuple[tuple[str, object], float]], seed: int) -> None:
    wire = Wire(*ends(Timers(100_000, 3), Timers(300_000, 3)), seed)
    number = 100
    for (what, value), seconds in steps:
        left, right = wire.ends
        if what == "loss":
            assert isinstance(value, float)
            wire.loss = value
        elif what == "timers":
            assert isinstance(value, tuple)
            wire.ends[value[0]].configure(value[1], wire.now)
        else:
            assert isinstance(value, int)
            if what == "admin":
                wire.ends[value].admin_down(wire.now)
            elif what == "enable":
                wire.ends[value].enable(wire.now)
            elif what == "restart":
                number += 1
                new = Session(number, wire.ends[value].timers, True, wire.now)
                wire.ends = (new, right) if value == 0 else (left, new)
            else:
                wire.on_the_way += [(wire.now + STEP, 1 - to, data) for _, to, data in wire.on_the_way if to == value]
        wire.run(seconds)
    wire.loss = 0.0
    for end in wire.ends:
        end.enable(wire.now)
    # At worst: a detection time of 6 x 2 s is waited for, then the handshake at a packet a second, then the polls.
    wire.run(40.0)
    assert wire.settled()


@given(st.lists(st.tuples(st.binary(min_size=24, max_size=24), st.floats(0, 2)), max_size=40), st.booleans())
def test_no_packet_breaks_a_session(payloads: list[tuple[bytes, float]], active: bool) -> None:
    made, now = Session(5, Timers(100_000, 3), active, 0.0), 0.0
    for data, seconds in payloads:
        now += seconds
        try:
            packet = decode(bytes([0x20, data[1] & 0xFA, data[2], 24]) + data[4:])
        except Discard:
            continue
        made.receive(packet, now)
        made.expire(now)
        sent = 0
        while out := made.transmit(now, 0.5):
            decode(out)
            sent += 1
            assert sent <= 2
        assert made.wake_at > now
