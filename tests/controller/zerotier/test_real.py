"""How the contract with a real zerotier-one is run where there is none, or one that cannot serve."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from lab.zerotier import VARIABLE
from tests.controller.zerotier import __main__ as contract

PRETENDER = """#!{python}
import json, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        known = self.path == "/status"
        said = json.dumps({{"address": "53fe91125f", "version": "1.16.0", "clock": 1}} if known else {{}}).encode()
        self.send_response(200 if known else 404)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *_):
        pass

port = next(int(word[2:]) for word in sys.argv if word.startswith("-p"))
home = Path(sys.argv[-1])
(home / "authtoken.secret").write_text("secret")
(home / "identity.public").write_text("53fe91125f:0:00")
HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


def test_a_build_without_a_controller_is_a_reason_to_skip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "zerotier-one"
    path.write_text(PRETENDER.format(python=sys.executable))
    path.chmod(0o755)
    monkeypatch.setenv(VARIABLE, str(path))
    assert contract.main() == 77
    reason = f"{path} has no controller (default builds from 1.16 on): name a build that has one"
    assert json.loads(capsys.readouterr().out) == {"ok": None, "skipped": reason}


def test_without_the_program_it_is_skipped_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "nothing"))
    assert contract.main() == 77
    said = json.loads(capsys.readouterr().out)
    assert (said["ok"], "is no program" in said["skipped"]) == (None, True)


def test_only_what_speaks_to_a_real_one_is_run() -> None:
    assert [file.name for file in contract.marked()] == ["test_contract.py", "test_reconcile.py"]
