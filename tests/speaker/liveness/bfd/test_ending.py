"""leyline-bfd, the process, is told to end: what it says to its peers, who asked systemd, and what the agent hears."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from speaker.liveness.bfd import control
from speaker.liveness.bfd.control import BfdUplink, Want
from speaker.liveness.bfd.packet import ADMIN_DOWN, DOWN, UP, Packet, decode
from speaker.liveness.bfd.session import Session, Timers

pytestmark = pytest.mark.slow

TIMERS = Timers(100_000, 10)
"""A busy machine must not look like a dead peer."""
NET = f"127.{os.getpid() >> 8 & 0xFF}.{os.getpid() & 0xFF}"
"""Of loopback, so that test runs beside each other do not meet."""
OWN, FAR = f"{NET}.1", f"{NET}.2"
ADMINISTRATIVELY, FORWARDING = (ADMIN_DOWN, 7), (DOWN, 4)


class Peer:
    """The far end of the one session of a leyline-bfd, on loopback. `heard` is all that it was told."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 255)
        self.socket.bind((FAR, 3784))
        self.socket.setblocking(False)
        self.session = Session(77, TIMERS, True, time.monotonic())
        self.heard: list[Packet] = []

    def turn(self) -> None:
        """Serves the session for up to 10 ms."""
        if select.select([self.socket], [], [], 0.01)[0]:
            self.heard.append(decode(self.socket.recv(512)))
            self.session.receive(self.heard[-1], time.monotonic())
        now = time.monotonic()
        if now >= self.session.wake_at:
            self.session.expire(now)
        while data := self.session.transmit(now, 0.5):
            self.socket.sendto(data, (OWN, 3784))

    def until(self, predicate: Callable[[], bool], seconds: float = 20.0) -> float:
        started = time.monotonic()
        while not predicate():
            assert time.monotonic() - started < seconds, (self.session.state, self.heard[-5:])
            self.turn()
        return time.monotonic() - started


class Box:
    """A leyline-bfd with `systemctl` as this script, and an agent that listens."""

    def __init__(self, directory: Path, systemctl: str | None, peer: Peer) -> None:
        commands = directory / "bin"
        commands.mkdir()
        if systemctl is not None:
            (commands / "systemctl").write_text(f"#!/bin/sh\n{systemctl}\n")
            (commands / "systemctl").chmod(0o755)
        self.peer = peer
        self.process = subprocess.Popen(
            [sys.executable, "-m", "speaker.liveness.bfd", str(directory)], env={**os.environ, "PATH": str(commands)}
        )
        self.path = str(directory / "bfd.sock")
        self.agent, self.told = socket.socket(socket.AF_UNIX), b""

    def come_up(self) -> None:
        peer = self.peer
        peer.until(lambda: self.agent.connect_ex(self.path) == 0)
        want = Want((BfdUplink("lo", OWN, None, *TIMERS),), (("lo", FAR),), frozenset(), False)
        self.agent.sendall(control.encode("want", want))
        peer.until(lambda: self.states()[-1:] == ["Up"] and peer.session.state == UP)
        peer.until(lambda: peer.session.detection_us == 1_000_000 and not peer.session.polling)
        peer.heard.clear()

    def states(self) -> list[str]:
        """Of all that the agent has been told of the session, so far."""
        with contextlib.suppress(BlockingIOError):
            self.told += self.agent.recv(1 << 16, socket.MSG_DONTWAIT)
        lines = map(json.loads, self.told.splitlines())
        return [each["status"]["state"] for each in lines if "status" in each]

    def end(self) -> float:
        """SIGTERM; seconds until it is gone."""
        self.process.send_signal(signal.SIGTERM)
        taken = self.peer.until(lambda: self.process.poll() is not None)
        assert self.process.returncode == 0
        return taken

    def last_words(self) -> list[tuple[int, int]]:
        return [(packet.state, packet.diagnostic) for packet in self.peer.heard if packet.state != UP]


@pytest.fixture
def peer() -> Iterator[Peer]:
    made = Peer()
    yield made
    made.socket.close()


@pytest.fixture
def box(tmp_path: Path, peer: Peer) -> Iterator[Callable[[str | None], Box]]:
    made: list[Box] = []

    def make(systemctl: str | None) -> Box:
        made.append(Box(tmp_path, systemctl, peer))
        made[-1].come_up()
        return made[-1]

    yield make
    for each in made:
        each.agent.close()
        each.process.kill()
        each.process.wait()


def test_when_the_box_goes_down_its_peers_take_it_for_dead_at_once(
    box: Callable[[str | None], Box], peer: Peer
) -> None:
    made = box('[ "$*" = is-system-running ] && echo stopping; exit 1')
    told = made.end()
    assert made.last_words() == [FORWARDING] * 3
    assert peer.session.state != UP
    assert (peer.session.ever_up, peer.session.downs) == (True, 1)
    assert 0.9 < told < 5, "ZeroTier, which is stopped after it, carries what is on its way"
    assert set(made.states()) <= {"Down", "Init", "Up"}
    assert made.states()[-1] == "Up", "the agent, which runs on, must not leave its own next hops for it"


STAYS = {
    "the box runs": "echo running",
    "a unit has failed, which makes no difference": "echo degraded; exit 1",
    "no systemd is running": "echo offline; exit 1",
    "systemd does not answer": "echo Failed to connect to bus >&2; exit 1",
    "no systemctl": None,
}


@pytest.mark.parametrize("systemctl", STAYS.values(), ids=STAYS)
def test_when_the_box_stays_nobody_takes_it_for_dead(
    box: Callable[[str | None], Box], peer: Peer, systemctl: str | None
) -> None:
    made = box(systemctl)
    made.end()
    assert set(made.last_words()) == {ADMINISTRATIVELY}
    assert (peer.session.ever_up, peer.session.downs) == (False, 0)


def test_while_systemd_thinks_the_sessions_are_served(box: Callable[[str | None], Box], peer: Peer) -> None:
    """Its answer may take longer than a detection time; and who never answers holds up nothing for ever."""
    made = box("exec /bin/sleep 60")
    assert 1 < made.end() < 5, "systemd kills it after 5 s"
    assert len([packet for packet in peer.heard if packet.state == UP]) >= 8
    assert set(made.last_words()) == {ADMINISTRATIVELY}
    assert (peer.session.ever_up, peer.session.downs) == (False, 0)
