"""The agent's end of the socket, against a leyline-bfd that says what the test tells it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from speaker.liveness.bfd import control
from speaker.liveness.bfd.control import BfdUplink, Status, Want
from speaker.liveness.client import BfdClient

A, B = ("zt0", "10.42.0.2"), ("zt0", "10.42.0.3")
UPLINK = BfdUplink("zt0", "10.42.0.1", None, 100_000, 3)


def want(*sessions: tuple[str, str]) -> Want:
    return Want((UPLINK,), sessions, frozenset(), False)


def status(key: tuple[str, str], state: str = "Up", ever_up: bool = True, downs: int = 0) -> Status:
    return Status(key[0], "10.42.0.1", key[1], state, 0, "Up", 1e9, ever_up, downs, True, 300_000)


class Process:
    """Stands in for leyline-bfd: keeps what it was asked, says what it is told."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.heard: list[tuple[str, Any]] = []
        self.connections = 0
        self._server: asyncio.Server | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self.path)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self.connections += 1
        with contextlib.suppress(OSError):
            while line := await reader.readline():
                self.heard.append(control.decode(line))
        writer.close()

    def say(self, kind: str, value: Any) -> None:
        assert self._writer is not None
        self._writer.write(control.encode(kind, value))

    def raw(self, data: bytes) -> None:
        assert self._writer is not None
        self._writer.write(data)

    def replay(self, instance: str, *statuses: Status) -> None:
        self.say("hello", instance)
        for one in statuses:
            self.say("status", one)
        self.say("replayed", True)

    async def stop(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        if self._server is not None:
            self._server.close()
            self._server = None
        self.path.unlink(missing_ok=True)


class World:
    def __init__(self, path: Path) -> None:
        self.process = Process(path)
        self.changes: list[Status] = []
        self.gone: list[tuple[str, str]] = []
        self.client = BfdClient(path, self.changes.append, lambda device, remote: self.gone.append((device, remote)))

    async def until(self, predicate: Callable[[], object], timeout: float = 10) -> None:
        end = asyncio.get_running_loop().time() + timeout
        while not predicate():
            assert asyncio.get_running_loop().time() < end, (self.process.heard, self.client.statuses, self.gone)
            await asyncio.sleep(0.005)

    async def connected(self, instance: str, *statuses: Status) -> None:
        """A leyline-bfd starts, the client comes, and hears its replay."""
        before = self.process.connections
        await self.process.start()
        await self.until(lambda: self.process.connections > before)
        self.process.replay(instance, *statuses)
        await self.until(lambda: self.client.connected)

    async def lost(self) -> None:
        await self.process.stop()
        await self.until(lambda: not self.client.connected)


@contextlib.asynccontextmanager
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path / "bfd.sock")
    task = asyncio.create_task(made.client.run())
    try:
        yield made
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await made.process.stop()


def run(tmp_path: Path, story: Callable[[World], Any]) -> None:
    async def whole() -> None:
        async with world(tmp_path) as made:
            await story(made)

    asyncio.run(whole())


def test_a_want_is_sent_when_connected_and_only_when_it_moved(tmp_path: Path) -> None:
    async def story(w: World) -> None:
        w.client.want(want(A))
        await w.connected("one")
        w.client.want(want(A))
        w.client.want(want(A, B))
        await w.until(lambda: len(w.process.heard) == 2)
        assert w.process.heard == [("want", want(A)), ("want", want(A, B))]

    run(tmp_path, story)


def test_statuses_come_and_go(tmp_path: Path) -> None:
    async def story(w: World) -> None:
        await w.connected("one", status(A), status(B))
        assert w.client.statuses == {A: status(A), B: status(B)}
        w.process.say("status", status(A, "Down", downs=1))
        w.process.say("gone", list(B))
        await w.until(lambda: w.gone)
        assert w.client.statuses == {A: status(A, "Down", downs=1)}
        assert w.changes == [status(A), status(B), status(A, "Down", downs=1)]
        assert w.gone == [B]

    run(tmp_path, story)


def test_silence_is_not_absence(tmp_path: Path) -> None:
    async def story(w: World) -> None:
        await w.connected("one", status(A))
        await w.lost()
        assert w.client.statuses == {A: status(A)}
        assert not w.gone
        await w.connected("one", status(A))
        assert w.changes == [status(A)], "nothing has changed"

    run(tmp_path, story)


def test_what_ended_while_we_were_away_is_gone(tmp_path: Path) -> None:
    async def story(w: World) -> None:
        w.client.want(want(A, B))
        await w.connected("one", status(A), status(B))
        await w.lost()
        await w.connected("one", status(B))
        assert (w.gone, [*w.client.statuses]) == ([A], [B])

    run(tmp_path, story)


def test_a_new_process_does_not_raise_the_dead(tmp_path: Path) -> None:
    """It has never seen the session up; we have, and it failed. Another was up, and now nothing is known of it."""

    async def story(w: World) -> None:
        w.client.want(want(A, B))
        await w.connected("one", status(A, "Down", downs=1), status(B))
        await w.lost()
        await w.connected("two")
        assert not w.gone
        assert w.client.statuses == {A: status(A, "Down", downs=1), B: status(B)}
        w.process.say("status", status(A, "Down", ever_up=False))
        w.process.say("status", status(B, "Down", ever_up=False))
        await w.until(lambda: len(w.changes) == 4)
        assert w.client.statuses[A].ever_up
        assert not w.client.statuses[B].ever_up
        w.process.say("status", status(A))
        w.process.say("status", status(A, "Down", ever_up=False))  # The peer's AdminDown.
        await w.until(lambda: len(w.changes) == 6)
        assert not w.client.statuses[A].ever_up, "once up, the new process knows best"

    run(tmp_path, story)


def test_what_a_new_process_never_began_goes_when_it_is_not_wanted(tmp_path: Path) -> None:
    async def story(w: World) -> None:
        w.client.want(want(A, B))
        await w.connected("one", status(A), status(B))
        await w.lost()
        await w.connected("two")
        w.process.say("status", status(B))
        await w.until(lambda: B not in w.client._awaited)
        w.client.want(want(B))
        assert (w.gone, [*w.client.statuses]) == ([A], [B])

    run(tmp_path, story)


def test_a_passive_session_of_a_former_process_is_gone(tmp_path: Path) -> None:
    async def story(w: World) -> None:
        await w.connected("one", status(A))
        await w.lost()
        await w.connected("two")
        assert w.gone == [A]

    run(tmp_path, story)


@pytest.mark.parametrize("junk", [b"junk\n", b'{"status":7}\n', b'{"gone":7}\n', b"x" * (control.LINE_OCTETS + 2)])
def test_a_line_of_nonsense_costs_the_connection_and_no_more(tmp_path: Path, junk: bytes) -> None:
    async def story(w: World) -> None:
        await w.connected("one", status(A))
        w.process.raw(junk)
        await w.until(lambda: w.process.connections == 2)
        w.process.replay("one", status(A), status(B))
        await w.until(lambda: B in w.client.statuses)
        assert w.client.statuses == {A: status(A), B: status(B)}

    run(tmp_path, story)


def test_counters_are_asked_for(tmp_path: Path) -> None:
    async def story(w: World) -> None:
        with pytest.raises(TimeoutError):
            await w.client.counters(0.01)
        await w.connected("one")
        answer = asyncio.create_task(w.client.counters())
        await w.until(lambda: ("counters", True) in w.process.heard)
        w.process.say("counters", {"ttl": 3})
        assert await answer == {"ttl": 3}

    run(tmp_path, story)
