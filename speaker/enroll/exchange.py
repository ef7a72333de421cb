"""What a gateway that enrols says to its controller, and what it hears. Blocking; every call is bounded in time."""

from __future__ import annotations

import ssl
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx2
import msgspec
from msgspec import Struct

from speaker.enroll.key import Key
from speaker.enroll.pin import OTHER_CERTIFICATE, OtherCertificate
from speaker.plan import READABLE_VERSIONS
from speaker.report import Envelope, ReportUnreadable, decode_envelope

TIMEOUT_SECONDS = 15.0
MAX_ERROR = 500

T = TypeVar("T")


class EnrolFailed(Exception):
    """The gateway is not enrolled, and trying the same again is pointless. The text has the way out."""


class NotReached(EnrolFailed):
    """The controller does not answer now; it may later."""


class Gone(EnrolFailed):
    """The controller does not know this enrolment (any more)."""


class Invitation(Struct, frozen=True):
    """What a key is for."""

    fabric: str
    network: str
    site: str
    role: str


class Enrolled(Struct, frozen=True):
    gateway: str
    state: str  # "pending" or "approved".
    network: str
    kept_out: str = ""  # Why the controller does not let it into the network, and the way out; not of every controller.


class Exchange:
    """Talks to the controller at `url`, trusting whom `verify` trusts. Use it as a context manager."""

    def __init__(self, url: str, verify: ssl.SSLContext | bool) -> None:
        self._url = url
        self._http = httpx2.Client(
            base_url=f"{url}/api/v1",
            verify=verify,
            timeout=TIMEOUT_SECONDS,
            follow_redirects=False,
            trust_env=urlsplit(url).scheme == "https",  # A proxy must not see what is not encrypted.
        )

    def __enter__(self) -> Exchange:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._http.close()

    def why_silent(self) -> str:
        """Why nothing answers that is trusted; "" when something does. Nothing secret is sent."""
        try:
            self._http.get("/healthz")
        except (httpx2.HTTPError, OSError) as error:
            return str(_of_tls(error) or error) or type(error).__name__
        return ""

    def invitation(self, key: Key) -> Invitation:
        return self._read(self._send("GET", "/enroll", _by_key(key)), Invitation)

    def enrol(self, key: Key, body: dict[str, Any]) -> Enrolled:
        return self._read(self._send("POST", "/enroll", _by_key(key), msgspec.json.encode(body)), Enrolled)

    def state(self, gateway: str, token: str) -> Enrolled:
        """Raises Gone when it was refused."""
        return self._read(self._send("GET", f"/enroll/{gateway}", _by_token(token)), Enrolled)

    def plan(self, gateway: str, token: str) -> Envelope:
        headers = {**_by_token(token), "Leyline-Plan-Versions": ",".join(map(str, READABLE_VERSIONS))}
        response = self._send("GET", f"/gateways/{gateway}/plan", headers)
        try:
            return decode_envelope(response.content)
        except ReportUnreadable as error:
            raise EnrolFailed(f"the controller's answer is unreadable: {error}") from None

    def _send(self, method: str, path: str, headers: dict[str, str], body: bytes | None = None) -> httpx2.Response:
        """The answer, if it is a good one."""
        try:
            response = self._http.request(method, path, headers=headers, content=body)
        except (httpx2.HTTPError, OSError) as error:
            raise self._unreached(error) from None
        if response.status_code < 300:
            return response
        said = _problem(response)
        if response.status_code >= 500 or response.status_code == 429:
            raise NotReached(f"the controller at {self._url} cannot now ({response.status_code}): {said}")
        if response.status_code in (401, 404):
            raise Gone(said)
        raise EnrolFailed(said)

    def _unreached(self, error: BaseException) -> EnrolFailed:
        cause = _of_tls(error)
        if isinstance(cause, OtherCertificate) or OTHER_CERTIFICATE in str(error):
            return EnrolFailed(
                f"{self._url} shows {cause or error}. It is not the controller that the key is of, or it has a new"
                " certificate: make a new key there. Nothing was sent"
            )
        if cause is not None:
            return EnrolFailed(f"{self._url}: {cause}")
        return NotReached(f"the controller at {self._url} is not reached: {error or type(error).__name__}")

    def _read(self, response: httpx2.Response, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(response.content, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise EnrolFailed(f"{self._url} answers with something that no Leyline controller says") from None


def _of_tls(error: BaseException) -> BaseException | None:
    """What TLS had against the other end, if that is what lies beneath."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLError):
        cause = cause.__cause__ or cause.__context__
    return cause


def _by_key(key: Key) -> dict[str, str]:
    return {"Authorization": f"Leyline-Key {key.bearer}", "Content-Type": "application/json"}


def _by_token(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def _problem(response: httpx2.Response) -> str:
    """The controller's own words (RFC 9457), findings included, or the start of whatever came."""
    try:
        problem = msgspec.json.decode(response.content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        problem = None
    if not isinstance(problem, dict):
        return f"answered {response.status_code}; is that a Leyline controller?"
    findings = problem.get("findings")
    said = [str(problem.get("detail") or problem.get("title") or response.status_code)]
    for each in findings if isinstance(findings, list) else ():
        if isinstance(each, dict):
            said.append(f"{each.get('object', '')}: {each.get('message', '')}")
    return "; ".join(said)[:MAX_ERROR]
