"""Scenarios through the command line: the runner, by one without Leyline; then every scenario of the house once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lab import leftovers, runner

CLI = [sys.executable, "-c", "from lab.commands import lab; lab()"]
ROUTES = str(Path(__file__).parent / "labs" / "plain_routes")
NAME = f"lab-run-{os.getpid()}"


def run(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "LAB_NAME": NAME, **environ}
    return subprocess.run([*CLI, "run", *words], capture_output=True, text=True, check=False, env=env, timeout=900)


def only(result: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    (line,) = result.stdout.splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


@pytest.mark.root
def test_a_run_prints_one_json_object_and_leaves_nothing() -> None:
    result = run(ROUTES, "--json")
    assert result.returncode == 0, result.stderr
    outcome = only(result)
    assert (outcome["scenario"], outcome["ok"], outcome["figures"]["answer"]) == ("plain_routes", True, 42)
    assert "the far host answers" in result.stderr
    assert not leftovers.processes_of(NAME)


@pytest.mark.root
def test_for_people_there_is_a_summary_on_stdout() -> None:
    result = run(ROUTES)
    assert result.returncode == 0
    for text in ("✓ the far host answers", "what was seen", "answer", "plain_routes: ok, 4 of 4 expectations held"):
        assert text in result.stdout


@pytest.mark.root
@pytest.mark.parametrize(
    ("how", "what"), [("expectation", "the moon is cheese"), ("error", "exit code 1")], ids=["expectation", "error"]
)
def test_a_failure_is_an_exit_code_a_name_and_a_directory_of_evidence(how: str, what: str, tmp_path: Path) -> None:
    result = run(ROUTES, "--json", FAIL=how, LEYLINE_LAB_EVIDENCE=str(tmp_path))
    assert result.returncode == 1
    outcome = only(result)
    assert outcome["ok"] is False
    assert what in outcome["failed"][0]
    evidence = Path(outcome["evidence"])
    assert evidence.parent == tmp_path
    assert "10.9.2.0/24 via 10.9.0.2" in (evidence / "east.routes4.txt").read_text()
    assert what in (evidence / "expectations.txt").read_text()
    assert not leftovers.processes_of(NAME)


@pytest.mark.root
def test_several_runs_give_medians_and_worst() -> None:
    figures = only(run(ROUTES, "--json", "--runs", "2"))["figures"]
    assert figures["runs"] == 2
    assert figures["answer"] == {"median": 42, "worst": 42, "runs": 2}
    assert figures["seconds"]["worst"] >= figures["seconds"]["median"] > 0


@pytest.mark.root
def test_a_run_that_is_terminated_removes_its_lab(tmp_path: Path) -> None:
    slow = tmp_path / "slow"
    slow.mkdir()
    topology = Path(__file__).parent / "labs" / "plain.clab.yml"
    (slow / "scenario.py").write_text(
        f"TOPOLOGY = {str(topology)!r}\n"
        "def scenario(run):\n    print('now', flush=True)\n    run.lab.node('east').run('sleep 600', seconds=700)\n"
    )
    env = {**os.environ, "LAB_NAME": NAME, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen([*CLI, "run", str(slow), "--json"], stdout=subprocess.PIPE, text=True, env=env) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "now\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 130
    assert not leftovers.processes_of(NAME)


@pytest.fixture
def absent(tmp_path: Path) -> str:
    """A scenario that cannot run on this machine."""
    place = tmp_path / "absent"
    place.mkdir()
    (place / "scenario.py").write_text("def missing():\n    return 'no moon here'\n")
    return str(place)


@pytest.mark.root
def test_a_scenario_that_cannot_run_here_is_skipped_with_its_reason(absent: str) -> None:
    result = run(absent, "--json")
    assert result.returncode == 77
    assert only(result) == {"scenario": "absent", "ok": None, "skipped": "no moon here", "figures": None}
    assert "absent: skipped: no moon here" in result.stderr


@pytest.mark.root
@pytest.mark.parametrize(("how", "code"), [("", 0), ("expectation", 1)], ids=["good", "bad"])
def test_a_skipped_scenario_beside_others_is_neither_good_nor_bad(absent: str, how: str, code: int) -> None:
    result = run(absent, ROUTES, "--json", FAIL=how)
    assert result.returncode == code
    assert [json.loads(line)["ok"] for line in result.stdout.splitlines()] == [None, code == 0]


def test_an_unknown_scenario_is_refused_with_the_known_ones() -> None:
    result = run("nonsense")
    assert result.returncode == 1
    assert f"no scenario 'nonsense'; there is {', '.join(runner.names())}" in result.stderr


@pytest.mark.lab
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", runner.names())
def test_scenario(name: str) -> None:
    result = run(name, "--json")
    if result.returncode == runner.SKIPPED:
        pytest.skip(only(result)["skipped"])
    assert result.returncode == 0, result.stderr
    outcome = only(result)
    assert outcome["scenario"] == name
    assert outcome["ok"] is True
    assert outcome["figures"]["seconds"] > 0
