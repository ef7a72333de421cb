"""The oracle against cases that were worked out by hand from the RFCs and the documentation."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.oracle.given import ASN, client, document, gateway, world
from tests.oracle.reading import crc
from tests.oracle.rules import in_range
from tests.oracle.tables import expected
from tests.oracle.words import Announced, Tiers, Told, World

HUB = gateway("a1", 1, "hub")


def tiers(*sets: str) -> Tiers:
    """`tiers("2 3", "4")`: 10.42.0.2 and 10.42.0.3, then 10.42.0.4."""
    return tuple(frozenset(f"10.42.0.{number}" for number in each.split()) for each in sets)


def told(world: World, name: str, prefix: str, hub: str = "a1") -> dict[int, Told]:
    """path id -> what the client holds."""
    return {each.path_id: each for each in expected(world).tables[name][hub] if each.prefix == prefix}


def rule(name: str, action: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": name, "action": action} | more


def test_equal_paths_are_one_tier_and_a_worse_class_is_the_next_one() -> None:
    kernels = expected(world(document(HUB, gateway("b1", 2, "spoke", "fiber", "lte"), gateway("b2", 4)))).kernels
    assert kernels["a1"] == {"10.2.0.0/24": tiers("2 4", "3")}
    assert kernels["b1"] == {"10.1.0.0/24": tiers("1")}


def test_two_hubs_change_nothing_but_that_each_may_go() -> None:
    routers = HUB, gateway("b1", 2, "hub"), gateway("c1", 3), gateway("b2", 4)
    assert expected(world(document(*routers))).kernels["c1"] == {
        "10.1.0.0/24": tiers("1"),
        "10.2.0.0/24": tiers("2 4"),
    }
    assert expected(world(document(*routers), down=frozenset({"a1"}))).kernels["c1"] == {"10.2.0.0/24": tiers("2 4")}


def test_a_client_of_the_other_hub_only_is_heard_through_it() -> None:
    cut = frozenset({("c1", "a1")})
    kernels = expected(world(document(HUB, gateway("b1", 2, "hub"), gateway("c1", 3)), cut=cut)).kernels
    assert kernels["a1"]["10.3.0.0/24"] == tiers("3")
    assert kernels["c1"] == {"10.1.0.0/24": tiers("1"), "10.2.0.0/24": tiers("2")}


def test_of_more_than_max_paths_those_of_the_lowest_router_ids_are_first() -> None:
    routers = HUB, gateway("b2", 6), gateway("b1", 4, "spoke", "fiber", "fiber"), gateway("b3", 7)
    kernels = expected(world(document(*routers, fabric={"max_paths": 3}))).kernels
    assert kernels["a1"]["10.2.0.0/24"] == tiers("4 5 6", "7")


def test_there_are_four_tiers_at_most() -> None:
    kernels = expected(world(document(HUB, gateway("b1", 4, "spoke", *["fiber"] * 6), fabric={"max_paths": 1}))).kernels
    assert kernels["a1"]["10.2.0.0/24"] == tiers("4", "5", "6", "7")


def test_a_drained_gateway_is_last_whatever_rules_say() -> None:
    rules = [rule("up", {"preference": 900}), rule("more", {"preference_add": 5}, viewer={"regions": ["eu"]})]
    routers = HUB, gateway("b1", 2, "spoke", "fiber", drained=True), gateway("b2", 3, "spoke", "satellite")
    assert expected(world(document(*routers, rules=rules))).kernels["a1"]["10.2.0.0/24"] == tiers("3", "2")


def test_rules_act_in_order_then_by_name_and_last_ends_them() -> None:
    rules = [
        rule("c", {"preference": 7}, order=20),
        rule("b", {"preference_add": 1, "last": True}, order=10),
        rule("a", {"preference": 300}, order=10),
    ]
    paths = told(world(document(HUB, gateway("b1", 2), client("x", 9, "c"), rules=rules)), "x", "10.2.0.0/24")
    assert paths[2].local_pref == 301


@pytest.mark.parametrize(("add", "result"), [(-5000, 1), (2**32 - 1, 2**32 - 1), (-50, 150)])
def test_preference_stays_in_its_range(add: int, result: int) -> None:
    rules = [rule("a", {"preference_add": add})]
    paths = told(world(document(HUB, gateway("b1", 2), client("x", 9, "c"), rules=rules)), "x", "10.2.0.0/24")
    assert paths[2].local_pref == result


@pytest.mark.parametrize(
    ("match", "holds"),
    [
        ({"sites": ["b"]}, True),
        ({"sites": ["a", "c"]}, False),
        ({"regions": ["eu"]}, True),
        ({"gateways": ["b1"], "circuit_classes": ["lte"]}, False),
        ({"gateways": ["b2", "b1"], "circuit_classes": ["fiber"]}, True),
        ({"tags": ["dc"]}, False),
        ({"prefixes": ["10.2.0.0/16"]}, False),
        ({"prefixes": ["192.0.2.0/24", "10.2.0.0/16 le 24"]}, True),
        ({"communities": ["65000:1"]}, False),
    ],
)
def test_every_list_of_a_match_must_hold(match: dict[str, Any], holds: bool) -> None:
    rules = [rule("a", {"deny": True}, match=match)]
    kernels = expected(world(document(HUB, gateway("b1", 2), rules=rules))).kernels
    assert ("10.2.0.0/24" not in kernels["a1"]) is holds


@pytest.mark.parametrize(
    ("text", "lengths"),
    [
        ("10.0.0.0/8", {8}),
        ("10.0.0.0/8 ge 24", {24, 25, 32}),
        ("10.0.0.0/8 le 16", {8, 16}),
        ("10.0.0.0/8 ge 16 le 24", {16, 24}),
        ("11.0.0.0/8 le 32", set()),
    ],
)
def test_ranges_of_prefixes(text: str, lengths: set[int]) -> None:
    assert {length for length in (7, 8, 16, 24, 25, 32) if in_range(f"10.0.0.0/{length}", text)} == lengths


def test_a_rule_sees_what_earlier_ones_did_to_the_communities() -> None:
    rules = [
        rule("1", {"add_communities": ["65000:7"], "remove_communities": ["65000:1"]}),
        rule("2", {"med": 40}, match={"communities": ["65000:7"]}),
        rule("3", {"deny": True}, match={"communities": ["65000:1"]}),
    ]
    heard = Announced("10.3.5.0/24", communities=frozenset({"65000:1", f"{ASN}:1:77", "65000:5:5"}))
    asked = world(document(HUB, client("x", 9, "c"), client("y", 10, "b"), rules=rules), {"x": [heard]})
    (path,) = told(asked, "y", "10.3.5.0/24").values()
    own = {f"{ASN}:1:102", f"{ASN}:2:{crc('us')}", f"{ASN}:3:{crc('fiber')}", f"{ASN}:4:9"}
    assert (path.med, path.communities) == (40, own | {f"{ASN}:11:40", "65000:7", "65000:5:5"})


def test_what_rules_without_a_viewer_say_to_ebgp_clients_is_told_by_every_hub() -> None:
    """b2 hears the client only through a1, and a MED that the client had said, too, is the rule's."""
    routers = HUB, gateway("b2", 2, "hub"), client("x", 9, "c", asn=65001), client("y", 10, "c", asn=65002)
    rules = [rule("1", {"med": 5, "prepend": 30}), rule("2", {"prepend": 3})]
    heard = {"x": [Announced("10.3.5.0/24", (65001,), med=5)]}
    asked = world(document(*routers, rules=rules), heard, cut=frozenset({("x", "b2")}))
    for hub in ("a1", "b2"):
        (theirs,) = told(asked, "y", "10.3.5.0/24", hub).values()
        (own,) = told(asked, "y", "10.1.0.0/24", hub).values()
        assert (theirs.med, theirs.as_path, own.med, own.as_path) == (5, (65001,), 5, (ASN,) * 33)
        assert {f"{ASN}:11:5", f"{ASN}:12:32"} <= theirs.communities & own.communities


def test_rules_without_a_viewer_act_on_a_hubs_own() -> None:
    rules = [
        rule("a", {"preference": 7}, match={"gateways": ["a1"]}),
        rule("b", {"deny": True}, match={"sites": ["b"]}),
    ]
    routers = HUB, gateway("b2", 2, "hub"), client("y", 10, "c")
    asked = world(document(*routers, rules=rules))
    (ours,) = told(asked, "y", "10.1.0.0/24").values()
    assert (ours.local_pref, told(asked, "y", "10.2.0.0/24")) == (7, {})
    assert expected(asked).kernels["a1"].keys() == set()


def test_a_viewers_rules_change_its_view_alone() -> None:
    rules = [rule("a", {"deny": True}, match={"sites": ["b"]}, viewer={"sites": ["c"]})]
    kernels = expected(world(document(HUB, gateway("b1", 2), gateway("c1", 3), rules=rules))).kernels
    assert kernels["c1"] == {"10.1.0.0/24": tiers("1")}
    assert kernels["a1"].keys() == {"10.2.0.0/24", "10.3.0.0/24"}


def test_region_only_is_told_at_home() -> None:
    rules = [rule("a", {"region_only": True}, match={"sites": ["b"]})]
    kernels = expected(world(document(HUB, gateway("b1", 2), gateway("c1", 3), rules=rules))).kernels
    assert kernels["a1"].keys() == {"10.2.0.0/24", "10.3.0.0/24"}
    assert kernels["c1"].keys() == {"10.1.0.0/24"}


def test_a_closed_region_neither_gives_nor_takes_but_for_what_is_open() -> None:
    regions = [{"name": "eu"}, {"name": "us", "closed": True}]
    routers = HUB, gateway("b1", 2), gateway("c1", 3)
    closed = expected(world(document(*routers, regions=regions))).kernels
    assert closed == {"a1": {"10.2.0.0/24": tiers("2")}, "b1": {"10.1.0.0/24": tiers("1")}, "c1": {}}
    rules = [rule("a", {"open": True}, match={"sites": ["b", "c"]})]
    opened = expected(world(document(*routers, regions=regions, rules=rules))).kernels
    assert opened["c1"] == {"10.2.0.0/24": tiers("2")}
    assert opened["b1"] == {"10.1.0.0/24": tiers("1"), "10.3.0.0/24": tiers("3")}


def test_of_an_anycast_prefix_the_own_regions_copy_is_first() -> None:
    allocations = [{"site": site, "prefix": "10.9.0.0/16", "anycast": True} for site in "bc"]
    prefixes = [{"site": site, "prefix": "10.9.0.0/24"} for site in "bc"]
    routers = HUB, gateway("b1", 2, "spoke", "lte"), gateway("c1", 3), client("x", 9, "c")
    asked = world(document(*routers, allocations=allocations, prefixes=prefixes))
    assert expected(asked).kernels["a1"]["10.9.0.0/24"] == tiers("2", "3")
    assert {n: p.local_pref for n, p in told(asked, "x", "10.9.0.0/24").items()} == {2: 100, 3: 1_000_200}


def test_max_paths_by_rule_and_the_least_counts() -> None:
    rules = [rule("a", {"max_paths": 3}), rule("b", {"max_paths": 1}, match={"gateways": ["b2"]})]
    kernels = expected(world(document(HUB, gateway("b1", 2), gateway("b2", 3), rules=rules))).kernels
    assert kernels["a1"]["10.2.0.0/24"] == tiers("2", "3")


REFUSED = [
    Announced("10.2.0.0/24"),
    Announced("10.3.0.128/25"),
    Announced("0.0.0.0/0"),
    Announced("10.3.1.0/24", next_hop="10.42.0.1"),
    Announced("10.3.1.0/24", as_path=(65001, ASN)),
    Announced("10.3.1.0/24", originator_id="10.42.0.9"),
    Announced("10.3.99.0/24"),
    Announced("10.3.96.0/19"),
]


@pytest.mark.parametrize("heard", REFUSED)
def test_what_a_client_may_not_announce(heard: Announced) -> None:
    fabric = {"underlay": ["10.3.99.0/25"]}
    asked = world(document(HUB, client("x", 9, "c"), fabric=fabric), {"x": [heard]})
    assert expected(asked).kernels == {"a1": {}}


def test_a_default_route_and_one_around_the_underlay_are_taken_where_they_are_declared() -> None:
    fabric = {"underlay": ["10.3.99.0/25"]}
    allocations = [{"site": "c", "prefix": "0.0.0.0/0"}, {"site": "c", "prefix": "10.3.96.0/19"}]
    heard = ["0.0.0.0/0", "10.3.0.0/16", "10.3.96.0/19", "10.3.99.0/24", "8.8.8.0/24"]
    routers = HUB, client("x", 9, "c"), client("y", 10, "b")
    asked = world(
        document(*routers, fabric=fabric, allocations=allocations),
        {"x": [Announced(prefix) for prefix in heard], "y": [Announced("0.0.0.0/0")]},
    )
    assert expected(asked).kernels["a1"] == dict.fromkeys(["0.0.0.0/0", "10.3.0.0/16", "10.3.96.0/19"], tiers("9"))


def test_a_blackhole_is_unreachable_everywhere_and_may_be_a_host_route() -> None:
    heard = Announced("10.3.7.7/32", communities=frozenset({"65535:666"}))
    routers = HUB, client("x", 9, "c"), gateway("b1", 2)
    kernels = expected(world(document(*routers, fabric={"blackhole": True}), {"x": [heard]})).kernels
    assert kernels["a1"]["10.3.7.7/32"] == kernels["b1"]["10.3.7.7/32"] == ()
    assert expected(world(document(*routers), {"x": [heard]})).kernels["b1"].keys() == {"10.1.0.0/24"}


def test_an_ebgp_client_is_served_as_by_a_route_server() -> None:
    routers = HUB, gateway("b1", 2), client("x", 9, "c", asn=65001), client("y", 10, "c", asn=65002)
    rules = [rule("a", {"prepend": 2}, viewer={"sites": ["c"]})]
    heard = {
        "y": [
            Announced("10.3.5.0/24", (65002, 65009), med=5),
            Announced("10.3.6.0/24", (65002,), communities=frozenset({"65535:65281"})),
            Announced("10.3.7.0/24", (65009,)),
            Announced("10.3.8.0/24", (65002, 65001)),
        ]
    }
    asked = world(document(*routers, rules=rules), heard)
    (ours,) = told(asked, "x", "10.2.0.0/24").values()
    assert (ours.as_path, ours.local_pref, ours.med, ours.next_hop) == ((ASN,) * 3, None, 2**32 - 201, "10.42.0.2")
    (theirs,) = told(asked, "x", "10.3.5.0/24").values()
    assert (theirs.as_path, theirs.next_hop) == ((65002, 65009), "10.42.0.10")
    assert {each.prefix for each in expected(asked).tables["x"]["a1"]} == {"10.1.0.0/24", "10.2.0.0/24", "10.3.5.0/24"}
    assert {each.prefix for each in expected(asked).tables["y"]["a1"]} == {"10.1.0.0/24", "10.2.0.0/24"}
    assert expected(asked).kernels["b1"].keys() == {"10.1.0.0/24", *(f"10.3.{n}.0/24" for n in (5, 6, 8))}


def test_without_add_path_a_client_is_told_the_best_of_its_own_view() -> None:
    rules = [rule("a", {"deny": True}, match={"circuit_classes": ["fiber"]}, viewer={"sites": ["c"]})]
    routers = HUB, gateway("b1", 2, "spoke", "fiber", "lte"), client("x", 9, "c", asn=65001)
    asked = world(document(*routers, rules=rules), without_add_path=frozenset({"x"}))
    assert {n: p.next_hop for n, p in told(asked, "x", "10.2.0.0/24").items()} == {0: "10.42.0.3"}


def test_no_route_is_installed_inside_a_connected_prefix_and_is_told_all_the_same() -> None:
    routers = HUB, gateway("b1", 2), gateway("c1", 3)
    kernels = expected(world(document(*routers), connected={"a1": ("10.2.0.0/16",)})).kernels
    assert (kernels["a1"].keys(), "10.2.0.0/24" in kernels["c1"]) == ({"10.3.0.0/24"}, True)


@pytest.mark.slow
def test_eight_sites_with_two_hundred_prefixes_take_seconds_at_most() -> None:
    sites = [{"name": f"s{n}x", "region": ["eu", "us"][n % 2], "number": n} for n in range(1, 9)]
    routers = [
        gateway(f"s{n}x{k}", 10 * n + 2 * k, "hub" if n < 3 and k == 1 else "spoke", "fiber", "lte")
        for n in range(1, 9)
        for k in (1, 2)
    ]
    routers += [client("x", 200, "s1x", asn=65001), client("y", 201, "s2x")]
    prefixes = [{"site": f"s{n}x", "prefix": f"10.{n}.{k}.0/24"} for n in range(1, 9) for k in range(25)]
    rules = [rule(f"r{n}", {"preference_add": n}, viewer={"regions": ["eu"]}) for n in range(3)]
    asked = world(
        document(*routers, rules=rules)
        | {
            "sites": sites,
            "prefixes": prefixes,
            "allocations": [{"site": f"s{n}x", "prefix": f"10.{n}.0.0/16"} for n in range(1, 9)],
        }
    )
    began = time.process_time()
    found = expected(asked)
    assert time.process_time() - began < 10, "half a second on a quiet machine"
    assert len(found.kernels["s3x1"]) == 175
