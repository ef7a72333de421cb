"""Whose packet it is, who may open a session, and how sessions end; without sockets, on a clock of the test's own."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from controller.inventory.rules_liveness import MAX_BFD_PACKETS
from speaker.liveness.bfd import registry
from speaker.liveness.bfd.control import BfdUplink, Status, Want
from speaker.liveness.bfd.packet import ADMIN_DOWN, DOWN, INIT, UP, Packet, decode, encode
from speaker.liveness.bfd.registry import Pair, Registry, Tools
from speaker.liveness.bfd.session import NEVER

UPLINK = BfdUplink("zt0", "10.42.0.1", "fd42::1", 100_000, 3)
SECOND = BfdUplink("zt1", "10.43.0.1", None, 300_000, 3)
PEER, OTHER = "10.42.0.2", "10.42.0.3"
ZT0, ZT1 = ("zt0", PEER), ("zt1", PEER)


class Box:
    """A registry and all that it has said. `peer` is what the far end would say."""

    def __init__(self, first: int = 1) -> None:
        self.now = 100.0
        self.sent: list[tuple[tuple[str, str], Packet]] = []
        self.told: dict[tuple[str, str], Status | None] = {}
        numbers = itertools.count(first)
        self.registry = Registry(Tools(lambda: 0.0, lambda: next(numbers), lambda: 1e9 + self.now, self.send, self))

    def send(self, pair: Pair, data: bytes) -> None:
        self.sent.append((pair.key, decode(data)))

    def changed(self, pair: Pair) -> None:
        self.told[pair.key] = pair.status()

    def gone(self, pair: Pair) -> None:
        self.told[pair.key] = None

    def want(self, *sessions: tuple[str, str], accept: tuple[str, ...] = (), admin_down: bool = False) -> list[str]:
        return self.registry.set_want(Want((UPLINK, SECOND), sessions, frozenset(accept), admin_down), self.now)

    def hear(self, key: tuple[str, str], state: int, yours: int = 0, mine: int = 900, ttl: bool = True) -> None:
        data = encode(Packet(state, 0, 3, mine, yours, 100_000, 100_000))
        self.registry.received(*key, data, ttl, self.now)

    def up_to_date(self) -> None:
        """Every peer that we are up with says so."""
        for key, pair in self.registry.pairs.items():
            if pair.session.state == UP:
                self.hear(key, UP, pair.session.local_discriminator)

    def come_up(self, key: tuple[str, str]) -> Pair:
        self.hear(key, DOWN)
        pair = self.registry.pairs[key]
        self.hear(key, UP, pair.session.local_discriminator)
        assert pair.session.state == UP
        return pair

    def run(self, seconds: float, each: Callable[[], None] | None = None) -> None:
        """Time passes, in steps of what is due, with `tidy` once a second; `each` is called every 100 ms."""
        end, tidy, tick = self.now + seconds, self.now + 1, self.now + 0.1
        while self.now < end:
            self.now = min(end, tidy, tick, max(self.now, self.registry.next_at()))
            self.registry.run(self.now)
            if self.now >= tidy:
                self.registry.tidy(self.now)
                tidy += 1
            if self.now >= tick:
                tick += 0.1
                if each:
                    each()

    def dropped(self) -> dict[str, int]:
        return dict(self.registry.counters)

    def states(self) -> dict[tuple[str, str], str]:
        return {key: status.state for key, status in self.told.items() if status is not None}


@pytest.fixture
def box() -> Box:
    return Box()


def test_a_wanted_session_calls_and_comes_up_and_tells(box: Box) -> None:
    assert not box.want(ZT0)
    assert [(key, packet.state) for key, packet in box.sent] == [(ZT0, DOWN)]
    box.come_up(ZT0)
    status = box.told[ZT0]
    assert status == Status("zt0", "10.42.0.1", PEER, "Up", 0, "Up", 1e9 + 100, True, 0, True, 300_000)


def test_the_address_of_the_sessions_own_family_is_used(box: Box) -> None:
    box.want(("zt0", "fd42::2"))
    assert box.registry.pairs["zt0", "fd42::2"].local == "fd42::1"


def test_what_cannot_be_is_said_and_the_rest_is_done(box: Box) -> None:
    errors = box.want(("zt1", "fd42::2"), ("zt9", PEER), ZT0)
    assert [error.split(":")[0] for error in errors] == [
        "no session with fd42",
        f"no session with {PEER} on zt9",
    ]
    assert list(box.registry.pairs) == [ZT0]


# Whose packet --------------------------------------------------------------------------------


def test_strangers_wrong_ttl_and_junk_are_dropped_and_counted(box: Box) -> None:
    box.want(ZT0)
    before = box.registry.pairs[ZT0].status()
    box.hear(("zt0", OTHER), DOWN)
    box.hear(ZT0, DOWN, ttl=False)
    box.registry.received(*ZT0, b"junk", True, box.now)
    box.hear(ZT1, DOWN)  # Wanted on the other uplink only.
    assert box.dropped() == {"stranger": 2, "ttl": 1, "length": 1}
    assert box.registry.pairs[ZT0].status() == before


def test_a_discriminator_of_nobody_or_of_another_pair_is_dropped(box: Box) -> None:
    box.want(ZT0, ZT1, ("zt0", OTHER))
    pair = box.come_up(ZT0)
    box.hear(ZT0, DOWN, yours=4711)
    box.hear(ZT1, DOWN, yours=pair.session.local_discriminator)
    box.hear(("zt0", OTHER), DOWN, yours=pair.session.local_discriminator)
    assert box.dropped() == {"unknown-discriminator": 1, "wrong-pair": 2}
    assert box.states() == {ZT0: "Up", ZT1: "Down", ("zt0", OTHER): "Down"}


def test_our_own_discriminator_reflected_is_dropped(box: Box) -> None:
    box.want(ZT0)
    own = box.registry.pairs[ZT0].session.local_discriminator
    box.hear(ZT0, DOWN, mine=own)
    box.hear(ZT0, INIT, mine=own, yours=own)
    assert box.dropped() == {"own-discriminator": 2}
    assert box.states() == {ZT0: "Down"}


def test_a_former_lifes_discriminator_is_dropped(box: Box) -> None:
    box.want(ZT0)
    old = box.come_up(ZT0).session.local_discriminator
    box.want()
    box.run(2)
    assert box.told[ZT0] is None
    box.want(ZT0)
    box.hear(ZT0, UP, yours=old)
    assert box.dropped() == {"unknown-discriminator": 1}


# Passive sessions --------------------------------------------------------------------------------


def test_an_accepted_peer_opens_a_passive_session_and_only_by_down(box: Box) -> None:
    box.want(accept=(PEER,))
    box.hear(ZT0, ADMIN_DOWN)
    box.hear(ZT0, INIT)
    box.hear(ZT0, DOWN, yours=7)
    assert box.dropped() == {"admin-down": 1, "your-discriminator": 1, "unknown-discriminator": 1}
    assert not box.registry.pairs
    assert not box.sent
    box.come_up(ZT0)
    status = box.told[ZT0]
    assert status is not None
    assert (status.state, status.active) == ("Up", False)


def test_passive_sessions_are_bounded(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "MAX_PASSIVE", 2)
    remotes = tuple(f"10.42.1.{number}" for number in range(5))
    box.want(ZT0, accept=remotes)
    for remote in remotes:
        box.hear(("zt0", remote), DOWN)
    assert len(box.registry.pairs) == 3
    assert box.dropped() == {"too-many-sessions": 3}
    box.want(ZT0, ("zt0", remotes[0]), accept=remotes)
    box.hear(("zt0", remotes[4]), DOWN)
    assert len(box.registry.pairs) == 4, "one became active and made room"
    box.want(accept=remotes)
    box.run(5)
    assert {status.active for status in box.told.values() if status is not None} == {False}
    assert box.registry._passive == len(box.registry.pairs)


def test_the_budget_is_the_one_that_the_controller_holds_our_own_sessions_to() -> None:
    assert registry.MAX_PACKETS == MAX_BFD_PACKETS


def test_peers_open_no_more_sessions_than_the_budget_of_packets_has_room_for(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "MAX_PACKETS", 25.0)
    remotes = tuple(f"10.42.1.{number}" for number in range(5))
    slow = tuple(f"10.42.2.{number}" for number in range(2))
    box.want(ZT0, accept=(*remotes, *slow))
    box.come_up(ZT0)
    box.run(1, box.up_to_date)
    box.come_up(("zt0", remotes[0]))
    box.hear(("zt0", remotes[1]), DOWN)
    assert box.dropped() == {"packet-budget": 1}, "10 a second each"
    box.come_up(("zt1", slow[0]))
    box.hear(("zt1", slow[1]), DOWN)
    assert box.dropped() == {"packet-budget": 2}, "3.3 a second each, and there was room for one"
    box.want(ZT0, ("zt0", remotes[2]), accept=remotes)
    assert ("zt0", remotes[2]) in box.registry.pairs, "our own are not refused: the controller has counted them"


def test_sessions_of_peers_give_way_to_our_own_and_the_latest_goes_first(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By AdminDown: the peer knows no more than before, and so goes on to use us."""
    monkeypatch.setattr(registry, "MAX_PACKETS", 25.0)
    first, latest = ("zt0", "10.42.1.1"), ("zt0", "10.42.1.2")
    remotes = (first[1], latest[1])
    box.want(accept=remotes)
    box.come_up(first)
    box.come_up(latest)
    box.run(2, box.up_to_date)
    assert box.states() == {first: "Up", latest: "Up"}
    box.want(ZT0, accept=remotes)
    box.come_up(ZT0)
    box.sent.clear()
    box.run(1, box.up_to_date)
    assert box.states() == {ZT0: "Up", first: "Up", latest: "AdminDown"}
    assert {packet.state for key, packet in box.sent if key == latest} == {UP, ADMIN_DOWN}
    box.run(3, box.up_to_date)
    assert box.told[latest] is None
    box.hear(latest, DOWN)
    assert latest not in box.registry.pairs
    box.want(accept=remotes)
    box.run(3, box.up_to_date)
    assert box.come_up(latest).session.state == UP, "there is room again"


def test_a_passive_session_becomes_active_without_going_down(box: Box) -> None:
    box.want(accept=(PEER,))
    pair = box.come_up(ZT0)
    box.want(ZT0)
    assert box.registry.pairs[ZT0] is pair
    assert (pair.session.active, pair.session.state, pair.session.downs) == (True, UP, 0)


def test_a_passive_session_goes_soon_after_the_peers_admin_down(box: Box) -> None:
    box.want(accept=(PEER,))
    own = box.come_up(ZT0).session.local_discriminator
    box.run(30, lambda: box.hear(ZT0, ADMIN_DOWN, own))
    assert box.told[ZT0] is None


def test_a_silent_passive_session_stays_long_enough_to_say_dead(box: Box) -> None:
    box.want(accept=(PEER,))
    box.come_up(ZT0)
    box.run(200)
    status = box.told[ZT0]
    assert status is not None
    assert (status.state, status.ever_up, status.downs) == ("Down", True, 1)
    box.run(registry.SILENT_SECONDS)
    assert box.told[ZT0] is None


# How sessions end --------------------------------------------------------------------------------


def test_a_session_not_wanted_any_more_says_admin_down_for_a_detection_time(box: Box) -> None:
    box.want(ZT0)
    own = box.come_up(ZT0).session.local_discriminator
    box.run(0.2)
    box.sent.clear()
    box.want()
    box.run(0.25, lambda: box.hear(ZT0, UP, own))
    assert [packet.state for _, packet in box.sent] == [ADMIN_DOWN] * 3
    assert box.states() == {ZT0: "AdminDown"}
    box.run(2)
    assert box.told[ZT0] is None
    assert box.registry.next_at() == NEVER


def test_a_session_wanted_again_during_its_farewell_begins_anew(box: Box) -> None:
    box.want(ZT0)
    own = box.come_up(ZT0).session.local_discriminator
    box.want()
    box.want(ZT0)
    assert box.states() == {ZT0: "Down"}
    box.run(5, lambda: box.hear(ZT0, UP if box.states()[ZT0] != "Down" else DOWN, own))
    assert box.states() == {ZT0: "Up"}


def test_a_session_that_never_heard_anything_just_goes(box: Box) -> None:
    box.want(ZT0)
    box.want()
    assert box.told[ZT0] is None


def test_a_peer_no_longer_accepted_is_said_good_bye(box: Box) -> None:
    box.want(accept=(PEER,))
    box.come_up(ZT0)
    box.want()
    assert box.states() == {ZT0: "AdminDown"}
    box.run(2)
    assert box.told[ZT0] is None


def test_another_address_of_ours_is_another_session(box: Box) -> None:
    box.want(ZT0)
    old = box.come_up(ZT0)
    moved = UPLINK._replace(address="10.42.0.9")
    box.registry.set_want(Want((moved,), (ZT0,), frozenset(), False), box.now)
    new = box.registry.pairs[ZT0]
    assert new is not old
    assert (new.local, new.session.state, new.session.ever_up) == ("10.42.0.9", DOWN, False)


def test_drained_is_admin_down_everywhere_and_nobody_opens_a_session(box: Box) -> None:
    box.want(ZT0, accept=(PEER, OTHER))
    own = box.come_up(ZT0).session.local_discriminator
    box.want(ZT0, ZT1, accept=(PEER, OTHER), admin_down=True)
    box.hear(("zt0", OTHER), DOWN)
    assert box.states() == {ZT0: "AdminDown", ZT1: "AdminDown"}
    assert box.dropped() == {"admin-down": 1}
    box.run(60, lambda: box.hear(ZT0, DOWN, own))
    assert box.states() == {ZT0: "AdminDown", ZT1: "AdminDown"}
    box.want(ZT0, ZT1, accept=(PEER, OTHER))
    box.hear(ZT0, DOWN, own)
    box.hear(ZT0, UP, own)
    assert box.states() == {ZT0: "Up", ZT1: "Down"}
    status = box.told[ZT0]
    assert status is not None
    assert status.downs == 0


def test_stopping_says_admin_down_to_all_who_know_us(box: Box) -> None:
    box.want(ZT0, ZT1)
    box.come_up(ZT0)
    box.sent.clear()
    for _ in range(3):
        box.registry.stop(box.now)
    assert [(key, packet.state) for key, packet in box.sent if key == ZT0] == [(ZT0, ADMIN_DOWN)] * 3
    assert len([key for key, _ in box.sent if key == ZT1]) <= 1


def test_a_box_that_goes_down_says_that_it_forwards_nothing_any_more(box: Box) -> None:
    """RFC 5880 6.8.17, to all who know us; what we have taken our leave of stays so."""
    left = ("zt0", OTHER)
    box.want(ZT0, ZT1, left)
    box.come_up(ZT0)
    box.come_up(left)
    box.want(ZT0, ZT1)
    box.sent.clear()
    for _ in range(3):
        box.registry.stop(box.now, going_down=True)
    said = [(packet.state, packet.diagnostic, packet.your_discriminator) for key, packet in box.sent if key == ZT0]
    assert said == [(DOWN, 4, 900)] * 3
    assert {(packet.state, packet.diagnostic) for key, packet in box.sent if key == left} == {(ADMIN_DOWN, 7)}
    assert len([key for key, _ in box.sent if key == ZT1]) <= 1


# Time --------------------------------------------------------------------------------


def test_a_dead_peer_is_found_at_its_detection_time(box: Box) -> None:
    box.want(ZT0)
    own = box.come_up(ZT0).session.local_discriminator
    box.run(5, lambda: box.hear(ZT0, UP, own))
    heard = box.registry.pairs[ZT0].session.heard_at
    box.run(1)
    status = box.told[ZT0]
    assert status is not None
    assert (status.state, status.downs) == ("Down", 1)
    assert status.since == pytest.approx(1e9 + heard + 0.3)


def test_packets_do_not_pile_up_timers(box: Box) -> None:
    box.want(ZT0)
    own = box.come_up(ZT0).session.local_discriminator
    for number in range(5000):
        box.now += 0.0001
        box.hear(ZT0, UP if number % 3 else DOWN, own if number % 3 else 0)
        box.registry.run(box.now)
    assert len(box.registry._heap) < 10


def test_two_boxes_bring_each_other_up(box: Box) -> None:
    """One active, one passive; and the passive side's session ends when the active side wants it no more."""
    other = Box(1000)
    other.now = box.now
    far = {"zt0": ("zt0", "10.42.0.1")}

    def carry() -> None:
        other.now = box.now
        for (device, _), packet in box.sent:
            other.registry.received(*far[device], encode(packet), True, box.now)
        box.sent.clear()
        other.registry.run(box.now)
        for _, packet in other.sent:
            box.registry.received(*ZT0, encode(packet), True, box.now)
        other.sent.clear()

    other.registry.set_want(
        Want((BfdUplink("zt0", PEER, None, 300_000, 4),), (), frozenset(["10.42.0.1"]), False), box.now
    )
    box.want(ZT0)
    box.run(5, carry)
    assert box.states() == {ZT0: "Up"}
    assert other.states() == {("zt0", "10.42.0.1"): "Up"}
    assert box.registry.pairs[ZT0].session.detection_us == 4 * 300_000
    box.want()
    box.run(1.5, carry)
    status = other.told["zt0", "10.42.0.1"]
    assert status is not None
    assert (status.state, status.remote_state, status.downs, status.ever_up) == ("Down", "AdminDown", 0, False)
