"""The agent's own socket: `leyline speaker show` asks here what the controller asks over the poll."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from speaker.report import Answer, Ask, ReportUnreadable

MAX_LINE = 64 * 1024
ANSWER_SECONDS = 10.0


async def serve(path: Path, on_ask: Callable[[Ask], Awaitable[Answer]]) -> asyncio.Server:
    """Listens on `path` (0600). One JSON `Ask` a line in, one JSON `Answer` a line out."""

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await asyncio.wait_for(reader.readline(), 60):
                writer.write(msgspec.json.encode(await _answer(line, on_ask)) + b"\n")
                await writer.drain()
        except (ValueError, ConnectionError, TimeoutError):
            pass  # A line without end, or a client that left: its connection ends, nothing else.
        finally:
            writer.close()

    with suppress(FileNotFoundError):
        path.unlink()
    server = await asyncio.start_unix_server(connection, path, limit=MAX_LINE)
    os.chmod(path, 0o600)
    return server


async def _answer(line: bytes, on_ask: Callable[[Ask], Awaitable[Answer]]) -> Answer:
    try:
        ask = msgspec.json.decode(line, type=Ask)
    except msgspec.MsgspecError as error:
        return Answer(id="", ok=False, body={"error": f"not an ask: {error}"})
    return await on_ask(ask)


async def ask(path: Path, question: Ask) -> Answer:
    """Asks the agent that listens on `path`.

    Raises OSError when none does, ReportUnreadable when it answers nonsense.
    """
    reader, writer = await asyncio.open_unix_connection(path, limit=1 << 26)
    try:
        writer.write(msgspec.json.encode(question) + b"\n")
        line = await asyncio.wait_for(reader.readline(), ANSWER_SECONDS)
        return msgspec.json.decode(line, type=Answer)
    except (msgspec.MsgspecError, ValueError) as error:
        raise ReportUnreadable(str(error)) from None
    finally:
        writer.close()
