"""Slow in, slower out: what a relayed path costs moves seldom, whatever is reported."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from speaker.liveness.relayed import LEAST_DIRECT_SECONDS, LONGEST_DIRECT_SECONDS, QUIET_SECONDS, Relayed, states_of
from speaker.report import PeerReport

SECONDS = 120
FAR = 7


class Watch:
    def __init__(self) -> None:
        self.relayed, self.now, self.moves = Relayed(), 0.0, 0

    def see(self, state: str, seconds: float, step: float = 5.0) -> bool:
        """The state for so long; whether it costs at the end."""
        end = self.now + seconds
        while self.now < end:
            self.now += step
            self.moves += self.relayed.look({FAR: state}, SECONDS, self.now)
        return FAR in self.relayed.uplinks


def test_it_costs_once_it_was_relayed_for_long_and_no_more_once_it_was_direct_for_long() -> None:
    watch = Watch()
    assert not watch.see("relayed", SECONDS)
    assert watch.see("relayed", 5)
    assert watch.see("direct", SECONDS)
    assert not watch.see("direct", 5)
    assert watch.moves == 2


def test_a_moment_of_direct_or_of_ignorance_begins_anew() -> None:
    watch = Watch()
    for state in ("direct", "unknown"):
        watch.see("relayed", SECONDS - 5)
        assert not watch.see(state, 5)
    assert not watch.see("relayed", SECONDS)


def test_ignorance_moves_nothing() -> None:
    watch = Watch()
    assert not watch.see("unknown", 10_000)
    watch.see("relayed", SECONDS + 5)
    assert watch.see("unknown", 10_000)
    assert watch.moves == 1


def test_each_time_it_has_to_be_direct_for_twice_as_long() -> None:
    watch = Watch()
    holds = []
    for _ in range(8):
        watch.see("relayed", SECONDS + 5)
        began = watch.now
        while watch.see("direct", 5):
            pass
        holds.append(watch.now - began - 5)
    assert holds == [min(SECONDS * 2**n, LONGEST_DIRECT_SECONDS) for n in range(8)]
    watch.see("direct", QUIET_SECONDS + 5)
    watch.see("relayed", SECONDS + 5)
    assert watch.see("direct", SECONDS)
    assert not watch.see("direct", 5)


def test_without_the_rule_or_without_the_path_nothing_costs() -> None:
    watch = Watch()
    watch.see("relayed", SECONDS + 5)
    assert watch.relayed.look({FAR: "relayed"}, 0, watch.now)
    assert watch.relayed.uplinks == frozenset()
    watch.see("relayed", SECONDS + 5)
    assert watch.relayed.look({}, SECONDS, watch.now)
    assert watch.relayed.uplinks == frozenset()


@given(st.lists(st.tuples(st.sampled_from(["direct", "relayed", "unknown"]), st.integers(1, 400)), max_size=60))
def test_whatever_is_seen_moves_are_rare(seen: list[tuple[str, int]]) -> None:
    watch = Watch()
    for state, seconds in seen:
        watch.see(state, seconds, step=1.0)
    assert watch.moves <= 1 + watch.now / LEAST_DIRECT_SECONDS
    cycles, left = 0, watch.now
    while left > 0:  # Each full cycle takes the threshold, and then the hold, which doubles.
        left -= SECONDS + min(SECONDS * 2.0**cycles, LONGEST_DIRECT_SECONDS)
        cycles += 1
    assert watch.moves <= 2 * cycles


PEER = PeerReport("3a7d89a6af", "10.42.0.7", "main", "relayed", -1, -1, 0, "", "")


def test_the_uplink_in_use_decides() -> None:
    peers = (PEER, replace(PEER, uplink="lte", state="direct"), replace(PEER, address="", node_id="ffffffffff"))
    ways = {7: ("main", "10.42.0.7"), 8: ("lte", "10.42.0.7"), 9: ("main", "10.42.0.9")}
    assert states_of(peers, ways) == {7: "relayed", 8: "direct", 9: "unknown"}
