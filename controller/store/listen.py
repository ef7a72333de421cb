"""News from other controllers on the same PostgreSQL: LISTEN on a connection of our own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import psycopg
import structlog
from sqlalchemy.engine import URL

from controller.store.engine import CONNECT_TIMEOUT_SECONDS
from controller.store.store import CHANNEL

log = structlog.get_logger()

RETRY_SECONDS = 1.0
RETRY_MOST_SECONDS = 15.0
# A dead peer is noticed within half a minute; without these a silent network would look like no news.
KEEPALIVE = {"keepalives": "1", "keepalives_idle": "10", "keepalives_interval": "5", "keepalives_count": "3"}


async def revisions(url: URL) -> AsyncIterator[int | None]:
    """The number of each new revision, for ever; and None after every (re)connect, for then some may have been missed.

    Ends only by cancellation. A number says no more than "look": what moved is in the database.
    """
    pause = RETRY_SECONDS
    while True:
        try:
            async with await _connect(url) as connection:
                await connection.execute(f"LISTEN {CHANNEL}")
                pause = RETRY_SECONDS
                yield None
                async for notice in connection.notifies():
                    if notice.payload.isascii() and notice.payload.isdigit():
                        yield int(notice.payload)
        except psycopg.OperationalError as error:
            log.warning("not listening for other controllers", reason=str(error).strip(), retry_seconds=pause)
        await asyncio.sleep(pause)
        pause = min(pause * 2, RETRY_MOST_SECONDS)


async def _connect(url: URL) -> psycopg.AsyncConnection[tuple[object, ...]]:
    plain = url.set(drivername="postgresql").update_query_dict(KEEPALIVE).render_as_string(hide_password=False)
    return await psycopg.AsyncConnection.connect(
        plain, autocommit=True, connect_timeout=CONNECT_TIMEOUT_SECONDS, application_name="leyline-listen"
    )
