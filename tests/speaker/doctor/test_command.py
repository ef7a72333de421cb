"""`leyline speaker doctor`: what it prints, and how it ends."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from controller.cli import cli
from speaker.doctor import gather
from speaker.doctor.checks import CHECKS
from speaker.doctor.facts import Facts
from speaker.state import StateDir
from tests.speaker.doctor.given import SERVICE, WELL


def doctor(monkeypatch: pytest.MonkeyPatch, facts: Facts, *options: str) -> Result:
    monkeypatch.setattr(gather, "gather", lambda _: facts)
    return CliRunner().invoke(cli, ["speaker", "doctor", *options])


def test_all_is_well(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    done = doctor(monkeypatch, WELL, "--state-dir", str(tmp_path))
    assert (done.exit_code, done.stdout) == (0, "")
    assert f"{len(CHECKS)} checks: 0 errors, 0 warnings" in done.stderr


def test_errors_are_exit_code_1_and_warnings_are_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    warned = replace(WELL, clock_synchronised=False)
    done = doctor(monkeypatch, replace(warned, controller=None), "--state-dir", str(tmp_path))
    assert (done.exit_code, "clock" in done.stdout) == (0, True)
    sick = replace(warned, controller=None, services=(replace(SERVICE, tcp_fallback=True),), unread={"routes": "no"})
    done = doctor(monkeypatch, sick, "--state-dir", str(tmp_path))
    assert done.exit_code == 1
    assert done.stdout.index("udp-blocked") < done.stdout.index("nobody keeps it right")
    assert "not looked at: routes: no" in done.stderr


def test_programs_get_all_of_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sick = replace(WELL, services=(replace(SERVICE, tcp_fallback=True),), unread={"routes": "no"})
    done = doctor(monkeypatch, sick, "--state-dir", str(tmp_path), "--json")
    said: Any = json.loads(done.stdout)
    assert done.exit_code == 1
    assert said["unread"] == {"routes": "no"}
    assert [set(finding) for finding in said["findings"]] == [{"level", "check", "where", "what", "fix"}]


def test_a_plan_file_is_handed_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[gather.Patient] = []

    def gathered(patient: gather.Patient) -> Facts:
        seen.append(patient)
        return WELL

    monkeypatch.setattr(gather, "gather", gathered)
    plan = tmp_path / "plan.json"
    done = CliRunner().invoke(cli, ["speaker", "doctor", "--state-dir", str(tmp_path), "--plan", str(plan)])
    assert (done.exit_code, [each.plan_file for each in seen]) == (0, [plan])


def test_a_pipe_gets_lines_that_can_be_copied(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sick = replace(WELL, services=(replace(SERVICE, tcp_fallback=True),))
    done = doctor(monkeypatch, sick, "--state-dir", str(tmp_path))
    fix = "let UDP 9993 out, and its answers in, at the provider's firewall and at your own"
    assert [fix in line for line in done.stdout.splitlines()] == [False, True]


def test_access_that_cannot_be_used_leaves_the_rest_to_be_examined(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    StateDir(tmp_path).access.write_text("{")
    done = doctor(monkeypatch, replace(WELL, controller=None), "--state-dir", str(tmp_path))
    assert done.exit_code == 0
    assert "not looked at: controller: " in done.stderr
    lonely = doctor(monkeypatch, WELL, "--state-dir", str(tmp_path / "new"), "--controller", "https://leyline.example")
    assert "not looked at: controller: --controller needs --token-file" in lonely.stderr
