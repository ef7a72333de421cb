"""The oracle shares no code with what it judges."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ORACLE = ("words.py", "reading.py", "rules.py", "decision.py", "tables.py", "__main__.py")
MAY_IMPORT = {
    "__future__",
    "collections",
    "dataclasses",
    "functools",
    "ipaddress",
    "json",
    "sys",
    "typing",
    "zlib",
    "tests",
}


def imported(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where they lead"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("name", ORACLE)
def test_the_oracle_imports_nothing_of_the_product(name: str) -> None:
    for module in imported((HERE / name).read_text()):
        assert module.partition(".")[0] in MAY_IMPORT, f"{name} imports {module}"
        if module.startswith("tests"):
            package, file = module.split(".")[:2], module.split(".")[2]
            assert package == ["tests", "oracle"], f"{name} imports {module}"
            assert f"{file}.py" in ORACLE, f"{name} imports {module}, which is no part of the oracle"


def test_the_rule_would_notice() -> None:
    assert list(imported("import speaker.rib.path\ndef f():\n    from controller.policy import compile")) == [
        "speaker.rib.path",
        "controller.policy.compile",
    ]
