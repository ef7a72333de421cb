"""docs/prometheus/leyline.rules.yml: what it names is served; promtool reads and tries it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, get_args

import pytest
from ruamel.yaml import YAML

from controller.api.segment_metrics import SegmentMetrics
from controller.zerotier.state import Condition
from tests.docs.pages import ROOT
from tests.docs.test_paths import exported

FILE = ROOT / "docs" / "prometheus" / "leyline.rules.yml"
OF_PROMETHEUS = {"instance", "job"}


class Segment:
    """As `controller.segment.Segment` says it after a pass."""

    def status(self) -> dict[str, Any]:
        none = {"total": 0}
        return {
            "condition": "settled", "last_pass": 1.0, "settled_at": 1.0, "read_at": 1.0, "rules": [],
            "members": {"declared": 1}, "failures": none,
        }  # fmt: skip


def served() -> dict[str, set[str]]:
    """Metric -> its labels, of speaker and controller."""
    of_controller = {
        metric.name: {label for sample in metric.samples for label in sample.labels}
        for metric in SegmentMetrics(Segment()).collect()  # type: ignore[arg-type]
    }
    return {**exported(), **of_controller}


def rules() -> list[dict[str, Any]]:
    return [rule for group in YAML(typ="safe").load(FILE.read_text())["groups"] for rule in group["rules"]]


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: str(rule["alert"]))
def test_an_alert_speaks_of_what_is_served(rule: dict[str, Any]) -> None:
    there, metrics = served(), re.findall(r"\bleyline_\w+", rule["expr"])
    assert metrics
    labels = {label for metric in metrics for label in there[metric]} | OF_PROMETHEUS
    for found in re.findall(r"\$labels\.(\w+)", str(rule["annotations"])) + re.findall(r"(\w+)=", rule["expr"]):
        assert found in labels, found
    for condition in re.findall(r'condition="(\w+)"', rule["expr"]):
        assert condition in get_args(Condition)


def test_promtool_takes_the_file_and_its_alerts_fire_where_they_should(tmp_path: Path) -> None:
    for file in (FILE, ROOT / "tests" / "docs" / "leyline.rules.test.yml"):
        shutil.copy(file, tmp_path)
    for words in (["check", "rules", FILE.name], ["test", "rules", "leyline.rules.test.yml"]):
        done = subprocess.run(
            ["promtool", *words], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
