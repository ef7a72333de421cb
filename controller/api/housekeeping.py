"""What time brings in enrolment: ephemeral gateways that are gone go, and what is long over is forgotten."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial

import anyio.to_thread
import structlog

from controller.api.access import Context
from controller.enrolling import Enrolling, Unknown
from controller.inventory.findings import InventoryRefused
from controller.store.engine import StoreUnavailable

log = structlog.get_logger()

LOOK_SECONDS = 10.0
TIDY_SECONDS = 3_600.0
LATE_SECONDS = 30.0
"""From one look to the next one; after more than that this controller, its database or its clock was away."""


async def keep_house(context: Context) -> None:
    """Runs until it is cancelled. Where several controllers share a database each does it; the second finds nothing."""
    enrolling = Enrolling(context.controller)
    since = looked = time.time()
    tidy_at = since
    stay: set[str] = set()
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        now = time.time()
        since = counted_from(since, looked, now)
        if await _try(partial(put_out_the_gone, enrolling, since, stay)):
            looked = now
        if time.time() >= tidy_at:
            tidy_at = time.time() + TIDY_SECONDS
            await _try(enrolling.tidy)


def counted_from(since: float, looked: float, now: float) -> float:
    """From when on silence counts: whom a controller that was away could not hear has its time from now on."""
    return since if 0 <= now - looked <= LATE_SECONDS else now


async def _try(work: Callable[[], None]) -> bool:
    try:
        await anyio.to_thread.run_sync(work)
    except StoreUnavailable as error:
        log.warning("enrolments not looked after", reason=str(error))
        return False
    return True


def put_out_the_gone(enrolling: Enrolling, since: float, stay: set[str]) -> None:
    """`stay`: those that the fabric cannot do without, each said once. Raises StoreUnavailable."""
    for name in enrolling.gone(since):
        try:
            enrolling.revoke(name, actor="controller", action="expire")
        except Unknown:
            continue  # Somebody was quicker.
        except InventoryRefused as error:
            if name not in stay:
                log.warning("an ephemeral gateway is gone, and stays", gateway=name, why=list(map(str, error.findings)))
            stay.add(name)
            continue
        stay.discard(name)
        log.info("an ephemeral gateway was gone for its time, and is put out", gateway=name)
