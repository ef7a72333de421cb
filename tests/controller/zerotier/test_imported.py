"""A network with managed routes -> an inventory: what is guessed, what is asked, and that it can be applied."""

from __future__ import annotations

import json
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.inventory.yaml import check_yaml
from controller.zerotier.imported import Imported, imported, interface_name, to_yaml
from controller.zerotier.port import ManagedRoute, MemberState
from tests.controller.zerotier.networks import (
    BERLIN,
    LAPTOP,
    ON_LINK,
    PARIS,
    TO_BERLIN,
    TO_PARIS,
    by_id,
    member,
    network,
    route,
)
from tests.controller.zerotier.recordings import RECORDED


def of(*routes: ManagedRoute, members: tuple[MemberState, ...] = (BERLIN, PARIS, LAPTOP), **fields: Any) -> Imported:
    return imported(network(ON_LINK, *routes, **fields), by_id(*members))


def why(found: Imported, what: str) -> str:
    (question,) = [each for each in found.questions if what in each.what]
    return question.why


def validated(found: Imported, path: Path) -> list[str]:
    """What `leyline validate` says of the file."""
    file = path / "inventory.yml"
    file.write_text(to_yaml(found))
    return [str(each) for each in check_yaml([file])[1]]


def test_members_that_routes_lead_to_are_gateways_and_others_hosts(tmp_path: Path) -> None:
    found = of(TO_BERLIN, TO_PARIS)
    assert validated(found, tmp_path) == []
    document = found.document
    assert document["fabric"] == {
        "name": "office", "asn": 64512, "segment": "10.42.0.0/24", "guard_default": False,
        "network": "53fe91125f00abcd", "mtu": 2800,
    }  # fmt: skip
    assert document["prefixes"] == [
        {"site": "berlin-gw", "prefix": "10.1.0.0/16"},
        {"site": "paris", "prefix": "10.2.0.0/24"},
    ]
    uplinks = {each["name"]: each["uplinks"][0] for each in document["gateways"]}
    assert {name: (each["node_id"], each["address"]) for name, each in uplinks.items()} == {
        "berlin-gw": ("a000000001", "10.42.0.1"),
        "paris": ("a000000002", "10.42.0.2"),
    }
    assert document["hosts"] == [{"name": "laptop", "node_id": "a000000004", "address": "10.42.0.4"}]


def test_the_guard_would_hide_managed_routes_so_it_is_off_and_that_is_said() -> None:
    assert "set it to true when they are gone" in why(of(TO_BERLIN), "guard_default")


def test_the_interface_is_named_as_a_real_member_named_it() -> None:
    names = {
        (each["nwid"], each["portDeviceName"])
        for file in sorted(RECORDED.rglob("*.json"))
        for each in _joined(json.loads(file.read_text()))
    }
    assert names
    assert {interface_name(nwid) for nwid, _ in names} == {name for _, name in names}


def _joined(value: Any) -> list[dict[str, str]]:
    if isinstance(value, dict):
        own = [value] if "portDeviceName" in value and value.get("nwid") else []
        return own + [each for inner in value.values() for each in _joined(inner)]
    return [each for inner in value for each in _joined(inner)] if isinstance(value, list) else []


def test_two_gateways_of_one_prefix_are_one_site(tmp_path: Path) -> None:
    found = of(TO_BERLIN, route("10.1.0.0/16", "10.42.0.2"))
    assert [each["name"] for each in found.document["sites"]] == ["berlin-gw"]
    assert found.document["prefixes"] == [{"site": "berlin-gw", "prefix": "10.1.0.0/16"}]
    assert validated(found, tmp_path) == []


def test_prefixes_inside_each_other_are_one_site_and_each_names_its_gateway(tmp_path: Path) -> None:
    found = of(TO_BERLIN, route("10.1.5.0/26", "10.42.0.2"))
    assert found.document["allocations"] == [{"site": "berlin-gw", "prefix": "10.1.0.0/16", "longest": 26}]
    assert [each["gateways"] for each in found.document["prefixes"]] == [["berlin-gw"], ["paris"]]
    assert validated(found, tmp_path) == []


@pytest.mark.parametrize(
    ("lost", "reason"),
    [
        (route("0.0.0.0/0", "10.42.0.1"), "a default route"),
        (route("127.0.0.0/24", "10.42.0.1"), "never routed"),
        (route("10.42.0.0/25", "10.42.0.1"), "overlaps the segment"),
        (route("10.40.0.0/13", "10.42.0.1"), "overlaps the segment"),
        (route("2001:db8::/32", "fd00::1"), "no segment of IPv6"),
        (route("10.9.0.0/24", "10.42.0.77"), "no member has 10.42.0.77"),
        (route("10.9.0.0/24", "10.42.0.9"), "b000000001 and b000000002 both have"),
        (route("10.9.0.0/24", "10.42.0.8"), "c000000001, which has 10.42.0.8, is not authorised"),
    ],
    ids=str,
)
def test_a_route_that_cannot_be_taken_over_is_left_out_with_the_reason(
    lost: ManagedRoute, reason: str, tmp_path: Path
) -> None:
    twins = (member("b000000001", "10.42.0.9"), member("b000000002", "10.42.0.9"))
    outside = member("c000000001", "10.42.0.8", authorised=False)
    found = of(TO_BERLIN, lost, members=(BERLIN, *twins, outside))
    assert reason in why(found, f"{lost} is left out")
    assert [each["prefix"] for each in found.document["prefixes"]] == ["10.1.0.0/16"]
    assert validated(found, tmp_path) == []


def test_who_is_not_authorised_is_not_let_in() -> None:
    found = of(TO_BERLIN, members=(BERLIN, member("c000000001", authorised=False)))
    assert "hosts" not in found.document
    assert "not authorised" in why(found, "left out: c000000001")


def test_a_member_keeps_the_address_that_routes_lead_to_and_others_are_said() -> None:
    found = of(TO_BERLIN, members=(member("a000000001", "10.42.0.7", "10.42.0.1", "192.0.2.1"),))
    assert found.document["gateways"][0]["uplinks"][0]["address"] == "10.42.0.1"
    assert why(found, "loses 10.42.0.7") == "a member has one address of each family"
    assert why(found, "loses 192.0.2.1") == "it is outside the segment"


def test_without_a_segment_a_blank_is_named_and_filled_it_is_sound(tmp_path: Path) -> None:
    found = imported(network(TO_BERLIN), by_id(BERLIN))
    assert found.inventory is None
    assert "write the prefix" in why(found, "segment")
    assert validated(found, tmp_path) != []
    file = tmp_path / "inventory.yml"
    file.write_text(file.read_text().replace("segment: TODO", "segment: 10.42.0.0/24"))
    assert check_yaml([file])[1] == []


def test_what_adoption_would_end_is_said() -> None:
    found = of(TO_BERLIN, private=False, auto_assign4=True, auto_rfc4193=True, mtu=9999)
    for what in ("is public", "addresses from pools", "RFC 4193", "mtu is 9890"):
        assert why(found, what)
    ipauth = ({"type": "MATCH_CHARACTERISTICS", "mask": "1000000000000000", "not": True}, {"type": "ACTION_DROP"})
    bad = imported(
        type(network())(network().network, routes=(ON_LINK,), rules=(*ipauth, {"type": "ACTION_ACCEPT"})), {}
    )
    assert "all routed traffic" in why(bad, "rules-no-ipauth")


def test_names_of_strangers_stay_in_their_comment(tmp_path: Path) -> None:
    odd = member("a000000009", "10.42.0.9", "198.51.100.1", name="x\nhosts: []\n# 🙂")
    twin = member("a00000000a", "10.42.0.10", name="berlin gw")
    found = of(TO_BERLIN, members=(BERLIN, odd, twin))
    assert [each["name"] for each in found.document["hosts"]] == ["x-hosts", "berlin-gw-a00000000a"]
    assert validated(found, tmp_path) == []


@given(st.data())
def test_whatever_the_network_holds_it_is_sound_or_what_is_wrong_is_said(data: st.DataObject) -> None:
    numbers = st.integers(0, 255)
    members = by_id(
        *(
            member(f"a0000000{n:02x}", *(f"10.42.0.{each}" for each in data.draw(st.lists(numbers, max_size=2))))
            for n in range(data.draw(st.integers(0, 5)))
        )
    )
    nets = st.builds(
        lambda number, length: IPv4Network((number << 16 | 10 << 24, length), strict=False), numbers, st.integers(0, 32)
    )
    vias = st.builds(lambda number: IPv4Address(f"10.42.0.{number}"), numbers)
    routes = data.draw(st.lists(st.builds(ManagedRoute, nets, vias | st.none()), max_size=8))
    found = imported(network(ON_LINK, *routes), members)
    assert to_yaml(found)
    assert found.inventory is not None or any("(" in each.what for each in found.questions)


def test_what_hosts_would_lose_is_asked() -> None:
    """A wider route by way of a second gateway is how a spare is made of managed routes; BGP needs no such thing."""
    spare = (route("10.1.0.0/24", "10.42.0.1"), route("10.1.0.0/23", "10.42.0.2"))
    found = of(*spare)
    assert "announced by different gateways" in why(found, "summary-split")
    assert not [each for each in of(*spare, members=(BERLIN, PARIS)).questions if "summary-split" in each.what]
    assert not [each for each in of(TO_BERLIN, TO_PARIS).questions if "summary" in each.what]
