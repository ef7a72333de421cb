"""docs/migration.md and the cut-over plan: states are those of the code, and every command can be typed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from controller.client.import_zerotier import INVENTORY, PLAN
from controller.zerotier.cutover import bodies, removals, steps
from controller.zerotier.imported import imported
from controller.zerotier.leftover import WORDS
from controller.zerotier.port import Service
from tests.controller.zerotier.networks import BERLIN, ON_LINK, PARIS, TO_BERLIN, TO_PARIS, by_id, network
from tests.docs.commands import parse, written_out
from tests.docs.pages import rows

STATE = network(ON_LINK, TO_BERLIN, TO_PARIS)
SERVICE = Service("self-hosted", "http://127.0.0.1:9993")


def test_the_states_are_those_of_the_code() -> None:
    assert [(state.strip("`"), meaning) for state, meaning in rows("migration.md", "state")] == list(WORDS.items())


def test_the_files_are_those_that_are_written() -> None:
    named = [name for file, _ in rows("migration.md", "file") for name in re.findall(r"`([^`]+)`", file)]
    assert named == [INVENTORY, PLAN, *bodies(SERVICE, STATE)]


def test_every_command_of_the_plan_can_be_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / INVENTORY).touch()
    inventory = imported(STATE, by_id(BERLIN, PARIS)).inventory
    assert inventory is not None
    flags = "--zerotier-url http://127.0.0.1:9993 --zerotier-token-file authtoken.secret"
    plan = removals(STATE, inventory)
    lines = [each for step in steps(STATE, inventory, SERVICE, plan, flags, "authtoken.secret") for each in step.run]
    ours = [re.sub(r"\s+# .*", "", line) for line in lines if line.startswith("leyline ")]
    assert len(ours) == 15
    for line in ours:
        for arguments in written_out(line):
            parse(arguments)
