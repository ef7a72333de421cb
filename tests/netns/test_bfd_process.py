"""leyline-bfd as a process: the agent's restarts, its own, interfaces that go and come, a bad agent."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from speaker.liveness.bfd import control
from speaker.liveness.bfd.control import BfdUplink, Status, Want
from speaker.liveness.client import BfdClient
from tests.netns.bfd_world import Leyline, silenced
from tests.netns.namespaces import Namespace, pair, veth, wait_until

pytestmark = pytest.mark.root

A, B = "10.42.0.1", "10.42.0.2"
A6, B6 = "fd42::1", "fd42::2"
LEFT, RIGHT = (f"{A}/24", f"{A6}/64"), (f"{B}/24", f"{B6}/64")
LATE_S = 0.15

Ends = tuple[Leyline, Leyline]


@pytest.fixture
def ends(tmp_path: Path) -> Iterator[Ends]:
    """Two boxes with a session up in both families, 100 ms x 3."""
    with pair("bfdp", LEFT, RIGHT) as (left, right):
        a, b = Leyline(left, tmp_path / "a"), Leyline(right, tmp_path / "b")
        want_all(a, b)
        all_up(a, b)
        yield a, b


def want_all(a: Leyline, b: Leyline) -> None:
    a.want(A, B, B6, address6=A6)
    b.want(B, A, A6, address6=B6)


def all_up(*ends: Leyline) -> None:
    for end in ends:
        end.until(partial(agreed, end))


def agreed(end: Leyline) -> bool:
    return [(s.state, s.detection_us) for s in end.statuses.values()] == [("Up", 300_000)] * 2


def all_down(*ends: Leyline) -> float:
    """Seconds from now until the last session was down, by the processes' own word: this one here may be late."""
    started = time.time()
    for end in ends:
        end.until(partial(none_up, end))
    return max(status.since for end in ends for status in end.statuses.values()) - started


def none_up(end: Leyline) -> bool:
    return end.up() == 0


def test_a_cut_that_keeps_carrier_is_found_in_time_at_both_ends(ends: Ends) -> None:
    a, b = ends
    with contextlib.ExitStack() as cut:
        for end in ends:
            cut.enter_context(silenced(end.namespace))
        assert all_down(a, b) < 0.3 + LATE_S
    all_up(a, b)
    assert {status.downs for end in ends for status in end.statuses.values()} == {1}


def test_a_cut_in_one_direction_is_said_by_the_end_that_hears_nothing(ends: Ends) -> None:
    a, b = ends
    with silenced(b.namespace):
        assert all_down(a) < 0.3 + LATE_S
    assert {status.diagnostic for status in a.statuses.values()} == {3}


def test_stopping_is_admin_down_and_no_failure(ends: Ends) -> None:
    a, b = ends
    assert a.namespace.stop(a.process) == 0
    b.until(lambda: b.up() == 0, 1)
    for status in b.statuses.values():
        assert (status.state, status.remote_state, status.ever_up, status.downs) == ("Down", "AdminDown", False, 0)


def test_a_restart_of_the_process_brings_the_sessions_back(ends: Ends) -> None:
    a, b = ends
    a.restart(signal.SIGTERM)
    a.want(A, B, B6, address6=A6)
    all_up(a, b)
    assert {status.downs for status in b.statuses.values()} == {0}
    a.restart(signal.SIGKILL)
    a.want(A, B, B6, address6=A6)
    b.until(lambda: {status.downs for status in b.statuses.values()} == {1})
    all_up(a, b)


def test_sessions_live_on_without_an_agent_and_are_replayed_to_the_next(ends: Ends) -> None:
    """A real client of an agent: it goes, the sessions stay; the next one hears how they stand before it asks."""
    a, b = ends
    a.socket.close()
    wanted = Want((BfdUplink("eth0", A, A6, 100_000, 3),), (("eth0", B), ("eth0", B6)), frozenset(), False)

    async def agent(want: Want | None, until: str) -> dict[tuple[str, str], Status]:
        client = BfdClient(a.directory / "bfd.sock", lambda _: None, lambda *_: None)
        if want is not None:
            client.want(want)
        task = asyncio.create_task(client.run())
        async with asyncio.timeout(10):
            while not client.connected or {status.state for status in client.statuses.values()} != {until}:
                assert not task.done()
                await asyncio.sleep(0.005)
        task.cancel()
        return client.statuses

    before = asyncio.run(agent(wanted, "Up"))
    with silenced(a.namespace):
        b.until(lambda: b.up() == 0)
        found = asyncio.run(agent(None, "Down"))
    assert {(status.ever_up, status.downs, status.active) for status in found.values()} == {(True, 1, True)}
    all_up(b)
    again = asyncio.run(agent(None, "Up"))
    assert {key: status.downs for key, status in again.items()} == {("eth0", B): 1, ("eth0", B6): 1}
    assert {status.downs for status in before.values()} == {0}


def test_an_interface_that_is_made_anew_gets_its_sessions_back(ends: Ends) -> None:
    a, b = ends
    a.namespace.run("ip", "link", "del", "eth0")
    all_down(a, b)
    veth(a.namespace, "eth0", LEFT, b.namespace, "eth0", RIGHT)
    all_up(a, b)


def test_an_interface_that_comes_later(tmp_path: Path) -> None:
    with Namespace("bfdp", "a") as left, Namespace("bfdp", "b") as right:
        a, b = Leyline(left, tmp_path / "a"), Leyline(right, tmp_path / "b")
        want_all(a, b)
        a.until(lambda: len(a.statuses) == 2)
        veth(left, "eth0", LEFT, right, "eth0", RIGHT)
        all_up(a, b)


def test_a_link_that_was_down(ends: Ends) -> None:
    a, b = ends
    a.namespace.run("ip", "link", "set", "eth0", "down")
    a.until(lambda: a.up() == 0)
    a.namespace.run("ip", "link", "set", "eth0", "up")
    a.namespace.run("ip", "address", "add", LEFT[1], "dev", "eth0", "nodad")  # IPv6 addresses go with the link.
    all_up(a, b)


def test_a_port_that_another_daemon_has_is_taken_when_it_is_free(tmp_path: Path) -> None:
    with pair("bfdp", LEFT, RIGHT) as (left, right):
        holder = left.start(
            *(sys.executable, "-c"),
            "import socket, time; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM);"
            "s.bind(('0.0.0.0', 3784)); time.sleep(60)",
        )
        wait_until(lambda: "3784" in left.run("ss", "-lun"), 10)
        a, b = Leyline(left, tmp_path / "a"), Leyline(right, tmp_path / "b")
        want_all(a, b)
        wait_until(lambda: "cannot listen on UDP 3784 of 10.42.0.1 on eth0" in a.log(), 10, a.log)
        left.stop(holder)
        all_up(a, b)
        assert a.log().count("cannot listen") == 1


def test_only_one_serves_a_directory(ends: Ends) -> None:
    a, _ = ends
    said = a.namespace.run(sys.executable, "-m", "speaker.liveness.bfd", str(a.directory), check=False)
    assert said == ""
    second = a.namespace.start(sys.executable, "-m", "speaker.liveness.bfd", str(a.directory))
    assert second.wait(10) == 1
    assert a.up() == 2


def test_a_bad_agent_is_told_and_harms_nothing(ends: Ends) -> None:
    a, b = ends
    a.socket.sendall(b'junk\n{"want":{}}\n{"dance":1}\n')
    a.say("want", Want((BfdUplink("eth0", A, None, 100_000, 3),), (("eth0", B), ("eth9", B)), frozenset(), False))
    a.until(lambda: sum(kind == "error" for kind, _ in a.heard) == 4)
    errors = [value for kind, value in a.heard if kind == "error"]
    a.heard.clear()
    assert [error.partition(":")[0] for error in errors] == [
        "no JSON",
        "want",
        "'dance' is no request; known are want and counters",
        f"no session with {B} on eth9",
    ]
    assert a.state(B) == "Up"
    many = tuple((f"eth{number}", B) for number in range(1, 4000))
    a.say("want", Want((BfdUplink("eth0", A, None, 100_000, 3),), (("eth0", B), *many), frozenset(), False))
    a.socket.sendall(b'{"want":{"uplinks":"%b"}}\n' % (b"x" * 100_000))
    a.until(lambda: sum(kind == "error" for kind, _ in a.heard) == 12)
    assert "and 3989 more of this kind" in [value for _, value in a.heard]
    assert max(len(str(value)) for _, value in a.heard) <= 600
    want_all(a, b)
    all_up(a, b)


def test_an_agent_that_does_not_read_holds_nobody_up(ends: Ends) -> None:
    """It asks for counters without end and reads no answer: it is heard no more, and the sessions do not notice."""
    a, b = ends
    line = control.encode("counters", True) * 1000
    a.socket.settimeout(1)
    with pytest.raises(TimeoutError):
        a.socket.sendall(line * 2000)
    a.socket.close()
    a.heard.clear()
    a.connect()
    assert a.up() == b.up() == 2
    assert {status.downs for end in ends for status in end.statuses.values()} == {0}


def test_the_newest_agent_is_served(ends: Ends) -> None:
    a, _ = ends
    old = a.socket
    a.heard.clear()
    a.connect()
    assert a.up() == 2
    old.settimeout(5)
    while old.recv(1 << 16):
        pass


def test_a_packet_from_beyond_the_segment_is_refused(ends: Ends) -> None:
    """RFC 5881 5. The session's own address and port, but a TTL that a router has touched."""
    a, b = ends
    code = (
        "import socket, struct\n"
        f"for family, address, level, option in ((2, '{A}', 0, 2), (10, '{A6}', 41, 16)):\n"
        "    s = socket.socket(family, socket.SOCK_DGRAM)\n"
        "    s.setsockopt(level, option, 254)\n"
        "    s.sendto(struct.pack('!BBBBIIIII', 0x20, 0x40, 3, 24, 9, 0, 1, 1, 0), (address, 3784))\n"
    )
    b.namespace.run(sys.executable, "-c", code)
    wait_until(lambda: a.counters().get("ttl") == 2, 5, a.log)
    assert a.up() == 2


def test_it_comes_before_others_but_not_when_it_never_rests(ends: Ends) -> None:
    pid = ends[0].process.pid
    assert os.sched_getscheduler(pid) & ~os.SCHED_RESET_ON_FORK == os.SCHED_RR
    assert resource.prlimit(pid, resource.RLIMIT_RTTIME)[0] == 500_000
    os.kill(pid, signal.SIGXCPU)  # What the kernel says at that limit.
    wait_until(lambda: os.sched_getscheduler(pid) & ~os.SCHED_RESET_ON_FORK == os.SCHED_OTHER, 5)
    wait_until(lambda: os.getpriority(os.PRIO_PROCESS, pid) == -10, 5)
    assert ends[0].up() == 2


def test_the_socket_is_for_us_alone(ends: Ends) -> None:
    a, _ = ends
    assert (a.directory / "bfd.sock").stat().st_mode & 0o777 == 0o600
    assert int((a.directory / "bfd.pid").read_text()) == a.process.pid
    code = (
        "import os, socket, sys; os.chdir(sys.argv[1]); os.chmod('bfd.sock', 0o666); os.setuid(65534);"
        "s = socket.socket(socket.AF_UNIX); s.connect('bfd.sock'); s.settimeout(5); print(s.recv(100))"
    )
    assert a.namespace.run(sys.executable, "-c", code, str(a.directory)).strip() == "b''"
    assert a.up() == 2, "and we are still connected"
