"""Inventory files on the operator's side: read, checked as far as that goes without a controller."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from controller.client.errors import CommandFailed
from controller.client.tables import counts, print_findings, print_json

if TYPE_CHECKING:
    from controller.inventory.findings import Finding
    from controller.inventory.model import Inventory

FILES = click.argument(
    "paths",
    nargs=-1,
    required=True,
    metavar="FILE|DIR...",
    type=click.Path(exists=True, path_type=Path),
)


class FilesRefused(CommandFailed):
    """The files themselves are wrong; nothing was sent."""


@dataclass(frozen=True)
class Files:
    """What the files say. `inventory` is None when there are `findings`, each with its file and line."""

    inventory: Inventory | None
    findings: list[Finding]


def read_files(paths: Iterable[Path]) -> Files:
    """All files and directories, merged. Form only: see `check_files` for what the objects mean together."""
    from controller.inventory.yaml import load_yaml

    inventory, findings = load_yaml(list(paths))
    return Files(inventory, findings)


def check_files(paths: Iterable[Path]) -> Files:
    """The files as a whole fabric, as the controller would check it."""
    from controller.inventory.allocate import allocate
    from controller.inventory.checks import check

    files = read_files(paths)
    if files.inventory is None:
        return files
    inventory = allocate(files.inventory)
    return Files(inventory, check(inventory))


def document_of(paths: Iterable[Path], *, as_json: bool) -> dict[str, Any]:
    """The document to send. Prints the findings and raises FilesRefused when there are any."""
    from controller.inventory.document import to_document

    files = read_files(paths)
    if files.findings or files.inventory is None:
        show_findings(files.findings, as_json=as_json)
        raise FilesRefused(f"{counts(len(files.findings), 'finding')} in the files; nothing was sent")
    return to_document(files.inventory)


def show_findings(findings: Iterable[Finding], *, as_json: bool) -> None:
    plain = [plain_finding(finding) for finding in findings]
    if as_json:
        print_json({"ok": not plain, "findings": plain})
    else:
        print_findings(plain)


def plain_finding(finding: Finding) -> dict[str, Any]:
    return asdict(finding)


def summary(document: Mapping[str, Any]) -> str:
    """ "6 sites, 9 gateways, 5000 prefixes": what a document has most of the time."""
    named = (("sites", "site", ""), ("gateways", "gateway", ""), ("prefixes", "prefix", "prefixes"))
    return ", ".join(counts(len(document.get(section, ())), one, many) for section, one, many in named)
