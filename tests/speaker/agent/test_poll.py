"""The long poll against a small HTTP server: what is asked, what is taken, what a refusal costs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import msgspec
import pytest

from speaker.agent.poll import ControllerAccess, ControllerClient
from speaker.plan import encode
from speaker.report import NO_PLAN, Answer, Ask, Envelope
from tests.speaker.agent.test_plans import a_plan

Respond = Callable[[dict[str, str], bytes], tuple[int, bytes]]


@asynccontextmanager
async def server(respond: Respond) -> AsyncIterator[str]:
    """An HTTP/1.1 server: `respond(headers, body) -> (status, body)`; the request line is headers[""]."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            headers = {"": line.decode().strip()}
            while (header := await reader.readline()) not in (b"\r\n", b""):
                name, _, value = header.decode().partition(":")
                headers[name.lower()] = value.strip()
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            status, answer = respond(headers, body)
            writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(answer)}\r\n\r\n".encode() + answer)
            await writer.drain()
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    finally:
        listening.close()


async def polled(
    respond: Respond, until: Callable[[], bool], on_plan: Callable[[bytes], Awaitable[None]], digest: str = "d0"
) -> ControllerClient:
    async def on_ask(ask: Ask) -> Answer:
        return Answer(ask.id, ok=True, body={"kind": ask.kind})

    async with server(respond) as url:
        client = ControllerClient(ControllerAccess(url, "secret", "berlin-1"), on_plan, on_ask, lambda: digest)
        polling = asyncio.create_task(client.poll_for_ever())
        async with asyncio.timeout(20):
            while not until():
                await asyncio.sleep(0.01)
        polling.cancel()
        await asyncio.gather(polling, return_exceptions=True)
        await client.close()
        return client


def test_a_plan_that_was_received_is_not_asked_for_again_even_when_it_was_refused() -> None:
    asked: list[str] = []
    taken: list[bytes] = []

    def respond(headers: dict[str, str], _: bytes) -> tuple[int, bytes]:
        asked.append(headers["if-none-match"])
        assert headers["authorization"] == "Bearer secret"
        assert headers["leyline-plan-versions"] == "1,2,3,4"
        if asked[-1] == '"d1"':
            return 304, b""
        return 200, msgspec.json.encode(Envelope("d1", msgspec.Raw(encode(a_plan())), ()))

    async def on_plan(data: bytes) -> None:
        taken.append(data)  # And refused: the digest in force stays "d0".

    asyncio.run(polled(respond, lambda: len(asked) >= 3, on_plan))
    assert asked[:3] == ['"d0"', '"d1"', '"d1"']
    assert taken == [encode(a_plan())]


def test_asks_are_answered_beside_the_poll() -> None:
    answers: list[Answer] = []

    def respond(headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        if headers[""].startswith("POST /api/v1/gateways/berlin-1/answers"):
            answers.append(msgspec.json.decode(body, type=Answer))
            return 204, b""
        asks = () if answers else (Ask("7", "routes", {}, 0.0),)
        return (200, msgspec.json.encode(Envelope("d0", NO_PLAN, asks))) if asks else (304, b"")

    async def on_plan(_: bytes) -> None:
        raise AssertionError("there was no plan")

    asyncio.run(polled(respond, lambda: bool(answers), on_plan))
    assert answers[0] == Answer("7", ok=True, body={"kind": "routes"})


@pytest.mark.slow
def test_a_controller_that_fails_is_asked_again_and_its_words_are_kept() -> None:
    count = 0

    def respond(_headers: dict[str, str], _body: bytes) -> tuple[int, bytes]:
        nonlocal count
        count += 1
        return 401, b'{"title": "Unauthorized", "detail": "this token has expired"}'

    async def on_plan(_: bytes) -> None:
        raise AssertionError("there was no plan")

    client = asyncio.run(polled(respond, lambda: count >= 2, on_plan))
    assert client.error == "controller answered 401: this token has expired"


@pytest.mark.slow
def test_junk_from_a_controller_changes_nothing() -> None:
    count = 0

    def respond(_headers: dict[str, str], _body: bytes) -> tuple[int, bytes]:
        nonlocal count
        count += 1
        return 200, b'{"digest": 1}'

    async def on_plan(_: bytes) -> None:
        raise AssertionError("there was no plan")

    client = asyncio.run(polled(respond, lambda: count >= 2, on_plan))
    assert "unreadable" in client.error
