"""YAML files <-> inventories. Findings carry the file and line of the object or field that is meant."""

from __future__ import annotations

import json
import os.path
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from controller.inventory.allocate import allocate
from controller.inventory.checks import check
from controller.inventory.document import Parsed, Where, parse_located
from controller.inventory.fields import shown
from controller.inventory.findings import Finding
from controller.inventory.model import SECTIONS, Inventory
from controller.inventory.yaml_reader import YamlList, YamlMapping, read_yaml

MAX_FILE_BYTES = 16 << 20
QUOTED = ("node_id", "network")
"""Ids of hexadecimal digits: some of them are numbers to YAML."""
BLOCKS = ("gateways", "rules")
"""Sections whose objects would make lines that are too long to read."""
_PLAIN = re.compile(
    r"(?!(?i:null|true|false|yes|no|on|off|y|n)$)[A-Za-z][A-Za-z0-9-]*|[0-9]+(?:\.[0-9]+){3}(?:/[0-9]+)?"
)
"""Text that needs no quotes in any YAML; IPv4 addresses and prefixes among it."""


class _Merged(dict[str, Any]):
    """The document that all files make together; `places` are those of its sections' items."""

    def __init__(self) -> None:
        super().__init__()
        self.places: dict[str, tuple[str, int]] = {}
        self.items_places: dict[str, list[tuple[str, int]]] = {}

    def locate(self, where: Where) -> tuple[str, int] | None:
        """The nearest place that is known on the way to `where`."""
        if not where or where[0] not in self:
            return None
        section = str(where[0])
        found, node = self.places[section], self[section]
        for step in where[1:]:
            if node is self[section] and section in self.items_places and isinstance(step, int):
                found = self.items_places[section][step]
            elif isinstance(node, YamlMapping) and step in node.lines:
                found = node.file, node.lines[str(step)]
            elif isinstance(node, YamlList) and isinstance(step, int):
                found = node.file, node.lines[step]
            else:
                return found
            node = node[step]
        return found


def load_yaml(paths: Iterable[Path]) -> tuple[Inventory | None, list[Finding]]:
    """The inventory in these files and directories (their *.yml and *.yaml), merged, and what is wrong with its form.

    None when there are findings. Raises nothing, whatever the files hold.
    """
    _, parsed, findings = _load(paths)
    findings = [*findings, *parsed.findings]
    return (None if findings else parsed.inventory), findings


def check_yaml(paths: Iterable[Path]) -> tuple[Inventory | None, list[Finding]]:
    """As load_yaml, for files that declare a whole fabric: allocated, and every rule asked as well.

    Objects that cannot be read do not keep the rest from being checked; files that are no YAML do.
    """
    document, parsed, findings = _load(paths)
    if not findings:
        inventory = allocate(parsed.inventory)
        findings = [*parsed.findings, *(_located(each, document, parsed) for each in check(inventory))]
    else:
        findings = [*findings, *parsed.findings]
    findings.sort(key=lambda finding: (finding.file or "", finding.line or 0))
    return (None if findings else inventory), findings


def locate(findings: Iterable[Finding], paths: Iterable[Path]) -> list[Finding]:
    """`findings` that the controller had about what these files declare, now with file and line."""
    document, parsed, _ = _load(paths)
    return [_located(each, document, parsed) for each in findings]


def _located(finding: Finding, document: _Merged, parsed: Parsed) -> Finding:
    where = parsed.where.get(finding.object)
    place = document.locate((*where, finding.field)) if where is not None else None
    return finding if place is None else replace(finding, file=place[0], line=place[1])


def _load(paths: Iterable[Path]) -> tuple[_Merged, Parsed, list[Finding]]:
    """The merged document, what it says, and what keeps it from being whole."""
    document = _Merged()
    findings: list[Finding] = []
    for path in _files(paths, findings):
        data, faults = _read(path)
        findings += faults
        if data is not None:
            findings += _merge(document, data, str(path))
    return document, parse_located(document, document.locate), findings


def _files(paths: Iterable[Path], findings: list[Finding]) -> Iterator[Path]:
    seen = set()
    for path in paths:
        for each in _listed(path, findings) if path.is_dir() else [path]:
            if (real := os.path.realpath(each)) not in seen:
                seen.add(real)
                yield each


def _listed(folder: Path, findings: list[Finding]) -> list[Path]:
    try:
        found = sorted(each for each in folder.iterdir() if each.suffix in (".yml", ".yaml") and each.name[0] != ".")
    except OSError as error:
        findings.append(_unreadable(folder, error))
        return []
    if not found:
        findings.append(Finding("document", "no-files", "holds no *.yml or *.yaml", str(folder)))
    return found


def _unreadable(path: Path, error: OSError) -> Finding:
    return Finding("document", "file-unreadable", f"cannot be read: {error.strerror}", str(path))


def _read(path: Path) -> tuple[Any, list[Finding]]:
    file = str(path)
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        return None, [_unreadable(path, error)]
    if len(raw) > MAX_FILE_BYTES:
        message = f"is larger than {MAX_FILE_BYTES >> 20} MiB: split it"
        return None, [Finding("document", "file-too-large", message, file)]
    try:
        return read_yaml(raw.decode("utf-8-sig"), file)
    except UnicodeDecodeError as error:
        message = f"byte 0x{raw[error.start]:02x} is no UTF-8: save the file as UTF-8"
        return None, [Finding("document", "yaml-character", message, file, raw.count(b"\n", 0, error.start) + 1)]


def _merge(document: _Merged, data: Any, file: str) -> Iterator[Finding]:
    """Lists of a section are joined; anything else must stand in one file only."""
    if not isinstance(data, YamlMapping):
        yield Finding("document", "field-type", f"must be a mapping of sections, not {shown(data)}", file, 1)
        return
    for section, value in data.items():
        place = file, data.lines[section]
        if value is None:
            continue
        if section in SECTIONS:
            if not isinstance(value, YamlList):
                message = f"{section} must be a list, not {shown(value)}"
                yield Finding("document", "field-type", message, *place, section)
                continue
            document.setdefault(section, []).extend(value)
            document.places.setdefault(section, place)
            document.items_places.setdefault(section, []).extend((file, line) for line in value.lines)
        elif section in document:
            first = document.places[section]
            message = f"declared twice; the first one stands in {first[0]} line {first[1]}: remove one of them"
            yield Finding(section, "declared-twice", message, *place)
        else:
            document[section], document.places[section] = value, place


def dump_yaml(document: Mapping[str, Any]) -> str:
    """`document` (of `to_document`) as YAML 1.2: one object a line; of gateways and rules, one field a line.

    Node ids and everything else that YAML could take for something else are quoted.
    """
    lines = []
    for section, value in document.items():
        if isinstance(value, Mapping):
            lines.append(f"{section}: {_flow(value)}")
            continue
        lines.append(f"{section}:")
        for each in value:
            if section not in BLOCKS:
                lines.append(f"  - {_flow(each)}")
                continue
            head = [f"{field}: {_flow(each[field], field)}" for field in each if field != "uplinks"]
            lines += [("    " if n else "  - ") + text for n, text in enumerate(head)]
            if uplinks := each.get("uplinks"):
                lines += ["    uplinks:", *(f"      - {_flow(uplink)}" for uplink in uplinks)]
    return "\n".join(lines) + "\n" if lines else "{}\n"


def _flow(value: Any, field: str = "") -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_flow(item, key)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_flow(item) for item in value) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and (field in QUOTED or not _PLAIN.fullmatch(value)):
        return json.dumps(value)
    return str(value)
