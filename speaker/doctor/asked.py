"""One request to the controller: does it answer, does it take our token, and what does its clock say."""

from __future__ import annotations

import time
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2
import msgspec

from speaker.agent.poll import ControllerAccess, trust
from speaker.doctor.facts import ControllerSeen

SECONDS = 4.0
MAX_BODY = 64 << 10


def ask_controller(access: ControllerAccess) -> ControllerSeen:
    """Blocks, at most SECONDS. Raises nothing: what went wrong is in `error`."""
    url = access.url.rstrip("/")
    before = time.time()
    try:
        with httpx2.Client(verify=trust(access), timeout=SECONDS) as client:
            answer = client.get(f"{url}/api/v1/whoami", headers={"Authorization": f"Bearer {access.token}"})
    except (httpx2.HTTPError, OSError, ValueError) as error:
        return ControllerSeen(url, error=str(error) or type(error).__name__)
    return seen(url, answer.status_code, answer.headers.get("Date", ""), answer.content[:MAX_BODY], before, time.time())


def seen(url: str, status: int, date: str, body: bytes, before: float, after: float) -> ControllerSeen:
    """What the answer tells. `before`, `after`: our clock at request and answer. Pure."""
    error = "" if status in (200, 401, 403) else f"it answers {status}"
    return ControllerSeen(url, error, status, offset_of(date, before, after), _expires(body) if status == 200 else None)


def offset_of(date: str, before: float, after: float) -> float | None:
    """Seconds that the controller's clock is ahead; 0 when it may just be the way, and the second that was cut off."""
    try:
        theirs = parsedate_to_datetime(date).timestamp()
    except (TypeError, ValueError):
        return None
    if before - 1 <= theirs <= after:
        return 0.0
    return theirs - after if theirs > after else theirs + 1 - before


def _expires(body: bytes) -> float | None:
    try:
        said: Any = msgspec.json.decode(body)
        return datetime.fromisoformat(said["expires_at"]).timestamp() if said["expires_at"] else None
    except (msgspec.MsgspecError, UnicodeDecodeError, TypeError, KeyError, ValueError):
        return None
