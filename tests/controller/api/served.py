"""The real application behind a real socket, in a thread of the test's process."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx2
import uvicorn

from controller.api.access import Context
from controller.api.app import create_app
from controller.api.settings import Settings
from speaker.plan import READABLE_VERSIONS
from speaker.report import KernelReport, Report
from tests.controller.store.fabrics import Document, small

DEADLINE_SECONDS = 30.0
VERSIONS = ", ".join(map(str, READABLE_VERSIONS))


def wait_until(holds: Callable[[], bool], what: Callable[[], object] = lambda: "") -> None:
    """Returns as soon as it holds; after DEADLINE_SECONDS fails with the evidence."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"did not happen; {what()}"
        time.sleep(0.01)


class Caller:
    """Requests with one token."""

    def __init__(self, url: str, token: str | None) -> None:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self.http = httpx2.Client(base_url=f"{url}/api/v1", headers=headers, timeout=30, trust_env=False, verify=False)

    def get(self, path: str, **options: Any) -> httpx2.Response:
        return self.http.get(path, **options)

    def post(self, path: str, body: Any = None, **options: Any) -> httpx2.Response:
        return self.http.post(path, **({} if body is None else {"json": body}), **options)

    def put(self, path: str, body: Any, **options: Any) -> httpx2.Response:
        return self.http.put(path, json=body, **options)

    def patch(self, path: str, body: Any, **options: Any) -> httpx2.Response:
        return self.http.patch(path, json=body, **options)

    def delete(self, path: str, **options: Any) -> httpx2.Response:
        return self.http.delete(path, **options)

    def poll(self, gateway: str, known: str = "", wait: float = 0, **headers: str) -> httpx2.Response:
        given = {"If-None-Match": f'"{known}"', "Leyline-Plan-Versions": VERSIONS, **headers}
        return self.get(f"/gateways/{gateway}/plan", params={"wait": wait}, headers=given)

    def in_background(self, call: Callable[[], httpx2.Response]) -> Background:
        return Background(call)


class Background:
    """One request in a thread; `result` waits for its answer."""

    def __init__(self, call: Callable[[], httpx2.Response]) -> None:
        self._answers: list[httpx2.Response] = []
        self._thread = threading.Thread(target=lambda: self._answers.append(call()), daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> bool:
        return self._thread.is_alive()

    def result(self) -> httpx2.Response:
        self._thread.join(DEADLINE_SECONDS)
        assert self._answers, "no answer"
        return self._answers[0]


class Served:
    """A running controller. `admin` has the first token."""

    def __init__(self, url: str, context: Context) -> None:
        self.url = url
        self.context = context
        first = context.controller.first_admin_token()
        self.admin_token = first or context.controller.issue_token("admin", actor="test")[0]
        self.admin = self.as_token(self.admin_token)
        self.nobody = self.as_token(None)

    def as_token(self, token: str | None) -> Caller:
        return Caller(self.url, token)

    def as_role(self, role: str) -> Caller:
        answer = self.admin.post("/tokens", {"role": role})
        assert answer.status_code == 201, answer.text
        return self.as_token(answer.json()["token"])

    def as_gateway(self, name: str) -> Caller:
        answer = self.admin.post(f"/gateways/{name}/token")
        assert answer.status_code == 201, answer.text
        return self.as_token(answer.json()["token"])

    def apply(self, document: Document, **params: Any) -> Mapping[str, Any]:
        answer = self.admin.post("/apply", document, params=params)
        assert answer.status_code == 200, answer.text
        found: Mapping[str, Any] = answer.json()
        return found

    def with_small(self) -> Served:
        self.apply(small())
        return self

    def waiting(self, polls: int) -> None:
        wait_until(lambda: self.context.board.waiting == polls, lambda: self.context.board.waiting)


@contextmanager
def serve(settings: Settings) -> Iterator[Served]:
    app = create_app(settings)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=5))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            wait_until(lambda: server.started)
            yield Served(f"http://127.0.0.1:{listener.getsockname()[1]}", app.state.context)
        finally:
            app.state.context.board.close()
            server.should_exit = True
            thread.join()


def report(gateway: str, digest: str = "") -> Report:
    return Report(
        version=1,
        gateway=gateway,
        speaker_version="0.1.0",
        plan_versions=(1, 2, 3, 4),
        plan_digest=digest,
        plan_error="",
        started_at=1.0,
        reported_at=2.0,
        converged=True,
        sessions=(),
        uplinks=(),
        kernel=KernelReport({"ipv4": 1}, 1, 0, 0, "", {}),
    )


def problem(answer: httpx2.Response, status: int, slug: str) -> dict[str, Any]:
    """The body of a problem, after checking that it is one."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert set(body) == {"type", "title", "status", "detail", "findings"}
    assert (body["type"], body["status"]) == (f"urn:leyline:problem:{slug}", status)
    assert body["title"]
    assert body["detail"]
    return body
