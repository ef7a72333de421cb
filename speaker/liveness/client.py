"""The agent's end of leyline-bfd's socket."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog

from speaker.liveness.bfd import control
from speaker.liveness.bfd.control import Status, Unreadable, Want

log = structlog.get_logger()

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0
UNSENT_OCTETS = 8 << 20
"""More than this unread by leyline-bfd: the connection is given up, and the next one starts with the newest want."""
HEARD_OCTETS = 64 << 10
"""No line from leyline-bfd is longer; and what is read ahead must not hold up the agent's loop."""
Key = tuple[str, str]


class BfdClient:
    """Says what sessions are wanted, hears how they stand. `changed` and `gone` are called from `run`.

    `statuses` is kept while leyline-bfd is away: silence is not absence. A leyline-bfd that was started anew knows
    nothing; what was dead before it came stays dead (`ever_up` stays set) until its session is up again or not
    wanted any more.
    """

    def __init__(self, path: Path, changed: Callable[[Status], None], gone: Callable[[str, str], None]) -> None:
        self.path = path
        self.statuses: dict[Key, Status] = {}
        self.connected = False
        self._changed = changed
        self._gone = gone
        self._want: Want | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._instance = ""
        self._replay: set[Key] | None = None  # Keys heard since hello; None after the replay.
        self._restarted = False
        self._awaited: set[Key] = set()  # Sessions that a new leyline-bfd has not begun yet.
        self._failed: set[Key] = set()  # Dead by the word of a leyline-bfd that is no more.
        self._counters: asyncio.Future[dict[str, int]] | None = None

    def want(self, want: Want) -> None:
        """Sent now, or when connected. What leyline-bfd refuses of it is logged. May call `gone`."""
        if want == self._want:
            return
        self._want = want
        self._say("want", want)
        for key in self._awaited - {*want.sessions}:
            self._drop(key)

    async def counters(self, seconds: float = 2.0) -> dict[str, int]:
        """Packets dropped since leyline-bfd started, by reason. Raises TimeoutError without an answer."""
        if self._counters is None or self._counters.done():
            self._counters = asyncio.get_running_loop().create_future()
        self._say("counters", True)
        return await asyncio.wait_for(asyncio.shield(self._counters), seconds)

    async def run(self) -> None:
        """For ever: connect, hear the replay and the changes, connect again."""
        pause = FIRST_PAUSE
        while True:
            try:
                reader, writer = await asyncio.open_unix_connection(self.path, limit=HEARD_OCTETS)
            except OSError:
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
                continue
            self._writer = writer
            try:
                if self._want is not None:
                    self._say("want", self._want)
                while line := await reader.readline():
                    self._hear(line)
                    if self.connected:
                        pause = FIRST_PAUSE
            except (OSError, ValueError) as error:  # ValueError: a line beyond the limit, or not of the protocol.
                log.warning("bfd_connection_lost", error=str(error))
            finally:
                self._writer, self.connected, self._replay = None, False, None
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    def _say(self, kind: str, value: Any) -> None:
        writer = self._writer
        if writer is None or writer.is_closing():
            return
        if writer.transport.get_write_buffer_size() > UNSENT_OCTETS:
            writer.transport.abort()
            return
        writer.write(control.encode(kind, value))

    def _hear(self, line: bytes) -> None:
        kind, value = control.decode(line)
        if kind == "status":
            self._status(value)
        elif kind == "gone":
            if not isinstance(value, list) or len(value) != 2:
                raise Unreadable(f"gone: {value!r}")
            self._drop((str(value[0]), str(value[1])))
        elif kind == "hello":
            self._hello(str(value))
        elif kind == "replayed":
            self._replayed()
        elif kind == "counters" and self._counters is not None and not self._counters.done():
            self._counters.set_result(dict(value))
        elif kind == "error":
            log.warning("bfd_refused", error=value)

    def _hello(self, instance: str) -> None:
        self._replay = set()
        self._restarted = instance != self._instance
        if self._restarted and self._instance:
            self._failed |= {key for key, status in self.statuses.items() if _failed(status)}
        self._instance = instance

    def _status(self, status: Status) -> None:
        key = (status.device, status.remote)
        if self._replay is not None:
            self._replay.add(key)
        self._awaited.discard(key)
        if status.state == "Up" or status.ever_up:
            self._failed.discard(key)
        elif key in self._failed:
            status = status._replace(ever_up=True)
        if self.statuses.get(key) != status:
            self.statuses[key] = status
            self._changed(status)

    def _replayed(self) -> None:
        """What is not in the replay is gone; but what we want of a new leyline-bfd only has not begun yet."""
        heard, self._replay = self._replay or set(), None
        self.connected = True
        missing = self.statuses.keys() - heard
        self._awaited = missing & {*self._want.sessions} if self._restarted and self._want is not None else set()
        for key in missing - self._awaited:
            self._drop(key)

    def _drop(self, key: Key) -> None:
        self._failed.discard(key)
        self._awaited.discard(key)
        if self.statuses.pop(key, None) is not None:
            self._gone(*key)


def _failed(status: Status) -> bool:
    return status.ever_up and status.state in ("Down", "Init")
