"""How the speaker's own processes log: one line an event on standard error, for journald and people alike."""

from __future__ import annotations

import sys

import structlog


def configure_logging() -> None:
    """logfmt, or something more readable on a terminal."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.dev.ConsoleRenderer(colors=False)
            if sys.stderr.isatty()
            else structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"]),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
