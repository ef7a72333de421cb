"""`leyline speaker run`: keeps the gateway's processes alive where no systemd does it (lab, container).

Each process is restarted alone, never because another one died (design: nobody is anybody's
child in what matters; a restart of one leaves the others' sessions and routes untouched).
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from speaker.logs import configure_logging
from speaker.state import StateDir, write_pid

log = structlog.get_logger()

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0
HEALTHY_AFTER = 20.0
STOP_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    name: str
    command: tuple[str, ...]
    needs: Path | None = None  # Started only once this file is there.


async def supervise(state: StateDir, processes: Sequence[ProcessSpec]) -> None:
    """Runs all `processes` until SIGTERM or SIGINT; then stops them, and with them nothing else."""
    configure_logging()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    keepers = [asyncio.create_task(_keep(state, spec, stop)) for spec in processes]
    await asyncio.gather(*keepers)


async def _keep(state: StateDir, spec: ProcessSpec, stop: asyncio.Event) -> None:
    pause = FIRST_PAUSE
    while not stop.is_set():
        if spec.needs is not None and not spec.needs.exists():
            await _pause(stop, 0.1)
            continue
        started = time.monotonic()
        process = await asyncio.create_subprocess_exec(*spec.command)
        write_pid(state, spec.name, process.pid)
        await _until_exit_or_stop(process, stop)
        if stop.is_set():
            return
        # Quick for the first deaths, because traffic waits; bounded, because it may die for ever.
        if time.monotonic() - started > HEALTHY_AFTER:
            pause = FIRST_PAUSE
        log.error("process died, will be restarted", process=spec.name, code=process.returncode, in_seconds=pause)
        await _pause(stop, pause)
        pause = min(pause * 2, LONGEST_PAUSE)


async def _until_exit_or_stop(process: asyncio.subprocess.Process, stop: asyncio.Event) -> None:
    exited = asyncio.create_task(process.wait())
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({exited, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if exited.done():
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(exited, STOP_SECONDS)
    except TimeoutError:
        log.error("process ignored SIGTERM, killed", pid=process.pid)
        process.kill()
        await process.wait()


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
