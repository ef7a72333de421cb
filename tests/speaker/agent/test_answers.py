"""Asks about the whole table: what is told, how much of it, and that the agent does its work meanwhile."""

from __future__ import annotations

import asyncio
import time
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from speaker.agent import turn
from speaker.agent.agent import Agent
from speaker.agent.answers import answer
from speaker.agent.settings import AgentSettings
from speaker.agent.turn import Turn
from speaker.report import Answer, Ask, decode_answer, encode
from speaker.rib.attributes import Attributes
from speaker.rib.path import SourceKind, Update
from speaker.rib.policy import SpokeImport
from speaker.rib.prefix import Family
from speaker.state import StateDir
from tests.speaker.agent.test_explain import HUBS, Gateway
from tests.speaker.agent.test_router import HUB, plan
from tests.speaker.rib.given import hop, key, peer

MANY = [f"10.{n >> 8}.{n & 255}.0/24" for n in range(3000)]


def asked(gateway: Gateway, kind: str = "routes", **arguments: str) -> Answer:
    return asyncio.run(answer(Ask("1", kind, arguments, 0.0), gateway.rib, gateway.fib))


def filled(prefixes: list[str], **attributes: Any) -> Gateway:
    gateway = Gateway()
    said = Attributes(**{"next_hop": hop(3), **attributes})
    gateway.rib.receive(HUBS[0], Update(announced=[(Family.IPV4, 3, list(map(key, prefixes)), said)]))
    return gateway


def turns_of_others(gateway: Gateway, kind: str, **arguments: str) -> int:
    """How often the loop does something else while it answers."""

    async def count() -> int:
        ask = asyncio.create_task(answer(Ask("1", kind, arguments, 0.0), gateway.rib, gateway.fib))
        turns = 0
        while not ask.done():
            await asyncio.sleep(0)
            turns += 1
        assert ask.result().ok
        return turns

    return asyncio.run(count())


def test_a_gateway_may_be_called_local_and_its_routes_are_installed_all_the_same() -> None:
    gateway, hub = Gateway(), peer("local", SourceKind.HUB, 33)
    gateway.rib.set_session(hub, SpokeImport(gateway.rib.router))
    gateway.rib.originate(plan(HUB, (), ["10.7.0.0/24"]))
    gateway.hear("10.1.1.0/24", 3, source=hub)
    said = asked(gateway).body["routes"]
    assert {route["prefix"]: route["installed"] for route in said} == {"10.1.1.0/24": True, "10.7.0.0/24": False}


def test_all_are_counted_though_only_so_many_are_told() -> None:
    gateway = filled(MANY)
    gateway.hear(MANY[0], 4)
    body = asked(gateway, limit="7").body
    assert (len(body["routes"]), body["total"], body["truncated"]) == (7, 3001, True)
    body = asked(gateway, limit="3001").body
    assert (len(body["routes"]), body["total"], body["truncated"]) == (3001, 3001, False)
    assert asked(gateway, family="ipv6").body == {"routes": [], "total": 0, "truncated": False}
    body = asked(gateway, prefix=MANY[0], limit="1").body
    assert (len(body["routes"]), body["total"], body["truncated"]) == (1, 2, True)


def test_the_agent_does_its_work_while_it_lists_routes() -> None:
    assert turns_of_others(filled(MANY), "routes", limit="3000") >= 30


@pytest.mark.slow
def test_the_agent_does_its_work_while_it_looks_for_what_is_refused() -> None:
    many = [f"11.{n >> 8}.{n & 255}.{part}/26" for n in range(10_000) for part in (0, 64, 128)]
    gateway = filled(many)
    gateway.hear("12.0.0.0/24", 5, next_hop=ip_address("192.0.2.5").packed)
    assert asked(gateway, "filtered").body["total"] == 1
    assert turns_of_others(gateway, "filtered") >= 3


@pytest.mark.parametrize(("kind", "next_hop"), [("routes", hop(3)), ("filtered", ip_address("192.0.2.5").packed)])
def test_an_answer_is_never_longer_than_a_controller_takes(kind: str, next_hop: bytes) -> None:
    """Each row has some 2.5 kB: less of them than were asked for fit."""
    gateway = filled(MANY, next_hop=next_hop, communities=tuple(range(65000 << 16, (65000 << 16) + 200)))
    said = encode(asked(gateway, kind, limit="3000"))
    body = decode_answer(said).body
    assert 1000 < len(body[kind]) < 3000
    assert (body["total"], body["truncated"]) == (3000, True)


def test_asks_wait_for_their_turn_and_what_waited_too_long_is_not_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn, "LEAST_SECONDS", 0.2)
    done: list[str] = []

    async def story() -> list[Answer]:
        costly, first_ends = Turn(), asyncio.Event()

        async def work(name: str) -> Answer:
            done.append(name)
            if name == "first":
                await first_ends.wait()
            return Answer(name, ok=True, body=None)

        asks = {"first": 0.0, "nobody waits any more": 0.0, "somebody waits": 2.0**40}
        tasks = [
            asyncio.create_task(costly.take(Ask(name, "doctor", {}, expires), lambda name=name: work(name)))
            for name, expires in asks.items()
        ]
        await asyncio.sleep(0.3)
        assert done == ["first"]
        first_ends.set()
        return list(await asyncio.gather(*tasks))

    answers = asyncio.run(story())
    assert [each.ok for each in answers] == [True, False, True]
    assert done == ["first", "somebody waits"]
    assert answers[1].body == {"error": "others asked before, and it took too long; ask again"}


@pytest.mark.parametrize("expires", [0.0, 995.0, 1003.0])
def test_a_clock_that_is_wrong_refuses_no_ask_at_once(expires: float) -> None:
    assert turn.patience(expires, now=1000.0) == 5.0


def test_a_clock_that_is_late_lets_no_ask_wait_for_ever() -> None:
    assert turn.patience(1007.0, now=1000.0) == 7.0
    assert turn.patience(9000.0, now=1000.0) == 10.0


def test_one_doctor_at_a_time_looks_at_the_gateway(tmp_path: Path) -> None:
    """Eight at once would take all threads of the agent, which its other work needs."""
    together: list[int] = []
    inside = 0

    class Examined(Agent):
        def _examined(self) -> Any:
            nonlocal inside
            inside += 1
            together.append(inside)
            time.sleep(0.01)
            inside -= 1
            return {}

    async def story() -> None:
        agent = Examined(AgentSettings("berlin-1", StateDir(tmp_path)))
        asks = (agent._answer(Ask(str(number), "doctor", {}, 0.0)) for number in range(8))
        assert all(each.ok for each in await asyncio.gather(*asks))

    asyncio.run(story())
    assert together == [1] * 8
