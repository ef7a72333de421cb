"""Requests to a ZeroTier service: bounded in time and size, repeated where that helps, errors that say the way out.

Every request of these APIs may be repeated: GET reads, POST merges whole values, DELETE of what is gone is a 404.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2
import msgspec
import tenacity

from controller.loopback import is_loopback
from controller.zerotier.port import Garbled, RateLimited, Refused, Unauthorised, Unreachable, ZeroTierError

MAX_ANSWER_BYTES = 32 * 1024 * 1024  # 20,000 members are about 24 MB.
MAX_QUOTED = 200  # Characters of a stranger's text in an error of ours.
MAX_AFTER = 3600.0  # Seconds; a service that names a later time is asked again after this.
MAX_PORT = 65535
ASK_AGAIN = 1.0  # Seconds after a 429 that names no time.


@dataclass(frozen=True)
class Patience:
    """Bounds of one call, in seconds: it ends within 2 x `answer` and the pauses between its attempts."""

    connect: float = 5.0
    answer: float = 20.0  # For the whole answer, not between two bytes; no attempt starts later than this.
    attempts: int = 3
    first_pause: float = 0.2  # Doubled and jittered from attempt to attempt.
    longest_pause: float = 5.0  # A service that wants us to wait longer ends the call: RateLimited.


@dataclass(frozen=True)
class Secret(httpx2.Auth):
    """Puts the token into one header; not in a repr, a log or an error."""

    header: str
    token: str = field(repr=False)
    scheme: str = ""

    def auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        request.headers[self.header] = f"{self.scheme} {self.token}".strip()
        yield request


class NotFound(ZeroTierError):
    """404. What is missing only the adapter can say, so this never leaves it."""


class Pace:
    """At most one request per `interval` seconds, over all threads; 0: as fast as they come."""

    def __init__(self, interval: float, clock: Callable[[], float], sleep: Callable[[float], None]) -> None:
        self._interval, self._clock, self._sleep = interval, clock, sleep
        self._lock, self._next = threading.Lock(), 0.0

    def wait(self) -> None:
        with self._lock:
            now = self._clock()
            mine = max(now, self._next)
            self._next = mine + self._interval
        if mine > now:
            self._sleep(mine - now)


class HttpService:
    """One ZeroTier service over HTTP. `what` is its name in errors, `token_help` says how to mend a wrong token."""

    def __init__(
        self,
        url: str,
        secret: Secret,
        *,
        what: str,
        token_help: str,
        patience: Patience | None = None,
        interval: float = 0.0,
        transport: httpx2.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.url = _plain(url)
        self.what = f"{what} at {self.url}"
        self.patience = patience or Patience()
        self._token_help, self._sleep, self._clock = token_help, sleep, clock
        self._pace = Pace(interval, clock, sleep)
        self._secret = _usable(secret)
        self._client = httpx2.Client(
            base_url=self.url,
            auth=secret,
            headers={"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "leyline"},
            timeout=httpx2.Timeout(self.patience.answer, connect=self.patience.connect),
            trust_env=not is_loopback(
                httpx2.URL(self.url).host
            ),  # A proxy from the environment must not see loopback's token.
            transport=transport,
        )

    def __repr__(self) -> str:
        return f"HttpService({self.what!r})"

    def close(self) -> None:
        self._client.close()

    def get(self, path: str) -> Any:
        return self._json("GET", path, None)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        return self._json("POST", path, msgspec.json.encode(body))

    def delete(self, path: str) -> None:
        """Whatever a 2xx says: Central's answer has no body, the self-hosted one's is what was deleted."""
        self._repeated(lambda: self._once("DELETE", path, None))

    def garbled(self, path: str, why: str) -> Garbled:
        return Garbled(f"{self.what} answers {path} with what no such service says: {self._quoted(why)}")

    def _json(self, method: str, path: str, content: bytes | None) -> Any:
        return self._repeated(lambda: self._decode(path, *self._once(method, path, content)))

    def _repeated(self, attempt: Callable[[], Any]) -> Any:
        patience = self.patience
        backoff = tenacity.wait_exponential_jitter(
            multiplier=patience.first_pause, max=patience.longest_pause, jitter=patience.first_pause
        )
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(self._helps),
            stop=tenacity.stop_after_attempt(patience.attempts) | tenacity.stop_after_delay(patience.answer),
            wait=lambda state: max(backoff(state), _after(state)),
            sleep=self._sleep,
            reraise=True,
        )
        return retrying(attempt)

    def _helps(self, error: BaseException) -> bool:
        if isinstance(error, RateLimited):
            return error.after <= self.patience.longest_pause
        return isinstance(error, Unreachable | Garbled)

    def _once(self, method: str, path: str, content: bytes | None) -> tuple[httpx2.Response, bytes]:
        self._pace.wait()
        headers = {"Content-Type": "application/json"} if content is not None else {}
        try:
            with self._client.stream(method, path.lstrip("/"), content=content, headers=headers) as response:
                body = self._bounded(path, response)
        except httpx2.TimeoutException as error:
            raise self._silent(error) from None
        except httpx2.HTTPError as error:
            reason = self._quoted(str(error) or type(error).__name__)
            raise Unreachable(f"cannot reach {self.what}: {reason}; is it running, and is the URL right?") from None
        if response.status_code in range(200, 300):
            return response, body
        raise self._failure(path, response, body)

    def _bounded(self, path: str, response: httpx2.Response) -> bytes:
        deadline = self._clock() + self.patience.answer
        body = bytearray()
        for chunk in response.iter_raw():
            body += chunk
            if len(body) > MAX_ANSWER_BYTES:
                raise self.garbled(path, f"more than {MAX_ANSWER_BYTES >> 20} MiB")
            if self._clock() > deadline:
                raise self._silent(None)
        return bytes(body)

    def _silent(self, error: httpx2.TimeoutException | None) -> Unreachable:
        if isinstance(error, httpx2.ConnectTimeout):
            return Unreachable(f"{self.what} does not take a connection within {self.patience.connect:g} s: firewall?")
        return Unreachable(f"{self.what} has not answered within {self.patience.answer:g} s")

    def _decode(self, path: str, response: httpx2.Response, body: bytes) -> Any:
        try:
            return msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            kind = response.headers.get("Content-Type", "no content type")
            raise self.garbled(path, f"{kind}, {len(body)} bytes that are no JSON ({error})") from None

    def _failure(self, path: str, response: httpx2.Response, body: bytes) -> ZeroTierError:
        status = response.status_code
        if status in (401, 403):
            return Unauthorised(f"{self.what} does not take the token for {path} ({status}): {self._token_help}")
        if status == 404:
            return NotFound(f"{self.what} has no {path}")
        if status == 429:
            after = _wait_wanted(response.headers)
            return RateLimited(f"{self.what} wants fewer requests; again in {after:.0f} s", after)
        if status >= 500 and not _our_fault(body):
            return Unreachable(f"{self.what} is broken ({status}) at {path}: {self._said(body)}; its log says more")
        if response.is_redirect:
            where = self._quoted(response.headers.get("Location", "nowhere"))
            return Garbled(f"{self.what} leads on to {where}: name the service's own URL")
        return Refused(f"{self.what} refuses {path} ({status}): {self._said(body)}")

    def _said(self, body: bytes) -> str:
        return self._quoted(body[: 4 * MAX_QUOTED].decode(errors="replace")) or "it does not say why"

    def _quoted(self, text: str) -> str:
        """A stranger's words: without our token, on one line, not too long."""
        words = " ".join(text.replace(self._secret.token, "***").split())
        printable = "".join(c if c.isprintable() else "?" for c in words)
        return printable if len(printable) <= MAX_QUOTED else printable[:MAX_QUOTED] + "..."


def _after(state: tenacity.RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    return error.after if isinstance(error, ZeroTierError) else 0.0


def _our_fault(body: bytes) -> bool:
    """zerotier-one answers 500 with the exception of its JSON parser when a value has the wrong type."""
    return b"[json.exception." in body[:4096]


def _wait_wanted(headers: Mapping[str, str]) -> float:
    """Seconds from `Retry-After` (seconds or a date) or Central's `X-Ratelimit-Reset` (a date)."""
    for name in ("Retry-After", "X-Ratelimit-Reset"):
        text = headers.get(name, "").strip()
        seconds = float(text) if text.isascii() and text.isdigit() else _until(text, headers.get("Date", ""))
        if seconds is not None:
            return min(max(seconds, 0.0), MAX_AFTER)
    return ASK_AGAIN


def _until(date: str, now: str) -> float | None:
    """Measured by the service's own clock where it tells it: ours may be wrong."""
    then = _date(date)
    return None if then is None else (then - (_date(now) or datetime.now(UTC))).total_seconds()


def _date(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _usable(secret: Secret) -> Secret:
    if not secret.token or not all("!" <= c <= "~" for c in secret.token):
        raise Unauthorised("the ZeroTier token is empty, or has characters that no token has: copy it again, whole")
    return secret


def _plain(url: str) -> str:
    """The URL without user, password, query and fragment, which must not reach an error."""
    try:
        parsed = httpx2.URL(url)
    except (httpx2.InvalidURL, ValueError):
        parsed = httpx2.URL("")
    if parsed.scheme not in ("http", "https") or not parsed.host or (parsed.port or 0) > MAX_PORT:
        raise Unreachable("the ZeroTier service's URL is no http:// or https:// URL")
    return str(parsed.copy_with(username=None, password=None, query=None, fragment=None)).rstrip("/") + "/"
