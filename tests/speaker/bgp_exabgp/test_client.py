"""The client against a bridge that says what the test wants it to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from speaker.bgp.client import UNREAD_EVENTS, BridgeClient, NotConnected
from speaker.bgp.events import (
    BridgeGone,
    Event,
    Hello,
    Overflow,
    PeerDown,
    PeerUp,
    RefreshReceived,
    UpdateReceived,
)
from speaker.bgp.wire import CEASE, notification
from speaker.rib.prefix import Family
from tests.interop.exabgp_support import asynchronous, until
from tests.speaker.bgp_exabgp.test_opens import CAPABILITIES, open_body

PEER = "10.0.0.2"
OPEN = open_body(*CAPABILITIES).hex()


class FakeBridge:
    """Listens where the bridge would, and keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.writer: asyncio.StreamWriter | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self.say({"type": "hello", "mode": "raw", "pid": 7, "version": "5.0.15"})
        while line := await reader.readline():
            self.told.append(line.decode().rstrip("\n"))

    def say(self, *lines: object) -> None:
        assert self.writer is not None
        for line in lines:
            self.writer.write((line if isinstance(line, str) else json.dumps(line)).encode() + b"\n")

    def answer(self, line: str, backlog: dict[str, int | None]) -> None:
        self.say({"type": "raw", "id": int(line.split()[2]), "backlog": backlog})

    def hang_up(self) -> None:
        assert self.writer is not None
        self.writer.close()


@asynccontextmanager
async def talking(
    directory: Path,
) -> AsyncIterator[tuple[FakeBridge, BridgeClient, Callable[[int], Awaitable[list[Event]]]]]:
    """The bridge, the client, and `events(n)`: the first n events so far."""
    fake = FakeBridge()
    server = await asyncio.start_unix_server(fake.serve, directory / "bridge.sock")
    heard: list[Event] = []

    async def events(count: int) -> list[Event]:
        await until(lambda: len(heard) >= count, 5, lambda: str(heard))
        return heard

    async with BridgeClient(directory / "bridge.sock") as client:

        async def listen() -> None:
            async for batch in client.batches():
                heard.extend(batch)

        task = asyncio.create_task(listen())
        try:
            yield fake, client, events
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            server.close()


def neighbor(**fields: object) -> dict[str, object]:
    return {"address": {"local": "10.0.0.1", "peer": PEER}, **fields}


def packet(kind: str, body: str, direction: str = "receive") -> dict[str, object]:
    return {"type": kind, "neighbor": neighbor(direction=direction, message={"category": 1, "body": "0x" + body})}


def state(name: str, reason: str = "") -> dict[str, object]:
    return {"type": "state", "neighbor": neighbor(state=name, reason=reason)}


def session(up: bool, number: int = 0) -> dict[str, object]:
    one = {"peer": PEER, "description": "d", "up": up, "leaving": False, "sent": OPEN, "received": OPEN}
    return {"type": "sessions", "id": number, "sessions": [one if up else {**one, "sent": None, "received": None}]}


UP = (packet("open", OPEN, "send"), packet("open", OPEN), state("up"))


@asynchronous
async def test_a_session_from_its_opens_to_its_end(tmp_path: Path) -> None:
    async with talking(tmp_path) as (bridge, client, events):
        hello, *_ = await events(1)
        assert hello == Hello("raw", 7, "5.0.15") == client.hello
        bridge.say(packet("update", "00000000"))  # Of a session that we do not know: not for the agent.
        bridge.say(*UP, packet("update", "0000ffff"), packet("route-refresh", "00020101"), state("down", "closing"))
        _, up, update, refresh, down = await events(5)
        assert isinstance(up, PeerUp)
        assert (up.peer, up.router_id, up.resumed, up.refresh, up.enhanced_refresh) == (
            PEER,
            b"\x0a\0\0\x02",
            False,
            True,
            True,
        )
        assert up.negotiated.add_path_send == {Family.IPV4}
        assert update == UpdateReceived(PEER, b"\0\0\xff\xff")
        assert refresh == RefreshReceived(PEER, Family.IPV6, 1)
        assert down == PeerDown(PEER, "closing", established=True, notification=False)


@pytest.mark.parametrize(
    ("reason", "purges"),
    [
        ("notification received (6,2)", True),
        ("notification sent (3,1)", True),
        ("notification sent (4,0)", False),
        ("notification received (4,0)", False),
        ("closing connection", False),
        ("graceful restarted negotiated, closing without sending any notification", False),
    ],
)
def test_what_ends_graceful_restart(tmp_path: Path, reason: str, purges: bool) -> None:
    async def run() -> None:
        async with talking(tmp_path) as (bridge, _, events):
            await events(1)
            bridge.say(*UP, state("down", reason), state("down", reason))
            heard = await events(4)
            ours = reason.startswith("graceful restarted")  # Our ExaBGP has read another configuration.
            assert heard[2] == PeerDown(PEER, reason, established=True, notification=purges, ours=ours)
            assert heard[3] == PeerDown(PEER, reason, established=False, notification=False, ours=False)

    asynchronous(run)()


@asynchronous
async def test_a_session_that_was_up_before_us_is_resumed(tmp_path: Path) -> None:
    async with talking(tmp_path) as (bridge, _, events):
        await events(1)
        bridge.say(session(up=True), state("up"))
        heard = await events(2)
        assert isinstance(heard[1], PeerUp)
        assert heard[1].resumed
        bridge.say(session(up=False))
        assert (await events(3))[2] == PeerDown(PEER, "found down", established=True, notification=False)


@asynchronous
async def test_an_up_without_its_opens_is_asked_about(tmp_path: Path) -> None:
    async with talking(tmp_path) as (bridge, _, events):
        await events(1)
        bridge.say(packet("open", OPEN), state("up"))
        await until(lambda: bridge.told == ["show sessions 0"], 5)
        bridge.say(session(up=True))
        assert isinstance((await events(2))[1], PeerUp)


@asynchronous
async def test_after_an_overflow_every_session_is_new(tmp_path: Path) -> None:
    async with talking(tmp_path) as (bridge, _, events):
        await events(1)
        bridge.say(*UP, {"type": "overflow"}, packet("update", "00000000"), session(up=True))
        heard = await events(5)
        assert heard[2] == Overflow()
        assert isinstance(heard[3], PeerDown)
        assert (heard[3].established, heard[3].notification, heard[3].ours) == (True, False, True)
        assert isinstance(heard[4], PeerUp)
        assert heard[4].resumed


@asynchronous
async def test_a_bridge_that_goes_takes_the_sessions_along_and_is_looked_for(tmp_path: Path) -> None:
    async with talking(tmp_path) as (bridge, client, events):
        await events(1)
        bridge.say(*UP)
        await events(2)
        client.send([PEER], [b"x" * 4096] * 2000)
        bridge.hang_up()
        heard = await events(5)
        assert heard[2] == BridgeGone()
        assert heard[3] == PeerDown(PEER, "the bridge is gone", established=True, notification=False, ours=True)
        assert isinstance(heard[4], Hello)
        await client.drain()  # What was queued for the old one is gone.
        bridge.told.clear()
        client.send([PEER], [b"nobody is up"])
        assert bridge.told == []


@asynchronous
async def test_junk_is_passed_over(tmp_path: Path) -> None:
    junk = ["", "done", "error", "{", '{"type": 5}', "[1, 2]", '{"no": "type"}', "\x00\x01", '{"type":"sessions"}']
    broken = [packet("open", "zz"), packet("open", "04"), packet("route-refresh", "00"), packet("update", "abc")]
    async with talking(tmp_path) as (bridge, _, events):
        await events(1)
        bridge.say(*junk, *broken, *UP, *junk, packet("update", "00000000"))
        heard = await events(3)
        assert isinstance(heard[1], PeerUp)
        assert heard[2] == UpdateReceived(PEER, bytes(4))


@pytest.mark.parametrize(
    "line", [packet("update", "xyz"), packet("route-refresh", "x"), '{"type": "state", "neighbor": {"state": "do']
)
@asynchronous
async def test_a_line_that_is_lost_is_an_overflow_of_one(tmp_path: Path, line: object) -> None:
    """What it would have said is not known: nothing that was heard since the session came up may be trusted."""
    async with talking(tmp_path) as (bridge, _, events):
        await events(1)
        bridge.say(*UP, line, packet("update", "00000000"), session(up=True), packet("update", "00000000"))
        heard = await events(5)
        assert isinstance(heard[2], PeerDown)
        assert (heard[2].established, heard[2].notification, heard[2].ours) == (True, False, True)
        assert isinstance(heard[3], PeerUp)
        assert heard[3].resumed
        assert heard[4] == UpdateReceived(PEER, bytes(4))
        assert bridge.told == ["show sessions 0"]


@asynchronous
async def test_an_open_that_cannot_be_read_costs_its_own_session_only(tmp_path: Path) -> None:
    other = {"peer": "10.0.0.3", "description": "d", "up": True, "leaving": False, "sent": OPEN, "received": "04"}
    both = session(up=True)
    both["sessions"] = [other, *both["sessions"]]  # type: ignore[misc]
    async with talking(tmp_path) as (bridge, _, events):
        await events(1)
        bridge.say(both)
        up = (await events(2))[1]
        assert isinstance(up, PeerUp)
        assert up.peer == PEER


@asynchronous
async def test_a_connection_that_is_given_up_is_not_given_up_in_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with talking(tmp_path) as (bridge, client, events):
        await events(1)

        def mistaken() -> None:
            raise ValueError("a bug")

        monkeypatch.setattr(client, "_gone", mistaken)
        errors: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
        bridge.hang_up()
        await until(lambda: len(errors) == 1, 5)
        assert str(errors[0]["exception"]) == "a bug"


@asynchronous
async def test_our_own_mistake_is_not_taken_for_a_line_that_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with talking(tmp_path) as (bridge, client, events):
        await events(1)

        def mistaken(*_: object) -> None:
            raise ValueError("a bug")

        monkeypatch.setattr(client, "_state", mistaken)
        errors: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
        bridge.say(state("up"))
        assert (await events(2))[1] == BridgeGone(), "it begins anew"
        assert str(errors[0]["exception"]) == "a bug"


@asynchronous
async def test_messages_go_to_peers_that_are_up_and_drain_waits_for_them(tmp_path: Path) -> None:
    async with talking(tmp_path) as (bridge, client, events):
        await events(1)
        bridge.say(*UP)
        await events(2)
        client.send([PEER, "10.0.0.9"], [b"\x01\x02"])
        await until(lambda: len(bridge.told) == 1, 5)
        assert bridge.told[0].split()[3:] == [PEER, "0102"]
        bridge.answer(bridge.told[0], {PEER: 9 << 20})
        await until(lambda: client.congested() == {PEER}, 5)
        waiting = asyncio.create_task(client.drain())
        await until(lambda: len(bridge.told) == 2, 5)  # It asks what still waits.
        assert not waiting.done()
        bridge.answer(bridge.told[1], {PEER: 0})
        await asyncio.wait_for(waiting, 5)


@asynchronous
async def test_teardown_is_a_cease_and_ends_graceful_restart(tmp_path: Path) -> None:
    async with talking(tmp_path) as (bridge, client, events):
        await events(1)
        bridge.say(*UP)
        await events(2)
        client.teardown(PEER, 3)
        client.teardown("10.0.0.9", 3)
        await until(lambda: len(bridge.told) == 1, 5)
        assert bridge.told[0].split()[4] == notification(CEASE, 3).hex()
        bridge.say(state("down", "closing connection"))
        assert (await events(3))[2] == PeerDown(PEER, "closing connection", established=True, notification=True)


@asynchronous
async def test_questions_are_answered_or_fail(tmp_path: Path) -> None:
    async with talking(tmp_path) as (bridge, client, events):
        await events(1)
        asked = asyncio.create_task(client.sessions())
        await until(lambda: len(bridge.told) == 1, 5)
        bridge.say(session(up=True, number=int(bridge.told[0].split()[2])))
        assert [(one.peer, one.description, one.up) for one in await asked] == [(PEER, "d", True)]
        asked = asyncio.create_task(client.sessions())
        await until(lambda: len(bridge.told) == 2, 5)
        bridge.hang_up()
        with pytest.raises(NotConnected):
            await asked


@pytest.mark.slow
@asynchronous
async def test_a_client_that_nobody_asks_stops_reading(tmp_path: Path) -> None:
    """What it has parsed is bounded; the rest stays in the bridge, which knows what to do about it."""
    fake = FakeBridge()
    server = await asyncio.start_unix_server(fake.serve, tmp_path / "bridge.sock")
    async with BridgeClient(tmp_path / "bridge.sock") as client:
        await until(lambda: client.hello is not None, 5)
        fake.say(*UP)
        for _ in range(3 * UNREAD_EVENTS // 1000):
            fake.say(*[packet("update", "00" * 40)] * 1000)
        assert fake.writer is not None
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(fake.writer.drain(), 1)
        count = 0
        async for batch in client.batches():
            count += len(batch)
            if count == 2 + 3 * UNREAD_EVENTS:
                break
    server.close()
