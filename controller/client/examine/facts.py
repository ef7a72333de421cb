"""What the checks know, as the controller's API answers it, and what they say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

Level = Literal["error", "warning"]
LEVELS: tuple[Level, ...] = ("error", "warning")
"""The graver first. An error costs traffic, now or at the next failure; a warning may."""

NEW_TOKEN = "leyline enroll-key create --gateway {0}, then leyline speaker enroll there; or leyline gateway token {0}"
"""How a gateway that is declared gets a token, its name in place of {0}."""

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Facts:
    """`statuses`: of `GET /status/gateways`; `tokens`: None when the caller may not see them."""

    now: float
    fabric: Json = field(default_factory=dict)
    statuses: Sequence[Json] = ()
    segment: Json = field(default_factory=dict)
    paths: Sequence[Json] = ()
    tokens: Sequence[Json] | None = None
    allocations: Sequence[Json] = ()
    md5: Json = field(default_factory=dict)  # Of `GET /md5-keys`.


class Found(NamedTuple):
    level: Level
    where: str
    what: str
    fix: str


class Finding(NamedTuple):
    level: Level
    check: str  # Name of the check: docs/doctor.md has it.
    where: str
    what: str
    fix: str


Check = Callable[[Facts], Iterable[Found]]


def examine(checks: Mapping[str, Check], facts: Facts) -> list[Finding]:
    """What all checks find, errors first, else in the checks' order."""
    found = [
        Finding(level, name, where, what, fix)
        for name, check in checks.items()
        for level, where, what, fix in check(facts)
    ]
    return in_order(found)


def in_order(found: Iterable[Finding]) -> list[Finding]:
    return sorted(found, key=lambda finding: LEVELS.index(finding.level))


def reports(facts: Facts) -> Iterable[tuple[str, Json]]:
    """(gateway, its last report), of those that were heard."""
    return ((each["gateway"], each["report"]) for each in facts.statuses if each["report"] is not None)


def stored(segment: Json) -> bool:
    """Whether ZeroTier's API had all as declared before the last pass, and not since this moment only."""
    return segment.get("condition") == "settled" and not segment.get("written")


def of_list(segment: Json, name: str) -> Sequence[Json]:
    """The items of one of the segment's bounded lists; nothing before its first pass."""
    found: Sequence[Json] = (segment.get(name) or {}).get("items") or ()
    return found
