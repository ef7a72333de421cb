"""The application: routers put together, errors made problems, the background's tasks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio.to_thread
import structlog
from fastapi import APIRouter, FastAPI, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest

from controller.api import (
    client_config,
    drain,
    enroll,
    enroll_keys,
    errors,
    explain,
    fabric,
    gateways,
    md5,
    nouns,
    paths,
    segment,
    tokens,
    uplinks,
    whatif,
)
from controller.api.access import Context, Ctx, Viewer
from controller.api.answers import PREFIX, PROBLEM
from controller.api.board import Board
from controller.api.housekeeping import keep_house
from controller.api.middleware import Drained, Measured
from controller.api.segment_metrics import SegmentMetrics
from controller.api.settings import Settings
from controller.api.zerotier import service_of
from controller.segment import Segment
from controller.segment_keeper import Keeper
from controller.service import Controller, Moved
from controller.store.engine import Database, StoreUnavailable
from controller.store.listen import revisions
from controller.store.store import Store, alive

log = structlog.get_logger()

TOUCH_SECONDS = 60.0
"""How often "last used" of tokens is written."""

DESCRIPTION = """What operators declare, and what gateways carry out.

Every request but `/api/v1/healthz`, and `/api/v1/enroll` with its key, needs `Authorization: Bearer TOKEN`.
Roles: viewer reads, operator changes, admin makes tokens, gateway gets its own plan. Errors are
`application/problem+json` (RFC 9457) with all findings at once. A change is one revision, or nothing;
`?dry_run=true` says what it would do. A query parameter that an endpoint does not know is refused."""

own = APIRouter(tags=["controller"])


@own.get(f"{PREFIX}/healthz", summary="Alive, and the database too", responses={503: PROBLEM})
def healthz(context: Ctx) -> dict[str, str]:
    alive(context.store)
    return {"status": "ok"}


@own.get("/metrics", summary="For Prometheus")
def metrics(context: Ctx, _: Viewer) -> Response:
    context.revision.set(context.store.state().revision)
    return Response(generate_latest(context.registry), media_type=CONTENT_TYPE_LATEST)


# Uplinks and plans stand under /gateways/NAME/, so they come before what takes any key.
ROUTERS = (
    own,
    fabric.router,
    whatif.router,
    tokens.router,
    enroll_keys.router,
    enroll.router,
    gateways.router,
    drain.router,
    md5.router,
    uplinks.router,
    segment.router,
    client_config.router,
    explain.router,
    paths.router,
    *nouns.ROUTERS,
)


def create_app(settings: Settings) -> FastAPI:
    """The controller as an ASGI application. The database must be migrated. Raises BadDatabaseUrl."""
    store = Store(Database(settings.database, busy_timeout=settings.busy_timeout_seconds))
    board = Board()
    loops: list[asyncio.AbstractEventLoop] = []

    def announce(moved: Moved) -> None:
        """From whichever thread has committed, to the loop in which the polls wait."""
        keeper.wake()
        for loop in loops:
            loop.call_soon_threadsafe(board.note, moved.digests)

    kept = Segment(store, service_of(settings))
    keeper = Keeper(kept)
    controller = Controller(store, announce)
    registry = CollectorRegistry()
    revision = Gauge("leyline_revision", "Number of the current revision", registry=registry)
    registry.register(SegmentMetrics(kept))
    context = Context(settings, store, controller, board, registry, revision, kept)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        loops.append(asyncio.get_running_loop())
        keeper.start()
        try:
            async with asyncio.TaskGroup() as group:
                background = [group.create_task(_touch_tokens(context)), group.create_task(keep_house(context))]
                if store.database.is_postgres:
                    background.append(group.create_task(_listen(context, keeper)))
                yield
                board.close()
                for task in background:
                    task.cancel()
        except BaseExceptionGroup:
            context.failed = True
            raise
        finally:
            loops.clear()
            await anyio.to_thread.run_sync(keeper.stop)
            await anyio.to_thread.run_sync(store.database.close)

    app = FastAPI(
        title="Leyline",
        version="1",
        description=DESCRIPTION,
        lifespan=lifespan,
        redirect_slashes=False,
    )
    app.state.context = context
    errors.install(app)
    for each in ROUTERS:
        # Not include_router, which analyses every handler anew: 0.2 s at each start.
        app.router.routes.extend(each.routes)
    app.add_middleware(Drained)
    app.add_middleware(Measured, registry=registry, board=board)
    return app


async def _touch_tokens(context: Context) -> None:
    """Writes "last used" once a minute: at every request it would make each reader a writer."""
    while True:
        try:
            await asyncio.sleep(TOUCH_SECONDS)
        finally:
            await _touch_once(context)


async def _touch_once(context: Context) -> None:
    used, context.used = context.used, {}
    if not used:
        return
    try:
        # Shielded: the last one comes while the task is being cancelled.
        await asyncio.shield(anyio.to_thread.run_sync(context.store.touch_tokens, used))
    except StoreUnavailable as error:
        context.used = {**used, **context.used}  # Bounded by the number of tokens; next time, then.
        log.warning("last use of tokens not stored", reason=str(error))


async def _listen(context: Context, keeper: Keeper) -> None:
    """Wakes the gateways whose plan another controller has changed, and who keeps the segment."""
    async for _ in revisions(context.store.database.url):
        keeper.wake()
        try:
            digests = await anyio.to_thread.run_sync(context.store.digests)
        except StoreUnavailable as error:
            log.warning("plans not compared", reason=str(error))
            continue
        context.board.compare(digests)
