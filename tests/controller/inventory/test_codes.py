"""The codes of findings: all documented, all seen."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from controller.inventory.codes import CODES, table
from controller.inventory.document import MAX_OBJECTS, parse_document
from controller.inventory.findings import InventoryRefused
from controller.inventory.merge import removal_guard, rename
from controller.inventory.model import Inventory, Region, Site
from controller.inventory.yaml import MAX_FILE_BYTES, load_yaml
from tests.controller.golden import compare

RULES = Path(__file__).parent / "rules"
DOCS = Path(__file__).parents[3] / "docs"
ALL = {code for codes in CODES.values() for code in codes}


def test_golden_table_of_findings() -> None:
    compare(DOCS / "findings.md", table())


def test_every_code_of_the_golden_folders_is_documented() -> None:
    assert shown_in_folders() <= ALL


def test_every_documented_code_is_shown_by_a_test() -> None:
    elsewhere = {"file-unreadable", "file-too-large", "no-files", "too-many-objects"}  # In this file and
    changes = {"kind-unknown", "object-unknown", "removals-guarded", "assertion-broken"}  # those of merge and store.
    assert shown_in_folders() | elsewhere | changes == ALL


def shown_in_folders() -> set[str]:
    texts = [path.read_text() for path in RULES.glob("*/findings.txt")]
    return {code for text in texts for code in re.findall(r"\[([a-z0-9-]+)\]$", text, re.M)}


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    inventory, findings = load_yaml([tmp_path / "nothing.yml"])
    assert inventory is None
    assert [str(each) for each in findings] == [
        f"{tmp_path}/nothing.yml: document: cannot be read: No such file or directory [file-unreadable]"
    ]


def test_a_directory_without_files(tmp_path: Path) -> None:
    (tmp_path / ".hidden.yml").write_text("sites: nonsense")
    (tmp_path / "notes.txt").write_text("sites: nonsense")
    _, findings = load_yaml([tmp_path])
    assert [each.code for each in findings] == ["no-files"]


def test_a_file_that_is_too_large(tmp_path: Path) -> None:
    path = tmp_path / "large.yml"
    path.write_bytes(b"#" * (MAX_FILE_BYTES + 1))
    _, findings = load_yaml([path])
    assert [each.message for each in findings] == ["is larger than 16 MiB: split it"]


@pytest.mark.slow
def test_a_hundred_thousand_prefixes_are_not_too_many() -> None:
    prefixes = [{"site": "s", "prefix": f"{20 + (n >> 16)}.{n >> 8 & 255}.{n & 255}.0/24"} for n in range(100_000)]
    inventory, findings = parse_document({"prefixes": prefixes})
    assert (len(inventory.prefixes), findings) == (100_000, [])


def test_too_many_objects() -> None:
    _, findings = parse_document({"regions": [{}] * (MAX_OBJECTS + 1)})
    assert [(each.code, each.message) for each in findings] == [
        ("too-many-objects", "200001 regions; at most 200000 are possible")
    ]


@pytest.mark.parametrize(
    ("kind", "old", "code"),
    [
        ("prefix", "x", "kind-unknown"),
        ("site", "x", "object-unknown"),
        ("site", "a", "name-taken"),
        ("fabric", "x", "object-unknown"),
        ("uplink", "x/main", "object-unknown"),
    ],
)
def test_what_cannot_be_renamed(kind: str, old: str, code: str) -> None:
    inventory = Inventory(regions=(Region("eu"),), sites=(Site("a", "eu"), Site("b", "eu")))
    with pytest.raises(InventoryRefused) as refused:
        rename(inventory, kind, old, "b")
    assert [each.code for each in refused.value.findings] == [code]


def test_the_guard_has_its_code() -> None:
    finding = removal_guard(Inventory(sites=(Site("a", "eu"),)), Inventory())
    assert finding is not None
    assert finding.code == "removals-guarded"
