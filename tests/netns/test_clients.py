"""FRR as eBGP client and BIRD as iBGP client of a real hub, under the configurations that `client-config` writes."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from controller.inventory.allocate import allocate
from controller.inventory.model import Inventory
from controller.inventory.yaml import check_yaml
from controller.policy.client_config import client_config, render
from controller.policy.compile import compile_plans
from tests.netns.namespaces import Bird, Namespace, segment, wait_until
from tests.netns.speakers import PATIENCE, Speaker, connections

pytestmark = pytest.mark.root

INVENTORY = """
fabric: {name: demo, asn: 64512, segment: 10.42.0.0/16, segment6: "fd42:42::/64"}
regions: [{name: eu}]
sites:
  - {name: core, number: 1, region: eu}
  - {name: partner, number: 21, region: eu}
  - {name: legacy, number: 22, region: eu}
allocations:
  - {site: core, prefix: 10.1.0.0/16}
  - {site: partner, prefix: 10.21.0.0/16}
  - {site: partner, prefix: "fd21::/48"}
  - {site: legacy, prefix: 10.22.0.0/16}
  - {site: legacy, prefix: "fd22::/48"}
prefixes:
  - {site: core, prefix: 10.1.0.0/24}
gateways:
  - name: hub-1
    site: core
    role: hub
    uplinks:
      - {name: zt0, number: 1, node_id: "aa00000001", interface: eth0, circuit_class: fiber, address: 10.42.0.1,
         address6: "fd42:42::1"}
clients:
  - {name: partner, site: partner, circuit_class: fiber, number: 21, address: 10.42.0.21, address6: "fd42:42::15",
     asn: 65021}
  - {name: legacy, site: legacy, circuit_class: broadband, number: 22, address: 10.42.0.22, address6: "fd42:42::16"}
rules:
  - {name: core-is-far, match: {sites: [core]}, viewer: {sites: [partner]}, action: {prepend: 2}}
"""
CLOSED = """
  - name: not-legacy
    match: {prefixes: ["10.22.0.0/16 le 24"]}
    viewer: {sites: [partner]}
    action: {deny: true}
"""
ADDRESSES = {
    "hub": ["10.42.0.1/16", "fd42:42::1/64"],
    "partner": ["10.42.0.21/16", "fd42:42::15/64"],
    "legacy": ["10.42.0.22/16", "fd42:42::16/64"],
}
WITH_NO_EXPORT = "route 10.22.2.0/24 blackhole { bgp_community.add((65535, 65281)); };"
DAEMONS = ("zebra", "bfdd", "bgpd")


def inventory(text: str, place: Path) -> Inventory:
    file = place / "inventory.yml"
    file.write_text(text)
    found, findings = check_yaml([file])
    assert found is not None, "\n".join(map(str, findings))
    return allocate(found)


class Frr:
    """zebra, bfdd and bgpd, and one configuration for all of them, as vtysh loads it on a router."""

    def __init__(self, namespace: Namespace, directory: Path, config: str) -> None:
        self.namespace = namespace
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o777)  # They run as user frr.
        self.processes = [self._start(name) for name in DAEMONS]
        for name in DAEMONS:
            wait_until((directory / f"{name}.vty").exists, 30, self.log)
        (directory / "frr.conf").write_text(config)
        self.loaded = self._vtysh("-f", str(directory / "frr.conf"))

    def start_bgpd_again(self, config: str) -> None:
        (self.directory / "bgpd.vty").unlink()
        self.processes.append(self._start("bgpd"))
        wait_until((self.directory / "bgpd.vty").exists, 30, self.log)
        (self.directory / "frr.conf").write_text(config)
        self.loaded = self._vtysh("-f", str(self.directory / "frr.conf"))

    def _start(self, name: str) -> Any:
        d = self.directory
        (d / f"{name}.conf").write_text(f"hostname {name}\n")
        more = ("--bfdctl", str(d / "bfdd.sock")) if name == "bfdd" else ()
        with (d / f"{name}.log").open("wb") as log:
            process = self.namespace.start(
                *(f"/usr/lib/frr/{name}", "-z", str(d / "zserv.api"), "-i", str(d / f"{name}.pid")),
                *("--vty_socket", str(d), "-f", str(d / f"{name}.conf"), "-A", "127.0.0.1", "-P", "0"),
                *("--log", "stdout", *more),
                output=log,
            )
        if name == "zebra":
            wait_until((d / "zserv.api").exists, 30, self.log)
        return process

    def _vtysh(self, *arguments: str) -> str:
        return self.namespace.run("vtysh", "--vty_socket", str(self.directory), *arguments, check=False)

    def ask(self, command: str) -> Any:
        text = self._vtysh("-c", command)
        start = min((at for at in (text.find("{"), text.find("[")) if at >= 0), default=-1)
        try:
            return json.loads(text[start:]) if start >= 0 else {}
        except ValueError:
            return {}

    def routes(self, family: str) -> dict[str, tuple[str, str, int | None]]:
        """What the hub told it: prefix -> (AS_PATH, next hop, MED)."""
        shown = self.ask(f"show bgp {family} unicast json").get("routes", {})
        return {
            prefix: (path["path"], hop["ip"], path.get("metric"))
            for prefix, paths in shown.items()
            for path in paths
            for hop in path["nexthops"]
            if path.get("peerId") == "10.42.0.1" and hop.get("scope") != "link-local"
        }

    def stop(self) -> None:
        for process in reversed(self.processes):
            self.namespace.stop(process, signal.SIGKILL)

    def log(self) -> str:
        logs = "\n".join(file.read_text(errors="replace")[-2000:] for file in sorted(self.directory.glob("*.log")))
        return f"--- FRR\n{logs}\n{self._vtysh('-c', 'show bgp ipv4 unicast', '-c', 'show bgp neighbors')[:6000]}"


@dataclass
class World:
    hub: Speaker
    frr: Frr
    bird: Bird
    place: Path

    def evidence(self) -> str:
        shown = self.bird.ask("show protocols all", check=False) + self.bird.ask("show route all", check=False)
        return f"{self.hub.evidence()}\n{self.frr.loaded}\n{self.frr.log()}\n--- BIRD\n{shown[:6000]}"

    def attribute(self, prefix: str, name: str) -> str:
        """Of what the hub told BIRD about a prefix; "" when it has not."""
        lines = self.bird.ask(f"show route all {prefix} protocol leyline_hub_1", check=False).splitlines()
        return next((line.split(": ", 1)[-1].strip() for line in lines if line.strip().startswith(f"{name}:")), "")


@pytest.fixture
def world() -> Iterator[World]:
    with ExitStack() as stack:
        place = Path(stack.enter_context(TemporaryDirectory(prefix="ll-clients-")))
        place.chmod(0o755)
        declared = inventory(INVENTORY, place)
        members = stack.enter_context(segment("clients", ADDRESSES))
        for name, number in (("partner", 21), ("legacy", 22)):
            run = members[name].run
            run("ip", "link", "add", "lan0", "type", "veth", "peer", "name", "host0")
            run("ip", "address", "add", f"10.{number}.1.1/24", "dev", "lan0")
            run("ip", "address", "add", f"fd{number}::1/64", "dev", "lan0", "nodad")
            for end in ("lan0", "host0"):
                run("ip", "link", "set", end, "up")
        hub = Speaker(members["hub"], "hub-1", place)
        hub.start(compile_plans(declared)["hub-1"])
        bird_config = render(client_config(declared, "legacy"), "bird").replace(
            "# FILL IN: route 192.0.2.0/24 via 192.0.2.1;", WITH_NO_EXPORT
        )
        bird = members["legacy"].bird(bird_config, place / "bird")
        frr = Frr(members["partner"], place / "frr", render(client_config(declared, "partner"), "frr"))
        stack.callback(frr.stop)
        yield World(hub, frr, bird, place)


def test_both_get_what_is_theirs_and_a_new_rule_acts_in_the_same_session(world: World) -> None:
    fabric = {
        "10.1.0.0/24": ("64512 64512 64512", "10.42.0.1", 2**32 - 1 - 200),
        "10.22.1.0/24": ("64512", "10.42.0.22", 2**32 - 1 - 150),
    }
    wait_until(lambda: world.frr.routes("ipv4") == fabric, PATIENCE, world.evidence)
    wait_until(
        lambda: world.frr.routes("ipv6") == {"fd22::/64": ("64512", "fd42:42::16", 2**32 - 1 - 150)},
        PATIENCE,
        world.evidence,
    )
    assert "Unknown command" not in world.frr.loaded
    expected = {
        "10.1.0.0/24": {"BGP.as_path": "", "BGP.next_hop": "10.42.0.1", "BGP.local_pref": "200"},
        "10.21.1.0/24": {"BGP.as_path": "65021", "BGP.next_hop": "10.42.0.21", "BGP.local_pref": "200"},
        "fd21::/64": {"BGP.as_path": "65021", "BGP.next_hop": "fd42:42::15", "BGP.local_pref": "200"},
    }
    for prefix, attributes in expected.items():
        for name, value in attributes.items():
            wait_until(
                lambda prefix=prefix, name=name, value=value: world.attribute(prefix, name) == value,  # type: ignore[misc]
                PATIENCE,
                world.evidence,
            )
    # NO_EXPORT holds towards eBGP only: the hub itself has the route.
    wait_until(lambda: "\n10.22.2.0/24 nhid" in world.hub.namespace.run("ip", "route"), PATIENCE, world.hub.evidence)
    wait_until(lambda: world.frr.ask("show bfd peers json")[0]["status"] == "up", PATIENCE, world.evidence)
    assert world.frr.routes("ipv4") == fabric
    before = connections(world.hub.namespace)
    world.hub.give(compile_plans(inventory(INVENTORY + CLOSED, world.place))["hub-1"])
    wait_until(lambda: world.frr.routes("ipv4").keys() == {"10.1.0.0/24"}, PATIENCE, world.evidence)
    world.hub.give(compile_plans(inventory(INVENTORY, world.place))["hub-1"])
    wait_until(lambda: world.frr.routes("ipv4") == fabric, PATIENCE, world.evidence)
    assert connections(world.hub.namespace) == before
