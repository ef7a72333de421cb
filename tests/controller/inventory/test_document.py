"""Documents: what goes in comes out, and nothing that comes in makes the parser stumble."""

from __future__ import annotations

import json
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.inventory.allocate import allocate
from controller.inventory.checks import check
from controller.inventory.document import parse_document, parse_object, plain, to_document
from controller.inventory.fields_policy import PARTS
from controller.inventory.merge import merge
from controller.inventory.model import SECTIONS, Inventory, Site
from controller.inventory.specs import SPECS
from controller.inventory.yaml_reader import read_yaml
from controller.policy.assertions import broken
from tests.controller.inventories import inventories, shuffled
from tests.controller.ruled import ruled_inventories

junk = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(["10.0.0.0/8", "::/0"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
DOC = Path(__file__).parents[3] / "docs" / "inventory.md"
FIELDS = sorted({field for spec in SPECS.values() for field in spec.readers})
objects = st.dictionaries(st.sampled_from(FIELDS), junk, max_size=6)
documents = st.dictionaries(
    st.sampled_from(["fabric", *SECTIONS]), junk | objects | st.lists(junk | objects, max_size=3)
)


@settings(max_examples=40)
@given(ruled_inventories(), st.integers())
def test_a_document_round_trips_in_canonical_order(inventory: Inventory, seed: int) -> None:
    document = to_document(inventory)
    again, findings = parse_document(json.loads(json.dumps(document)))
    assert findings == []
    assert to_document(again) == document == to_document(shuffled(inventory, seed))


@given(ruled_inventories())
@settings(max_examples=40)
def test_nothing_is_wrong_with_those_that_have_something_of_every_kind_but_what_rules_do_not_do(
    inventory: Inventory,
) -> None:
    findings = [each for each in check(allocate(inventory)) if not each.object.startswith("rule ")]
    assert findings == []


@settings(max_examples=40)
@given(inventories())
def test_the_sound_inventories_of_these_tests_are_sound(inventory: Inventory) -> None:
    assert check(allocate(inventory)) == []


@given(documents)
def test_junk_gives_findings_and_nothing_else(document: Any) -> None:
    inventory, findings = parse_document(document)
    for finding in [*findings, *check(allocate(inventory))]:
        assert finding.object.isprintable()
        assert "\n" not in str(finding)


def test_a_document_that_is_no_mapping() -> None:
    assert [each.code for each in parse_document([])[1]] == ["field-type"]


def test_everything_wrong_with_an_object_is_said_at_once() -> None:
    site, findings = parse_object("site", {"name": "A", "number": -1, "colour": 1})
    assert site is None
    assert [each.code for each in findings] == ["field-unknown", "name-invalid", "number-range", "field-missing"]


def test_an_object_alone() -> None:
    site, findings = parse_object("site", {"name": "a", "region": "eu", "tags": ["x", "b", "x"]})
    assert (site, findings) == (Site("a", "eu", tags=("b", "x")), [])
    assert plain(site) == {"name": "a", "region": "eu", "tags": ["b", "x"]}


@pytest.mark.parametrize(
    ("prefix", "longest"),
    [("10.0.0.0/8", 24), ("10.0.0.0/25", 25), ("fd00::/48", 64), ("fd00::/80", 80)],
)
def test_longest_is_24_or_64_and_never_shorter_than_the_prefix(prefix: str, longest: int) -> None:
    allocation, _ = parse_object("allocation", {"site": "a", "prefix": prefix})
    assert allocation.longest == longest


@pytest.mark.parametrize(("text", "bits"), [("100M", 10**8), ("1G", 10**9), (64000, 64000), ("64000", 64000), (0, 0)])
def test_bandwidth_in_bits_per_second(text: Any, bits: int) -> None:
    client, _ = parse_object("client", {"name": "c", "site": "a", "circuit_class": "lte", "bandwidth": text})
    assert client.bandwidth == bits


@pytest.mark.parametrize("value", [1234567890, 12345678e9, True, ["a"]])
def test_a_node_id_that_json_has_as_a_number_is_to_be_quoted(value: Any) -> None:
    data = {"name": "c", "site": "a", "circuit_class": "lte", "node_id": value}
    assert [each.code for each in parse_object("client", data)[1]] == ["node-id-unquoted"]


def test_references_to_what_could_not_be_read_are_no_findings() -> None:
    document = {
        "sites": [{"name": "a", "region": "eu", "number": "one"}],
        "allocations": [{"site": "a", "prefix": "10.0.0.1/8"}],
        "prefixes": [{"site": "a", "prefix": "10.0.0.0/24", "gateways": ["g"]}],
        "gateways": [{"name": "g", "site": "a", "role": "boss", "uplinks": []}],
        "fabric": {"name": "f", "asn": 0, "segment": "10.42.0.0/24"},
    }
    inventory, findings = parse_document(document)
    assert len(findings) == 4
    assert check(allocate(inventory)) == []


@pytest.mark.parametrize("kind", [IPv4Network, IPv6Network])
def test_prefixes_are_sorted_by_address_not_by_text(kind: Any) -> None:
    networks = ["9.0.0.0/24", "10.0.0.0/24"] if kind is IPv4Network else ["fd00:9::/64", "fd00:10::/64"]
    document = {"prefixes": [{"site": "a", "prefix": each} for each in reversed(networks)]}
    inventory, _ = parse_document(document)
    assert [each["prefix"] for each in to_document(inventory)["prefixes"]] == networks


def test_every_field_is_documented() -> None:
    table = "| object" + DOC.read_text().partition("| object")[2].partition("\n\n")[0]
    rows = [line.split("|") for line in table.splitlines()]
    documented: dict[str, list[str]] = {}
    kind = ""
    for _, first, field, default, *_ in rows[2:]:
        kind = first.strip().replace(" ", "-") or kind
        documented.setdefault(kind, []).append(field.strip().strip("`") + ("!" if default.strip() == "-" else ""))
    assert documented == {
        **{
            kind: [field + ("!" if field in spec.required else "") for field in spec.readers]
            for kind, spec in SPECS.items()
        },
        **{kind.__name__.lower(): list(parts.readers) for kind, parts in PARTS.items()},
    }


def test_the_documented_examples_add_up_to_a_sound_fabric() -> None:
    examples = [part.partition("```")[0] for part in DOC.read_text().split("```yaml\n")[1:]]
    assert len(examples) > 6
    fabric = Inventory()
    for text in examples:
        part, findings = parse_document(read_yaml(text, "x")[0])
        assert findings == []
        fabric = merge(fabric, part)
        assert check(allocate(fabric)) == [], text
        assert broken(allocate(fabric)) == [], text
    assert [section for section in SECTIONS if not getattr(fabric, section)] == []


@pytest.mark.parametrize("field", ["number", "preference", "bandwidth"])
def test_true_is_no_number(field: str) -> None:
    _, findings = parse_object("client", {"name": "c", "site": "a", "circuit_class": "lte", field: True})
    assert [each.code for each in findings] == ["bandwidth-invalid" if field == "bandwidth" else "field-type"]
