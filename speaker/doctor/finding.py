"""What the doctor finds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Literal, NamedTuple

from speaker.doctor.facts import Facts

Level = Literal["error", "warning"]
LEVELS: tuple[Level, ...] = ("error", "warning")
"""The graver first. An error costs traffic, now or at the next failure; a warning may."""


class Finding(NamedTuple):
    level: Level
    check: str  # Name of the check: docs/doctor.md has it.
    where: str
    what: str
    fix: str


Check = Callable[[Facts], Iterable["Found"]]


class Found(NamedTuple):
    """What one check says; `examine` adds whose word it is."""

    level: Level
    where: str
    what: str
    fix: str


def examine(checks: dict[str, Check], facts: Facts) -> list[Finding]:
    """What all checks find, errors first, else in the checks' order."""
    found = list(_findings(checks, facts))
    return sorted(found, key=lambda finding: LEVELS.index(finding.level))


def _findings(checks: dict[str, Check], facts: Facts) -> Iterator[Finding]:
    for name, check in checks.items():
        for level, where, what, fix in check(facts):
            yield Finding(level, name, where, what, fix)
