"""YAML files <-> documents."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from controller.inventory.document import parse_document
from controller.inventory.findings import Finding
from controller.inventory.model import Inventory

_PLAIN = re.compile(r"(?!(?:null|true|false)$)[A-Za-z][A-Za-z0-9-]*|[0-9]+(?:\.[0-9]+){3}(?:/[0-9]+)?")
"""Text that needs no quotes in any YAML; IPv4 addresses and prefixes among it."""


def load_yaml(paths: list[Path]) -> tuple[Inventory | None, list[Finding]]:
    """The inventory in these files and directories, merged, and all that is wrong with their form.

    None when there are findings.
    """
    merged: dict[str, Any] = {}
    for path in paths:
        for file in sorted([*path.glob("*.yml"), *path.glob("*.yaml")]) if path.is_dir() else [path]:
            for section, value in (YAML(typ="safe", pure=True).load(file) or {}).items():
                if isinstance(value, list):
                    merged.setdefault(section, []).extend(value)
                else:
                    merged[section] = value
    inventory, findings = parse_document(merged)
    return (None if findings else inventory), findings


def dump_yaml(document: Mapping[str, Any]) -> str:
    """`document` (of `to_document`) as YAML 1.2: one object a line, gateways with their uplinks on lines of their own.

    Node ids and everything else that YAML could take for something else are quoted.
    """
    lines = []
    for section, value in document.items():
        if isinstance(value, Mapping):
            lines.append(f"{section}: {_flow(value)}")
            continue
        lines.append(f"{section}:")
        for each in value:
            block = each.get("uplinks")
            if not block:
                lines.append(f"  - {_flow(each)}")
                continue
            head = [f"{field}: {_flow(each[field], field)}" for field in each if field != "uplinks"]
            lines += [("    " if n else "  - ") + text for n, text in enumerate(head)]
            lines.append("    uplinks:")
            lines += [f"      - {_flow(uplink)}" for uplink in block]
    return "\n".join(lines) + "\n" if lines else "{}\n"


def _flow(value: Any, field: str = "") -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_flow(item, key)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_flow(item) for item in value) + "]"
    if isinstance(value, str) and (field == "node_id" or not _PLAIN.fullmatch(value)):
        return json.dumps(value)
    return str(value)
