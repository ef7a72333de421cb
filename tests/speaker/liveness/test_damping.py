"""Quick down, slow up: a session's words in, verdicts out, on a virtual clock."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from speaker.liveness.bfd.control import Status
from speaker.liveness.damping import Damper
from speaker.plan import LivenessPlan

PAIR = ("zt0", "10.42.0.9")
PLAN = LivenessPlan(up_delay_ms=2000, hold_max_ms=60_000)


def heard(state: str, diagnostic: int, remote: str, *, ever_up: bool, downs: int) -> Status:
    return Status(PAIR[0], "10.42.0.1", PAIR[1], state, diagnostic, remote, 0.0, ever_up, downs, True, 300_000)


UP = heard("Up", 0, "Up", ever_up=True, downs=0)
NEVER = heard("Down", 0, "Down", ever_up=False, downs=0)


def lost(downs: int = 1) -> Status:
    return heard("Down", 1, "Down", ever_up=True, downs=downs)


def up(downs: int = 0) -> Status:
    return UP._replace(downs=downs)


class Clock:
    """One pair under a clock; `moves` counts how often traffic is taken away from it, or put back."""

    def __init__(self, plan: LivenessPlan = PLAN) -> None:
        self.damper = Damper(plan)
        self.now = 0.0
        self.moves = 0

    @property
    def state(self) -> str:
        return self.damper.verdict(PAIR).state

    def hear(self, status: Status) -> str:
        was = self._dead()
        self.damper.hear(status, self.now)
        self.moves += was != self._dead()
        return self.state

    def until(self, now: float) -> str:
        while (due := self.damper.due()) is not None and due <= now:
            was = self._dead()
            self.now = due
            self.damper.tick(due)
            self.moves += was != self._dead()
        self.now = now
        return self.state

    def _dead(self) -> bool:
        return self.damper.verdict(PAIR).dead


def test_never_up_is_unknown_and_a_first_up_needs_no_delay() -> None:
    clock = Clock()
    assert clock.hear(NEVER) == "unknown"
    assert clock.hear(NEVER._replace(state="Init", remote_state="Down")) == "unknown"
    assert clock.hear(UP) == "up"
    assert clock.moves == 0


def test_down_at_once_held_and_then_up() -> None:
    clock = Clock()
    clock.hear(UP)
    assert clock.hear(lost()) == "down"
    assert clock.damper.verdict(PAIR).reason == "nothing heard for the detection time"
    clock.until(5.0)
    assert clock.hear(up(1)) == "held"
    assert clock.until(6.9) == "held"
    assert clock.until(7.0) == "up"
    assert clock.damper.verdict(PAIR) == ("up", 7.0, "", 1)


def test_since_is_the_first_word_of_the_silence() -> None:
    clock = Clock()
    clock.hear(UP)
    clock.hear(lost())
    clock.until(3.0)
    clock.hear(heard("Init", 3, "Down", ever_up=True, downs=1))
    assert clock.damper.verdict(PAIR) == ("down", 0.0, "nothing heard for the detection time", 1)


def test_holds_double_up_to_the_longest_and_are_forgotten() -> None:
    clock = Clock(LivenessPlan(up_delay_ms=2000, hold_max_ms=10_000))
    clock.hear(UP)
    for flap, hold in enumerate((2, 4, 8, 10, 10), start=1):
        clock.hear(lost(flap))
        clock.hear(up(flap))
        start = clock.now
        assert clock.until(start + hold - 0.01) == "held"
        assert clock.until(start + hold) == "up"
    clock.until(clock.now + 60.0)  # Quiet for long enough.
    clock.hear(lost(6))
    clock.hear(up(6))
    start = clock.now
    assert clock.until(start + 2.0) == "up"


def test_down_while_held_starts_the_hold_anew() -> None:
    clock = Clock()
    clock.hear(UP)
    clock.hear(lost(1))
    clock.hear(up(1))
    clock.until(1.0)
    assert clock.hear(lost(2)) == "down"
    assert clock.until(3.0) == "down"
    clock.hear(up(2))
    assert clock.until(6.9) == "held"
    assert clock.until(7.0) == "up"


def test_admin_down_of_the_far_end_is_no_death() -> None:
    """leyline-bfd takes `ever_up` back when the peer says AdminDown."""
    clock = Clock()
    clock.hear(UP)
    assert clock.hear(heard("Down", 3, "AdminDown", ever_up=False, downs=0)) == "unknown"
    assert clock.hear(heard("Down", 3, "Down", ever_up=False, downs=0)) == "unknown"
    assert clock.hear(UP) == "up"
    clock.hear(lost())
    assert clock.hear(heard("Down", 3, "AdminDown", ever_up=False, downs=1)) == "unknown", "it spoke to us"


def test_our_own_admin_down_revives_nothing() -> None:
    clock = Clock()
    clock.hear(UP)
    assert clock.hear(heard("AdminDown", 7, "Up", ever_up=True, downs=0)) == "unknown"
    clock.hear(UP)
    clock.hear(lost())
    assert clock.hear(heard("AdminDown", 7, "Down", ever_up=True, downs=1)) == "down"
    assert clock.hear(lost()) == "down"
    assert clock.hear(up(1)) == "held"
    assert clock.hear(heard("AdminDown", 7, "Up", ever_up=True, downs=1)) == "held"
    assert clock.until(clock.now + 2) == "unknown"


def test_a_dead_pair_without_session_stays_dead_while_it_is_wanted() -> None:
    clock = Clock()
    clock.hear(UP)
    clock.hear(lost())
    assert not clock.damper.gone(PAIR)
    assert not clock.damper.retain({PAIR})
    assert clock.state == "down"
    assert clock.damper.retain(set())
    assert clock.state == "unknown"


def test_a_live_pair_without_session_is_unknown() -> None:
    clock = Clock()
    clock.hear(UP)
    assert clock.damper.gone(PAIR)
    assert clock.state == "unknown"
    assert not clock.damper.gone(PAIR)


def test_a_restarted_agent_hears_who_is_dead() -> None:
    assert Clock().hear(lost(3)) == "down"
    assert Clock().hear(up(3)) == "up"
    assert Clock().hear(heard("Down", 3, "AdminDown", ever_up=False, downs=3)) == "unknown"


def test_a_restarted_bfd_process_neither_kills_nor_revives() -> None:
    """BfdClient keeps `ever_up` for what was dead before it."""
    clock = Clock()
    clock.hear(up(4))
    assert clock.hear(NEVER) == "unknown"
    clock.hear(up())
    clock.hear(lost(1))
    assert clock.hear(lost(0)) == "down"
    assert clock.hear(up()) == "held"
    clock.until(60.0)
    assert clock.hear(lost(1)) == "down"


def test_a_flap_that_nobody_saw_counts() -> None:
    clock = Clock()
    clock.hear(UP)
    assert clock.hear(up(2)) == "up"
    clock.hear(lost(3))
    clock.hear(up(3))
    assert clock.until(clock.now + 7.9) == "held"
    assert clock.until(clock.now + 0.1) == "up"


@given(
    delay_ms=st.integers(0, 5000),
    jitter=st.lists(st.floats(-0.2, 0.2), min_size=60, max_size=60),
    remembered=st.integers(0, 3),
)
def test_a_minute_of_flaps_moves_traffic_at_most_three_times(
    delay_ms: int, jitter: list[float], remembered: int
) -> None:
    """Down a second, up a second, for a minute; then quiet, and the pair is used again."""
    clock = Clock(LivenessPlan(up_delay_ms=delay_ms, hold_max_ms=60_000))
    clock.hear(up(remembered))
    for step, moved in enumerate(jitter):
        clock.until(step + (moved if step else 0.0) + 1.0)
        downs = remembered + step // 2 + 1
        clock.hear(up(downs) if step % 2 else lost(downs))
    assert clock.moves <= 3
    assert clock.damper.verdict(PAIR).dead
    assert clock.until(clock.now + 60.0) == "up"
    assert clock.until(clock.now + 3600.0) == "up"
    assert clock.damper.due() is None


def test_a_pair_that_is_up_again_may_be_used_for_want_of_another_unless_it_flaps_on() -> None:
    clock = Clock()
    clock.hear(UP)
    assert clock.damper.answering() == set()
    answered = []
    for downs in (1, 2, 3):
        clock.until(clock.now + 0.5)
        assert clock.hear(lost(downs)) == "down"
        assert clock.damper.answering() == set()
        assert clock.hear(up(downs)) == "held"
        answered.append(clock.damper.answering())
    assert answered == [{PAIR}, {PAIR}, set()]
