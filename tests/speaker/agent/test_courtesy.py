"""A task that lets another go first: until that one is done, and not for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from time import monotonic

from speaker.agent.courtesy import Courtesy

MOST = 0.1


def answers(*said: bool) -> Iterator[bool]:
    yield from said
    while True:
        yield said[-1]


async def waited(courtesy: Courtesy) -> float:
    began = monotonic()
    await courtesy.wait()
    return monotonic() - began


def test_nobody_is_waited_for_who_is_not_busy() -> None:
    async def run() -> None:
        task = asyncio.create_task(waited(Courtesy(lambda: False, MOST)))
        await asyncio.sleep(0)
        assert task.done(), "not even a turn of the loop"

    asyncio.run(run())


def test_it_waits_until_the_other_is_done() -> None:
    busy = answers(True, True, True, False)
    asked: list[bool] = []

    def ask() -> bool:
        asked.append(next(busy))
        return asked[-1]

    asyncio.run(Courtesy(ask, 60).wait())
    assert asked == [True, True, True, False]


def test_who_is_busy_for_ever_is_waited_for_once() -> None:
    busy = [True]
    courtesy = Courtesy(lambda: busy[0], MOST)
    assert asyncio.run(waited(courtesy)) >= MOST
    assert asyncio.run(waited(courtesy)) < MOST / 2, "he has had his time"
    busy[0] = False
    asyncio.run(courtesy.wait())
    busy[0] = True
    assert asyncio.run(waited(courtesy)) >= MOST, "he was done in between: this is another time"
