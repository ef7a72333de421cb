"""Our launcher and a real BIRD: raw UPDATEs both ways, refreshes, and what must not cost the session."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from speaker.bgp.client import BridgeClient
from speaker.bgp.events import BridgeGone, Overflow, PeerDown, PeerUp, RefreshReceived
from speaker.bgp.wire import REFRESH_BEGIN, REFRESH_END, end_of_rib, route_refresh
from speaker.rib.prefix import Family
from tests.interop.exabgp_support import (
    SESSION,
    THEIRS,
    Ears,
    Engine,
    asynchronous,
    bird_config,
    fabric,
    listening,
    static_routes,
    until,
    updates,
    withdrawals,
)
from tests.netns.namespaces import Bird

pytestmark = pytest.mark.root

AREA = "exaraw"


@contextlib.asynccontextmanager
async def with_bird(
    directory: Path, *, static: str = "", area: str = AREA, **environment: str
) -> AsyncIterator[tuple[Engine, Bird, Ears]]:
    """Launcher and BIRD with an established session, and a client of the bridge."""
    with fabric(area, directory, SESSION, **environment) as (engine, namespace):
        bird = namespace.bird(bird_config(directory, static=static), directory / "bird")
        engine.start()
        async with listening(engine) as ears:
            yield engine, bird, ears


def imported(bird: Bird) -> int:
    return bird.routes("peer", "master4")


def stays_up(ears: Ears, bird: Bird) -> None:
    assert bird.established("peer")
    assert not [down for down in ears.of(PeerDown) if "bridge" not in down.reason and "lost" not in down.reason]


@asynchronous
async def test_hundred_thousand_routes_out_and_withdrawn(tmp_path: Path) -> None:
    async with with_bird(tmp_path) as (_, bird, ears):
        up = ears.of(PeerUp)[0]
        assert (up.peer, up.router_id, up.resumed, up.enhanced_refresh) == (THEIRS, b"\x0a\0\0\x02", False, True)
        assert up.negotiated.add_path_send == up.negotiated.add_path_receive == {Family.IPV4, Family.IPV6}
        assert up.graceful_restart is not None
        assert up.graceful_restart.seconds == 120

        ears.client.send([THEIRS], updates(range(100_000)))
        ears.client.send([THEIRS], [end_of_rib(Family.IPV4), end_of_rib(Family.IPV6)])
        await ears.client.drain()
        await until(lambda: imported(bird) == 100_000, 30, lambda: bird.ask("show protocols all peer"))
        shown = bird.ask("show route 20.0.9.0/24 all")
        assert "BGP.next_hop: 10.0.0.1" in shown
        assert "BGP.local_pref: 200" in shown

        ears.client.send([THEIRS], withdrawals(range(1, 100_000)))
        await ears.client.drain()
        await until(lambda: imported(bird) == 1, 30, lambda: bird.ask("show protocols all peer"))
        stays_up(ears, bird)


@asynchronous
async def test_hundred_thousand_routes_in(tmp_path: Path) -> None:
    async with with_bird(tmp_path, static=static_routes(100_000)) as (_, bird, ears):
        await until(lambda: ears.received >= 100_000, 30, lambda: str(ears.received))
        assert ears.received == 100_000
        stays_up(ears, bird)


@asynchronous
async def test_a_refresh_brings_borr_the_routes_and_eorr(tmp_path: Path) -> None:
    async with with_bird(tmp_path, static=static_routes(5_000)) as (_, bird, ears):
        await until(lambda: ears.received >= 5_000, 30, lambda: str(ears.received))
        before = len(ears.events)
        ears.received = 0
        ears.client.send([THEIRS], [route_refresh(Family.IPV4)])
        await until(lambda: bool(ears.of(RefreshReceived)) and ears.of(RefreshReceived)[-1].subtype == 2, 20)
        assert [event.subtype for event in ears.of(RefreshReceived)] == [REFRESH_BEGIN, REFRESH_END]
        assert ears.received == 5_000
        assert isinstance(ears.events[before], RefreshReceived)
        stays_up(ears, bird)


@asynchronous
async def test_between_borr_and_eorr_what_is_not_said_again_goes(tmp_path: Path) -> None:
    async with with_bird(tmp_path) as (_, bird, ears):
        ears.client.send([THEIRS], [*updates(range(5)), end_of_rib(Family.IPV4)])
        await until(lambda: imported(bird) == 5, 20)
        again = [
            route_refresh(Family.IPV4, REFRESH_BEGIN),
            *updates(range(3)),
            route_refresh(Family.IPV4, REFRESH_END),
        ]
        ears.client.send([THEIRS], again)
        await until(lambda: imported(bird) == 3, 20, lambda: bird.ask("show route"))


@asynchronous
async def test_birds_own_refresh_is_an_event_and_is_not_answered_by_exabgp(tmp_path: Path) -> None:
    async with with_bird(tmp_path) as (_, bird, ears):
        ears.client.send([THEIRS], [*updates(range(5)), end_of_rib(Family.IPV4)])
        await until(lambda: imported(bird) == 5, 20)
        bird.ask("reload in peer")
        await until(lambda: [e.subtype for e in ears.of(RefreshReceived)].count(0) >= 1, 20, lambda: str(ears.events))
        ears.client.send([THEIRS], updates([7]))  # Whatever ExaBGP would say of its own is said before it.
        await until(lambda: imported(bird) == 6, 20, lambda: bird.ask("show route count"))
        stays_up(ears, bird)


@asynchronous
async def test_an_agent_that_dies_and_returns_finds_the_session_up(tmp_path: Path) -> None:
    async with with_bird(tmp_path) as (engine, bird, first):
        first.client.send([THEIRS], updates(range(1000)))
        await until(lambda: imported(bird) == 1000, 20)
        async with listening(engine) as second:
            up = second.of(PeerUp)[0]
            assert up.resumed
            assert up.negotiated == first.of(PeerUp)[0].negotiated
            assert up.graceful_restart == first.of(PeerUp)[0].graceful_restart
            second.client.send([THEIRS], withdrawals(range(999)))
            await until(lambda: imported(bird) == 1, 20)
            assert bird.established("peer")


def established_at(bird: Bird) -> float:
    """Seconds of the day when BIRD's session came up."""
    found = re.search(r"(\d+):(\d+):(\d+\.\d+) +Established", bird.ask("show protocols peer"))
    assert found is not None, bird.ask("show protocols peer")
    hours, minutes, seconds = found.groups()
    return (int(hours) * 60 + int(minutes)) * 60 + float(seconds)


@asynchronous
async def test_a_bridge_that_dies_is_started_again_and_the_session_stays(tmp_path: Path) -> None:
    async with with_bird(tmp_path, static=static_routes(100)) as (engine, bird, ears):
        await until(lambda: ears.received == 100, 20)
        since = established_at(bird)
        for round_number in range(7):  # 5.0.15 by itself ends at the sixth death within a minute.
            ups = len(ears.of(PeerUp))
            engine.kill_bridge()
            await until(lambda: len(ears.of(PeerUp)) > ups, 20, lambda: f"{round_number} {ears.events[-5:]}")  # noqa: B023
            assert ears.of(PeerUp)[-1].resumed
        assert abs(established_at(bird) - since) < 0.1, "BIRD counts back from now, so it differs by a millisecond"
        assert len(ears.of(BridgeGone)) == 7
        assert not [down for down in ears.of(PeerDown) if down.notification]


@asynchronous
async def test_an_agent_that_does_not_read_costs_no_session(tmp_path: Path) -> None:
    """500,000 routes arrive while it reads nothing for 10 s; then it hears that events were lost."""
    environment = {"LEYLINE_BRIDGE_QUEUE": str(1 << 20)}
    static = static_routes(100_000)
    with fabric(AREA, tmp_path, SESSION, **environment) as (engine, namespace):
        bird = namespace.bird(bird_config(tmp_path, static=static), tmp_path / "bird")
        engine.start()
        async with listening(engine) as ears:
            await until(lambda: ears.received >= 1_000, 30)
            await ears.stop()  # From here on nobody takes events, and the client stops reading.
            for _ in range(4):
                await asyncio.to_thread(bird.ask, "reload out peer")
                await asyncio.sleep(2.5)  # The time it does not read is what is tested.
            assert bird.established("peer")
            before, ups = len(ears.events), len(ears.of(PeerUp))
            ears.start()
            await until(lambda: Overflow() in ears.events[before:], 20, lambda: str(ears.events[-3:]))
            await until(lambda: len(ears.of(PeerUp)) > ups, 20)
            lost = ears.events.index(Overflow(), before)
            assert isinstance(ears.events[lost + 1], PeerDown)
            assert ears.of(PeerUp)[-1].resumed
            assert bird.established("peer")


@asynchronous
async def test_teardown_is_a_notification_and_purges(tmp_path: Path) -> None:
    async with with_bird(tmp_path) as (_, bird, ears):
        ears.client.send([THEIRS], updates(range(100)))
        await until(lambda: imported(bird) == 100, 20)
        ears.client.teardown(THEIRS, 2)
        await until(lambda: bool(ears.of(PeerDown)), 10)
        down = ears.of(PeerDown)[0]
        assert (down.established, down.notification) == (True, True)
        assert imported(bird) == 0


@asynchronous
async def test_exabgp_killed_keeps_the_routes_at_a_peer_with_graceful_restart(tmp_path: Path) -> None:
    async with with_bird(tmp_path) as (engine, bird, ears):
        ears.client.send([THEIRS], [*updates(range(100)), end_of_rib(Family.IPV4), end_of_rib(Family.IPV6)])
        await until(lambda: imported(bird) == 100, 20)
        assert engine.process is not None
        os.kill(engine.process.pid, signal.SIGKILL)
        engine.process.wait()
        engine.start()
        took = await until(lambda: len(ears.of(PeerUp)) == 2, 10, lambda: f"{ears.events}\n{engine.evidence()}")
        assert took < 5
        assert imported(bird) == 100
        down = ears.of(PeerDown)[0]
        assert (down.established, down.notification) == (True, False)


@asynchronous
async def test_a_client_without_a_bridge_waits_for_one(tmp_path: Path) -> None:
    async with BridgeClient(tmp_path / "nothing") as client:
        client.send([THEIRS], updates(range(10)))
        await client.drain()
        assert client.hello is None
