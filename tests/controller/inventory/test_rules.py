"""A folder per rule: what is wrong in input.yml, and the exact text of what is said about it."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.inventory.yaml import check_yaml
from tests.controller.golden import compare

RULES = Path(__file__).parent / "rules"


@pytest.mark.parametrize("folder", sorted(path.name for path in RULES.iterdir()))
def test_golden_findings(folder: str) -> None:
    inventory, findings = check_yaml([RULES / folder / "input.yml"])
    assert (inventory is None) == bool(findings)
    text = "".join(f"{finding}\n" for finding in findings).replace(f"{RULES / folder}/", "")
    compare(RULES / folder / "findings.txt", text)
