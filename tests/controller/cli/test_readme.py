"""README.md is a session: its commands are run against a controller, in its order, with the inventory that it names."""

from __future__ import annotations

import shlex

import pytest

from controller.api import board
from tests.controller.cli.conftest import ROOT, Leyline
from tests.controller.cli.running import RunningController
from tests.docs.pages import PAGES, blocks, command_lines, inline

SMALLEST = "lab/scenarios/pair/inventory.yml"
SERVE, LOGIN, *OPERATED = [
    line
    for line in command_lines("README.md")
    if line.startswith("leyline ") and not line.startswith("leyline speaker ")
]
PARTNER = blocks("yaml", "clients.md")[0].text
NETWORK = next(line for line in (ROOT / SMALLEST).read_text().splitlines() if line.startswith("fabric:")).replace(
    "{", '{network: "8056c2e21c000001", '
)
SAID = {  # What a line says, where its comment promises something.
    "leyline apply --dry-run inventory/": "nothing was stored",
    "leyline apply inventory/": "revision 1: ",
    "leyline gateway token berlin-1": "leyline_",
    "leyline explain --from berlin 10.2.0.10": "intended: 10.2.0.0/24, over paris-1/main",
    "leyline whatif --fail paris-1": "pairs lose reachability",
    "leyline client-config partner --format frr": "\nrouter bgp 65021\n",
}


@pytest.fixture
def user(leyline: Leyline, running: RunningController, monkeypatch: pytest.MonkeyPatch) -> Leyline:
    """Logged in as the README says, in a directory with the smallest inventory in `inventory/`."""
    monkeypatch.chdir(leyline.home)
    assert f"[{SMALLEST}]({SMALLEST})" in PAGES["README.md"]
    leyline.write("inventory/pair.yml", (ROOT / SMALLEST).read_text())
    words = shlex.split(LOGIN.replace("http://127.0.0.1:8642", running.url))[1:]
    code, seen = leyline.on_terminal(*words, answers={"Token:": running.admin})
    assert code == 0, seen
    return leyline


def test_the_commands_of_an_operator_do_what_they_say(user: Leyline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board, "ASK_SECONDS", 0.2)  # No gateway is there to be asked.
    assert SERVE.startswith("leyline controller serve ")
    assert set(SAID) <= set(OPERATED)
    for line in OPERATED:
        if line.startswith("leyline client-config"):
            assert user("apply", user.write("partner.yml", PARTNER)).exit_code == 0
        if line.startswith("leyline enroll-key"):
            assert user("apply", user.write("network.yml", NETWORK)).exit_code == 0
        done = user(*shlex.split(line)[1:])
        assert done.exit_code == (line == "leyline doctor"), f"{line}: {done.output}"  # No gateway has reported.
        assert SAID.get(line, "") in done.stdout, line


def test_what_is_asked_from_anywhere_is_answered(user: Leyline, monkeypatch: pytest.MonkeyPatch) -> None:
    """Routes are a gateway's own, so a silent one is exit code 4; the rest is what was reported last."""
    monkeypatch.setattr(board, "ASK_SECONDS", 0.2)
    assert user("apply", "inventory/").exit_code == 0
    shown = [code for code in inline("README.md") if code.startswith("leyline show ")]
    assert len(shown) == 4
    for line in shown:
        done = user(*shlex.split(line)[1:])
        assert done.exit_code == (4 if line.startswith("leyline show routes") else 0), f"{line}: {done.output}"
