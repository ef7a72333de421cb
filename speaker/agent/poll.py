"""The gateway's side of the controller: one long poll, one report, answers to asks.

The controller may be gone for as long as it likes: every failure is a pause and another try.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import httpx2
import msgspec
import structlog

from speaker.enroll.pin import pinned_context
from speaker.plan import READABLE_VERSIONS
from speaker.report import NO_PLAN, Answer, Ask, Envelope, Report, ReportUnreadable, decode_envelope

log = structlog.get_logger()

WAIT_SECONDS = 50
SHORTEST_PAUSE, LONGEST_PAUSE = 0.5, 15.0
MAX_ASKS_IN_FLIGHT = 8


@dataclass(frozen=True, slots=True)
class ControllerAccess:
    url: str
    token: str
    gateway: str
    ca_file: str | None = None
    fingerprint: str = ""  # SHA-256 of the one certificate to trust; "": the system's CAs, or those of `ca_file`.
    replaces: str = ""  # Mark of the token in the operator's file, where the token came from one: see speaker.enroll.
    homes: tuple[tuple[str, str], ...] = ()  # As enrolment has kept them: uplink, home of its ZeroTier service.


class ControllerClient:
    """`on_plan(data)` gets the plan's bytes, `on_ask(ask)` returns the answer's body."""

    def __init__(
        self,
        access: ControllerAccess,
        on_plan: Callable[[bytes], Awaitable[None]],
        on_ask: Callable[[Ask], Awaitable[Answer]],
        current_digest: Callable[[], str],
    ) -> None:
        self._base = f"{access.url.rstrip('/')}/api/v1/gateways/{access.gateway}"
        self._root = f"{access.url.rstrip('/')}/api/v1"
        self._http = httpx2.AsyncClient(
            timeout=httpx2.Timeout(10.0, read=WAIT_SECONDS + 15.0),
            verify=trust(access),
        )
        self.use_token(access.token)
        self._on_plan = on_plan
        self._on_ask = on_ask
        self._digest = current_digest
        self._asks: set[asyncio.Task[None]] = set()
        self._seen = ""  # Digest of the plan last received, be it in force or refused: not to be sent again.
        self.error = ""  # Why the controller is not heard; "" while it is.

    async def poll_for_ever(self) -> None:
        pause = SHORTEST_PAUSE
        while True:
            self.error = await self._poll_once()
            if not self.error:
                pause = SHORTEST_PAUSE
                continue
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def report(self, report: Report) -> None:
        """Sends one report. A controller that is gone misses it; the next one says more."""
        await self._post("report", msgspec.json.encode(report))

    def use_token(self, token: str) -> None:
        """From the next request on; a poll that waits goes on with the former one."""
        self._http.headers["Authorization"] = f"Bearer {token}"

    async def whoami(self) -> tuple[int, bytes]:
        """(status, body) of what the controller says about the token in use; status 0: it was not reached."""
        return await self._exchange("GET", f"{self._root}/whoami")

    async def renew_token(self, body: bytes) -> tuple[int, bytes]:
        """(status, body) of asking for another token; status 0: the controller was not reached."""
        return await self._exchange("POST", f"{self._base}/token/renew", body)

    async def _exchange(self, method: str, url: str, body: bytes | None = None) -> tuple[int, bytes]:
        try:
            response = await self._http.request(
                method, url, content=body, headers={"Content-Type": "application/json"}, timeout=10.0
            )
        except (httpx2.HTTPError, OSError):
            return 0, b""  # The poll says why.
        return response.status_code, response.content

    async def close(self) -> None:
        await self._http.aclose()

    async def _poll_once(self) -> str:
        """One long poll; returns "" or why it failed."""
        headers = {
            "If-None-Match": f'"{self._seen or self._digest()}"',
            "Leyline-Plan-Versions": ",".join(map(str, READABLE_VERSIONS)),
        }
        try:
            response = await self._http.get(f"{self._base}/plan", params={"wait": WAIT_SECONDS}, headers=headers)
        except (httpx2.HTTPError, OSError) as error:
            return self._note(f"controller not reached: {error or type(error).__name__}")
        if response.status_code == 304:
            return ""
        if response.status_code != 200:
            return self._note(f"controller answered {response.status_code}: {_detail(response)}")
        try:
            envelope = decode_envelope(response.content)
        except ReportUnreadable as error:
            return self._note(f"controller's answer is unreadable: {error}")
        await self._take(envelope)
        return ""

    async def _take(self, envelope: Envelope) -> None:
        if envelope.plan != NO_PLAN:
            await self._on_plan(bytes(envelope.plan))
            self._seen = envelope.digest
        for ask in envelope.asks:
            if len(self._asks) >= MAX_ASKS_IN_FLIGHT:
                log.warning("ask dropped, too many in flight", ask=ask.id, kind=ask.kind)
                continue
            task = asyncio.create_task(self._answer(ask))
            self._asks.add(task)
            task.add_done_callback(self._asks.discard)

    async def _answer(self, ask: Ask) -> None:
        answer = await self._on_ask(ask)
        await self._post("answers", msgspec.json.encode(answer))

    async def _post(self, what: str, body: bytes) -> None:
        try:
            response = await self._http.post(
                f"{self._base}/{what}", content=body, headers={"Content-Type": "application/json"}
            )
        except (httpx2.HTTPError, OSError) as error:
            self._note(f"controller not reached: {error or type(error).__name__}")
            return
        if response.status_code >= 300:
            self._note(f"{what} refused with {response.status_code}: {_detail(response)}")

    def _note(self, error: str) -> str:
        if error != self.error:
            log.warning("controller", error=error)
        return error


def trust(access: ControllerAccess) -> ssl.SSLContext | bool:
    """Whose certificate is taken: one, those of the operator's CAs, or those of the system's."""
    if access.fingerprint:
        return pinned_context(access.fingerprint)
    return ssl.create_default_context(cafile=access.ca_file) if access.ca_file else True


def _detail(response: httpx2.Response) -> str:
    """The problem+json's own words (RFC 9457), or the start of whatever came."""
    try:
        problem = msgspec.json.decode(response.content)
    except msgspec.MsgspecError:
        return response.text[:200]
    if isinstance(problem, dict):
        return str(problem.get("detail") or problem.get("title") or problem)[:500]
    return response.text[:200]
