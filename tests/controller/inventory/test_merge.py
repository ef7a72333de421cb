"""Merge, prune, the removal guard, diff and rename."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.inventory.allocate import allocate, numbers_of
from controller.inventory.document import parse_document, to_document
from controller.inventory.findings import InventoryRefused
from controller.inventory.merge import diff, merge, removal_guard, removals, rename
from controller.inventory.model import (
    CircuitClass,
    Client,
    Fabric,
    Gateway,
    Inventory,
    Prefix,
    Region,
    Site,
    Uplink,
    objects,
)
from tests.controller.inventories import shuffled
from tests.controller.ruled import ruled_inventories

FABRIC = Fabric("f", 64512, IPv4Network("10.42.0.0/16"))


def small(sites: int = 2) -> Inventory:
    uplink = Uplink("main", "a000000001", "zt0", "gold")
    return Inventory(
        fabric=FABRIC,
        regions=(Region("eu"),),
        circuit_classes=(CircuitClass("gold", 300),),
        sites=tuple(Site(f"s{n}", "eu") for n in range(sites)),
        prefixes=(Prefix("s0", IPv4Network("10.1.0.0/24"), gateways=("g0", "g1")),),
        gateways=tuple(Gateway(f"g{n}", f"s{n}", "spoke", (uplink,)) for n in range(sites)),
        clients=(Client("c0", "s0", "gold"),),
    )


@settings(max_examples=30)
@given(ruled_inventories(), ruled_inventories(), st.booleans())
def test_diff_says_what_merge_did(old: Inventory, new: Inventory, prune: bool) -> None:
    merged = merge(old, new, prune)
    changes = diff(old, merged)
    assert {each["object"] for each in changes if each["action"] == "remove"} == set(removals(old, merged))
    assert bool(changes) == (to_document(old) != to_document(merged))
    assert {each.label for each in objects(new)} <= {each.label for each in objects(merged)}
    if prune:
        assert to_document(merged) == to_document(new)
    else:
        # The fabric has a name of its own in each: that one may be replaced.
        assert [each for each in removals(old, merged) if not each.startswith("fabric ")] == []


@settings(max_examples=30)
@given(ruled_inventories(), st.integers())
def test_the_same_again_changes_nothing(inventory: Inventory, seed: int) -> None:
    stored = allocate(inventory)
    again = allocate(merge(stored, shuffled(inventory, seed)), numbers_of(stored))
    assert diff(stored, again) == []


def test_a_part_without_a_fabric_keeps_the_fabric() -> None:
    assert merge(small(), Inventory(sites=(Site("new", "eu"),))).fabric == FABRIC
    assert merge(small(), Inventory(), prune=True).fabric == FABRIC


def test_a_declared_object_replaces_the_old_one_whole() -> None:
    old = replace(small(1), sites=(Site("s0", "eu", 1, "Acme", ("dc",)),))
    new = merge(old, Inventory(sites=(Site("s0", "us"),)))
    assert new.sites == (Site("s0", "us"),)
    assert diff(old, new) == [
        {
            "action": "change",
            "object": "site s0",
            "fields": {"number": [1, None], "region": ["eu", "us"], "provider": ["Acme", None], "tags": [["dc"], None]},
        }
    ]


def test_diff_is_in_canonical_order() -> None:
    changes = diff(small(1), replace(small(3), regions=()))
    assert [(each["action"], each["object"]) for each in changes] == [
        ("remove", "region eu"),
        ("add", "site s1"),
        ("add", "site s2"),
        ("add", "gateway g1"),
        ("add", "gateway g2"),
    ]


@pytest.mark.parametrize(
    ("sites", "left", "allow", "needed"),
    [
        (20, 18, None, None),
        (20, 17, None, 3),
        (20, 17, 2, 3),
        (20, 17, 3, None),
        (1, 0, 0, 1),
        (1, 0, 5, None),
        (0, 0, None, None),
    ],
)
def test_the_guard(sites: int, left: int, allow: int | None, needed: int | None) -> None:
    finding = removal_guard(small(sites), small(left), allow)
    assert (None if finding is None else finding.message) == (
        None
        if needed is None
        else f"this removes {needed} of {sites} sites and {needed} of {sites} gateways, more than 10 %:"
        f" if that is meant, allow it with allow_removals {needed} (--allow-removals {needed})"
    )


def test_the_guard_counts_gateways_alone() -> None:
    finding = removal_guard(small(5), replace(small(5), gateways=small(4).gateways))
    assert finding is not None
    assert finding.message.startswith("this removes 1 of 5 gateways, more")


def test_a_rename_is_followed_everywhere() -> None:
    found = small()
    for kind, old, new in [
        ("region", "eu", "emea"),
        ("site", "s0", "berlin"),
        ("gateway", "g0", "berlin-1"),
        ("client", "c0", "frr"),
        ("uplink", "berlin-1/main", "fibre"),
        ("fabric", "f", "demo"),
        ("circuit-class", "gold", "best"),
        ("gateway", "g1", "a-1"),
    ]:
        found = rename(found, kind, old, new)
    assert to_document(found) == {
        "fabric": {
            "name": "demo",
            "asn": 64512,
            "segment": "10.42.0.0/16",
            "hold_time": 9,
            "restart_time": 120,
            "max_paths": 16,
            "bfd_up_delay_ms": 2000,
            "bfd_hold_max_ms": 60000,
            "bfd_idle_seconds": 300,
            "bfd_max_sessions": 256,
            "hubless_seconds": 86400,
            "vrrp_advert_ms": 1000,
            "guard_default": True,
        },
        "regions": [{"name": "emea"}],
        "circuit_classes": [{"name": "best", "preference": 300}],
        "sites": [{"name": "berlin", "region": "emea"}, {"name": "s1", "region": "emea"}],
        "prefixes": [{"site": "berlin", "prefix": "10.1.0.0/24", "tenant": "global", "gateways": ["a-1", "berlin-1"]}],
        "gateways": [
            {"name": "a-1", "site": "s1", "role": "spoke", "uplinks": [UPLINK | {"name": "main"}]},
            {"name": "berlin-1", "site": "berlin", "role": "spoke", "uplinks": [UPLINK | {"name": "fibre"}]},
        ],
        "clients": [{"name": "frr", "site": "berlin", "circuit_class": "best"}],
    }


def test_rules_assertions_and_lan_peers_follow_a_rename() -> None:
    found, findings = parse_document(
        {
            "lan_peers": [LAN_PEER],
            "rules": [
                {
                    "name": "r",
                    "match": {"sites": ["a"], "regions": ["a"], "gateways": ["a", "z"], "circuit_classes": ["a"]},
                    "viewer": {"sites": ["a", "b"], "regions": ["a"], "tags": ["a"]},
                    "action": {"preference": 1},
                },
            ],
            "assertions": [{"name": "x", "sites": ["a"], "never_over": ["a"]}],
            "regions": [{"name": "a"}],
            "circuit_classes": [{"name": "a", "preference": 1}],
            "sites": [{"name": "a", "region": "a"}],
            "gateways": [{"name": "a", "site": "a", "role": "hub", "uplinks": [UPLINK | {"name": "main"}]}],
            "clients": [{"name": "z", "site": "a", "circuit_class": "a"}],
        }
    )
    assert findings == []
    for kind, old in [("region", "a"), ("site", "a"), ("gateway", "a"), ("circuit-class", "a"), ("rule", "r")]:
        found = rename(found, kind, old, f"new-{kind}")
    document = to_document(rename(rename(found, "client", "z", "c"), "lan-peer", "l", "lan"))
    assert document["rules"] == [
        {
            "name": "new-rule",
            "order": 1000,
            "match": {
                "sites": ["new-site"],
                "regions": ["new-region"],
                "gateways": ["c", "new-gateway"],
                "circuit_classes": ["new-circuit-class"],
            },
            "viewer": {"sites": ["b", "new-site"], "regions": ["new-region"], "tags": ["a"]},
            "action": {"preference": 1},
        }
    ]
    assert document["lan_peers"] == [LAN_PEER | {"name": "lan", "gateway": "new-gateway"}]
    assert document["assertions"] == [
        {"name": "x", "sites": ["new-site"], "tenant": "global", "never_over": ["new-circuit-class"]}
    ]


def test_hosts_and_moons_follow_a_rename() -> None:
    found, findings = parse_document(
        {
            "sites": [{"name": "a", "region": "a"}],
            "gateways": [{"name": "a", "site": "a", "role": "hub", "uplinks": [UPLINK | {"name": "main"}]}],
            "hosts": [{"name": "h", "site": "a", "node_id": "c000000001"}, {"name": "i", "node_id": "c000000002"}],
            "moons": [
                {"name": "m", "gateway": "a", "uplink": "main", "endpoints": ["203.0.113.10/9993"]},
                {"name": "n", "gateway": "a", "endpoints": ["203.0.113.10/9993"]},
            ],
        }
    )
    assert findings == []
    for kind, old, new in [
        ("uplink", "a/main", "fibre"),
        ("site", "a", "b"),
        ("gateway", "a", "b"),
        ("host", "h", "k"),
    ]:
        found = rename(found, kind, old, new)
    document = to_document(rename(found, "moon", "m", "o"))
    assert document["hosts"] == [
        {"name": "i", "node_id": "c000000002"},
        {"name": "k", "site": "b", "node_id": "c000000001"},
    ]
    assert [(each["name"], each["gateway"], each.get("uplink")) for each in document["moons"]] == [
        ("n", "b", None),
        ("o", "b", "fibre"),
    ]
    with pytest.raises(InventoryRefused, match="'b' exists already"):
        rename(found, "host", "k", "b")


LAN_PEER = {
    "name": "l",
    "gateway": "a",
    "asn": 65001,
    "interface": "lan0",
    "address": "10.1.0.2",
    "local_address": "10.1.0.1",
}
UPLINK = {"name": "", "node_id": "a000000001", "interface": "zt0", "circuit_class": "best"}


@pytest.mark.parametrize(("kind", "old"), [("gateway", "g0"), ("client", "c0")])
def test_gateways_and_clients_do_not_share_a_name(kind: str, old: str) -> None:
    other = "c0" if kind == "gateway" else "g0"
    with pytest.raises(InventoryRefused, match="exists already"):
        rename(small(), kind, old, other)


def test_a_rename_to_no_name() -> None:
    with pytest.raises(InventoryRefused, match=r"site s0: 'S 0' is no name.* \[name-invalid\]"):
        rename(small(), "site", "s0", "S 0")
