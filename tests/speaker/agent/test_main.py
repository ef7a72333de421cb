"""What nobody waits for is not lost: a callback or a task that raises ends the agent, and it is started again."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

import pytest

from speaker.agent import main
from speaker.spawn import spawn

SETTINGS: Any = None


class Broken(RuntimeError):
    pass


def breaks() -> None:
    raise Broken


async def breaks_later() -> None:
    raise Broken


def soon() -> None:
    asyncio.get_running_loop().call_soon(breaks)


def later() -> None:
    asyncio.get_running_loop().call_later(0.01, breaks)


def readable() -> None:
    ours, theirs = os.pipe()
    os.write(theirs, b".")
    asyncio.get_running_loop().add_reader(ours, breaks)


def task() -> None:
    kept.append(spawn(breaks_later()))


kept: list[asyncio.Task[None]] = []
"""A task that somebody keeps is not collected as garbage, so Python would never complain of it."""


@pytest.mark.parametrize("begin", [soon, later, readable, task])
def test_what_raises_and_is_awaited_by_nobody_ends_the_agent(
    begin: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main, "Agent", lambda _: running(begin))
    with pytest.raises(Broken):
        asyncio.run(asyncio.wait_for(main._run(SETTINGS), 5))


def test_a_connection_that_breaks_off_or_an_ask_that_fails_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """asyncio tells of transports by the same handler; they are closed, and whoever reads there hears of that."""

    def begin() -> None:
        loop = asyncio.get_running_loop()
        loop.call_exception_handler({"message": "fatal", "exception": Broken(), "transport": None, "protocol": None})
        loop.call_exception_handler({"message": "never retrieved", "exception": Broken(), "task": None})
        loop.call_later(0.1, os.kill, os.getpid(), 15)

    monkeypatch.setattr(main, "Agent", lambda _: running(begin))
    asyncio.run(asyncio.wait_for(main._run(SETTINGS), 5))


def test_a_task_that_is_cancelled_is_no_failure() -> None:
    async def story() -> None:
        errors: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
        waiting = spawn(asyncio.sleep(10))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        await asyncio.sleep(0)
        assert errors == []

    asyncio.run(story())


def running(begin: Callable[[], None]) -> Any:
    class Standing:
        async def run(self) -> None:
            begin()
            await asyncio.Event().wait()

    return Standing()
