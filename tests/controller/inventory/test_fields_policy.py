"""Rules, assertions and LAN peers: what is read is what is printed, in one form only."""

from __future__ import annotations

import json
from dataclasses import fields as fields_of
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.inventory.document import parse_document, parse_object, plain, to_document
from controller.inventory.fields import Unreadable
from controller.inventory.fields_policy import PARTS, U32, community, prefix_match, prefix_match_text
from controller.inventory.merge import merge
from controller.inventory.model import (
    Action,
    Assertion,
    Inventory,
    LanPeer,
    Match,
    PrefixMatch,
    Rule,
    Viewer,
    network_order,
    objects,
)

names = st.lists(st.sampled_from(["eu", "us", "a-1"]), max_size=2).map(lambda found: tuple(sorted(set(found))))


@st.composite
def prefix_matches(draw: st.DrawFn) -> PrefixMatch:
    kind: Any = draw(st.sampled_from([IPv4Network, IPv6Network]))
    bits = 32 if kind is IPv4Network else 128
    length = draw(st.integers(0, bits))
    prefix = kind((draw(st.integers(0, 2**bits - 1)) >> (bits - length) << (bits - length), length))
    ge = draw(st.integers(length, bits))
    return PrefixMatch(prefix, ge, draw(st.integers(ge, bits)))


standard = st.tuples(st.integers(0, 65535), st.integers(0, 65535))
large = st.tuples(*[st.integers(0, U32)] * 3)
communities = st.lists(standard | large, max_size=3).map(
    lambda found: tuple(":".join(map(str, each)) for each in sorted(set(found), key=lambda each: (len(each), each)))
)
matches = st.builds(
    Match,
    *[names] * 5,
    st.lists(prefix_matches(), max_size=3).map(
        lambda found: tuple(sorted(set(found), key=lambda each: (network_order(each.prefix), each.ge, each.le)))
    ),
    communities,
)
viewers = st.builds(Viewer, names, names, names).filter(lambda viewer: viewer != Viewer())
actions = st.builds(
    Action,
    preference=st.none() | st.integers(1, U32),
    preference_add=st.integers(-U32, U32),
    add_communities=communities,
    med=st.none() | st.integers(0, U32),
    prepend=st.integers(0, 32),
    max_paths=st.integers(0, 64),
    last=st.booleans(),
).filter(lambda action: action != Action()) | st.sampled_from(
    [Action(deny=True), Action(deny=True, last=True), Action(remove_communities=("65000:1",))]
)
rules = st.builds(
    Rule, st.just("r"), actions, matches, st.none() | viewers, st.integers(0, 2**31 - 1)
) | st.sampled_from([Rule("r", Action(region_only=True)), Rule("r", Action(open=True, preference_add=1))])
assertions = st.sampled_from(
    [
        Assertion("x", ("eu",), IPv4Network("10.0.0.0/8"), reaches=True),
        Assertion("x", never_over=("lte", "satellite")),
        Assertion("x", (), IPv6Network("fd00::/64"), survives="provider"),
    ]
)
LAN_PEER = LanPeer("l", "g", ip_address("fd00::2"), 65001, "lan0", ip_address("fd00::1"))


@given(rules, assertions)
def test_what_is_printed_is_read_again(rule: Rule, assertion: Assertion) -> None:
    inventory = Inventory(rules=(rule,), assertions=(assertion,), lan_peers=(LAN_PEER,))
    again, findings = parse_document(json.loads(json.dumps(to_document(inventory))))
    assert findings == []
    assert again == inventory


@given(prefix_matches())
def test_a_prefix_match_has_one_shortest_form(match: PrefixMatch) -> None:
    assert prefix_match(prefix_match_text(match)) == match


@pytest.mark.parametrize(
    ("text", "ge", "le", "shortest"),
    [
        ("10.0.0.0/8", 8, 8, "10.0.0.0/8"),
        ("10.0.0.0/8 ge 8", 8, 32, "10.0.0.0/8 le 32"),
        ("10.0.0.0/8 ge 16", 16, 32, "10.0.0.0/8 ge 16"),
        ("10.0.0.0/8 le 8", 8, 8, "10.0.0.0/8"),
        ("10.0.0.0/8 ge 16 le 24", 16, 24, "10.0.0.0/8 ge 16 le 24"),
        ("10.1.2.3/32 ge 32", 32, 32, "10.1.2.3/32"),
        ("fd00::/16 ge 48", 48, 128, "fd00::/16 ge 48"),
    ],
)
def test_ge_and_le(text: str, ge: int, le: int, shortest: str) -> None:
    match = prefix_match(text)
    assert (match.ge, match.le, prefix_match_text(match)) == (ge, le, shortest)


@pytest.mark.parametrize("text", ["10.0.0.0/8 le 24 ge 16", "10.0.0.0/8  le 24", "10.0.0.0/8 le", "le 24", "", "/"])
def test_what_is_no_prefix_match(text: str) -> None:
    with pytest.raises(Unreadable):
        prefix_match(text)


@pytest.mark.parametrize(("text", "canonical"), [("065000:01", None), ("65000:01", "65000:1"), ("1:2:03", "1:2:3")])
def test_communities_have_one_form(text: str, canonical: str | None) -> None:
    if canonical is None:
        with pytest.raises(Unreadable):
            community(text)
    else:
        assert community(text) == canonical


def test_every_field_of_a_part_can_be_declared() -> None:
    assert {kind: list(parts.readers) for kind, parts in PARTS.items()} == {
        kind: [each.name for each in fields_of(kind)] for kind in PARTS
    }


def test_rules_stand_in_the_order_in_which_they_are_looked_at() -> None:
    part, _ = parse_document(
        {"rules": [{"name": name, "order": order, "action": {"deny": True}} for name, order in RULES]}
    )
    for inventory in (part, merge(Inventory(), part)):
        assert [each["name"] for each in to_document(inventory)["rules"]] == ["z", "a", "b"]
    assert [each.key for each in objects(merge(Inventory(), part))] == ["z", "a", "b"]


RULES = [("b", 1000), ("a", 1000), ("z", 1)]


def test_the_switch_that_is_on_by_default_is_printed_when_it_is_off() -> None:
    data = {"name": "f", "asn": 64512, "segment": "10.42.0.0/16", "guard_default": False}
    fabric, _ = parse_object("fabric", data)
    assert (fabric.guard_default, plain(fabric)["guard_default"]) == (False, False)


def test_lists_are_bounded() -> None:
    many = [f"10.{n % 256}.{n // 256}.0/24" for n in range(257)]
    _, findings = parse_object("rule", {"name": "r", "match": {"prefixes": many}, "action": {"deny": True}})
    assert [str(each) for each in findings] == [
        "rule r: match.prefixes: 257 prefixes; at most 256 are possible [number-range]"
    ]
