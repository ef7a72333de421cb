"""A default route that a site declares, with whole gateways: LANs elsewhere leave by that site, gateways by themselves.

`host` stands in the LAN of spoke `lima`; `internet` is behind spoke `dc` alone, which declares 0.0.0.0/0 and ::/0.
`provider` is where lima's own default routes lead. Both have the address that is asked for. The provider knows no way
back to LANs, so what of theirs leaks to it is never answered.
"""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from controller.policy.compile import compile_plans
from speaker.agent.gateway import LOOK_SECONDS
from speaker.kernel.port import TABLE_LAN
from speaker.plan import Plan
from tests.netns.namespaces import Namespace, segment, veth, wait_until
from tests.netns.speakers import PATIENCE, RouteMonitor, Speaker
from tests.netns.test_clients import inventory

pytestmark = pytest.mark.root

INVENTORY = """
fabric: {name: demo, asn: 64512, segment: 10.42.0.0/16, segment6: "fd42:42::/64", underlay: [198.51.100.0/24]}
regions: [{name: eu}]
sites:
  - {name: core, number: 1, region: eu}
  - {name: lima, number: 2, region: eu}
  - {name: dc, number: 3, region: eu}
gateways:
  - name: hub-1
    site: core
    role: hub
    uplinks:
      - {name: zt0, number: 1, node_id: "aa00000001", interface: eth0, circuit_class: fiber, address: 10.42.0.1,
         address6: "fd42:42::1"}
  - name: lima-1
    site: lima
    role: spoke
    uplinks:
      - {name: zt0, number: 2, node_id: "aa00000002", interface: eth0, circuit_class: fiber, address: 10.42.0.2,
         address6: "fd42:42::2"}
  - name: dc-1
    site: dc
    role: spoke
    uplinks:
      - {name: zt0, number: 3, node_id: "aa00000003", interface: eth0, circuit_class: fiber, address: 10.42.0.3,
         address6: "fd42:42::3"}
allocations:
  - {site: lima, prefix: 10.2.0.0/16}
  - {site: lima, prefix: "fd02::/48"}
  - {site: dc, prefix: 10.3.0.0/16}
  - {site: dc, prefix: "fd03::/48"}
"""
DECLARED = """
  - {site: dc, prefix: 0.0.0.0/0}
  - {site: dc, prefix: "::/0"}
"""
PREFIXES = """
prefixes:
  - {site: lima, prefix: 10.2.1.0/24}
  - {site: lima, prefix: "fd02::/64"}
  - {site: dc, prefix: 10.3.1.0/24}
  - {site: dc, prefix: "fd03::/64"}
"""
WITH = INVENTORY + DECLARED + PREFIXES + DECLARED
WITHOUT = INVENTORY + PREFIXES
OUTSIDE = "203.0.113.7", "2001:db8:ffff::7"
NOT_ANNOUNCED = "10.3.99.9", "fd03:0:0:99::9"  # In declared space; who leaks a packet to the outside is answered.
PROVIDER = "198.51.100.1", "2001:db8:2::1"  # Of lima.
INSIDE = "10.3.1.9", "fd03::9"  # A host of dc's LAN.
FAMILIES = "-4", "-6"
ADDRESSES = {
    "hub-1": ["10.42.0.1/16", "fd42:42::1/64"],
    "lima-1": ["10.42.0.2/16", "fd42:42::2/64"],
    "dc-1": ["10.42.0.3/16", "fd42:42::3/64"],
}


@dataclass
class World:
    gateways: dict[str, Speaker]
    host: Namespace
    place: Path

    @property
    def lima(self) -> Namespace:
        return self.gateways["lima-1"].namespace

    def give(self, text: str) -> None:
        for name, plan in plans(text, self.place).items():
            self.gateways[name].give(plan)

    def aside(self) -> list[str]:
        """Of lima: its rules for LANs, and the routes that they lead to."""
        rules = [line for family in FAMILIES for line in self.lima.run("ip", family, "rule").splitlines()]
        show = ("route", "show", "table", str(TABLE_LAN))  # It fails before the table has ever had a route.
        routes = [line for family in FAMILIES for line in self.lima.run("ip", family, *show, check=False).splitlines()]
        return [line for line in rules if "lan0" in line] + routes

    def way(self, address: str, *, from_lan: bool) -> str:
        """The interface that lima's kernel sends by; "" when it refuses."""
        source = "fd02::9" if ":" in address else "10.2.1.9"
        arguments = ("from", source, "iif", "lan0") if from_lan else ()
        words = self.lima.run("ip", "route", "get", address, *arguments, check=False).split()
        return words[words.index("dev") + 1] if "dev" in words and "unreachable" not in words else ""

    def ways(self) -> list[tuple[str, str]]:
        """Of what is outside: (for packets from the LAN, for lima's own), by family."""
        return [(self.way(each, from_lan=True), self.way(each, from_lan=False)) for each in OUTSIDE]

    def leaves_by_dc(self) -> bool:
        return all(hops(self.host, each) == 3 for each in OUTSIDE)

    def evidence(self) -> str:
        speakers = "\n".join(each.evidence() for each in self.gateways.values())
        shown = [
            each.namespace.run("ip", family, *command)
            for each in self.gateways.values()
            for family in FAMILIES
            for command in (("rule",), ("route", "show", "table", "all", "proto", "76"))
        ]
        return f"{speakers}\n{self.aside()}\n{self.ways()}\n" + "\n".join(shown)


def hops(origin: Namespace, address: str) -> int:
    """The smallest TTL with which `address` answers real packets of `origin`; 0: it does not."""
    for ttl in range(1, 5):
        said = origin.run("ping", "-n", "-c1", "-W1", "-t", str(ttl), address, check=False)
        if " 0% packet loss" in said:
            return ttl
        if "nreachable" in said:
            return 0
    return 0


def plans(text: str, place: Path) -> dict[str, Plan]:
    return compile_plans(inventory(text, place))


def add_defaults(origin: Namespace, first_hops: tuple[str, str]) -> None:
    for family, first_hop in zip(FAMILIES, first_hops, strict=True):
        origin.run("ip", family, "route", "add", "default", "via", first_hop)


def outside(members: dict[str, Namespace], stack: ExitStack) -> Namespace:
    """Everything around the segment; returns the host in lima's LAN."""
    lima, dc = members["lima-1"], members["dc-1"]
    host, far, internet, provider = (
        stack.enter_context(Namespace("default", name)) for name in ("host", "far", "internet", "provider")
    )
    veth(lima, "lan0", ["10.2.1.1/24", "fd02::1/64"], host, "eth0", ["10.2.1.9/24", "fd02::9/64"])
    veth(dc, "lan0", ["10.3.1.1/24", "fd03::1/64"], far, "eth0", ["10.3.1.9/24", "fd03::9/64"])
    veth(
        lima, "wan", ["198.51.100.2/24", "2001:db8:2::2/64"], provider, "lima", ["198.51.100.1/24", "2001:db8:2::1/64"]
    )
    veth(dc, "wan", ["192.0.2.2/24", "2001:db8:3::2/64"], internet, "dc", ["192.0.2.1/24", "2001:db8:3::1/64"])
    for there in (internet, provider):
        for address in (*OUTSIDE, *NOT_ANNOUNCED):
            there.run("ip", "address", "add", address, "dev", "lo")
    for origin, first_hops in (
        (host, ("10.2.1.1", "fd02::1")),
        (far, ("10.3.1.1", "fd03::1")),
        (lima, PROVIDER),
        (dc, ("192.0.2.1", "2001:db8:3::1")),
        (internet, ("192.0.2.2", "2001:db8:3::2")),
    ):
        add_defaults(origin, first_hops)
    return host


@pytest.fixture
def world() -> Iterator[World]:
    with ExitStack() as stack:
        place = Path(stack.enter_context(TemporaryDirectory(prefix="ll-default-")))
        members = stack.enter_context(segment("default", {**ADDRESSES}))
        host = outside(members, stack)
        gateways = {name: Speaker(members[name], name, place) for name in ADDRESSES}
        for name, plan in plans(WITHOUT, place).items():
            gateways[name].start(plan)
        made = World(gateways, host, place)
        wait_until(lambda: all(hops(host, each) == 3 for each in INSIDE), PATIENCE, made.evidence)
        yield made


@pytest.mark.slow
def test_lans_leave_by_the_site_that_declares_a_default_and_gateways_by_themselves(world: World) -> None:
    assert world.aside() == []
    assert world.ways() == [("wan", "wan")] * 2
    world.give(WITH)
    wait_until(world.leaves_by_dc, PATIENCE, world.evidence)
    assert world.ways() == [("eth0", "wan")] * 2
    assert [hops(world.lima, each) for each in OUTSIDE] == [1, 1], "lima's own packets go to its provider"
    for address in NOT_ANNOUNCED:
        assert (world.way(address, from_lan=True), world.way(address, from_lan=False)) == ("", ""), address
        assert (hops(world.host, address), hops(world.lima, address)) == (0, 0), address
    assert [hops(world.host, each) for each in INSIDE] == [3, 3]

    for family in FAMILIES:  # Not every underlay is the Internet.
        world.lima.run("ip", family, "route", "del", "default")
    assert world.ways() == [("eth0", "")] * 2
    assert [(hops(world.host, each), hops(world.lima, each)) for each in OUTSIDE] == [(3, 0)] * 2
    add_defaults(world.lima, PROVIDER)

    world.give(WITHOUT)
    wait_until(lambda: world.aside() == [], PATIENCE, world.evidence)
    assert world.ways() == [("wan", "wan")] * 2
    assert [hops(world.host, each) for each in (*OUTSIDE, *INSIDE)] == [0, 0, 3, 3]


class RuleMonitor:
    """`ip monitor rule` in a namespace, ready when made."""

    PROBE = "priority", "9999", "lookup", "77"

    def __init__(self, namespace: Namespace, place: Path) -> None:
        self._namespace = namespace
        self._file = place / "rules.monitor"
        with self._file.open("wb") as output:
            namespace.start("stdbuf", "-oL", "ip", "monitor", "rule", output=output)
        wait_until(self._seen, PATIENCE, "ip monitor says nothing")

    def _seen(self) -> bool:
        for verb in ("add", "del"):
            self._namespace.run("ip", "rule", verb, *self.PROBE)
        return bool(self._file.read_text())

    def changes(self) -> list[str]:
        return [line for line in self._file.read_text().splitlines() if "lookup 77" not in line]


class Pings:
    """Twenty a second from a namespace to an address."""

    def __init__(self, origin: Namespace, address: str, place: Path) -> None:
        self._origin = origin
        self._file = place / f"{address}.pings"
        with self._file.open("wb") as output:
            self._process = origin.start("ping", "-n", "-i", "0.05", address, output=output)

    def missing(self) -> set[int]:
        """Ends it. Which were not answered, of all but the last, which may be under way."""
        self._origin.stop(self._process, signal.SIGINT)
        answered = {int(number) for number in re.findall(r"bytes from .*icmp_seq=(\d+)", self._file.read_text())}
        assert len(answered) > 20, self._file.read_text()[-1000:]
        return set(range(1, max(answered))) - answered


def test_a_restarted_agent_takes_rules_and_routes_over_without_a_gap(world: World) -> None:
    world.give(WITH)
    wait_until(world.leaves_by_dc, PATIENCE, world.evidence)
    lima, before = world.gateways["lima-1"], world.aside()
    routes, rules = RouteMonitor(lima.namespace, world.place), RuleMonitor(lima.namespace, world.place)
    pings = [Pings(world.host, address, world.place) for address in OUTSIDE]
    heard = lima.log().count("everybody was heard")
    lima.kill("agent")
    wait_until(lambda: lima.log().count("everybody was heard") > heard, PATIENCE, world.evidence)
    wait_until(lambda: bool(lima.report().get("converged")), PATIENCE, world.evidence)
    time.sleep(2.5 * LOOK_SECONDS)  # What may go now would go with the next look.
    assert [each.missing() for each in pings] == [set(), set()]
    assert world.aside() == before
    assert (routes.deleted(), rules.changes()) == ([], [])
