"""docs/segment.md: its inventory is one, and its table is that of the code."""

from __future__ import annotations

from typing import get_args

from controller.inventory.document import parse_document
from controller.inventory.yaml_reader import read_yaml
from controller.zerotier import rules_check, summaries
from controller.zerotier.state import Condition
from tests.docs.pages import blocks, rows


def test_the_inventory_of_the_page_is_read() -> None:
    for block in blocks("yaml", "segment.md"):
        _, findings = parse_document(read_yaml(block.text, "x")[0])
        assert findings == []


def test_the_codes_and_conditions_are_those_of_the_code() -> None:
    assert [(code.strip("`"), meaning) for code, meaning in rows("segment.md", "code")] == [
        *rules_check.CODES.items(),
        *summaries.CODES.items(),
    ]
    assert [condition.strip("`") for condition, _ in rows("segment.md", "condition")] == list(get_args(Condition))
