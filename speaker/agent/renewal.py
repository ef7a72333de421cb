"""The gateway's token, renewed by the gateway itself well before it expires. No session has to do with it.

The next token is stored before the controller hears of it, so whatever breaks off in between, one of the two is good:
the same request sent again has the same answer, and the former token stays good for a day.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import datetime

import msgspec
import structlog
from msgspec import Struct

from speaker.agent.poll import ControllerAccess, ControllerClient
from speaker.enroll import access as stored
from speaker.enroll.access import Access, AccessUnusable
from speaker.enroll.tokens import make_token, told
from speaker.state import StateDir

log = structlog.get_logger()

LOOK_SECONDS = 3_600.0
RETRY_SECONDS = 60.0
SHORTEST_SECONDS = 1.0


class Held(Struct, frozen=True):
    """What the controller says about a token. Times as it writes them (RFC 3339)."""

    created_at: str
    expires_at: str | None


@dataclass(frozen=True, slots=True)
class Lifetime:
    """Of a token. Unix seconds; `ends` None: it does not expire."""

    begins: float
    ends: float | None

    def left_until_due(self, now: float) -> float | None:
        """Seconds until it is to be renewed: when two thirds of its time are over. None: never."""
        return None if self.ends is None else self.begins + (self.ends - self.begins) * 2 / 3 - now


async def renew_for_ever(state: StateDir, access: ControllerAccess, controller: ControllerClient) -> None:
    """Runs until it is cancelled."""
    renewal = Renewal(state, access, controller)
    while True:
        await asyncio.sleep(await renewal.look(time.time()))


class Renewal:
    def __init__(self, state: StateDir, access: ControllerAccess, controller: ControllerClient) -> None:
        self._state = state
        self._access = access
        self._controller = controller
        self._said = ""

    async def look(self, now: float) -> float:
        """Renews the token if it is time. -> seconds until the next look."""
        status, body = await self._controller.whoami()
        if status == 401:
            return await self._take_next()
        if status != 200:
            return RETRY_SECONDS
        try:
            left = _lifetime(body).left_until_due(now)
        except ValueError as error:
            return self._later(f"the controller says nothing usable about this gateway's token: {error}")
        if left is None or left > 0:
            self._said = ""
            return LOOK_SECONDS if left is None else min(LOOK_SECONDS, max(SHORTEST_SECONDS, left))
        return await self._renew()

    async def _renew(self) -> float:
        try:
            held = self._stored()
            if not held.next_token:
                held = msgspec.structs.replace(held, next_token=make_token())
                await asyncio.to_thread(stored.save, self._state, held)
        except (OSError, AccessUnusable) as error:
            return self._later(f"this gateway's token expires soon, and the next one cannot be stored: {error}")
        body = msgspec.json.encode({"token": told(held.next_token)})
        status, _ = await self._controller.renew_token(body)
        if status == 409:  # Somebody has a token of this id: the next look makes another.
            return await self._keep(msgspec.structs.replace(held, next_token=""), RETRY_SECONDS)
        if status != 201:
            return RETRY_SECONDS
        log.info("this gateway's token was renewed", id=told(held.next_token)["id"])
        return await self._promote(held)

    async def _take_next(self) -> float:
        """The token in use is refused: was it renewed, and the answer lost?"""
        try:
            held = self._stored()
        except AccessUnusable:
            return RETRY_SECONDS
        if not held.next_token:
            return self._later(
                "the controller refuses this gateway's token: enrol again by leyline enroll-key create --gateway, or"
                " put what leyline gateway token makes into the token file"
            )
        return await self._promote(held)

    async def _promote(self, held: Access) -> float:
        self._controller.use_token(held.next_token)
        return await self._keep(msgspec.structs.replace(held, token=held.next_token, next_token=""), SHORTEST_SECONDS)

    async def _keep(self, held: Access, pause: float) -> float:
        try:
            await asyncio.to_thread(stored.save, self._state, held)
        except OSError as error:  # Both tokens stand in the file as it was: a restart finds the good one.
            return self._later(f"the renewed token is in use, and not stored as such: {error}")
        return pause

    def _stored(self) -> Access:
        """What is stored for the token in use; of an operator's file a first copy. Raises AccessUnusable."""
        held, access = stored.load(self._state), self._access
        if held is not None and held.gateway == access.gateway and held.replaces == access.replaces:
            return held
        return Access(
            url=access.url,
            gateway=access.gateway,
            token=access.token,
            fingerprint=access.fingerprint,
            ca_file=access.ca_file or "",
            approved=True,
            replaces=access.replaces,
        )

    def _later(self, why: str) -> float:
        if why != self._said:
            log.error("token", why=why)
        self._said = why
        return RETRY_SECONDS


def _lifetime(body: bytes) -> Lifetime:
    """Raises ValueError."""
    held = msgspec.json.decode(body, type=Held)  # msgspec.DecodeError is a ValueError.
    ends = None if held.expires_at is None else datetime.fromisoformat(held.expires_at).timestamp()
    return Lifetime(datetime.fromisoformat(held.created_at).timestamp(), ends)
