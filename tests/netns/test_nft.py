"""Table `inet leyline` in real kernels: next hops in use, the loop guard under real packets, other people's tables.

One segment (a bridge) with two hubs and two spokes; `lan` is a host behind spoke a.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from speaker.kernel.nft import Nft, NftRules, neighbour_macs
from tests.netns.namespaces import Namespace, inside, segment, veth, wait_until

pytestmark = pytest.mark.root

MEMBERS = ("hub1", "hub2", "a", "b")
ADDRESSES = {name: (f"10.50.0.{n}", f"fd50::{n}") for n, name in enumerate(MEMBERS, 1)}
LAN = ("10.51.0.2", "fd51::2")
FAMILIES = (0, 1)


class Box:
    """A gateway with the rules of its role."""

    def __init__(self, namespace: Namespace, nft: Nft) -> None:
        self.namespace = namespace
        self.nft = nft

    def apply(self, rules: NftRules) -> str:
        with inside(self.namespace.name):
            return self.nft.apply(rules)

    def used(self) -> frozenset[str]:
        with inside(self.namespace.name):
            found = self.nft.used()
        assert found is not None, self.nft.reason
        return found

    def route(self, prefix: str, via: str) -> None:
        self.namespace.run("ip", "route", "replace", prefix, "via", via)


class Segment:
    def __init__(self, members: dict[str, Namespace], lan: Namespace) -> None:
        self.members = members
        self.lan = lan
        self.boxes = {name: Box(namespace, Nft()) for name, namespace in members.items()}

    def mac(self, name: str) -> str:
        (link,) = json.loads(self.members[name].run("ip", "-j", "link", "show", "eth0"))
        return str(link["address"])


def spoke(timeout: int = 300) -> NftRules:
    return NftRules(("eth0",), "spoke", frozenset(), timeout)


@pytest.fixture(scope="module")
def fabric() -> Iterator[Segment]:
    with (
        segment("nft", {name: (f"{v4}/24", f"{v6}/64") for name, (v4, v6) in ADDRESSES.items()}) as members,
        Namespace("nft", "lan") as lan,
    ):
        veth(members["a"], "lan0", ["10.51.0.1/24", "fd51::1/64"], lan, "eth0", [f"{LAN[0]}/24", f"{LAN[1]}/64"])
        lan.run("ip", "route", "add", "default", "via", "10.51.0.1")
        lan.run("ip", "route", "add", "default", "via", "fd51::1")
        for namespace in members.values():
            namespace.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
            namespace.run("sysctl", "-qw", "net.ipv4.conf.all.send_redirects=0", "net.ipv4.conf.eth0.send_redirects=0")
            namespace.run("sysctl", "-qw", "net.ipv4.icmp_ratelimit=0", "net.ipv6.icmp.ratelimit=0")
        fabric = Segment(members, lan)
        for name in ("a", "b"):
            assert fabric.boxes[name].apply(spoke()) == ""
        for name, other in (("hub1", "hub2"), ("hub2", "hub1")):
            assert fabric.boxes[name].apply(NftRules(("eth0",), "hub", frozenset({fabric.mac(other)}), 300)) == ""
        for name in ("hub1", "hub2", "b"):
            for family, prefix in zip(FAMILIES, ("10.51.0.0/24", "fd51::/64"), strict=True):
                fabric.boxes[name].route(prefix, ADDRESSES["a"][family])
        for namespace in (lan, *members.values()):  # Neighbours are asked from link-local addresses.
            wait_until(lambda: not namespace.run("ip", "-6", "address", "show", "tentative"), 15)  # noqa: B023
        yield fabric


def ping(namespace: Namespace, to: str, count: int = 1) -> str:
    return namespace.run("ping", "-n", "-c", str(count), "-i", "0.05", "-W", "1", to, check=False)


def answered(namespace: Namespace, to: str) -> bool:
    return " 0% packet loss" in ping(namespace, to)


@pytest.mark.parametrize("family", FAMILIES)
def test_traffic_between_lan_and_segment_passes(fabric: Segment, family: int) -> None:
    assert answered(fabric.lan, ADDRESSES["b"][family])
    assert answered(fabric.members["b"], LAN[family])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_hub_hairpins_for_a_spoke(fabric: Segment, family: int) -> None:
    target = f"{LAN[family]}/{(32, 128)[family]}"
    fabric.boxes["b"].route(target, ADDRESSES["hub1"][family])
    try:
        assert answered(fabric.members["b"], LAN[family])
    finally:
        fabric.members["b"].run("ip", "route", "del", target)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_hub_rejects_from_segment_to_segment_what_another_hub_sent(fabric: Segment, family: int) -> None:
    """b -> hub1 -> hub2 -> a: hub2 says so to b instead, whoever the packet is from."""
    target = f"{LAN[family]}/{(32, 128)[family]}"
    fabric.boxes["b"].route(target, ADDRESSES["hub1"][family])
    fabric.boxes["hub1"].route(target, ADDRESSES["hub2"][family])
    try:
        said = ping(fabric.members["b"], LAN[family])
        assert f"From {ADDRESSES['hub2'][family]}" in said, said
        assert ("Packet filtered", "Administratively prohibited")[family] in said, said
        assert "Time to live" not in said
        assert answered(fabric.members["hub1"], ADDRESSES["hub2"][family]), "what ends at the hub passes"
    finally:
        for name in ("b", "hub1"):
            fabric.members[name].run("ip", "route", "del", target)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_spoke_rejects_from_segment_to_segment(fabric: Segment, family: int) -> None:
    """hub1 believes that a prefix is behind spoke b, and b that it is behind hub1."""
    target, prefix = ("192.0.2.1", "2001:db8::1")[family], ("192.0.2.1/32", "2001:db8::1/128")[family]
    for name, via in (("a", "hub1"), ("hub1", "b"), ("b", "hub1")):
        fabric.boxes[name].route(prefix, ADDRESSES[via][family])
    try:
        said = ping(fabric.members["a"], target)
        assert f"From {ADDRESSES['b'][family]}" in said, said
        assert ("Packet filtered", "Administratively prohibited")[family] in said, said
        fabric.members["b"].run("nft", "flush", "chain", "inet", "leyline", "forward")
        # Without the guard it is a loop until the TTL ends.
        assert "Time to live" in (loop := ping(fabric.members["a"], target)) or "Time exceeded" in loop, loop
    finally:
        for name in ("a", "hub1", "b"):
            fabric.members[name].run("ip", "route", "del", prefix)
        fabric.boxes["b"].nft = Nft()
        assert fabric.boxes["b"].apply(spoke()) == ""


def test_next_hops_in_use_are_seen_of_own_and_of_forwarded_packets(fabric: Segment) -> None:
    a = fabric.boxes["a"]
    a.apply(spoke(timeout=2))
    hub = ADDRESSES["hub1"]
    a.route("198.51.100.0/24", hub[0])
    a.route("2001:db8:1::/48", hub[1])
    try:
        quiet = wait_until(lambda: not a.used() & set(hub), 5, lambda: f"still in use: {a.used()}")
        assert quiet < 5
        ping(fabric.lan, "198.51.100.1")
        assert hub[0] in a.used()
        assert "198.51.100.1" not in a.used()
        ping(fabric.members["a"], "2001:db8:1::1")
        assert hub[1] in a.used()
        idle = wait_until(lambda: not a.used() & set(hub), 5, lambda: f"still in use: {a.used()}")
        assert idle > 0.5, "the timeout is of idleness"
    finally:
        a.apply(spoke())


def test_new_rules_keep_what_is_in_use(fabric: Segment) -> None:
    b = fabric.boxes["b"]
    b.apply(spoke())
    ping(fabric.members["b"], ADDRESSES["hub1"][0])
    ping(fabric.members["b"], ADDRESSES["hub1"][1])
    before = b.used()
    assert set(ADDRESSES["hub1"]) <= before
    assert b.apply(spoke(timeout=299)) == ""
    assert before <= b.used()
    assert b.apply(spoke()) == ""


def test_rules_that_nft_refuses_leave_what_stood(fabric: Segment) -> None:
    b = fabric.boxes["b"]
    assert "interface 'et*'" in b.apply(spoke()._replace(uplinks=("et*",)))
    assert not b.nft.available
    assert "reject" in fabric.members["b"].run("nft", "list", "table", "inet", "leyline")
    assert b.apply(spoke()) == ""
    assert b.nft.available


def test_other_tables_stay_and_a_table_that_was_flushed_comes_back(fabric: Segment) -> None:
    b = fabric.boxes["b"]
    near = fabric.members["b"]
    b.apply(spoke())
    near.run("nft", "flush", "ruleset")
    near.run("nft", "add", "table", "inet", "operator")
    with inside(near.name):
        assert b.nft.used() is None
        assert (b.nft.available, b.nft.restored) == (True, 1)
    assert "reject" in near.run("nft", "list", "table", "inet", "leyline")
    assert b.apply(spoke(timeout=100)) == ""
    assert "table inet operator" in near.run("nft", "list", "tables")


def test_a_second_agent_takes_the_table_over(fabric: Segment) -> None:
    b = fabric.boxes["b"]
    b.apply(spoke())
    ping(fabric.members["b"], ADDRESSES["a"][0])
    following = Box(b.namespace, Nft())
    assert following.apply(spoke(timeout=200)) == ""
    assert ADDRESSES["a"][0] in following.used(), "what the agent before had in use"
    assert fabric.members["b"].run("nft", "list", "ruleset").count("chain forward") == 1
    fabric.boxes["b"] = following


def test_a_thousand_next_hops_are_read_in_milliseconds(fabric: Segment) -> None:
    a = fabric.boxes["a"]
    a.apply(spoke())
    some = ", ".join(f"10.52.{n >> 8}.{n & 255}" for n in range(1000))
    fabric.members["a"].run("nft", "add", "element", "inet", "leyline", "used4", f"{{ {some} }}")
    started = time.process_time()
    found = a.used()
    spent = time.process_time() - started
    assert len(found) >= 1000
    assert spent < 0.1
    print(f"\n1000 next hops read in {spent * 1e3:.1f} ms of CPU")
    a.apply(spoke(timeout=299))


def test_macs_of_neighbours_of_both_families(fabric: Segment) -> None:
    for address in ADDRESSES["hub1"]:
        assert answered(fabric.members["b"], address)
        with inside(fabric.members["b"].name):
            assert neighbour_macs({address, "203.0.113.9"}) == {fabric.mac("hub1")}
