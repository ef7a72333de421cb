"""LAN health on a real kernel: cables, addresses, routes, probes.

`near` is the gateway, with eth0 to the LAN and zt0 as its uplink; `far` holds both other ends.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any

import pytest
from pyroute2 import IPRoute

from speaker.kernel.lan import LanLinks, routed_by
from speaker.liveness.lan import LanWatch
from speaker.liveness.probes import Prober
from speaker.plan import AnnouncementPlan, Plan, ProbePlan, UplinkPlan
from tests.netns.namespaces import Namespace, inside, veth, wait_until

pytestmark = pytest.mark.root

LAN, LAN6, BEHIND = "10.1.0.0/24", "fd01::/64", "10.3.0.0/16"
UP_DELAY = 0.3


@dataclass
class World:
    near: Namespace
    far: Namespace


@pytest.fixture
def world() -> Iterator[World]:
    with Namespace("lan", "near") as near, Namespace("lan", "far") as far:
        for namespace in (near, far):  # New addresses are in force at once.
            namespace.run("sysctl", "-qw", "net.ipv6.conf.all.accept_dad=0", "net.ipv6.conf.default.accept_dad=0")
        veth(near, "eth0", ["10.1.0.1/24", "fd01::1/64"], far, "eth0", ["10.1.0.9/24", "fd01::9/64"])
        veth(near, "zt0", ["10.50.0.1/16"], far, "zt0", ["10.50.0.9/16"])
        yield World(near, far)


def plan(*probes: ProbePlan) -> Plan:
    uplink = UplinkPlan(1, "wan", "zt0", "10.50.0.1", None, "fiber", 200, 0)
    announced = AnnouncementPlan((LAN, LAN6, BEHIND), ())
    segments = ("10.50.0.0/16",)
    return Plan(2, "g", "spoke", 65000, "10.50.0.1", segments, (uplink,), (announced,), (), (), 8, probes=probes)


@dataclass
class Gateway:
    """What an agent does with the parts."""

    moves: list[tuple[float, frozenset[str]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.moved = asyncio.Event()
        self.watch = LanWatch(self._changed, UP_DELAY)
        self.links = LanLinks(lambda: self.watch.ports(self.links.ports))
        self.prober = Prober(lambda: self.watch.probes(self.prober.failing))

    def start(self, plan: Plan) -> None:
        self.watch.configure(plan)
        self.links.start()
        self.look_up_routes()
        self.prober.configure(plan.probes, self.watch.interfaces())

    def look_up_routes(self) -> None:
        self.watch.routes(routed_by(self.watch.unplaced()))

    def close(self) -> None:
        self.links.close()
        self.watch.close()

    def _changed(self) -> None:
        self.moves.append((asyncio.get_running_loop().time(), self.watch.withdrawn))
        self.moved.set()

    async def until(self, withdrawn: set[str]) -> float:
        """When `withdrawn` was so."""
        async with asyncio.timeout(10):
            while self.watch.withdrawn != withdrawn:
                self.moved.clear()
                await self.moved.wait()
        return self.moves[-1][0]


def play(world: World, of: Plan, scene: Callable[[Gateway], Coroutine[Any, Any, None]]) -> None:
    async def whole() -> None:
        gateway = Gateway()
        gateway.start(of)
        running = [
            asyncio.create_task(gateway.prober.run()),
            asyncio.create_task(gateway.links.run(gateway.watch.watched)),
        ]
        try:
            await scene(gateway)
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            gateway.close()

    with inside(world.near.name):
        asyncio.run(whole())


async def command(namespace: Namespace, *words: str) -> float:
    """Runs it, and when it began."""
    began = asyncio.get_running_loop().time()
    await asyncio.to_thread(namespace.run, *words)
    return began


def test_a_pulled_cable_is_known_in_milliseconds_and_the_lan_comes_back_after_the_delay(world: World) -> None:
    def turn(state: str) -> float:
        """The far end of the cable; and when Linux was asked to."""
        with inside(world.far.name), IPRoute() as far:
            (index,) = far.link_lookup(ifname="eth0")
            asked = time.monotonic()
            far.link("set", index=index, state=state)
        return asked

    async def scene(gateway: Gateway) -> None:
        assert gateway.watch.withdrawn == frozenset()
        pulled = await asyncio.to_thread(turn, "down")
        known = await gateway.until({LAN, LAN6})
        assert known - pulled < 0.5
        assert {report.reason for report in gateway.watch.reports()} == {"eth0: down or without carrier"}
        print(f"\ncable pulled: withdrawn {1e3 * (known - pulled):.1f} ms after Linux was asked to")
        plugged = await asyncio.to_thread(turn, "up")
        back = await gateway.until(set())
        assert UP_DELAY <= back - plugged < UP_DELAY + 2

    play(world, plan(), scene)


def test_an_uplink_is_no_lan(world: World) -> None:
    async def scene(gateway: Gateway) -> None:
        await command(world.far, "ip", "link", "set", "zt0", "down")
        await command(world.far, "ip", "link", "set", "eth0", "down")
        await gateway.until({LAN, LAN6})

    play(world, plan(), scene)


def test_an_interface_that_is_removed_and_made_again(world: World) -> None:
    async def scene(gateway: Gateway) -> None:
        await command(world.near, "ip", "link", "del", "eth0")
        await gateway.until({LAN, LAN6})
        assert gateway.watch.reports()[0].reason == "eth0: no such interface"
        await asyncio.to_thread(veth, world.near, "eth0", ["10.1.0.1/24"], world.far, "eth0", ["10.1.0.9/24"])
        await gateway.until({LAN6})
        assert gateway.watch.reports()[0].reason == "eth0: no address in the prefix any more"

    play(world, plan(), scene)


def test_an_address_that_goes_and_comes(world: World) -> None:
    async def scene(gateway: Gateway) -> None:
        await command(world.near, "ip", "address", "add", "10.1.0.254/32", "dev", "eth0")
        await command(world.near, "ip", "address", "del", "10.1.0.1/24", "dev", "eth0")
        await gateway.until({LAN})
        await command(world.near, "ip", "address", "add", "10.1.0.2/24", "dev", "eth0")
        await gateway.until(set())

    play(world, plan(), scene)


def test_a_prefix_behind_a_router_of_the_lan_goes_with_the_interface(world: World) -> None:
    world.near.run("ip", "route", "add", BEHIND, "via", "10.1.0.9")

    async def scene(gateway: Gateway) -> None:
        assert gateway.watch.interfaces()[BEHIND] == "eth0"
        await command(world.near, "ip", "link", "set", "eth0", "down")
        await gateway.until({LAN, LAN6, BEHIND})
        gateway.look_up_routes()  # Linux took the route with it.
        assert BEHIND in gateway.watch.withdrawn

    play(world, plan(), scene)


def test_only_other_peoples_routes_for_the_prefix_itself_place_it(world: World) -> None:
    with inside(world.near.name):
        assert routed_by([BEHIND, "fd03::/48"]) == {}
        world.near.run("ip", "route", "add", "default", "via", "10.1.0.9")
        world.near.run("ip", "route", "add", "10.0.0.0/8", "via", "10.1.0.9")
        world.near.run("ip", "route", "add", BEHIND, "via", "10.50.0.9", "proto", "76", "metric", "1000")
        assert routed_by([BEHIND]) == {}
        world.near.run("ip", "route", "add", BEHIND, "via", "10.1.0.9", "metric", "20")
        world.near.run("ip", "route", "add", "fd03::/48", "via", "fd01::9")
        assert routed_by([BEHIND, "fd03::/48", "10.4.0.0/16"]) == {BEHIND: "eth0", "fd03::/48": "eth0"}
        world.near.run("ip", "route", "add", "unreachable", "10.5.0.0/16")
        several = ("nexthop", "via", "10.1.0.9", "nexthop", "via", "10.1.0.8")
        world.near.run("ip", "route", "add", "10.6.0.0/16", *several)
        assert routed_by(["10.5.0.0/16", "10.6.0.0/16"]) == {"10.6.0.0/16": "eth0"}


def test_links_are_followed_with_their_networks(world: World) -> None:
    async def scene(gateway: Gateway) -> None:
        up, networks = gateway.links.ports["eth0"]
        assert up
        assert {ip_network(LAN), ip_network(LAN6), ip_network("fe80::/64")} == set(networks)
        await command(world.near, "ip", "link", "set", "eth0", "down", "name", "lan0")
        await gateway.until({LAN, LAN6})
        ports = gateway.links.ports
        assert "eth0" not in ports
        assert not ports["lan0"][0]

    play(world, plan(), scene)


@pytest.mark.parametrize(
    ("prefix", "kind", "address"),
    [(LAN, "icmp", "10.1.0.9"), (LAN6, "icmp", "fd01::9"), (LAN, "tcp", "10.1.0.9"), (LAN6, "tcp", "fd01::9")],
)
def test_a_host_that_falls_silent_takes_its_prefix_down(world: World, prefix: str, kind: Any, address: str) -> None:
    family = "::" if ":" in address else "0.0.0.0"
    world.far.start("python3", "-m", "http.server", "80", "--bind", family)
    wait_until(lambda: ":80 " in world.far.run("ss", "-ltn"), 10)
    wait_until(lambda: " 0% packet loss" in world.near.run("ping", "-c1", "-W1", address, check=False), 10)

    async def scene(gateway: Gateway) -> None:
        cut = "add table inet cut; add chain inet cut in { type filter hook input priority 0; policy drop; }"
        await asyncio.sleep(0.7)  # Three probes and more are answered.
        assert gateway.moves == []
        began = await command(world.far, "nft", cut)
        dead = await gateway.until({prefix})
        assert 0.3 <= dead - began < 3
        failing = gateway.prober.failing[prefix]
        assert failing.startswith(f"{kind} probe of {address}"), failing
        assert failing.endswith("no answer, 3 times in a row"), failing
        began = await command(world.far, "nft", "delete table inet cut")
        assert (await gateway.until(set())) - began >= UP_DELAY

    play(world, plan(ProbePlan(prefix, kind, address, 80 if kind == "tcp" else 0, 200, 3)), scene)


def test_a_probe_is_not_answered_through_the_fabric(world: World) -> None:
    """Another gateway of the site would answer for a host that this one cannot reach."""
    world.far.run("ip", "address", "add", "10.1.0.7/32", "dev", "zt0")

    async def scene(gateway: Gateway) -> None:
        await gateway.until({LAN})
        await command(world.near, "ip", "route", "add", "10.1.0.7/32", "via", "10.50.0.9")
        await command(world.near, "ping", "-c1", "-W1", "10.1.0.7")
        failures = len(gateway.moves)
        await asyncio.sleep(0.5)
        assert gateway.watch.withdrawn == {LAN}
        assert len(gateway.moves) == failures

    world.far.run("sysctl", "-qw", "net.ipv4.conf.all.arp_ignore=1")
    play(world, plan(ProbePlan(LAN, "icmp", "10.1.0.7", 0, 100, 2)), scene)
