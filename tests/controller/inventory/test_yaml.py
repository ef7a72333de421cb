"""YAML files: merged, with places; round trip; nothing in a file makes the loader stumble; quick enough."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.inventory.allocate import allocate
from controller.inventory.document import parse_document, to_document
from controller.inventory.model import Inventory
from controller.inventory.yaml import check_yaml, dump_yaml, load_yaml
from controller.inventory.yaml_reader import read_yaml
from tests.controller.ruled import ruled_inventories

SITES = "sites:\n  - {name: berlin, region: eu}\n"


def write(folder: Path, **texts: str) -> Path:
    for name, text in texts.items():
        (folder / f"{name}.yml").write_text(text)
    return folder


@pytest.mark.slow
@settings(max_examples=25)
@given(ruled_inventories())
def test_dump_and_read_round_trip(inventory: Inventory) -> None:
    document = to_document(allocate(inventory))
    data, findings = read_yaml(dump_yaml(document), "x")
    assert findings == []
    assert data == document
    assert to_document(parse_document(data)[0]) == document


def test_what_is_true_is_true_in_any_yaml() -> None:
    gateway = {"name": "g", "drained": True, "uplinks": [{"name": "main"}]}
    assert "    drained: true\n" in dump_yaml({"gateways": [gateway]})


def test_nothing_round_trips() -> None:
    assert read_yaml(dump_yaml({}), "x") == ({}, [])


@pytest.mark.parametrize("node_id", ["1234567890", "12345678e9", "0123456789", "abcdefabcd"])
def test_node_ids_are_dumped_in_quotes(node_id: str) -> None:
    client = {"name": "c", "site": "a", "node_id": node_id, "circuit_class": "lte"}
    text = dump_yaml({"clients": [client]})
    assert f'node_id: "{node_id}"' in text
    assert read_yaml(text, "x")[0] == {"clients": [client]}


@pytest.mark.parametrize("provider", ["true", "null", "No", "1e3", "a: b", "#1", 'say "hi"', "é", "-", "", " x"])
def test_text_that_looks_like_something_else_round_trips(provider: str) -> None:
    document = {"sites": [{"name": "a", "region": "eu", "provider": provider}]}
    assert read_yaml(dump_yaml(document), "x")[0] == document


@pytest.mark.parametrize(
    ("text", "value"),
    [("yes", "yes"), ("true", True), ("~", None), ("12", 12), ("0o17", 15), ("0x1F", 31), ("1e3", 1000.0),
     ("-.5", -0.5), ("1:30", "1:30"), ("10.42.0.3", "10.42.0.3"), ("'12'", "12"), ("!!str 12", "12"),
     ("2001-01-01", "2001-01-01"), ("1_000", "1_000"), ("-.inf", float("-inf")), ("+7", 7), ("a:b", "a:b")],
)  # fmt: skip
def test_plain_scalars_follow_yaml_1_2(text: str, value: Any) -> None:
    data, findings = read_yaml(f"a: {text}\n", "x")
    assert (data, findings) == ({"a": value}, [])


def test_files_and_directories_are_merged(tmp_path: Path) -> None:
    write(tmp_path, b=SITES, a="sites:\n  - {name: paris, region: eu}\nregions: [{name: eu}]\n")
    inventory, findings = load_yaml([tmp_path, tmp_path / "b.yml"])
    assert findings == []
    assert inventory is not None
    assert [site.name for site in inventory.sites] == ["paris", "berlin"]


def test_an_object_declared_in_two_files(tmp_path: Path) -> None:
    write(tmp_path, a="# one\n" + SITES, b=SITES)
    _, findings = load_yaml([tmp_path])
    assert [str(each) for each in findings] == [
        f"{tmp_path}/b.yml:2: site berlin: declared twice; the first one stands in {tmp_path}/a.yml line 3:"
        " remove one of them [declared-twice]"
    ]


def test_the_fabric_declared_in_two_files(tmp_path: Path) -> None:
    fabric = "fabric: {name: demo, asn: 64512, segment: 10.42.0.0/16}\n"
    write(tmp_path, a="\n" + fabric, b=fabric)
    _, findings = load_yaml([tmp_path])
    assert [(each.object, each.code, each.file, each.line) for each in findings] == [
        ("fabric", "declared-twice", f"{tmp_path}/b.yml", 1)
    ]


def test_every_file_is_read_though_one_is_broken(tmp_path: Path) -> None:
    write(tmp_path, a="sites: [\n", b="sites:\n  - {name: Berlin, region: eu}\n", c="regions: [{}]\n")
    inventory, findings = check_yaml([tmp_path])
    assert inventory is None
    assert [(Path(each.file or "").name, each.line, each.code) for each in findings] == [
        ("a.yml", 2, "yaml-syntax"),
        ("b.yml", 2, "name-invalid"),
        ("c.yml", 1, "field-missing"),
    ]


def test_a_link_that_points_at_itself(tmp_path: Path) -> None:
    (tmp_path / "a.yml").symlink_to("a.yml")
    _, findings = load_yaml([tmp_path])
    assert [each.message for each in findings] == ["cannot be read: Too many levels of symbolic links"]


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_bytes(b"sites:\n  - \xff\xfe\n")
    _, findings = load_yaml([tmp_path])
    assert [(each.line, each.code, each.message) for each in findings] == [
        (2, "yaml-character", "byte 0xff is no UTF-8: save the file as UTF-8")
    ]


def test_a_byte_order_mark_is_no_matter(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_bytes(b"\xef\xbb\xbf" + SITES.encode())
    assert load_yaml([tmp_path])[1] == []


WORDS = ["\\U", "---", "...", "<<", "%YAML 1.1\n", "\n  - "]
alphabet = st.sampled_from([*"ab:-?[]{},&*!|>'\"%@`#\n \t\\~0.eé\x00\x85\u2028\ufeff", *WORDS])


@given(st.lists(alphabet, max_size=40).map("".join))
def test_junk_gives_findings_and_nothing_else(text: str) -> None:
    data, findings = read_yaml(text, "x")
    assert all(
        each.line and 1 <= each.line <= text.count("\n") + text.count("\x85") + text.count("\u2028") + 2
        for each in findings
    )
    parse_document(data)


@given(st.binary(max_size=40))
def test_junk_bytes_give_findings_and_nothing_else(raw: bytes) -> None:
    read_yaml(raw.decode("latin-1"), "x")


def test_deep_nesting_ends_at_once() -> None:
    for text in ("[" * 100_000, "{a: " * 100_000, "- " * 100_000, "\n".join(" " * n + "a:" for n in range(1000))):
        started = time.process_time()
        assert [each.code for each in read_yaml(text, "x")[1]] == ["yaml-too-deep"]
        assert time.process_time() - started < 2


@pytest.mark.slow
def test_5000_prefixes_are_read_in_three_seconds(tmp_path: Path) -> None:
    """Of processor time, the best of three: the rest of the machine does not count."""
    rows = (f"  - {{site: s{n // 250}, prefix: 10.{n // 250}.{n % 250}.0/24, tenant: global}}" for n in range(5000))
    write(tmp_path, a="prefixes:\n" + "\n".join(rows) + "\n")

    def seconds() -> float:
        started = time.process_time()
        inventory, findings = load_yaml([tmp_path])
        assert findings == []
        assert inventory is not None
        assert len(inventory.prefixes) == 5000
        return time.process_time() - started

    assert any(seconds() < 3 for _ in range(3))
