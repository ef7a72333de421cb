"""Expectations: what is noted, what ends a scenario, and how several runs are summed up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lab import runner
from lab.compare import difference
from lab.expect import Expectation, Run, Unmet
from lab.labs import Lab
from lab.runner import Outcome, together


def a_run() -> Run:
    return Run(Lab("none", Path("/nowhere"), {}))


def test_a_run_without_expectations_is_not_ok() -> None:
    assert not a_run().ok


def test_what_does_not_hold_is_kept_with_its_evidence_and_the_scenario_goes_on() -> None:
    run = a_run()
    assert run.expect("water is wet", True, "never shown")
    assert not run.expect("the moon is cheese", False, lambda: "rock samples")
    assert run.expectations == [
        Expectation("water is wet", True, ""),
        Expectation("the moon is cheese", False, "rock samples"),
    ]
    assert not run.ok


def test_waiting_ends_the_scenario_when_it_was_in_vain() -> None:
    run = a_run()
    with pytest.raises(Unmet):
        run.wait_until("never", lambda: False, 0.05, "still not")
    assert run.expectations == [Expectation("never (within 0.05 s)", False, "still not")]


def test_patience_waits_longer_than_what_is_expected() -> None:
    run = a_run()
    answers = iter([False, False, False, True])
    taken = run.wait_until("in the end", lambda: next(answers), 0.0, patience=5)
    assert 0 < taken < 5
    assert [(e.ok, e.evidence) for e in run.expectations] == [(False, f"it took {taken:.2f} s")]


def test_several_runs_become_medians_and_worst() -> None:
    runs = [Outcome("x", ok, {"seconds": s}) for ok, s in ((True, 1.0), (True, 9.0), (False, 2.0))]
    outcome = together(runs)
    assert not outcome.ok
    assert outcome.figures == {"runs": 3, "failed_runs": 1, "seconds": {"median": 2.0, "worst": 9.0, "runs": 3}}


def test_what_never_came_is_worst_and_yes_and_no_are_counted() -> None:
    given: list[dict[str, Any]] = [
        {"frr_ms": None, "ms": 5, "recovered": False},
        {"frr_ms": None, "ms": None, "recovered": True},
        {"frr_ms": None, "ms": 9, "recovered": False},
    ]
    figures = together([Outcome("x", True, each) for each in given]).figures
    assert figures["frr_ms"] == {"median": None, "worst": None, "runs": 3, "never": 3}
    assert figures["ms"] == {"median": 7.0, "worst": None, "runs": 3, "never": 1}
    assert figures["recovered"] == {"true": 1, "false": 2, "runs": 3}


def test_a_scenario_of_the_house_is_called_by_dashes_and_lives_in_a_package(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(runner, "SCENARIOS", tmp_path)
    for place in ("two_words", "one"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "scenario.py").touch()
    assert runner.names() == ["one", "two-words"]


def test_a_difference_names_what_is_missing_extra_and_wrong() -> None:
    a, b = frozenset({"10.0.0.1"}), frozenset({"10.0.0.1", "10.0.0.2"})
    assert difference({"10.1.0.0/24": a}, {"10.1.0.0/24": a}) == ""
    text = difference({"10.1.0.0/24": a, "10.2.0.0/24": b}, {"10.2.0.0/24": a, "10.3.0.0/24": a})
    assert text.splitlines() == [
        "2 routes, 2 expected",
        "missing: 1",
        "  10.1.0.0/24 via 10.0.0.1",
        "not expected: 1",
        "  10.3.0.0/24 via 10.0.0.1",
        "other next hops: 1",
        "  10.2.0.0/24 via 10.0.0.1, expected 10.0.0.1, 10.0.0.2",
    ]
