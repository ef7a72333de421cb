"""Fakes over HTTP: in this process (httpx2.MockTransport) or on a real port; and one that misbehaves on demand."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol

import httpx2


@dataclass(frozen=True)
class Answer:
    status: int = 200
    content_type: str = "application/json"
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def document(self) -> Any:
        return json.loads(self.body) if self.body else ""


def said(document: Any, status: int = 200) -> Answer:
    return Answer(status, "application/json", json.dumps(document).encode())


def silent(status: int) -> Answer:
    """No body, and no content type."""
    return Answer(status, "")


class Answers(Protocol):
    def answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """`path` with its query; header names in lower case."""


class Faulty:
    """Another fake with faults in front: each is used once. A fault makes an answer, changes one, or raises."""

    def __init__(self, behind: Answers) -> None:
        self.behind = behind
        self.faults: deque[Callable[[Callable[[], Answer]], Answer]] = deque()
        self.asked: list[tuple[str, str]] = []

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        self.asked.append((method, path))

        def properly() -> Answer:
            return self.behind.answer(method, path, headers, body)

        return self.faults.popleft()(properly) if self.faults else properly()

    def instead(self, *answers: Answer | Exception) -> None:
        """The next requests are answered by these, and do nothing."""
        self.faults.extend(_given(answer) for answer in answers)

    def cut(self, keep: int) -> None:
        """The next request is done, and its answer breaks off."""
        self.faults.append(lambda properly: _cut(properly(), keep))


def transport(fake: Answers) -> httpx2.MockTransport:
    def handle(request: httpx2.Request) -> httpx2.Response:
        path = request.url.raw_path.decode()
        found = fake.answer(request.method, path, _lower(request.headers), request.read())
        kind = {"Content-Type": found.content_type} if found.content_type else {}
        headers = [(name.encode(), value.encode("latin-1")) for name, value in {**kind, **found.headers}.items()]
        return httpx2.Response(found.status, headers=headers, stream=httpx2.ByteStream(found.body))

    return httpx2.MockTransport(handle)


@contextmanager
def served(fake: Answers, port: int = 0) -> Iterator[str]:
    """On loopback; yields the URL. One request at a time, so that fakes need no locks."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _handle(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            with lock:
                found = fake.answer(self.command, self.path, _lower(self.headers), body)
            self.send_response(found.status)
            kind = {"Content-Type": found.content_type} if found.content_type else {}
            for name, value in {**kind, **found.headers, "Content-Length": str(len(found.body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(found.body)

        do_GET = do_POST = do_PUT = do_DELETE = _handle

        def log_message(self, *_arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def _lower(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _given(answer: Answer | Exception) -> Callable[[Callable[[], Answer]], Answer]:
    def fault(_properly: Callable[[], Answer]) -> Answer:
        if isinstance(answer, Exception):
            raise answer
        return answer

    return fault


def _cut(answer: Answer, keep: int) -> Answer:
    return Answer(answer.status, answer.content_type, answer.body[:keep], answer.headers)
