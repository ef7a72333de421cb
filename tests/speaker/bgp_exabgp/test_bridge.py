"""The hook as a process, with the test in ExaBGP's place and in the agent's."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import socket
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from speaker.bgp import bridge
from tests.netns.namespaces import wait_until


class Hook:
    """The bridge, its standard input and output, and its directory."""

    def __init__(self, directory: Path, mode: str, **environment: str) -> None:
        self.directory = directory
        self.process = subprocess.Popen(
            [sys.executable, "-I", bridge.__file__, str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "LEYLINE_BRIDGE_MODE": mode, **environment},
            bufsize=0,
        )
        wait_until(lambda: (directory / bridge.SOCKET).exists() or self.process.poll() is not None, 10)
        self.rest = b""

    def say(self, data: bytes) -> None:
        """As ExaBGP."""
        assert self.process.stdin is not None
        view = memoryview(data)
        while view:
            view = view[os.write(self.process.stdin.fileno(), view) :]

    def heard(self, lines: int, timeout: float = 5) -> list[bytes]:
        """What the bridge has said to ExaBGP: that many lines."""
        assert self.process.stdout is not None
        deadline = time.monotonic() + timeout
        while self.rest.count(b"\n") < lines and time.monotonic() < deadline:
            if select.select([self.process.stdout], [], [], 0.1)[0]:
                self.rest += os.read(self.process.stdout.fileno(), 1 << 20)
        found = self.rest.split(b"\n")
        self.rest = b"\n".join(found[lines:])
        return found[:lines]

    def agent(self) -> Agent:
        return Agent(self.directory / bridge.SOCKET)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()


class Agent:
    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(5)
        self.socket.connect(str(path))
        self.rest = b""

    def lines(self, count: int) -> list[bytes]:
        while self.rest.count(b"\n") < count:
            data = self.socket.recv(1 << 20)
            if not data:
                break
            self.rest += data
        found = self.rest.split(b"\n")
        self.rest = b"\n".join(found[count:])
        return found[:count]

    def gone(self) -> bool:
        """The bridge has closed this connection."""
        self.socket.settimeout(5)
        with contextlib.suppress(ConnectionResetError):
            while self.socket.recv(1 << 20):
                pass
        return True


@pytest.fixture(params=["raw"])
def hook(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Hook]:
    made = Hook(tmp_path / "sockets", request.param)
    yield made
    made.close()


stock = pytest.mark.parametrize("hook", ["stock"], indirect=True)


def test_it_needs_nothing_but_the_standard_library() -> None:
    command = [sys.executable, "-I", "-S", bridge.__file__]  # Neither this directory nor site-packages.
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "usage: python -I bridge.py SOCKETDIR" in result.stderr


def test_hello_says_who_is_behind_it_and_asks_for_the_sessions(hook: Hook) -> None:
    agent = hook.agent()
    hello = json.loads(agent.lines(1)[0])
    assert hello == {"type": "hello", "mode": "raw", "pid": os.getpid(), "version": hello["version"]}
    assert hook.heard(1) == [b"show sessions 0"]


def test_the_first_agent_hears_what_was_said_before_it_came(hook: Hook) -> None:
    hook.say(b"one\ntwo\nthr")
    agent = hook.agent()
    hook.say(b"ee\n")
    assert agent.lines(4)[1:] == [b"one", b"two", b"three"]


def test_a_later_agent_hears_what_is_said_from_then_on_and_ends_the_one_before(hook: Hook) -> None:
    first = hook.agent()
    first.lines(1)
    hook.say(b"for the first\n")
    assert first.lines(1) == [b"for the first"]
    second = hook.agent()
    second.lines(1)
    assert first.gone()
    hook.say(b"for the second\n")
    assert second.lines(1) == [b"for the second"]


def test_without_an_agent_it_goes_on_reading(hook: Hook) -> None:
    agent = hook.agent()
    agent.lines(1)
    agent.socket.close()
    started = time.monotonic()
    hook.say(b"x" * 999 + b"\n" + b"y" * 10_000_000 + b"\n" + b"z\n" * 1_000_000)
    assert time.monotonic() - started < 5
    agent = hook.agent()
    agent.lines(1)
    hook.say(b"now\n")
    assert agent.lines(1)[0] in (b"now", b"z")  # What it read before the agent came is not the agent's.


def test_an_agent_that_does_not_read_is_told_of_the_overflow(tmp_path: Path) -> None:
    hook = Hook(tmp_path / "sockets", "raw", LEYLINE_BRIDGE_QUEUE=str(1 << 20))
    agent = hook.agent()
    assert hook.heard(1) == [b"show sessions 0"]
    line = b"n" * 999 + b"\n"
    hook.say(line * 20_000)
    lines: list[bytes] = []
    while lines[-1:] != [b'{"type":"overflow"}']:
        lines += agent.lines(1)
    hook.say(b"the end\n")
    while lines[-1:] != [b"the end"]:
        lines += agent.lines(1)
    assert b'{"type":"overflow"}' in lines
    assert {one for one in lines[1:] if one.startswith(b"n")} == {line[:-1]}, "lines stay whole"
    assert len(lines) < 20_000
    assert hook.heard(1) == [b"show sessions 0"], "and asks how things stand"
    hook.close()


def test_commands_go_through_whole_and_in_order(hook: Hook) -> None:
    agent = hook.agent()
    hook.heard(1)
    lines = [b"announce raw %d 10.0.0.1 %s" % (number, b"FF" * 40_000) for number in range(30)]
    agent.socket.settimeout(20)
    thread = threading.Thread(target=agent.socket.sendall, args=(b"".join(line + b"\n" for line in lines),))
    thread.start()
    assert hook.heard(30, 20) == lines
    thread.join()


def test_what_an_agent_left_unsaid_is_dropped_and_a_begun_line_is_completed(hook: Hook) -> None:
    agent = hook.agent()
    hook.heard(1)
    line = b"a" * 900_000
    for _ in range(3):  # The pipe takes 1 MiB: the second line is under way, the third waits.
        agent.socket.sendall(line + b"\n")
    agent.socket.sendall(b"half a li")
    wait_until(lambda: unread(hook) > 1_000_000, 5)
    agent.socket.close()
    second = hook.agent()
    second.lines(1)
    second.socket.sendall(b"mine\n")
    heard = hook.heard(4, 5)
    assert heard == [line, line, b"show sessions 0", b"mine"]


def unread(hook: Hook) -> int:
    """Octets in the pipe to ExaBGP."""
    assert hook.process.stdout is not None
    return int(struct.unpack("i", fcntl.ioctl(hook.process.stdout.fileno(), termios.FIONREAD, b"\0" * 4))[0])


@pytest.mark.parametrize(
    "bad", [b"\xff\xfe\n", "é\n".encode(), b"x" * (2 << 20) + b"\n"], ids=["octets", "utf8", "long"]
)
def test_bad_lines_never_reach_exabgp_and_never_end_the_bridge(hook: Hook, bad: bytes) -> None:
    agent = hook.agent()
    hook.heard(1)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # It may have been put out for it.
        agent.socket.sendall(bad)
        agent.socket.sendall(b"good\n")
    again = hook.agent()
    again.lines(1)
    again.socket.sendall(b"after\n")
    heard = hook.heard(2)
    if heard[0] == b"good":
        heard = heard[1:] + hook.heard(1)
    assert heard == [b"show sessions 0", b"after"]
    assert hook.process.poll() is None


def test_it_ends_with_exabgp(hook: Hook) -> None:
    assert hook.process.stdin is not None
    agent = hook.agent()
    agent.lines(1)
    hook.process.stdin.close()
    assert hook.process.wait(5) == 0
    assert agent.gone()


def test_its_directory_is_for_its_user_only(hook: Hook) -> None:
    assert hook.directory.stat().st_mode & 0o777 == 0o700


@pytest.mark.root
def test_another_user_is_refused(hook: Hook) -> None:
    """Even when somebody has opened the directory to all."""
    hook.directory.chmod(0o755)
    for directory in hook.directory.parents:
        if directory.owner() == "root" and not directory.stat().st_mode & 0o001:
            directory.chmod(directory.stat().st_mode | 0o011)
    (hook.directory / bridge.SOCKET).chmod(0o777)
    script = (
        "import os, socket, sys; os.setgid(65534); os.setuid(65534); s = socket.socket(socket.AF_UNIX);"
        "s.connect(sys.argv[1]); s.settimeout(5); print(s.recv(100))"
    )
    result = subprocess.run(
        [sys.executable, "-c", script, str(hook.directory / bridge.SOCKET)], capture_output=True, text=True, check=False
    )
    assert (result.stdout, result.stderr) == ("b''\n", "")
    assert hook.agent().lines(1)


@stock
def test_stock_answers_go_to_whom_they_belong(hook: Hook) -> None:
    assert hook.heard(2) == [b"reset", b"enable-ack"]
    first = hook.agent()
    assert json.loads(first.lines(1)[0])["mode"] == "stock"
    assert hook.heard(1) == [b"show neighbor json"]
    hook.say(b"done\n[]\ndone\n")  # To the bridge's own two lines.
    assert first.lines(1) == [b"[]"]
    first.socket.sendall(b"one\ntwo\n")
    assert hook.heard(2) == [b"one", b"two"]
    hook.say(b"done\n")
    assert first.lines(1) == [b"done"]
    second = hook.agent()
    second.lines(1)
    assert hook.heard(1) == [b"show neighbor json"]
    second.socket.sendall(b"three\n")
    assert hook.heard(1) == [b"three"]
    hook.say(b"error\n[]\ndone\ndone\n")  # To `two`, to the bridge, to `three`.
    assert second.lines(2) == [b"[]", b"done"]
