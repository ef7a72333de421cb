"""Probes over loopback, and their ICMP as bytes. tests/netns/test_lan.py sends real echoes."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from speaker.liveness.probes import HEADER, PAYLOAD, Prober, answers, attempt, checksum, echo
from speaker.plan import ProbePlan

LAN = "10.1.0.0/24"


def tcp(port: int, multiplier: int = 2, address: str = "127.0.0.1") -> ProbePlan:
    return ProbePlan(LAN, "tcp", address, port, 50, multiplier)


def closed_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Scene:
    """A prober that runs, and a way to wait for what it says."""

    def __init__(self) -> None:
        self.moved = asyncio.Event()
        self.prober = Prober(self.moved.set)

    async def until(self, predicate: Callable[[dict[str, str]], bool]) -> dict[str, str]:
        async with asyncio.timeout(10):
            while not predicate(self.prober.failing):
                await self.moved.wait()
                self.moved.clear()
        return self.prober.failing


def play(scene: Callable[[Scene], Coroutine[Any, Any, None]]) -> None:
    async def whole() -> None:
        stage = Scene()
        running = asyncio.create_task(stage.prober.run())
        try:
            await scene(stage)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    asyncio.run(whole())


async def listen(port: int = 0) -> tuple[asyncio.Server, int]:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", port)
    return server, int(server.sockets[0].getsockname()[1])


def test_a_service_that_ends_is_dead_after_so_many_failures_and_comes_back() -> None:
    async def scene(stage: Scene) -> None:
        server, port = await listen()
        stage.prober.configure([tcp(port)], {})
        assert await attempt(tcp(port), "", 1) == ""
        server.close()
        await server.wait_closed()
        failing = await stage.until(bool)
        assert failing == {LAN: f"tcp probe of 127.0.0.1 port {port}: Connection refused, 2 times in a row"}
        server, _ = await listen(port)
        assert await stage.until(lambda failing: not failing) == {}
        server.close()

    play(scene)


def test_what_was_never_probed_is_well() -> None:
    async def scene(stage: Scene) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        stage.prober.configure([tcp(closed_port(), multiplier=4)], {})
        assert stage.prober.failing == {}
        await stage.until(bool)
        assert loop.time() - started >= 0.15, "four attempts, 50 ms apart"

    play(scene)


def test_a_new_plan_forgets_the_probes_that_it_has_no_more() -> None:
    async def scene(stage: Scene) -> None:
        stage.prober.configure([tcp(closed_port())], {})
        await stage.until(bool)
        stage.moved.clear()
        stage.prober.configure([], {})
        assert stage.prober.failing == {}
        assert stage.moved.is_set()

    play(scene)


def test_another_interface_does_not_make_a_dead_lan_well() -> None:
    async def scene(stage: Scene) -> None:
        probe = tcp(closed_port())
        stage.prober.configure([probe], {})
        await stage.until(bool)
        stage.moved.clear()
        stage.prober.configure([probe], {LAN: "lo"})
        assert stage.prober.failing
        assert not stage.moved.is_set()

    play(scene)


def test_an_attempt_ends_within_its_time() -> None:
    async def scene() -> tuple[str, float]:
        loop = asyncio.get_running_loop()
        with socket.socket() as full:  # Accepts nobody, and its queue is full.
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            port = full.getsockname()[1]
            with socket.create_connection(("127.0.0.1", port)):
                started = loop.time()
                said = await attempt(tcp(port), "", 0.1)
                return said, loop.time() - started

    said, seconds = asyncio.run(scene())
    assert said == "no answer"
    assert seconds < 0.5


def test_checksum_of_an_echo() -> None:
    packet = echo(4, 0x1234, 7)
    assert HEADER.unpack_from(packet)[0:2] == (8, 0)
    assert packet[HEADER.size :] == PAYLOAD
    assert checksum(packet) == 0, "RFC 1071: a packet with its checksum sums to nothing"
    assert checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0xFFFF - 0xDDF2
    assert HEADER.unpack_from(echo(6, 1, 2)) == (128, 0, 0, 1, 2)


@pytest.mark.parametrize(("version", "kind"), [(4, 0), (6, 129)])
def test_only_the_reply_to_the_very_echo_is_an_answer(version: int, kind: int) -> None:
    header = bytes([0x46]) + bytes(23) if version == 4 else b""  # With IP options.

    def reply(identifier: int = 5, sequence: int = 6, kind: int = kind) -> bytes:
        return header + struct.pack("!BBHHH", kind, 0, 0, identifier, sequence) + PAYLOAD

    assert answers(version, reply(), 5, 6)
    assert not answers(version, reply(identifier=4), 5, 6)
    assert not answers(version, reply(sequence=7), 5, 6)
    assert not answers(version, reply(kind=3), 5, 6)
    assert not answers(version, reply()[: len(header) + 7], 5, 6)
    assert not answers(version, b"", 5, 6)
    assert answers(version, reply()[len(header) :], None, 6), "a ping socket knows its own identifier"
