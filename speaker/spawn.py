"""Tasks that nobody awaits."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


def spawn(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Starts it. What it raises goes to the loop's exception handler at once, also while the task is kept."""
    task = asyncio.create_task(work)
    task.add_done_callback(_raise)
    return task


def _raise(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        task.result()
