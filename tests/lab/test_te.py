"""The parts of the scenario `te` that need no lab: what it asks the oracle, and how it reads tables of others."""

from __future__ import annotations

import random
from typing import Any

import pytest

from lab.inventory import read_documents
from lab.scenarios.te import explained, oracle, strangers
from lab.scenarios.te.explained import Got
from lab.scenarios.te.oracle import Told
from lab.scenarios.te.world import INVENTORY, told_difference

BIRD = """BIRD 2.0.12 ready.
Table master4:
10.22.2.0/24         blackhole [leyline_static 08:45:04.297] * (200)
\tType: static univ
\tBGP.community: (65000,666)
10.21.1.0/24         unicast [leyline_hub_1 08:45:14.322 from 10.42.0.1] * (100) [AS65021i]
\tvia 10.42.0.21 on zt0
\tType: BGP univ
\tBGP.origin: IGP
\tBGP.as_path: 65021
\tBGP.next_hop: 10.42.0.21
\tBGP.med: 0
\tBGP.local_pref: 200
\tBGP.community: (65000,1) (65000,666)
\tBGP.large_community: (64512, 1, 21) (64512, 6, 170524673)
\t\t(64512, 4, 21)
                     unicast [leyline_hub_2 08:45:13.835 from 10.42.0.2] (100) [i]
\tvia 10.42.0.3 on zt0
\tType: BGP univ
\tBGP.origin: Incomplete
\tBGP.as_path: 
\tBGP.next_hop: 10.42.0.3
\tBGP.local_pref: 300

Table master6:
fd10:4::/64          unicast [leyline_hub_1 08:46:38.611 from 10.42.0.1] * (100) [i]
\tvia fd42:42::a on zt0
\tBGP.origin: EGP
\tBGP.as_path: 
\tBGP.next_hop: fd42:42::a fe80::1
\tBGP.local_pref: 180
"""  # noqa: W291

OF_PARTNER = frozenset({"65000:1", "65000:666", "64512:1:21", "64512:4:21"})


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return dict(read_documents([INVENTORY])[0])


@pytest.fixture(scope="module")
def wanted(document: dict[str, Any]) -> oracle.Expected:
    return oracle.expected(document, strangers.ANNOUNCED)


def test_birds_table_is_read_as_values() -> None:
    assert strangers.told_bird(BIRD, ["hub-1", "hub-2"]) == {
        Told("hub-1", "10.21.1.0/24", "10.42.0.21", (65021,), 0, 200, 0, OF_PARTNER),
        Told("hub-2", "10.21.1.0/24", "10.42.0.3", (), None, 300, 2, frozenset()),
        Told("hub-1", "fd10:4::/64", "fd42:42::a", (), None, 180, 1, frozenset()),
    }


def test_frrs_table_is_read_as_values() -> None:
    hops: list[dict[str, Any]] = [{"ip": "10.42.0.3"}, {"ip": "fe80::1", "scope": "link-local"}]
    path = {
        "peer": {"peerId": "10.42.0.1"},
        "aspath": {"string": "64512 64512"},
        "metric": 7,
        "origin": "IGP",
        "community": {"string": "65000:1", "list": ["65000:1"]},
        "largeCommunity": {"list": ["64512:1:2", "64512:7:170524673"]},
        "nexthops": hops,
    }
    own = {"peer": {"peerId": "0.0.0.0"}, "aspath": {"string": "Local"}, "nexthops": [{"ip": "0.0.0.0"}]}
    routes: dict[str, list[dict[str, Any]]] = {"10.1.0.0/24": [path, own]}
    assert strangers.told_frr(routes, {"10.42.0.1": "hub-1"}) == {
        Told("hub-1", "10.1.0.0/24", "10.42.0.3", (64512, 64512), 7, None, 0, frozenset({"65000:1", "64512:1:2"}))
    }


@pytest.mark.slow
def test_the_oracle_is_asked_as_a_process(wanted: oracle.Expected, document: dict[str, Any]) -> None:
    assert wanted.kernels.keys() == {each["name"] for each in document["gateways"]}
    assert wanted.kernel("nyc-1")["10.4.0.0/24"] == {"10.42.0.10"}
    assert wanted.kernel("nyc-1", dead=["10.42.0.10"])["10.4.0.0/24"] == {"10.42.0.9"}
    assert "10.4.9.0/24" not in wanted.kernel("nyc-1", dead=["10.42.0.10"])
    assert {each.local_pref for each in wanted.tables["partner"]} == {None}
    partners = next(each for each in wanted.tables["legacy"] if (each.hub, each.prefix) == ("hub-1", "10.21.1.0/24"))
    assert partners[2:7] == ("10.42.0.21", (65021,), 0, 200, 0)
    assert {"64512:1:21", "64512:4:21"} < partners.communities
    marked = {each.communities for each in wanted.tables["partner"] if each.prefix == "10.22.2.0/24"}
    assert all({"65000:666", "65000:1"} < each for each in marked), "what the rule adds"


def test_the_inventory_means_what_its_comments_say(wanted: oracle.Expected) -> None:
    assert wanted.kernel("hub-1")["10.1.0.0/24"] == {"10.42.0.3", "10.42.0.5"}
    assert wanted.kernel("hub-2")["10.1.0.0/24"] == {"10.42.0.5"}
    assert len(wanted.kernel("paris-1")["10.1.0.0/24"]) == 1
    assert "10.2.0.0/24" not in wanted.kernel("sydney-1")
    assert wanted.kernel("sydney-1")["10.200.0.0/24"] == {"10.42.0.11"}


def test_a_difference_names_the_routes() -> None:
    one = Told("hub-1", "10.1.0.0/24", "10.42.0.3", (), None, 200, 0, frozenset())
    other = Told("hub-1", "::/0", "::", (), None, 1, 0, frozenset())
    assert told_difference(frozenset({one}), frozenset({one})) == ""
    text = told_difference(frozenset({one}), frozenset({other}))
    assert "missing: 1\n  Told(hub='hub-1', prefix='10.1.0.0/24'" in text
    assert "not expected: 1\n  Told(hub='hub-1', prefix='::/0'" in text


@pytest.mark.parametrize(
    ("line", "means"),
    [
        ("10.2.0.5 via 10.42.0.6 dev zt0 src 10.42.0.3 uid 0", Got("via", "zt0", "10.42.0.6")),
        ("fd10:2::5 from :: via fd42:42::6 dev zt0 proto 76 src fd42:42::1", Got("via", "zt0", "fd42:42::6")),
        ("10.42.3.3 dev zt0 src 10.42.0.3 uid 0", Got("direct", "zt0")),
        ("local 10.1.0.1 dev lo src 10.1.0.1 uid 0", Got("local", "lo")),
        ("RTNETLINK answers: No route to host", Got("unreachable")),
        ("unreachable fd10:2::5 from :: dev lo proto 76 metric 4999 error -113 pref medium", Got("unreachable")),
        ("RTNETLINK answers: Network is unreachable", Got("none")),
    ],
)
def test_what_ip_route_get_says(line: str, means: Got) -> None:
    assert explained.got(line) == means


@pytest.mark.parametrize(
    ("what", "kernel", "agrees"),
    [
        ("route", Got("via", "zt0", "10.42.0.6"), True),
        ("route", Got("via", "zt1", "10.42.0.6"), False),
        ("route", Got("unreachable"), False),
        ("declared", Got("unreachable"), True),
        ("declared", Got("via", "wan0", "172.20.0.1"), False),
        ("none", Got("via", "wan0", "172.20.0.1"), True),
        ("none", Got("via", "zt0", "10.42.0.6"), False),
        ("connected", Got("direct", "lan0"), True),
        ("connected", Got("local", "lo"), False),
        ("itself", Got("local", "lo"), True),
        ("segment", Got("direct", "lan0"), False),
        ("unused", Got("unreachable"), False),
    ],
)
def test_a_verdict_is_held_against_the_kernel(what: str, kernel: Got, agrees: bool) -> None:
    ways = [{"interface": "zt0", "address": "10.42.0.6"}] if what == "route" else []
    assert explained.agrees({"what": what, "ways": ways}, kernel) is agrees


def test_as_many_pairs_as_said_and_no_broadcasts(document: dict[str, Any]) -> None:
    found = explained.pairs(document, strangers.ANNOUNCED, random.Random(7))
    assert sum(map(len, found.values())) == explained.PAIRS
    assert not [each for addresses in found.values() for each in addresses if each.endswith((".255", ".0"))]
