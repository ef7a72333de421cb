"""A real controller in a thread of the test: SQLite in a temporary directory, uvicorn on a free loopback port."""

from __future__ import annotations

import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx2
import uvicorn

from controller.api.app import create_app
from controller.api.settings import Settings
from controller.store.engine import Database
from controller.store.migrate import migrate
from speaker.plan import READABLE_VERSIONS
from speaker.report import Answer, Ask, KernelReport, Report, SessionReport, decode_envelope, encode

START_SECONDS = 20.0


class RunningController:
    """`with RunningController(directory) as running:` -> `running.url`, `running.admin` (a token)."""

    def __init__(self, directory: Path, tls: tuple[Path, Path] | None = None) -> None:
        self.file = directory / "controller.sqlite"
        database = f"sqlite:///{self.file}"
        opened = Database(database)
        migrate(opened)
        opened.close()
        app = create_app(Settings(database))
        token = app.state.context.controller.first_admin_token()
        assert token is not None
        self.admin: str = token
        self.pristine = sqlite3.connect(":memory:", check_same_thread=False)
        with closing(sqlite3.connect(self.file)) as connection:
            connection.backup(self.pristine)
        self.socket = socket.create_server(("127.0.0.1", 0))
        files = {"ssl_certfile": tls[0], "ssl_keyfile": tls[1]} if tls else {}
        config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=1, **files)
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.socket]})
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.socket.getsockname()[1]}"

    def reset(self) -> None:
        """As it was at first: nothing declared, one admin token. A new controller would take half a second."""
        with closing(sqlite3.connect(self.file)) as connection:
            self.pristine.backup(connection)

    def age_reports(self, seconds: float) -> None:
        """As if so much time had passed since the last reports came."""
        self._sql("UPDATE reports SET received_at = received_at - ?", seconds)

    def expire(self, token: str) -> None:
        """As if the token's time were over."""
        self._sql("UPDATE tokens SET expires_at = created_at WHERE id = ?", token)

    def _sql(self, statement: str, *values: Any) -> None:
        with closing(sqlite3.connect(self.file)) as connection, connection:
            connection.execute(statement, values)

    def __enter__(self) -> RunningController:
        self.thread.start()
        deadline = time.monotonic() + START_SECONDS
        while not self.server.started:
            assert self.thread.is_alive(), "the controller died"
            assert time.monotonic() < deadline, "the controller did not start"
            time.sleep(0.01)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.server.should_exit = True
        self.thread.join()
        self.socket.close()
        self.pristine.close()


class Speaker:
    """A gateway as the controller sees it: it polls, reports and answers, over HTTP."""

    def __init__(self, running: RunningController, name: str) -> None:
        self.name = name
        with httpx2.Client(base_url=running.url, headers={"Authorization": f"Bearer {running.admin}"}) as client:
            token = client.post(f"/api/v1/gateways/{name}/token").raise_for_status().json()["token"]
        headers = {"Authorization": f"Bearer {token}", "Leyline-Plan-Versions": ", ".join(map(str, READABLE_VERSIONS))}
        self.http = httpx2.Client(base_url=f"{running.url}/api/v1/gateways/{name}", headers=headers, timeout=20)

    def digest(self) -> str:
        return decode_envelope(self.http.get("/plan").raise_for_status().content).digest

    def report(self, **changed: Any) -> None:
        """Says that all is well, but for what is changed."""
        now = time.time()
        session = SessionReport("hub-1", "10.42.0.1", "up", now - 300, "", True, {"ipv4": 7}, {"ipv4": 1}, {"ipv4": 0})
        kernel = KernelReport({"ipv4": 6, "ipv6": 0}, 2, 0, 0, "", {})
        fields: dict[str, Any] = {
            "version": 1,
            "gateway": self.name,
            "speaker_version": "0.1.0",
            "plan_versions": (1, 2, 3, 4),
            "plan_digest": self.digest(),
            "plan_error": "",
            "started_at": now - 600,
            "reported_at": now,
            "converged": True,
            "sessions": (session,),
            "uplinks": (),
            "kernel": kernel,
        }
        body = encode(Report(**{**fields, **changed}))
        self.http.post("/report", content=body, headers={"Content-Type": "application/json"}).raise_for_status()

    def answer_one(self, body: Any, ok: bool = True) -> threading.Thread:
        """Waits in a thread for the next ask, and answers it; the thread's `asked` is the ask."""
        digest = self.digest()

        def work() -> None:
            etag = {"If-None-Match": f'"{digest}"'}
            found = self.http.get("/plan", params={"wait": 15}, headers=etag).raise_for_status()
            ask = decode_envelope(found.content).asks[0]
            thread.asked = ask  # type: ignore[attr-defined]
            self.http.post("/answers", content=encode(Answer(ask.id, ok, body))).raise_for_status()

        thread = threading.Thread(target=work)
        thread.start()
        return thread

    @contextmanager
    def answering(self, answer: Callable[[Ask], Any]) -> Iterator[None]:
        """Every ask is answered, in a thread."""
        etag, stop = {"If-None-Match": f'"{self.digest()}"'}, threading.Event()

        def work() -> None:
            while not stop.is_set():
                found = self.http.get("/plan", params={"wait": 0.2}, headers=etag)
                for ask in decode_envelope(found.content).asks if found.status_code == 200 else ():
                    self.http.post("/answers", content=encode(Answer(ask.id, True, answer(ask)))).raise_for_status()

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def close(self) -> None:
        self.http.close()
