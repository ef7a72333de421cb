"""The agent's process: starts the parts, stops them, and leaves routes and sessions as they are."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from typing import Any

import structlog

from speaker.agent.agent import Agent
from speaker.agent.settings import AgentSettings
from speaker.logs import configure_logging
from speaker.state import write_pid

log = structlog.get_logger()


def main(settings: AgentSettings) -> None:
    """Runs until SIGTERM or SIGINT. Stopping changes nothing: the kernel keeps forwarding."""
    configure_logging()
    # A million routes are a few large dicts: collecting young objects often only walks them in vain.
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    write_pid(settings.state, "agent", os.getpid())
    asyncio.run(_run(settings))


def _first_broken_callback(loop: asyncio.AbstractEventLoop) -> asyncio.Future[None]:
    """Ends with what a callback of the loop raised, or a task of `spawn`: asyncio would log it and go on without it.

    What asyncio says of transports does not count, they are closed; nor an ask that failed, it costs its answer only.
    """
    broken = loop.create_future()

    def told(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        loop.default_exception_handler(context)
        error = context.get("exception")
        if "handle" in context and error is not None and not broken.done():
            broken.set_exception(error)

    loop.set_exception_handler(told)
    return broken


async def _run(settings: AgentSettings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    agent = Agent(settings)
    running = asyncio.create_task(agent.run())
    stopped = asyncio.create_task(stop.wait())
    ends: tuple[asyncio.Future[Any], ...] = (running, _first_broken_callback(loop))
    await asyncio.wait({*ends, stopped}, return_when=asyncio.FIRST_COMPLETED)
    for end in ends:
        if end.done():
            end.result()  # The agent never ends by itself: this raises what ended it, and the restart is clean.
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    log.info("agent stopped; routes and sessions stay as they are")
