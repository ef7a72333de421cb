"""A default route of the fabric on a real kernel: what comes from the LAN takes it, what the box sends does not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from speaker.kernel.fib import Fib
from speaker.kernel.lan_rules import LanRuleTable, lan_rules
from speaker.kernel.port import TABLE_LAN
from speaker.rib.prefix import Family
from tests.netns.kernel_world import LinuxWorld, linux_world
from tests.netns.namespaces import Namespace, veth
from tests.speaker.kernel.world import SEGMENTS, via, want

pytestmark = pytest.mark.root

UNDERLAY = ("198.51.100.7/32", "2001:db8:7::7/128")
A, A6 = via("10.42.0.2"), via("fd42:42::2")
FABRIC, WAN, NOWHERE = "eth0", "wan", "unreachable"


class Box:
    """A gateway with a LAN (lan1) and a provider (wan), which has its default routes."""

    def __init__(self, world: LinuxWorld) -> None:
        self.world = world
        self.fib = Fib(world.kernel, ["eth0"], segments=SEGMENTS, underlay=UNDERLAY)
        self.fib.set_may_remove(True)
        self.fib.set_link("eth0", world.index)
        self.fib.adopt()

    def settle(self, *, lan: str = "lan1") -> None:
        assert self.fib.flush().converged
        assert LanRuleTable().apply(lan_rules(self.fib.lan_lengths(), [lan])) == []

    def way(self, address: str, *, from_lan: bool) -> str:
        source = "fd01:1::9" if ":" in address else "10.1.1.9"
        arguments = ("from", source, "iif", "lan1") if from_lan else ()
        text = self.world.near.run("sh", "-c", f"ip route get {address} {' '.join(arguments)} 2>&1 || true")
        words = text.split()
        return NOWHERE if "No route to host" in text else words[words.index("dev") + 1]

    def ways(self, address: str) -> tuple[str, str]:
        """(of what comes from the LAN, of what the box sends)."""
        return self.way(address, from_lan=True), self.way(address, from_lan=False)

    def rules(self) -> list[str]:
        text = self.world.near.run("ip", "rule") + self.world.near.run("ip", "-6", "rule")
        return [line for line in text.splitlines() if "lan1" in line]


@pytest.fixture
def box() -> Iterator[Box]:
    with linux_world("aside") as world, Namespace("aside", "lan") as lan:
        near = world.near
        near.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        veth(near, "lan1", ["10.1.1.1/24", "fd01:1::1/64"], lan, "eth0", ["10.1.1.9/24", "fd01:1::9/64"])
        veth(near, "wan", ["203.0.113.2/24", "2001:db8:9::2/64"], lan, "eth1", ["203.0.113.1/24", "2001:db8:9::1/64"])
        near.run("ip", "route", "add", "default", "via", "203.0.113.1")
        near.run("ip", "-6", "route", "add", "default", "via", "2001:db8:9::1")
        yield Box(world)


def test_only_the_lan_takes_what_would_capture_zerotier(box: Box) -> None:
    for prefix, tiers in (("0.0.0.0/0", A), ("198.51.100.0/24", A), ("10.2.1.0/24", A), ("::/0", A6)):
        assert want(box.fib, prefix, tiers) == ""
    box.fib.want_rejects(["10.0.0.0/8", "fd01::/16"])
    assert box.ways("8.8.8.8") == (WAN, WAN)
    box.settle()
    assert box.ways("8.8.8.8") == (FABRIC, WAN)
    assert box.ways("2001:db8:1::1") == (FABRIC, WAN)
    assert box.ways("198.51.100.7") == box.ways("198.51.100.8") == (FABRIC, WAN)
    assert box.ways("10.2.1.1") == (FABRIC, FABRIC)
    assert box.ways("10.1.1.77") == ("lan1", "lan1")
    assert box.ways("10.9.9.9") == box.ways("fd01:9::9") == (NOWHERE, NOWHERE), "declared space stays unreachable"
    assert box.fib.audit() == 0

    # A longer route of somebody else wins, and so does one that is equal, but for the default.
    box.world.near.run("ip", "route", "add", "198.51.100.128/25", "via", "203.0.113.1")
    assert box.ways("198.51.100.200") == (WAN, WAN)
    box.world.near.run("ip", "route", "add", "198.51.100.0/24", "via", "203.0.113.1")
    assert box.ways("198.51.100.8") == (WAN, WAN)

    for prefix in ("0.0.0.0/0", "198.51.100.0/24", "::/0"):
        want(box.fib, prefix, None)
    box.settle()
    assert (box.rules(), box.ways("8.8.8.8")) == ([], (WAN, WAN))
    assert box.world.routes(table=TABLE_LAN) == box.world.routes(Family.IPV6, TABLE_LAN) == {}


def test_it_is_adopted_and_put_right_and_others_rules_stay(box: Box) -> None:
    near = box.world.near
    near.run("ip", "rule", "add", "iif", "lan1", "lookup", "99", "priority", "7857", "protocol", "static")
    want(box.fib, "0.0.0.0/0", A)
    box.settle()
    rules = box.rules()
    assert len(rules) == 3
    assert LanRuleTable().apply(frozenset(), may_remove=False) == []
    assert box.rules() == rules, "a speaker that has not heard everything takes nothing away"

    again = Box(box.world)
    assert again.fib.lan_lengths()[Family.IPV4] == {0}
    near.run("ip", "rule", "del", "iif", "lan1", "lookup", "main", "priority", "7856")
    near.run("ip", "rule", "add", "iif", "lan1", "lookup", "77", "priority", "7000", "protocol", "76")
    near.run(
        "ip", "rule", "add", "from", "10.1.1.0/24", "iif", "lan1", "lookup", "78", "priority", "7001", "protocol", "76"
    )
    want(again.fib, "0.0.0.0/0", A)
    again.settle()
    assert sorted(again.rules()) == sorted(rules)
    near.run("ip", "route", "flush", "table", str(TABLE_LAN))
    assert again.way("8.8.8.8", from_lan=True) == WAN
    assert again.fib.audit() == 1
    assert again.way("8.8.8.8", from_lan=True) == FABRIC
    want(again.fib, "0.0.0.0/0", None)
    again.settle()
    (theirs,) = again.rules()
    assert "lookup 99" in theirs
