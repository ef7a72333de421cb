"""Who has not said a word although we asked for long enough: on a virtual clock."""

from __future__ import annotations

from speaker.liveness.bfd.control import Status
from speaker.liveness.silence import DETECTIONS, SILENT_SECONDS, Silence

PAIR = ("zt0", "10.42.0.9")
DOWN = Status(*PAIR[:1], "10.42.0.1", PAIR[1], "Down", 0, "Down", 0.0, False, 0, True, 0)
INIT = DOWN._replace(state="Init")
UP = DOWN._replace(state="Up", remote_state="Up", ever_up=True)


def asked(status: Status = DOWN, now: float = 0.0, **given: float) -> Silence:
    silence = Silence()
    silence.hear(status, now, **given)
    return silence


def test_who_does_not_answer_is_silent_after_a_while() -> None:
    silence = asked()
    assert silence.pairs(SILENT_SECONDS - 0.01) == {}
    assert silence.pairs(SILENT_SECONDS) == {PAIR: 0.0}


def test_slow_timers_are_given_more_time() -> None:
    assert asked(detection=10.0).pairs(DETECTIONS * 10.0 - 0.01) == {}
    assert asked(detection=10.0).pairs(DETECTIONS * 10.0) == {PAIR: 0.0}
    assert asked(detection=0.3).pairs(SILENT_SECONDS) == {PAIR: 0.0}
    theirs = DOWN._replace(detection_us=4_000_000)
    assert asked(theirs, detection=0.3).pairs(DETECTIONS * 4.0 - 0.01) == {}


def test_an_answer_ends_it_and_what_was_up_is_never_silent() -> None:
    silence = asked()
    silence.hear(UP, 10.0)
    assert silence.pairs(100.0) == {}
    silence.hear(UP._replace(state="Down"), 200.0)
    assert silence.pairs(300.0) == {}, "that is dead"


def test_a_half_heard_one_that_wavers_is_not_up() -> None:
    """We hear it, it does not hear us."""
    silence = asked()
    for second in range(1, 5):
        silence.hear(INIT if second % 2 else DOWN, float(second))
    assert silence.pairs(SILENT_SECONDS) == {PAIR: 0.0}


def test_who_took_leave_and_who_only_asked_us_are_not_silent() -> None:
    assert asked(DOWN._replace(remote_state="AdminDown")).pairs(100.0) == {}
    assert asked(DOWN._replace(active=False)).pairs(100.0) == {}
    assert asked(DOWN._replace(state="AdminDown")).pairs(100.0) == {}
    silence = asked()
    silence.hear(DOWN._replace(remote_state="AdminDown"), 10.0)
    assert silence.pairs(100.0) == {}


def test_a_new_agent_knows_who_has_been_silent() -> None:
    assert asked(now=100.0, waited=60.0).pairs(100.0) == {PAIR: 40.0}
    assert asked(now=100.0, waited=1.0).pairs(100.0) == {}


def test_who_is_asked_only_now_has_its_time() -> None:
    """The peer had opened the session long ago."""
    silence = asked(DOWN._replace(active=False), waited=60.0)
    silence.hear(DOWN, 100.0, waited=160.0)
    assert silence.pairs(100.0) == {}
    assert silence.pairs(105.0) == {PAIR: 100.0}


def test_a_new_bfd_process_changes_nothing_and_the_end_of_a_session_all() -> None:
    silence = asked()
    silence.hear(DOWN, 60.0, waited=0.0)
    assert silence.pairs(60.0) == {PAIR: 0.0}
    silence.gone(PAIR)
    assert silence.pairs(60.0) == {}
    silence.hear(DOWN, 61.0)
    assert silence.pairs(62.0) == {}
