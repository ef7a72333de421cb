"""The application: routers put together, errors made problems, the background's two tasks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio.to_thread
import structlog
from fastapi import APIRouter, FastAPI, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from controller.api import errors, fabric, gateways, nouns, tokens, uplinks
from controller.api.access import Context, Ctx, Viewer
from controller.api.board import Board
from controller.api.settings import Settings
from controller.service import Controller, Moved
from controller.store.engine import Database, StoreUnavailable
from controller.store.listen import revisions
from controller.store.store import Store, alive

log = structlog.get_logger()

PREFIX = "/api/v1"
TOUCH_SECONDS = 60.0
"""How often "last used" of tokens is written."""

DESCRIPTION = """What operators declare, and what gateways carry out.

Every request but `/healthz` needs `Authorization: Bearer TOKEN`. Roles: viewer reads, operator changes, admin makes
tokens, gateway gets its own plan. Errors are `application/problem+json` (RFC 9457) with all findings at once.
A change is one revision, or nothing; `?dry_run=true` says what it would do."""

Scope = dict[str, Any]
Asgi = Callable[[Scope, Any, Any], Awaitable[None]]


def create_app(settings: Settings) -> FastAPI:
    """The controller as an ASGI application. The database must be migrated. Raises BadDatabaseUrl."""
    store = Store(Database(settings.database, busy_timeout=settings.busy_timeout_seconds))
    board = Board()
    loops: list[asyncio.AbstractEventLoop] = []

    def announce(moved: Moved) -> None:
        """From whichever thread has committed, to the loop in which the polls wait."""
        for loop in loops:
            loop.call_soon_threadsafe(board.note, moved.digests)

    controller = Controller(store, announce)
    registry = CollectorRegistry()
    context = Context(settings, store, controller, board, registry)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        loops.append(asyncio.get_running_loop())
        async with asyncio.TaskGroup() as group:
            background = [group.create_task(_touch_tokens(context))]
            if store.database.is_postgres:
                background.append(group.create_task(_listen(context)))
            yield
            board.close()
            for task in background:
                task.cancel()
        loops.clear()
        await anyio.to_thread.run_sync(store.database.close)

    app = FastAPI(
        title="Leyline",
        version="1",
        description=DESCRIPTION,
        lifespan=lifespan,
        redirect_slashes=False,
        strict_content_type=False,  # There are no cookies that a foreign page could ride on.
    )
    app.state.context = context
    errors.install(app)
    api = APIRouter(prefix=PREFIX)
    # Uplinks and plans stand under /gateways/NAME/, so they come before what takes any key.
    for router in (fabric.router, tokens.router, gateways.router, uplinks.router, *map(nouns.router_of, nouns.NOUNS)):
        api.include_router(router)
    api.add_api_route("/healthz", _healthz, methods=["GET"], tags=["controller"], summary="Alive, and the database too")
    app.include_router(api)
    app.add_api_route("/metrics", _metrics, methods=["GET"], tags=["controller"], summary="For Prometheus")
    app.add_middleware(Measured, registry=registry, board=board)
    return app


def _healthz(context: Ctx) -> dict[str, str]:
    alive(context.store)
    return {"status": "ok"}


def _metrics(context: Ctx, _: Viewer) -> Response:
    context.store.state()  # Also brings the gauge of the revision up to date: see Measured.
    return Response(generate_latest(context.registry), media_type=CONTENT_TYPE_LATEST)


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


async def _listen(context: Context) -> None:
    """Wakes the gateways whose plan another controller has changed."""
    async for _ in revisions(context.store.database.url):
        try:
            digests = await anyio.to_thread.run_sync(context.store.digests)
        except StoreUnavailable as error:
            log.warning("plans not compared", reason=str(error))
            continue
        context.board.compare(digests)


class Measured:
    """ASGI middleware: counts and times requests by route, method and status."""

    def __init__(self, app: Asgi, registry: CollectorRegistry, board: Board) -> None:
        self.app = app
        self.requests = Counter(
            "leyline_http_requests", "Requests answered", ["method", "route", "status"], registry=registry
        )
        self.seconds = Histogram("leyline_http_request_seconds", "Time to answer", ["route"], registry=registry)
        polls = Gauge("leyline_polls_waiting", "Gateways' long polls that wait now", registry=registry)
        polls.set_function(lambda: board.waiting)

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.monotonic(), 500

        async def watched(message: dict[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, watched)
        finally:
            # The pattern and not the path: a label for every prefix would have no bound.
            route = getattr(scope.get("route"), "path", "none")
            self.requests.labels(scope["method"] if route != "none" else "any", route, str(status)).inc()
            if not route.endswith("/plan"):  # A long poll's time says nothing.
                self.seconds.labels(route).observe(time.monotonic() - started)
