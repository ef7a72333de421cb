"""What `leyline speaker doctor` does and prints."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from speaker.doctor.gather import Patient


WIDE = 1000
"""Columns of a pipe: a fix that is a command is to be copied whole."""


def run(patient: Patient, *, as_json: bool, unread: Mapping[str, str]) -> None:
    """Prints what was found; leaves with exit code 1 when there are errors. `unread`: what is known to be missing."""
    from speaker.doctor.checks import CHECKS
    from speaker.doctor.finding import examine
    from speaker.doctor.gather import gather

    facts = gather(patient)
    findings = examine(CHECKS, facts)
    unread = {**unread, **facts.unread}
    if as_json:
        click.echo(json.dumps(as_document(findings, unread)))
    else:
        _print(findings, unread, len(CHECKS))
    if any(finding.level == "error" for finding in findings):
        sys.exit(1)


def examined(patient: Patient) -> dict[str, Any]:
    """What `leyline speaker doctor --json` prints. Blocks for some seconds."""
    from speaker.doctor.checks import CHECKS
    from speaker.doctor.finding import examine
    from speaker.doctor.gather import gather

    facts = gather(patient)
    return as_document(examine(CHECKS, facts), facts.unread)


def as_document(findings: Sequence[Any], unread: Mapping[str, str]) -> dict[str, Any]:
    """For programs: findings, and what could not be read."""
    return {"findings": [each._asdict() for each in findings], "unread": dict(unread)}


def _print(findings: Sequence[Any], unread: Mapping[str, str], checks: int) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else WIDE)
    if findings:
        table = Table(box=None, header_style="bold", pad_edge=False)
        for column in ("level", "check", "where", "what", "fix"):
            table.add_column(column, overflow="fold")
        for finding in findings:
            table.add_row(*finding)
        console.print(table, markup=False)
    errors = sum(finding.level == "error" for finding in findings)
    click.echo(f"{checks} checks: {errors} errors, {len(findings) - errors} warnings", err=True)
    for name, why in unread.items():
        click.echo(f"not looked at: {name}: {why}", err=True)
