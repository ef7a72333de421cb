"""The state machine: the table of RFC 5880 6.8.6, timers and polls of 6.8.2-6.8.4, jitter of 6.8.7, and AdminDown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speaker.liveness.bfd.packet import ADMIN_DOWN, DOWN, INIT, UP, Packet, decode
from speaker.liveness.bfd.session import NEVER, SLOW_US, Session, Timers

FAST = Timers(100_000, 3)
PEER = Packet(DOWN, 0, 3, 77, 1, 100_000, 100_000)
ADMIN = 7


def session(state: int = DOWN, timers: Timers = FAST, active: bool = True) -> Session:
    """In `state`, at time 0, with discriminator 1, after a peer with discriminator 77 at the same pace."""
    made = Session(1, timers, active, 0.0)
    paths = {DOWN: (), INIT: (DOWN,), UP: (DOWN, UP)}
    if state == ADMIN_DOWN:
        made.admin_down(0.0)
    else:
        for said in paths[state]:
            made.receive(PEER._replace(state=said), 0.0)
    sent(made, 0.0)
    if made.polling:
        made.receive(PEER._replace(state=UP, final=True), 0.0)
    sent(made, 0.0)
    made.changed = False
    assert made.state == state
    return made


def sent(made: Session, now: float, fraction: float = 0.0) -> list[Packet]:
    """What is due now."""
    out = []
    while data := made.transmit(now, fraction):
        out.append(decode(data))
        assert len(out) < 5, "transmit does not end"
    return out


# RFC 5880 6.8.6 and 6.2: (our state, state received) -> (our state, our diagnostic when it moved)
TABLE = {
    (DOWN, ADMIN_DOWN): (DOWN, None),
    (DOWN, DOWN): (INIT, None),
    (DOWN, INIT): (UP, 0),
    (DOWN, UP): (DOWN, None),
    (INIT, ADMIN_DOWN): (DOWN, 3),
    (INIT, DOWN): (INIT, None),
    (INIT, INIT): (UP, 0),
    (INIT, UP): (UP, 0),
    (UP, ADMIN_DOWN): (DOWN, 3),
    (UP, DOWN): (DOWN, 3),
    (UP, INIT): (UP, None),
    (UP, UP): (UP, None),
    (ADMIN_DOWN, ADMIN_DOWN): (ADMIN_DOWN, None),
    (ADMIN_DOWN, DOWN): (ADMIN_DOWN, None),
    (ADMIN_DOWN, INIT): (ADMIN_DOWN, None),
    (ADMIN_DOWN, UP): (ADMIN_DOWN, None),
}


@pytest.mark.parametrize(("ours", "received"), TABLE, ids=str)
def test_table_of_6_8_6(ours: int, received: int) -> None:
    made = session(ours)
    diagnostic = made.diagnostic
    assert made.receive(PEER._replace(state=received), 0.01)
    state, said = TABLE[ours, received]
    assert (made.state, made.diagnostic) == (state, diagnostic if said is None else said)
    assert made.remote_discriminator == 77
    assert made.remote_state == received
    moved = state != ours
    assert bool(sent(made, 0.01)) == moved, "a change is said at once (6.8.7), and only a change"


def test_silence_for_the_detection_time_is_down_with_diagnostic_1() -> None:
    made = session(UP)
    made.receive(PEER._replace(state=UP), 1.0)
    assert made.detection_us == 300_000
    made.expire(1.2999)
    assert made.state == UP
    made.expire(1.3001)
    assert (made.state, made.diagnostic, made.downs, made.ever_up) == (DOWN, 1, 1, True)
    (told, *_) = sent(made, 1.3001)
    assert (told.state, told.diagnostic, told.your_discriminator) == (DOWN, 1, 77)
    assert made.remote_discriminator == 0, "RFC 5880 6.8.1"
    (later,) = sent(made, 2.4)
    assert later.your_discriminator == 0


def test_silence_in_init_is_down_too_and_no_failure() -> None:
    made = session(INIT)
    made.expire(made.detect_at)
    assert (made.state, made.diagnostic, made.downs, made.ever_up) == (DOWN, 1, 0, False)


def test_detection_time_is_the_peers_multiplier_times_the_slower_interval() -> None:
    made = session(UP)
    made.receive(PEER._replace(state=UP, desired_min_tx_us=250_000, multiplier=5), 1.0)
    assert made.detection_us == 5 * 250_000
    made.receive(PEER._replace(state=UP, desired_min_tx_us=50_000, multiplier=5), 1.0)
    assert made.detection_us == 5 * 100_000


# Timers --------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [DOWN, INIT, ADMIN_DOWN])
def test_not_up_is_at_least_a_second(state: int) -> None:
    made = session(state)
    made.admin_down(0.0) if state == ADMIN_DOWN else made.configure(Timers(50_000, 3), 0.0)
    assert made.desired_tx_us == SLOW_US
    assert made.transmit_us == SLOW_US
    slower = session(state, Timers(2_000_000, 3))
    assert slower.desired_tx_us == 2_000_000


def test_going_up_polls_for_the_fast_interval_and_ends_with_the_final() -> None:
    made = session(INIT)
    made.receive(PEER._replace(state=UP), 1.0)
    (told,) = sent(made, 1.0)
    assert (told.state, told.poll, told.desired_min_tx_us) == (UP, True, 100_000)
    (again,) = sent(made, 1.2)
    assert again.poll, "until it is answered"
    made.receive(PEER._replace(state=UP, final=True), 1.3)
    (after,) = sent(made, 1.4)
    assert not after.poll


def test_a_poll_is_answered_at_once_beside_the_schedule() -> None:
    made = session(UP)
    due = made.tx_at
    made.receive(PEER._replace(state=UP, poll=True), 0.01)
    (answer,) = sent(made, 0.01)
    assert (answer.final, answer.poll) == (True, False)
    assert made.tx_at == due


def test_slower_transmission_waits_for_the_final() -> None:
    made = session(UP)
    made.configure(Timers(500_000, 3), 1.0)
    (told,) = sent(made, 1.0)
    assert (told.poll, told.desired_min_tx_us, made.transmit_us) == (True, 500_000, 100_000)
    assert made.detection_us == 3 * 500_000, "the peer may go slower as soon as it has heard"
    made.receive(PEER._replace(state=UP, final=True), 1.1)
    assert made.transmit_us == 500_000


def test_faster_detection_waits_for_the_final_and_faster_transmission_does_not() -> None:
    made = session(UP, Timers(500_000, 3))
    made.configure(Timers(100_000, 3), 1.0)
    assert made.transmit_us == 100_000
    assert made.detection_us == 3 * 500_000
    made.receive(PEER._replace(state=UP, final=True), 1.1)
    assert made.detection_us == 3 * 100_000


def test_a_final_for_the_poll_before_does_not_end_the_next() -> None:
    made = session(UP)
    made.configure(Timers(300_000, 3), 1.0)
    made.configure(Timers(600_000, 3), 1.0)
    made.receive(PEER._replace(state=UP, final=True), 1.1)
    assert (made.polling, made.transmit_us) == (True, 100_000)
    made.receive(PEER._replace(state=UP, final=True), 1.2)
    assert (made.polling, made.transmit_us) == (False, 600_000)


def test_the_peer_may_slow_us_down_and_speed_us_up_counted_from_the_packet_before() -> None:
    made = session(UP)
    made.receive(PEER._replace(state=UP, required_min_rx_us=900_000), 0.0)
    sent(made, 1.0)
    assert made.tx_at == pytest.approx(1.9)
    made.receive(PEER._replace(state=UP, required_min_rx_us=100_000), 1.01)
    assert 1.01 < made.tx_at <= 1.1


def test_a_peer_that_wants_no_packets_gets_none_but_answers() -> None:
    made = session(UP)
    made.receive(PEER._replace(state=UP, required_min_rx_us=0), 0.0)
    assert made.tx_at == NEVER
    made.receive(PEER._replace(state=UP, required_min_rx_us=0, poll=True), 0.1)
    assert [packet.final for packet in sent(made, 0.1)] == [True]
    made.receive(PEER._replace(state=UP, required_min_rx_us=100_000), 0.2)
    assert sent(made, 0.2)


def test_a_peer_that_wanted_no_packets_and_died_is_called_again() -> None:
    made = session(UP)
    made.receive(PEER._replace(state=UP, required_min_rx_us=0), 0.0)
    made.expire(made.detect_at)
    sent(made, 1.0)
    assert made.tx_at < 3.0


def test_demand_mode_of_the_peer_changes_nothing() -> None:
    made = session(UP)
    made.receive(PEER._replace(state=UP, demand=True), 0.0)
    assert len(sent(made, 0.1)) == 1


@given(st.floats(0, 1, exclude_max=True), st.integers(1, 255), st.integers(10_000, 60_000_000))
def test_jitter_is_75_to_100_percent_and_to_90_with_multiplier_1(
    fraction: float, multiplier: int, interval: int
) -> None:
    made = session(UP, Timers(interval, multiplier))
    made.receive(PEER._replace(state=UP, required_min_rx_us=1), 0.0)
    at = max(made.tx_at, 0.0)
    sent(made, at, fraction)
    part = (made.tx_at - at) / (interval * 1e-6)
    assert 0.75 - 1e-6 <= part <= (0.9 if multiplier == 1 else 1.0) + 1e-6


def test_every_packet_has_the_c_bit_and_our_timers() -> None:
    made = session(UP)
    (packet,) = sent(made, 0.1)
    assert packet.control_plane_independent
    assert not packet.demand
    assert packet[2:7] == (3, 1, 77, 100_000, 100_000)
    assert packet.required_min_echo_rx_us == 0


# AdminDown --------------------------------------------------------------------------------


def test_admin_down_is_said_three_times_at_the_former_pace_then_slowly() -> None:
    made = session(UP)
    made.admin_down(1.0)
    said, now = [], 1.0
    while now < 3.0:
        said += [(round(now, 3), packet.state, packet.diagnostic) for packet in sent(made, now)]
        now = made.tx_at
    assert said[:3] == [(1.0, ADMIN_DOWN, ADMIN), (1.1, ADMIN_DOWN, ADMIN), (1.2, ADMIN_DOWN, ADMIN)]
    assert said[3][0] == 2.2


def test_admin_down_of_the_peer_is_no_failure() -> None:
    made = session(UP)
    made.receive(PEER._replace(state=ADMIN_DOWN, diagnostic=ADMIN), 1.0)
    assert (made.state, made.diagnostic, made.downs, made.ever_up) == (DOWN, 3, 0, False)
    made.expire(100.0)
    assert made.remote_state == ADMIN_DOWN, "its last word holds in its silence"
    assert not made.ever_up


def test_our_admin_down_is_no_failure_but_what_was_dead_before_stays_dead() -> None:
    alive, dead = session(UP), session(UP)
    dead.expire(dead.detect_at)
    for made in (alive, dead):
        made.admin_down(10.0)
        made.enable(20.0)
        assert (made.state, made.diagnostic) == (DOWN, 0)
    assert (alive.ever_up, alive.downs) == (False, 0)
    assert (dead.ever_up, dead.downs) == (True, 1)


def test_a_peer_whose_box_goes_down_has_failed_and_hearing_it_thrice_does_not_bring_it_back() -> None:
    """It says Down, and does not answer when we begin anew: what it said last must not be where we wait for it."""
    going, told = session(UP), session(UP)
    for number in range(3):
        now = 1.0 + 0.03 * number
        going.forwarding_ends(now)
        for packet in sent(going, now):
            assert (packet.state, packet.diagnostic) == (DOWN, 4)
            told.receive(packet._replace(my_discriminator=77, your_discriminator=1), now)
        going.tx_at = now
        assert told.state in (DOWN, INIT)
        assert (told.ever_up, told.downs) == (True, 1)
    told.expire(told.detect_at)
    assert (told.state, told.ever_up, told.downs) == (DOWN, True, 1)


def test_who_is_administratively_down_stays_so_when_its_box_goes_down() -> None:
    made = session(UP)
    made.admin_down(1.0)
    made.forwarding_ends(2.0)
    assert (made.state, made.diagnostic) == (ADMIN_DOWN, ADMIN)


# Active and passive --------------------------------------------------------------------------------


def test_a_passive_session_is_silent_until_it_knows_the_peer_and_again_when_it_has_lost_it() -> None:
    made = Session(1, FAST, False, 0.0)
    assert not sent(made, 10.0)
    made.receive(PEER._replace(state=DOWN, your_discriminator=0), 10.0)
    assert [packet.state for packet in sent(made, 10.0)] == [INIT]
    made.receive(PEER._replace(state=UP), 10.1)
    made.expire(made.detect_at)
    assert [packet.state for packet in sent(made, 20.0)] == [DOWN]
    assert made.tx_at == NEVER
    made.set_active(True, 30.0)
    assert [packet.state for packet in sent(made, 30.0)] == [DOWN]


# Replays --------------------------------------------------------------------------------

REPLAY = PEER._replace(state=DOWN, your_discriminator=0)


@pytest.mark.parametrize("state", [DOWN, ADMIN_DOWN])
def test_a_replay_of_how_the_peer_came_up_is_contradicted_by_the_peer(state: int) -> None:
    made = session(UP)
    for number in range(100):
        now = 0.01 * number
        made.expire(now)
        assert not made.receive(REPLAY._replace(state=state), now)
        if not number % 10:
            made.receive(PEER._replace(state=UP), now)
    assert (made.state, made.downs) == (UP, 0)


def test_a_replay_from_a_former_life_of_the_peer_does_not_redirect_us() -> None:
    """With the old My Discriminator taken over, the peer would not know what we say, and time out."""
    made = session(UP)
    assert not made.receive(PEER._replace(state=UP, my_discriminator=66), 0.05)
    assert [packet.your_discriminator for packet in sent(made, 0.1)] == [77]


def test_a_peer_may_change_its_discriminator() -> None:
    """RFC 5880 6.3 permits it; its packets must go on to count as signs of life before the detection time."""
    made = session(UP)
    for number in range(1, 9):
        made.receive(PEER._replace(state=UP, my_discriminator=88), 0.1 * number)
        made.expire(0.1 * number)
    assert (made.state, made.downs, made.remote_discriminator) == (UP, 0, 88)


def test_a_peer_that_began_anew_is_believed_before_the_detection_time() -> None:
    made = session(UP, Timers(100_000, 5))
    made.receive(PEER._replace(state=UP, multiplier=5), 0.0)
    assert not made.receive(REPLAY._replace(my_discriminator=88), 0.1)
    assert made.wake_at <= 0.225
    made.expire(0.2251)
    assert (made.state, made.diagnostic, made.downs, made.remote_discriminator) == (DOWN, 3, 1, 88)


def test_a_replay_does_not_keep_a_dead_peer_alive() -> None:
    made = session(UP)
    for number in range(40):
        made.receive(REPLAY, 0.01 * number)
        made.expire(0.01 * number)
    assert made.state != UP
    assert made.downs == 1
