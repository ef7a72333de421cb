"""docs/dependencies.md explains each package of pyproject.toml and no other; .importlinter forbids all it should."""

from __future__ import annotations

import re
import tomllib
from configparser import ConfigParser
from pathlib import Path
from pkgutil import iter_modules

ROOT = Path(__file__).resolve().parents[1]
NAME = re.compile(r"[A-Za-z0-9._-]+(\[[a-z,]+\])?", re.ASCII)


def declared() -> dict[str, set[str]]:
    """Section ("Base", "Extra `controller`", ...) -> package names, extras included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = {"Base": project["dependencies"]}
    groups.update({f"Extra `{extra}`": found for extra, found in project["optional-dependencies"].items()})
    return {section: {_name(requirement) for requirement in found} for section, found in groups.items()}


def documented() -> dict[str, dict[str, tuple[str, str]]]:
    """Section -> package -> (what for, why)."""
    sections: dict[str, dict[str, tuple[str, str]]] = {}
    rows: dict[str, tuple[str, str]] = {}
    for line in (ROOT / "docs" / "dependencies.md").read_text().splitlines():
        if line.startswith("## "):
            rows = sections.setdefault(line[3:].partition(":")[0], {})
        elif line.startswith("| ") and not line.startswith(("| package |", "| --- |")):
            name, what, why = (cell.strip() for cell in line.strip("|").split("|"))
            assert name not in rows, f"{name} stands twice"
            rows[name] = (what, why)
    return sections


def test_every_direct_dependency_is_explained_and_nothing_else() -> None:
    assert {section: set(rows) for section, rows in documented().items()} == declared()


def test_no_explanation_is_empty() -> None:
    assert [name for rows in documented().values() for name, (what, why) in rows.items() if not (what and why)] == []


def test_of_speaker_the_controller_may_import_the_contract_and_nothing_else() -> None:
    """A forbidden module has to be named, so a new one would be allowed by mistake."""
    contracts = ConfigParser()
    contracts.read(ROOT / ".importlinter")
    forbidden = contracts["importlinter:contract:controller-knows-only-the-contract"]["forbidden_modules"].split()
    modules = {f"speaker.{each.name}" for each in iter_modules([str(ROOT / "speaker")])}
    assert modules - set(forbidden) == {"speaker.plan", "speaker.report"}


def _name(requirement: str) -> str:
    found = NAME.match(requirement)
    assert found is not None, requirement
    return found.group()
