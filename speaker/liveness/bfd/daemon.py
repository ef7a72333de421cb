"""The process: one epoll loop around the registry of sessions, the UDP sockets and the agent's socket."""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
import random
import resource
import secrets
import select
import signal
import socket
import time
from collections.abc import Iterable
from pathlib import Path

from speaker.liveness.bfd.agent_socket import AgentSocket
from speaker.liveness.bfd.control import Status, Want
from speaker.liveness.bfd.network import Network, Uplink, drain, link_watch
from speaker.liveness.bfd.packet import STATE_NAMES, UP
from speaker.liveness.bfd.registry import Key, Pair, Registry, Tools
from speaker.liveness.bfd.shutdown import Inquiry

SECOND = 1.0
COLLECT_SECONDS = 60.0
FAREWELLS, FAREWELL_PAUSE = 3, 0.03
LAST_SECONDS = 1.0
"""A box that goes down waits so long for what is on its way: then systemd stops ZeroTier, which comes after us."""
NICENESS = -10
SPIN_US = 500_000
"""With real-time priority and no rest for so long, we are ordinary again: a flood must not take the box from others."""
LINES_A_SECOND, LINES_AT_ONCE = 10.0, 200.0
STDERR = 2


class InUse(RuntimeError):
    """Another leyline-bfd serves the same directory."""


class Daemon:
    """Serves `path` until SIGTERM or SIGINT; then says AdminDown to everybody, or Down when the whole box goes down."""

    def __init__(self, path: Path) -> None:
        self._log = Log()
        self._epoll = select.epoll()
        self._listeners: dict[int, tuple[socket.socket, Uplink]] = {}
        self._network = Network(self._opened, self._closed, self._log)
        tools = Tools(random.random, lambda: 1 + secrets.randbelow(2**32 - 1), time.time, self._send, self)
        self.registry = Registry(tools)
        self._links = link_watch()
        self._epoll.register(self._links, select.EPOLLIN)
        self._agent = AgentSocket(path, secrets.token_hex(8), self, self._epoll)
        self._stopping = False
        self._inquiry: Inquiry | None = None
        self._wake_in, wake_out = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._epoll.register(self._wake_in, select.EPOLLIN)
        signal.set_wakeup_fd(wake_out, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)

    def run(self) -> None:
        tidy_at = time.monotonic()
        collect_at = tidy_at + COLLECT_SECONDS
        while not self._may_end():
            at = min(self.registry.next_at(), tidy_at)
            events = self._epoll.poll(max(0.0, at - time.monotonic()))
            # What has arrived is read before a timer may say that nothing arrived.
            for descriptor, event in events:
                self._handle(descriptor, event)
            now = time.monotonic()
            self.registry.run(now)
            if now >= tidy_at:
                tidy_at = now + SECOND
                self._network.check()
                self.registry.tidy(now)
            if now >= collect_at:
                collect_at = now + COLLECT_SECONDS
                gc.collect()
            self._agent.flush()
        self._say_goodbye(going_down=self._inquiry is not None and self._inquiry.going_down)

    def _may_end(self) -> bool:
        """Told to end, and systemd has said whether everything ends. Until then the sessions are served."""
        if not self._stopping:
            return False
        now = time.monotonic()
        if self._inquiry is None:
            try:
                self._inquiry = Inquiry(now)
            except OSError:  # No descriptor or no process is left for the question.
                return True
            self._epoll.register(self._inquiry.descriptor, select.EPOLLIN)
        return self._inquiry.over(now)

    def _say_goodbye(self, *, going_down: bool) -> None:
        for _ in range(FAREWELLS):
            self.registry.stop(time.monotonic(), going_down=going_down)
            time.sleep(FAREWELL_PAUSE)
        if not going_down:
            self._agent.flush()
            return
        # The agent is not told: our own next hops are as good as before, and it would leave them all.
        self._log("the box goes down: the far ends are told that nothing is forwarded any more")
        time.sleep(LAST_SECONDS)

    def _handle(self, descriptor: int, event: int) -> None:
        listener = self._listeners.get(descriptor)
        if listener is not None:
            self._network.read(*listener, self._received)
        elif descriptor == self._links.fileno():
            drain(self._links)
            self._network.check()
        elif descriptor == self._wake_in:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake_in, 4096)
        else:
            self._agent.handle(descriptor, event)

    def _received(self, device: str, remote: str, payload: bytes, single_hop: bool) -> None:
        self.registry.received(device, remote, payload, single_hop, time.monotonic())

    def _send(self, pair: Pair, data: bytes) -> None:
        self._network.send(pair.device, pair.local, pair.remote, data)

    def _opened(self, listener: socket.socket, uplink: Uplink) -> None:
        self._listeners[listener.fileno()] = (listener, uplink)
        self._epoll.register(listener, select.EPOLLIN)

    def _closed(self, listener: socket.socket) -> None:
        self._epoll.unregister(listener)
        del self._listeners[listener.fileno()]

    def _stop(self, *_: object) -> None:
        self._stopping = True

    # What the registry tells ----------------------------------------------------------------------------------------

    def changed(self, pair: Pair) -> None:
        self._agent.note(pair.key)
        session = pair.session
        if (session.state == UP) != pair.told_up:
            pair.told_up = session.state == UP
            state, diagnostic = STATE_NAMES[session.state], session.diagnostic
            self._log(f"{pair.remote} on {pair.device}: {state}, diagnostic {diagnostic}, downs {session.downs}")

    def gone(self, pair: Pair) -> None:
        self._network.forget(pair.device, pair.local, pair.remote)
        self._agent.note(pair.key)

    # What the agent asks --------------------------------------------------------------------------------------------

    def statuses(self) -> Iterable[Status]:
        return [pair.status() for pair in self.registry.pairs.values()]

    def status(self, key: Key) -> Status | None:
        pair = self.registry.pairs.get(key)
        return None if pair is None else pair.status()

    def want(self, want: Want) -> list[str]:
        self._network.set_uplinks(want.uplinks)
        return self.registry.set_want(want, time.monotonic())

    def counters(self) -> dict[str, int]:
        sending = {f"send-{name}": count for name, count in self._network.counters.items()}
        return {**self.registry.counters, **sending}


class Log:
    """Lines on stderr. One that nobody reads holds up no session, and a flapping session does not fill a disk."""

    def __init__(self) -> None:
        self._budget = LINES_AT_ONCE
        self._at = time.monotonic()

    def __call__(self, text: str) -> None:
        now = time.monotonic()
        self._budget = min(LINES_AT_ONCE, self._budget + (now - self._at) * LINES_A_SECOND)
        self._at = now
        if self._budget < 1:
            return
        self._budget -= 1
        with contextlib.suppress(OSError):
            if select.select([], [STDERR], [], 0)[1]:
                os.write(STDERR, f"leyline-bfd: {text}\n".encode(errors="replace")[:4096])


def main(directory: Path) -> None:
    """Runs in `directory` (StateDir.root). Raises InUse, or OSError when the directory does not let us."""
    with (directory / "bfd.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InUse(f"another one serves {directory}: end it first, or name another --state-dir") from None
        with contextlib.suppress(OSError):  # A full disk is no reason not to run.
            (directory / ".bfd.pid").write_text(f"{os.getpid()}\n")
            (directory / ".bfd.pid").replace(directory / "bfd.pid")
        with contextlib.suppress(OSError):
            Path("/proc/self/comm").write_text("leyline-bfd")
        daemon = Daemon(directory / "bfd.sock")
        be_prompt()
        gc.collect()
        gc.freeze()
        gc.disable()  # The loop collects, once a minute.
        daemon.run()


def be_prompt() -> None:
    """Before others, if we may: a late packet is a false alarm at the peer."""
    try:
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    except OSError:
        be_ordinary()
        return
    signal.signal(signal.SIGXCPU, be_ordinary)
    resource.setrlimit(resource.RLIMIT_RTTIME, (SPIN_US, resource.RLIM_INFINITY))


def be_ordinary(*_: object) -> None:
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        os.setpriority(os.PRIO_PROCESS, 0, NICENESS)
