"""FRR in the LAN of a gateway: what it may announce reaches another spoke's kernel, and it has the fabric's routes."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from msgspec.structs import replace

from controller.policy.compile import compile_plans
from speaker.plan import Plan
from speaker.show import fetch
from tests.netns.namespaces import Namespace, segment, veth, wait_until
from tests.netns.speakers import PATIENCE, Speaker
from tests.netns.test_clients import Frr, inventory

pytestmark = pytest.mark.root

INVENTORY = """
fabric: {name: demo, asn: 64512, segment: 10.42.0.0/16}
regions: [{name: eu}]
sites:
  - {name: core, number: 1, region: eu}
  - {name: lima, number: 2, region: eu}
  - {name: paris, number: 3, region: eu}
allocations:
  - {site: lima, prefix: 10.1.0.0/16}
  - {site: paris, prefix: 10.2.0.0/16}
prefixes:
  - {site: lima, prefix: 10.1.9.0/24}
  - {site: paris, prefix: 10.2.0.0/24}
gateways:
  - name: hub-1
    site: core
    role: hub
    uplinks: [{name: zt0, number: 1, node_id: "aa00000001", interface: eth0, circuit_class: fiber, address: 10.42.0.1}]
  - name: lima-1
    site: lima
    role: spoke
    uplinks: [{name: zt0, number: 2, node_id: "aa00000002", interface: eth0, circuit_class: lte, address: 10.42.0.2}]
  - name: paris-1
    site: paris
    role: spoke
    uplinks: [{name: zt0, number: 3, node_id: "aa00000003", interface: eth0, circuit_class: fiber, address: 10.42.0.3}]
lan_peers:
  - {name: lima-core, gateway: lima-1, asn: 65001, interface: lan0, address: 10.1.9.2, local_address: 10.1.9.1}
"""
FRR = """
router bgp 65001
 bgp router-id 10.1.9.2
 bgp graceful-restart
 no bgp ebgp-requires-policy
 no bgp network import-check
 neighbor 10.1.9.1 remote-as 64512
 neighbor 10.1.9.1 timers connect 1
 address-family ipv4 unicast
  network 10.1.9.0/24
  network 10.1.50.0/24
  network 10.99.0.0/24
 exit-address-family
"""
ITS, OTHERS, CONNECTED, FOREIGN = "10.1.50.0/24", "10.2.0.0/24", "10.1.9.0/24", "10.99.0.0/24"
RESTART_SECONDS = 8


@dataclass
class World:
    gateways: dict[str, Speaker]
    lan: Namespace
    frr: Frr

    def kernel(self, gateway: str) -> dict[str, str]:
        return self.gateways[gateway].kernel()

    def paths(self, gateway: str, prefix: str) -> list[dict[str, Any]]:
        answer = fetch(self.gateways[gateway].state.control, "routes", {"prefix": prefix})
        return list(answer["routes"])

    def session(self) -> dict[str, Any]:
        """With FRR, as the gateway reports it."""
        sessions = self.gateways["lima-1"].report().get("sessions", ())
        return next((dict(one) for one in sessions if one["peer"] == "lima-core"), {})

    def told(self) -> dict[str, tuple[str, str, int | None]]:
        """What the gateway told FRR: prefix -> (AS_PATH, next hop, MED)."""
        shown = self.frr.ask("show bgp ipv4 unicast json").get("routes", {})
        return {
            prefix: (path["path"], path["nexthops"][0]["ip"], path.get("metric"))
            for prefix, paths in shown.items()
            for path in paths
            if path.get("peerId") == "10.1.9.1"
        }

    def evidence(self) -> str:
        speakers = "\n".join(each.evidence() for each in self.gateways.values())
        return f"{speakers}\n{self.frr.log()}\n{self.lan.run('ip', 'route')}"


def plans(place: Path) -> dict[str, Plan]:
    compiled = compile_plans(inventory(INVENTORY, place))
    lima = compiled["lima-1"]
    sessions = (
        replace(each, restart_time=RESTART_SECONDS) if each.peer_role == "lan" else each for each in lima.sessions
    )
    return compiled | {"lima-1": replace(lima, sessions=tuple(sessions))}


@pytest.fixture
def world() -> Iterator[World]:
    with ExitStack() as stack:
        place = Path(stack.enter_context(TemporaryDirectory(prefix="ll-lanpeer-")))
        place.chmod(0o755)
        addresses: dict[str, Sequence[str]] = {
            f"{name}-1": [f"10.42.0.{number}/16"] for number, name in enumerate(("hub", "lima", "paris"), 1)
        }
        members = stack.enter_context(segment("lanpeer", addresses))
        lan = stack.enter_context(Namespace("lanpeer", "core"))
        veth(members["lima-1"], "lan0", ["10.1.9.1/24"], lan, "eth0", ["10.1.9.2/24"])
        for namespace, own in ((lan, "10.1.50.1/24"), (members["paris-1"], "10.2.0.1/24")):
            namespace.run("ip", "link", "add", "inner", "type", "veth", "peer", "name", "host")
            namespace.run("ip", "address", "add", own, "dev", "inner")
            for end in ("inner", "host"):
                namespace.run("ip", "link", "set", end, "up")
        gateways = {name: Speaker(members[name], name, place) for name in addresses}
        for name, plan in plans(place).items():
            gateways[name].start(plan)
        frr = Frr(lan, place / "frr", FRR)
        stack.callback(frr.stop)
        yield World(gateways, lan, frr)


def test_a_router_in_the_lan(world: World) -> None:
    wait_until(lambda: world.kernel("paris-1").get(ITS) == "10.42.0.2", PATIENCE, world.evidence)
    wait_until(lambda: world.kernel("hub-1").get(ITS) == "10.42.0.2", PATIENCE, world.evidence)
    # Its own is told back to nobody. What it stands in itself it may hear, and has it as connected.
    expected = {OTHERS: ("64512", "10.1.9.1", 2**32 - 1 - 200), CONNECTED: ("64512", "10.1.9.1", 2**32 - 1 - 100)}
    wait_until(lambda: world.told() == expected, PATIENCE, world.evidence)
    assert world.kernel("lima-1") == {ITS: "10.1.9.2", OTHERS: "10.42.0.3"}
    assert "dev lan0" in world.gateways["lima-1"].namespace.run("ip", "route", "get", "10.1.50.1")

    (path,) = world.paths("paris-1", ITS)
    assert (path["as_path"], path["next_hop"], path["path_id"]) == ("65001", "10.42.0.2", 2)
    wait_until(lambda: f"{OTHERS} nhid" in world.lan.run("ip", "route"), PATIENCE, world.evidence)
    assert " 0% packet loss" in world.lan.run("ping", "-c", "3", "-i", "0.2", "-I", "10.1.50.1", "10.2.0.1")

    # FRR tells a neighbour its own routes back.
    for prefix, reason in ((FOREIGN, "prefix-not-allocated"), (CONNECTED, "connected"), (OTHERS, "as-loop")):
        (refused,) = (each for each in world.paths("lima-1", prefix) if each["from"] == "lima-core")
        assert refused["rejected"] == reason
    assert FOREIGN not in world.kernel("paris-1")
    wait_until(lambda: world.session().get("received") == {"ipv4": 4, "ipv6": 0}, PATIENCE, world.evidence)
    session = world.session()
    assert (session["state"], session["rejected"]["ipv4"], session["prefixes"]) == ("up", 3, 1)

    the_lan_dies_and_lives_again(world)
    frr_is_killed(world)
    frr_that_only_helps_others_is_killed(world)


def the_lan_dies_and_lives_again(world: World) -> None:
    cut = time.time()
    world.lan.run("ip", "link", "set", "eth0", "down")
    wait_until(lambda: world.kernel("paris-1").keys() == {}.keys(), PATIENCE, world.evidence)
    wait_until(lambda: ITS not in world.kernel("lima-1"), PATIENCE, world.evidence)
    world.lan.run("ip", "link", "set", "eth0", "up")
    wait_until(lambda: world.kernel("paris-1").keys() == {ITS, CONNECTED}, PATIENCE, world.evidence)
    # FRR has ended the session with its interface (fast-external-failover), and we hear of that only now.
    wait_until(lambda: (one := world.session())["state"] == "up" and one["since"] > cut, PATIENCE, world.evidence)
    wait_until(lambda: not any(world.session()["stale"].values()), PATIENCE, world.evidence)
    wait_until(lambda: world.kernel("paris-1").keys() == {ITS, CONNECTED}, PATIENCE, world.evidence)
    wait_until(lambda: world.kernel("lima-1").get(ITS) == "10.1.9.2", PATIENCE, world.evidence)


def kill(world: World) -> float:
    bgpd = int((world.frr.directory / "bgpd.pid").read_text())
    world.lan.stop(next(each for each in world.frr.processes if each.pid == bgpd), signal.SIGKILL)
    return time.monotonic()


def frr_is_killed(world: World) -> None:
    """Graceful restart: what it said stays for the restart time, and goes then."""
    killed = kill(world)
    wait_until(lambda: world.session().get("state") == "down", PATIENCE, world.evidence)
    assert world.session()["stale"]["ipv4"] > 0, world.evidence()
    assert ITS in world.kernel("paris-1")
    wait_until(lambda: ITS not in world.kernel("paris-1"), PATIENCE, world.evidence)
    gone = time.monotonic() - killed
    print(f"\nFRR killed: its prefix gone after {gone:.1f} s")
    assert gone >= RESTART_SECONDS
    wait_until(lambda: ITS not in world.kernel("lima-1"), PATIENCE, world.evidence)
    assert CONNECTED in world.kernel("paris-1")


def frr_that_only_helps_others_is_killed(world: World) -> None:
    """Without `bgp graceful-restart` its capability names no family (RFC 4724 3): what it said goes at once."""
    world.frr.start_bgpd_again(FRR.replace(" bgp graceful-restart\n", ""))
    wait_until(lambda: ITS in world.kernel("paris-1"), PATIENCE, world.evidence)
    killed = kill(world)
    wait_until(lambda: ITS not in world.kernel("paris-1"), PATIENCE, world.evidence)
    assert time.monotonic() - killed < RESTART_SECONDS / 2, world.evidence()
    assert not any(world.session()["stale"].values()), world.evidence()
