"""Since when a spoke has had no hub that has told it everything, counted over restarts of its agent.

It stands in a file of the state directory, on the clock that runs since the boot: the kernel's routes last no longer.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from pathlib import Path
from time import monotonic

import structlog

from speaker.agent.sessions import Session
from speaker.state import write_atomically

log = structlog.get_logger()

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
RETRY_SECONDS = 10.0


def hears_a_hub(sessions: Iterable[Session]) -> bool:
    """Whether a hub has told everything that it knows, in a session that stands. Who has no hubs misses none."""
    hubs = [session for session in sessions if session.plan.peer_role == "hub"]
    return not hubs or any(session.heard_all for session in hubs)


def may_go(*, everybody: bool, patient: bool, hubless: float | None, keep_seconds: float) -> bool:
    """Whether what a former agent left in the kernel goes now, if nobody has said it again.

    When `everybody` was heard; else no longer `patient`, unless it is without hubs, for `hubless` seconds by now: then
    it stays for as long as it would have with that agent.
    """
    return everybody or (not patient and (hubless is None or hubless >= keep_seconds))


class Hubless:
    """`note` what is so, as often as you like. While the file cannot be written only a restart begins to count anew."""

    def __init__(self, path: Path, boot_id: Path = BOOT_ID) -> None:
        self._path = path
        self._boot = _text(boot_id).strip()
        self._since = self._read()
        self._due = asyncio.Event()
        self._said = ""

    def note(self, *, heard: bool) -> float | None:
        """For how many seconds no hub has been heard; None while one is."""
        now = monotonic()
        if heard is (self._since is not None):
            self._since = None if heard else now
            self._due.set()
        return None if self._since is None else now - self._since

    async def run(self) -> None:
        """For ever: keeps the file."""
        while True:
            await self._due.wait()
            self._due.clear()
            error = await asyncio.to_thread(self._write, self._since)
            if error and error != self._said:
                log.warning("not noted since when there is no hub; a restart would count anew", error=error)
            self._said = error
            if error:
                await asyncio.sleep(RETRY_SECONDS)
                self._due.set()

    def _write(self, since: float | None) -> str:
        """ "" or what went wrong."""
        try:
            if since is None:
                self._path.unlink(missing_ok=True)
            else:
                write_atomically(self._path, json.dumps({"boot": self._boot, "since": since}).encode())
        except OSError as error:
            return error.strerror or str(error)
        return ""

    def _read(self) -> float | None:
        """None without a file, or with one that says nothing about this boot."""
        try:
            said = json.loads(_text(self._path) or "null")
        except ValueError:
            return None
        if not isinstance(said, dict) or not self._boot or said.get("boot") != self._boot:
            return None
        since = said.get("since")
        return since if isinstance(since, float) and 0 <= since <= monotonic() else None


def _text(path: Path) -> str:
    """ "" where there is none, or none that can be read."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
