"""One controller over HTTP: requests with bounds, and every failure as an error that says the way out."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from urllib.parse import quote

import httpx2
import msgspec

from controller.client.errors import CommandFailed, NoAnswer, NoController, Refused
from controller.client.target import API, Target, is_loopback

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 120.0  # A large apply is one request: checked, compiled and stored before it is answered.
PAUSES = (0.2, 0.6)  # Seconds before the second and the third, last, attempt.
PAGE = 500

NEVER_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout)
MAYBE_SENT = (httpx2.ReadError, httpx2.WriteError, httpx2.RemoteProtocolError)


@dataclass(frozen=True)
class Reply:
    """A good answer: its JSON (None when it had no body), and its ETag ("" when it had none)."""

    body: Any
    etag: str


class Controller:
    """A connection to one controller. Use it as a context manager; raises CommandFailed and its subclasses."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._client = httpx2.Client(
            base_url=target.url,
            headers={
                "Authorization": f"Bearer {_token(target)}",
                "Accept": "application/json, application/problem+json",
            },
            timeout=httpx2.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
            verify=_trust(target),
            trust_env=not is_loopback(target.url),  # A proxy from the environment must not see loopback's token.
        )

    def __enter__(self) -> Controller:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._client.close()

    def get(self, path: str, **query: Any) -> Any:
        return self.request("GET", path, query=query).body

    def post(self, path: str, body: Any = None, *, if_match: str = "", **query: Any) -> Any:
        return self.request("POST", path, body=body, query=query, if_match=if_match).body

    def delete(self, path: str, **query: Any) -> Any:
        return self.request("DELETE", path, query=query).body

    def items(self, path: str, **query: Any) -> Iterator[dict[str, Any]]:
        """Every item of a paginated list, page by page."""
        cursor = None
        while True:
            page = self.get(path, limit=PAGE, cursor=cursor, **query)
            if not isinstance(page, dict) or not isinstance(page.get("items"), list):
                raise NoController(f"{self.target.url}{API}/{path} answers no list: is this client of another release?")
            yield from page["items"]
            if page.get("next") is None:
                return
            if page["next"] == cursor:
                raise NoController(
                    f"{self.target.url}{API}/{path}: the list does not end: cursor {cursor!r} came twice"
                )
            cursor = page["next"]

    def request(
        self, method: str, path: str, *, body: Any = None, query: Mapping[str, Any] | None = None, if_match: str = ""
    ) -> Reply:
        """One request to `/api/v1/PATH`. `query` values: None is left out, booleans become true and false."""
        headers = {"If-Match": if_match} if if_match else {}
        content = None
        if body is not None:
            content, headers["Content-Type"] = msgspec.json.encode(body), "application/json"
        url = f"{API}/{quote(path, safe='/:')}"
        response = self._send(method, url, content=content, headers=headers, params=_params(query or {}))
        return self._read(response)

    def _send(self, method: str, url: str, **parts: Any) -> httpx2.Response:
        """At most three attempts: whatever was never sent, and reads, which change nothing."""
        for pause in (*PAUSES, None):
            try:
                return self._client.request(method, url, **parts)
            except (*NEVER_SENT, *MAYBE_SENT) as error:
                repeatable = isinstance(error, NEVER_SENT) or method == "GET"
                if pause is None or not repeatable or _tls_failed(error):
                    raise self._unreachable(method, error) from None
                time.sleep(pause)
            except httpx2.TransportError as error:
                raise self._unreachable(method, error) from None
        raise AssertionError("the last attempt returns or raises")

    def _unreachable(self, method: str, error: httpx2.TransportError) -> NoController:
        reason = str(error) or type(error).__name__
        made = "" if method == "GET" else "; a change may have been made: see leyline show revisions"
        if _tls_failed(error):
            way_out = "if its certificate is from your own CA, name that CA by --cacert FILE"
        elif isinstance(error, httpx2.ReadTimeout):
            way_out = f"no answer for {ANSWER_SECONDS:.0f} s{made}"
        elif isinstance(error, MAYBE_SENT):
            way_out = f"the connection broke{'' if self.target.url.startswith('https') else ': is it https?'}{made}"
        else:
            way_out = "is it running, and is the URL right?"
        return NoController(
            f"cannot reach the controller at {self.target.url} (from {self.target.origin}): {reason}; {way_out}"
        )

    def _read(self, response: httpx2.Response) -> Reply:
        if response.is_success:
            return Reply(self._json(response) if response.content else None, response.headers.get("ETag", ""))
        raise self._failure(response)

    def _json(self, response: httpx2.Response) -> Any:
        try:
            return msgspec.json.decode(response.content)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise self._stranger(response) from None

    def _failure(self, response: httpx2.Response) -> CommandFailed:
        if not response.headers.get("Content-Type", "").startswith("application/problem+json"):
            return self._stranger(response)
        problem = self._json(response)
        if not isinstance(problem, dict):
            return self._stranger(response)
        text = str(problem.get("detail") or problem.get("title") or response.reason_phrase)
        status, url = response.status_code, self.target.url
        if status == 401:
            login = (
                f"leyline login --context {self.target.context}"
                if self.target.context
                else f"leyline login --url {url}"
            )
            return NoController(f"the controller at {url} does not accept the token ({text}): {login}")
        if status == 403:
            return NoController(
                f"the controller at {url} says no: {text}. Ask an admin for a token with the role for it"
            )
        if status == 504:
            return NoAnswer(text)
        if status >= 500 and status != 502:  # 502 is the gateway's own "no", passed on.
            return NoController(f"the controller at {url} failed ({status}): {text}; its log says more")
        return Refused(text, problem)

    def _stranger(self, response: httpx2.Response) -> NoController:
        where = f"{response.request.method} {response.request.url}"
        if response.is_redirect:
            return NoController(
                f"{where} leads on to {response.headers.get('Location')}: name the controller's own URL by --url"
            )
        kind = response.headers.get("Content-Type", "no content type")
        return NoController(
            f"{where} answers {response.status_code} with {kind}, which no Leyline controller does: is the URL right?"
        )


def _params(query: Mapping[str, Any]) -> dict[str, str]:
    texts = {True: "true", False: "false"}
    return {k: texts[v] if isinstance(v, bool) else str(v) for k, v in query.items() if v is not None}


def _token(target: Target) -> str:
    if not target.token.isascii() or any(c <= " " for c in target.token):
        raise NoController("the token has spaces or characters that no token has: copy it again, whole")
    return target.token


def _trust(target: Target) -> ssl.SSLContext | bool:
    """The system's certificates, or only those of the CA file."""
    if not target.ca_file or target.url.startswith("http://"):
        return True
    try:
        return ssl.create_default_context(cafile=target.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise NoController(f"the CA file {target.ca_file} cannot be used: {error}") from None


def _tls_failed(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False
