"""The HTTP client against servers that misbehave: what it repeats, and what it says."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from controller.cli import EXIT_NO_ANSWER, EXIT_NO_CONTROLLER, EXIT_REFUSED
from controller.client.errors import CommandFailed, NoAnswer, NoController, Refused
from controller.client.http import Controller
from controller.client.target import Target

PROBLEM = "application/problem+json"


class Answers(ThreadingHTTPServer):
    """Gives each request the next of `script`: (status, content type, body), or None to hang up. Keeps requests."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script: list[tuple[int, str, Any] | None] = []
        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Answers

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.seen.append((self.command, self.path, dict(self.headers), body))
        answer = self.server.script.pop(0)
        if answer is None:
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        status, kind, content = answer
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Location", "https://elsewhere.example/")
        self.end_headers()
        self.wfile.write(data)

    do_POST = do_DELETE = do_GET

    def log_message(self, *_arguments: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Answers]:
    with Answers() as answers:
        thread = threading.Thread(target=answers.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield answers
        answers.shutdown()
        thread.join()


@pytest.fixture
def controller(server: Answers) -> Iterator[Controller]:
    with Controller(Target(server.url, "secret", context="lab")) as connected:
        yield connected


def test_a_request_carries_the_token_and_the_query(server: Answers, controller: Controller) -> None:
    server.script = [(200, "application/json", {"ok": True})]
    assert controller.get("prefixes/berlin/global/10.1.0.0/16", dry_run=True, cursor=None, limit=5) == {"ok": True}
    method, path, headers, _ = server.seen[0]
    assert (method, path) == ("GET", "/api/v1/prefixes/berlin/global/10.1.0.0/16?dry_run=true&limit=5")
    assert headers["Authorization"] == "Bearer secret"


def test_names_cannot_leave_their_place_in_the_path(server: Answers, controller: Controller) -> None:
    server.script = [(200, "application/json", {})]
    controller.get("sites/a?x=1#y z")
    assert server.seen[0][1] == "/api/v1/sites/a%3Fx%3D1%23y%20z"


@pytest.mark.slow
def test_a_read_is_repeated_when_the_connection_breaks(server: Answers, controller: Controller) -> None:
    server.script = [None, None, (200, "application/json", [1])]
    assert controller.get("sites") == [1]
    assert len(server.seen) == 3


@pytest.mark.slow
def test_reads_are_repeated_twice_and_no_more(server: Answers, controller: Controller) -> None:
    server.script = [None] * 4
    with pytest.raises(NoController, match="cannot reach the controller at"):
        controller.get("sites")
    assert len(server.seen) == 3


def test_a_change_that_may_have_arrived_is_not_repeated(server: Answers, controller: Controller) -> None:
    server.script = [None, (200, "application/json", {})]
    with pytest.raises(NoController, match="a change may have been made: see leyline show revisions"):
        controller.post("apply", {})
    assert len(server.seen) == 1


@pytest.mark.slow
def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with Controller(Target(url, "x", origin="context lab")) as controller, pytest.raises(NoController) as raised:
            controller.get("sites")
    assert raised.value.exit_code == EXIT_NO_CONTROLLER
    assert f"cannot reach the controller at {url} (from context lab)" in raised.value.message
    assert "is it running, and is the URL right?" in raised.value.message


@pytest.mark.parametrize(
    ("answer", "kind", "code", "said"),
    [
        ((401, PROBLEM, {"title": "Unauthorized", "detail": "unknown token"}), NoController, EXIT_NO_CONTROLLER,
         "does not accept the token (unknown token): leyline login --context lab"),
        ((403, PROBLEM, {"detail": "needs role operator"}), NoController, EXIT_NO_CONTROLLER,
         "says no: needs role operator. Ask an admin for a token with the role for it"),
        ((404, PROBLEM, {"detail": "there is no gateway 'x'"}), Refused, EXIT_REFUSED, "there is no gateway 'x'"),
        ((422, PROBLEM, {"title": "Refused"}), Refused, EXIT_REFUSED, "Refused"),
        ((503, PROBLEM, {"detail": "the database is locked"}), NoController, EXIT_NO_CONTROLLER,
         "failed (503): the database is locked; its log says more"),
        ((504, PROBLEM, {"detail": "berlin-1 did not answer"}), NoAnswer, EXIT_NO_ANSWER, "berlin-1 did not answer"),
        ((404, "text/html", b"<html>"), NoController, EXIT_NO_CONTROLLER, "which no Leyline controller does"),
        ((200, "text/html", b"<html>"), NoController, EXIT_NO_CONTROLLER, "is the URL right?"),
        ((200, "application/json", b"\xff\xfe"), NoController, EXIT_NO_CONTROLLER, "is the URL right?"),
        ((400, PROBLEM, b"nonsense"), NoController, EXIT_NO_CONTROLLER, "is the URL right?"),
        ((400, PROBLEM, [1]), NoController, EXIT_NO_CONTROLLER, "is the URL right?"),
        ((302, "text/html", b""), NoController, EXIT_NO_CONTROLLER, "leads on to https://elsewhere.example/"),
    ],
)  # fmt: skip
def test_each_failure_has_its_exit_code_and_way_out(
    server: Answers,
    controller: Controller,
    answer: tuple[int, str, Any],
    kind: type[CommandFailed],
    code: int,
    said: str,
) -> None:
    server.script = [answer]
    with pytest.raises(CommandFailed) as raised:
        controller.get("sites")
    assert type(raised.value) is kind
    assert raised.value.exit_code == code
    assert said in raised.value.message


def test_findings_of_a_refusal_are_kept_and_nonsense_among_them_dropped(
    server: Answers, controller: Controller
) -> None:
    finding = {"object": "site berlin", "code": "x", "message": "y"}
    server.script = [(422, PROBLEM, {"detail": "no", "findings": [finding, 7]}), (422, PROBLEM, {"findings": 7})]
    with pytest.raises(Refused) as raised:
        controller.post("apply", {})
    assert raised.value.findings == [finding]
    with pytest.raises(Refused) as raised:
        controller.post("apply", {})
    assert raised.value.findings == []


def test_all_pages_are_read(server: Answers, controller: Controller) -> None:
    pages = [{"items": [1, 2], "next": "c1"}, {"items": [3], "next": "c2"}, {"items": [], "next": None}]
    server.script = [(200, "application/json", page) for page in pages]
    assert list(controller.items("prefixes")) == [1, 2, 3]
    assert [path for _, path, _, _ in server.seen] == [
        "/api/v1/prefixes?limit=500",
        "/api/v1/prefixes?limit=500&cursor=c1",
        "/api/v1/prefixes?limit=500&cursor=c2",
    ]


def test_a_list_that_does_not_end_is_given_up(server: Answers, controller: Controller) -> None:
    server.script = [(200, "application/json", {"items": [1], "next": "same"})] * 3
    with pytest.raises(NoController, match="cursor 'same' came twice"):
        list(controller.items("prefixes"))


@pytest.mark.parametrize("answer", [[], {}, {"items": 7}, None])
def test_a_list_that_is_none_is_said(server: Answers, controller: Controller, answer: Any) -> None:
    server.script = [(200, "application/json", answer)]
    with pytest.raises(NoController, match="answers no list"):
        list(controller.items("prefixes"))


def test_a_token_that_is_none_is_said_before_it_is_sent() -> None:
    with pytest.raises(NoController, match="copy it again, whole"):
        Controller(Target("http://127.0.0.1:1", "two words"))


def test_a_ca_file_that_is_none() -> None:
    with pytest.raises(NoController, match=r"the CA file .*test_http\.py cannot be used"):
        Controller(Target("https://127.0.0.1:1", "x", __file__))


@pytest.fixture
def tls(server: Answers, tmp_path: Path, self_signed: Callable[[Path], tuple[Path, Path]]) -> Path:
    """The server speaks TLS; returns its certificate, which no system trusts."""
    certificate, key = self_signed(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    return certificate


def test_an_unknown_certificate_is_refused_once_and_trusted_by_name(server: Answers, tls: Path) -> None:
    server.script = [(200, "application/json", {"ok": True})]
    url = server.url.replace("http:", "https:")
    with Controller(Target(url, "x")) as controller, pytest.raises(NoController, match="name that CA by --cacert FILE"):
        controller.get("whoami")
    assert server.seen == []
    with Controller(Target(url, "x", str(tls))) as controller:
        assert controller.get("whoami") == {"ok": True}
