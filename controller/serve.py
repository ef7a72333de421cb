"""`leyline controller serve`: the application under uvicorn, with logging, first token, and a quick end."""

from __future__ import annotations

import logging
import sys
from types import FrameType

import structlog
import uvicorn
from fastapi import FastAPI

from controller.api.access import Context
from controller.api.app import create_app
from controller.api.settings import Settings
from controller.inventory.findings import InventoryRefused
from controller.store.engine import Database
from controller.store.migrate import migrate, require_migrated

log = structlog.get_logger()

SHUTDOWN_SECONDS = 10
"""For requests that are being answered when the process is told to end."""
MAX_CONNECTIONS_WAITING = 2048


def serve(settings: Settings) -> None:
    """Runs until SIGTERM or SIGINT; exits with 1 when a task of the background has failed.

    Raises BadSettings, BadDatabaseUrl, StoreUnavailable, StoreNotMigrated.
    """
    settings.check()
    configure_logging()
    prepare(settings)
    app = create_app(settings)
    context: Context = app.state.context
    _show_first_token(context)
    _refresh_plans(context)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=settings.tls_key,
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=MAX_CONNECTIONS_WAITING,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        # A gateway's connection stays open between two polls and reports.
        timeout_keep_alive=30,
    )
    log.info("controller starts", host=settings.host, port=settings.port, tls=settings.tls_certificate is not None)
    Server(config, app).run()
    if context.failed:
        sys.exit(1)  # The trace is in the log.


def prepare(settings: Settings) -> None:
    """SQLite is migrated here, for nobody else uses it; PostgreSQL may serve others, so that is an operator's step."""
    database = Database(settings.database, busy_timeout=settings.busy_timeout_seconds)
    try:
        if database.is_postgres:
            require_migrated(database)
        else:
            before, after = migrate(database)
            if before != after:
                log.info("database migrated", before=before, after=after)
    finally:
        database.close()


class Server(uvicorn.Server):
    """Ends the long polls before uvicorn begins to wait for them: when it is told to stop, or the background fails."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._context: Context = app.state.context

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # Runs between two bytecodes of the loop's own thread, so the board may be touched.
        self._context.board.close()
        super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        """Whether to end. Asked ten times a second."""
        if self._context.failed:
            self._context.board.close()
            return True
        return await super().on_tick(counter)


def _show_first_token(context: Context) -> None:
    text = context.controller.first_admin_token()
    if text is not None:
        print(f"The admin token, shown this once: {text}", flush=True)


def _refresh_plans(context: Context) -> None:
    """A new release may compile the same fabric to other plans."""
    try:
        moved = context.controller.refresh_plans()
    except InventoryRefused as error:
        log.error(
            "this release refuses the stored fabric; plans stay as they are", findings=list(map(str, error.findings))
        )
        return
    if moved:
        log.info("plans compiled anew", gateways=len(moved))


def configure_logging() -> None:
    """Events on stderr: for people on a terminal, else one JSON object a line. stdout is for the token."""
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if sys.stderr.isatty() else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[*shared, structlog.processors.format_exc_info, last]
        if not sys.stderr.isatty()
        else [*shared, last],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                last,
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
    logging.getLogger("alembic").setLevel(logging.WARNING)
