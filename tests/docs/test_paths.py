"""docs/paths.md and docs/doctor.md against checks, metrics and inventory."""

from __future__ import annotations

import re

import pytest
from ruamel.yaml import YAML

from controller.client.examine import CHECKS as OF_THE_CONTROLLER
from controller.inventory.document import parse_document
from speaker.agent.metrics import Metrics
from speaker.doctor.checks import CHECKS as OF_A_GATEWAY
from speaker.doctor.finding import Check
from tests.docs.pages import blocks, rows


def exported() -> dict[str, set[str]]:
    """Name of every gauge and counter of the speaker -> its labels."""
    found = Metrics().registry._names_to_collectors.items()  # The only place that knows those without a series, too.
    return {name: set(collector._labelnames) for name, collector in found}  # type: ignore[attr-defined]


def test_the_yaml_of_the_page_is_of_what_there_is() -> None:
    (inventory,) = (YAML(typ="safe").load(block.text) for block in blocks("yaml", "paths.md"))
    parsed, findings = parse_document(inventory)
    assert findings == []
    assert parsed.fabric is not None
    assert (parsed.fabric.relayed_seconds, parsed.fabric.relayed_preference) == (300, -50)


def test_metrics_in_the_table_are_those_that_are_served() -> None:
    told = {
        cells[0].strip("`"): {each.strip() for each in cells[1].split(",") if each.strip()}
        for cells in rows("paths.md", "metric")
    }
    ours = {
        name: labels for name, labels in exported().items() if re.match("leyline_(peers|path_|relayed|segment)", name)
    }
    assert told == ours


@pytest.mark.parametrize(
    ("heading", "checks"), [("check at the controller", OF_THE_CONTROLLER), ("check at a gateway", OF_A_GATEWAY)]
)
def test_the_tables_name_every_check_in_its_order(heading: str, checks: dict[str, Check]) -> None:
    assert [cells[0].strip("`") for cells in rows("doctor.md", heading)] == list(checks)
