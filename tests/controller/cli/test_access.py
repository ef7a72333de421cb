"""`login`, `context`, `token`, `gateway token`: who talks to which controller, and what happens to who may not."""

from __future__ import annotations

import json
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from controller.client.config import load
from controller.client.options import connect
from controller.client.target import Target
from tests.controller.cli.conftest import Leyline
from tests.controller.cli.running import RunningController
from tests.controller.cli.test_inventory_commands import lines

# login


def test_login_stores_what_the_controller_accepts(leyline: Leyline, running: RunningController) -> None:
    done = leyline("login", "--url", running.url + "/", "--token-stdin", stdin=running.admin + "\n")
    assert done.exit_code == 0, done.output
    assert f"{running.url} accepts you as admin; stored as context 'default' in {leyline.config}" in done.stdout
    assert running.admin not in done.output
    assert stat.S_IMODE(leyline.config.stat().st_mode) == 0o600
    assert leyline("show", "sites").exit_code == 0


def test_login_asks_on_a_terminal_and_does_not_echo_the_token(leyline: Leyline, running: RunningController) -> None:
    answers = {"URL:": running.url, "Token:": running.admin}
    code, seen = leyline.on_terminal("login", "--context", "lab", answers=answers)
    assert code == 0, seen
    assert load(leyline.config).contexts["lab"].token == running.admin
    assert running.admin not in seen


def test_login_with_a_wrong_token_stores_nothing(leyline: Leyline, running: RunningController) -> None:
    for wrong in ("nonsense", "leyline_" + "a" * 12 + "_" + "b" * 43):
        done = leyline("login", "--url", running.url, "--token-stdin", stdin=wrong)
        assert done.exit_code == 3
        assert "does not accept the token" in done.stderr
        assert wrong not in done.output
    assert not leyline.config.exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "stdin", "code", "said"),
    [
        (("--url", "ftp://x", "--token-stdin"), "x", 2, "is no controller URL"),
        (("--token-stdin",), "x", 2, "which controller? give --url"),
        (("--url", "http://127.0.0.1:1"), "", 2, "give --token-stdin"),
        (("--url", "http://127.0.0.1:1", "--token-stdin"), "", 2, "stdin has no token"),
        (("--url", "http://127.0.0.1:1", "--token-stdin"), "x", 3, "cannot reach the controller at http://127.0.0.1:1"),
        (("--url", "http://127.0.0.1:1", "--context", "a b"), "x", 2, "'a b' is no context name"),
        (("--url", "http://127.0.0.1:1", "--cacert", "nowhere.pem"), "x", 2, "'nowhere.pem' does not exist"),
    ],
)
def test_login_that_cannot_be(leyline: Leyline, arguments: tuple[str, ...], stdin: str, code: int, said: str) -> None:
    done = leyline("login", *arguments, stdin=stdin)
    assert done.exit_code == code
    assert said in done.stderr
    assert not leyline.config.exists()


@pytest.mark.slow
def test_login_over_tls_stores_the_ca(
    leyline: Leyline, tmp_path: Path, self_signed: Callable[[Path], tuple[Path, Path]]
) -> None:
    certificate, key = self_signed(tmp_path)
    with RunningController(tmp_path, (certificate, key)) as running:
        refused = leyline("login", "--url", running.url, "--token-stdin", stdin=running.admin)
        assert refused.exit_code == 3
        assert "--cacert FILE" in refused.stderr
        cacert = ("--cacert", str(certificate))
        done = leyline("login", "--url", running.url, "--token-stdin", *cacert, stdin=running.admin)
        assert done.exit_code == 0, done.output
        assert leyline("show", "sites").exit_code == 0


# contexts


def test_contexts_are_listed_chosen_and_forgotten(leyline: Leyline, running: RunningController) -> None:
    for name in ("lab", "prod"):
        leyline("login", "--context", name, "--url", running.url, "--token-stdin", stdin=running.admin)
    assert lines(leyline("context", "list").stdout)[1:] == [["lab", "no", running.url], ["prod", "yes", running.url]]
    assert leyline("context", "use", "lab").exit_code == 0
    assert [each["current"] for each in json.loads(leyline("context", "list", "--json").stdout)] == [True, False]
    assert running.admin not in leyline("context", "list", "--json").stdout
    assert leyline("context", "forget", "lab").exit_code == 0
    assert "no controller is named" in leyline("show", "sites").stderr
    assert leyline("show", "sites", "--context", "prod").exit_code == 0
    assert leyline("show", "sites", LEYLINE_CONTEXT="prod").exit_code == 0


def test_a_context_that_is_not_there(leyline: Leyline) -> None:
    for command in (("context", "use", "x"), ("context", "forget", "x")):
        done = leyline(*command)
        assert done.exit_code == 1
        assert "there is no context 'x' (none is stored)" in done.stderr
    done = leyline("show", "sites", "--context", "x")
    assert done.exit_code == 2


def test_flag_before_environment_before_context(leyline: Leyline, running: RunningController) -> None:
    leyline("login", "--url", running.url, "--token-stdin", stdin=running.admin)
    dead = "http://127.0.0.1:1"
    by_environment = leyline("show", "sites", LEYLINE_URL=dead, LEYLINE_TOKEN="x")
    assert by_environment.exit_code == 3
    assert f"{dead} (from LEYLINE_URL)" in by_environment.stderr
    by_flag = leyline("show", "sites", "--url", running.url, "--token", running.admin, LEYLINE_URL=dead)
    assert by_flag.exit_code == 0, by_flag.output


def test_the_stored_token_is_not_sent_elsewhere(leyline: Leyline, running: RunningController) -> None:
    leyline("login", "--url", running.url, "--token-stdin", stdin=running.admin)
    done = leyline("show", "sites", "--url", "http://127.0.0.1:1")
    assert done.exit_code == 3
    assert "there is no token for http://127.0.0.1:1" in done.stderr


def test_a_config_that_others_may_read_is_said(leyline: Leyline, running: RunningController) -> None:
    leyline("login", "--url", running.url, "--token-stdin", stdin=running.admin)
    leyline.config.chmod(0o640)
    done = leyline("show", "sites")
    assert done.exit_code == 0
    assert f"chmod 600 {leyline.config}" in done.stderr


def test_a_config_that_cannot_be_read_is_said(leyline: Leyline) -> None:
    leyline.write(".config/leyline/config.toml", "current = [")
    done = leyline("show", "sites")
    assert done.exit_code == 2
    assert "config.toml" in done.stderr


def test_an_address_without_tls_elsewhere_is_warned_about(capsys: pytest.CaptureFixture[str]) -> None:
    for url, warned in (("http://192.0.2.1:1", True), ("http://127.0.0.1:1", False), ("https://192.0.2.1", False)):
        with connect(Target(url, "x")) as controller:
            assert controller.target.url == url
        assert ("not encrypted" in capsys.readouterr().err) is warned


# tokens


def test_a_new_token_alone_is_on_stdout_and_has_its_role(admin: Leyline) -> None:
    done = admin("token", "create", "--role", "viewer", "--note", "wall display", "--expires", "90d")
    assert done.exit_code == 0, done.output
    viewer = done.stdout.strip()
    assert admin("show", "sites", "--token", viewer).exit_code == 0
    refused = admin("apply", admin.write("r.yml", "regions:\n  - {name: eu}\n"), "--token", viewer)
    assert refused.exit_code == 3
    assert "this needs the role operator, and the token has viewer" in refused.stderr
    row = next(each for each in json.loads(admin("token", "list", "--json").stdout) if each["note"] == "wall display")
    assert row["role"] == "viewer"
    assert viewer not in admin("token", "list", "--json").stdout


def test_tokens_expire(admin: Leyline) -> None:
    before = time.time()
    made = json.loads(admin("token", "create", "--role", "viewer", "--expires", "2h", "--json").stdout)
    listed = lines(admin("token", "list").stdout)
    assert made["expires_at"] in [word for row in listed for word in row]
    assert made["expires_at"] > time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(before + 7190))


def test_an_expired_token_is_told_so(admin: Leyline, running: RunningController) -> None:
    made = json.loads(admin("token", "create", "--role", "viewer", "--expires", "30m", "--json").stdout)
    running.expire(made["id"])
    done = admin("show", "sites", "--token", made["token"])
    assert done.exit_code == 3
    assert f"token {made['id']} has expired" in done.stderr
    assert "leyline login" in done.stderr


def test_a_revoked_token_lets_nobody_in(admin: Leyline) -> None:
    made = json.loads(admin("token", "create", "--role", "operator", "--note", "ci", "--json").stdout)
    assert "Nobody is there to ask" in admin("token", "revoke", made["id"]).stderr
    done = admin("token", "revoke", "--yes", made["id"])
    assert (done.exit_code, done.stdout) == (0, f"token {made['id']} (operator, ci) is revoked\n")
    refused = admin("show", "sites", "--token", made["token"])
    assert refused.exit_code == 3
    assert "has been revoked" in refused.stderr
    assert made["id"] not in admin("token", "list").stdout
    assert made["id"] in admin("token", "list", "--all").stdout
    assert admin("token", "revoke", "--yes", "0" * 12).exit_code == 1


@pytest.mark.parametrize("text", ["90", "0d", "1y", "-1d", "1.5h", "٣d"])
def test_what_is_no_duration(admin: Leyline, text: str) -> None:
    done = admin("token", "create", "--role", "viewer", "--expires", text)
    assert done.exit_code == 2
    assert "it looks like 90d, 12h or 30m" in done.stderr


def test_gateways_have_tokens_of_their_own(declared: Leyline) -> None:
    done = declared("gateway", "token", "berlin-1", "--note", "by hand")
    assert done.exit_code == 0, done.output
    token = done.stdout.strip()
    assert token.startswith("leyline_")
    refused = declared("show", "sites", "--token", token)
    assert refused.exit_code == 3
    assert "the token has gateway" in refused.stderr
    missing = declared("gateway", "token", "berlin-9")
    assert missing.exit_code == 1
    assert "there is no gateway berlin-9" in missing.stderr
