"""What surrounds every request: figures for Prometheus, and an answer that arrives."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from controller.api.board import Board
from controller.api.bodies import MAX_BODY_BYTES

DRAIN_BYTES = 2 * MAX_BODY_BYTES
DRAIN_SECONDS = 2.0

Scope = dict[str, Any]
Asgi = Callable[[Scope, Any, Any], Awaitable[None]]


class Measured:
    """Counts and times requests by route, method and status."""

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


class Drained:
    """Reads what is left of a body before the answer goes out, within bounds.

    An answer that comes early (401, 413) while the client still sends would be lost: the kernel answers
    bytes that nobody reads with a reset, and the client sees that instead. Beyond the bounds we hang up.
    """

    def __init__(self, app: Asgi) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        headers = dict(scope["headers"]) if scope["type"] == "http" else {}
        if headers.get(b"content-length", b"0") == b"0" and b"transfer-encoding" not in headers:
            await self.app(scope, receive, send)
            return
        unread = True
        # Such a client sends nothing until it is told to, and reading would tell it to.
        holds_back = headers.get(b"expect", b"").lower() == b"100-continue"

        async def read() -> dict[str, Any]:
            nonlocal unread, holds_back
            holds_back = False
            message: dict[str, Any] = await receive()
            unread = message["type"] == "http.request" and message.get("more_body", False)
            return message

        async def drain() -> None:
            size = 0
            while unread and size <= DRAIN_BYTES:
                size += len((await read()).get("body", b""))

        async def answer(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start" and unread:
                if not holds_back:
                    try:
                        async with asyncio.timeout(DRAIN_SECONDS):
                            await drain()
                    except TimeoutError:
                        pass
                if unread:
                    message = {**message, "headers": [*message["headers"], (b"connection", b"close")]}
            await send(message)

        await self.app(scope, read, answer)
