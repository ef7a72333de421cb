"""Inventory files on the operator's side: read, checked as far as that goes without a controller."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from controller.client.errors import CommandFailed, Refused
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


def read_files(paths: Sequence[Path]) -> Files:
    """All files and directories, merged. Form only: see `check_files` for what the objects mean together."""
    from controller.inventory.yaml import load_yaml

    inventory, findings = load_yaml(paths)
    return Files(inventory, findings)


def check_files(paths: Sequence[Path]) -> Files:
    """The files as a whole fabric, as the controller would check it."""
    from controller.inventory.yaml import check_yaml

    inventory, findings = check_yaml(paths)
    return Files(inventory, findings)


def document_of(paths: Sequence[Path], *, as_json: bool) -> dict[str, Any]:
    """The document to send. Prints the findings and raises FilesRefused when there are any."""
    from controller.inventory.document import to_document

    files = read_files(paths)
    if files.findings or files.inventory is None:
        show_findings(files.findings, as_json=as_json)
        raise FilesRefused(f"{counts(len(files.findings), 'finding')} in the files; nothing was sent")
    return to_document(files.inventory)


def located(error: Refused, paths: Sequence[Path]) -> Refused:
    """The controller's refusal, its findings with the files and lines that they are about."""
    from controller.inventory.findings import Finding
    from controller.inventory.yaml import locate

    findings = [
        Finding(str(each["object"]), str(each["code"]), str(each["message"]), field=str(each.get("field", "")))
        for each in error.findings
    ]
    return Refused(error.message, {**error.problem, "findings": list(map(plain_finding, locate(findings, paths)))})


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
