"""The fabric of this scenario, started: what is where, and what every table must hold."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lab import clients, inventory
from lab.compare import difference, installed, wait_for_routes
from lab.expect import Run
from lab.nftables import counted
from lab.node import Node
from lab.pings import PingTrain
from lab.scenarios.fabric.prefixes import SITES, prefixes
from lab.stack import Stack
from lab.watch import RouteEvent, RouteWatch

HERE = Path(__file__).parent
INVENTORY = HERE / "inventory.yml"
GENERATED = "/run/prefixes.yml"
CLIENTS = {"frr1": "186", "bird1": "12"}
"""Routers that are not ours -> the protocol number of their routes in the kernel."""
CLIENT_PREFIXES = {
    "frr1": {"10.21.1.0/24": "10.42.0.21", "fd10:21:0:1::/64": "fd42:42::15"},
    "bird1": {"10.22.1.0/24": "10.42.0.22", "fd10:22:0:1::/64": "fd42:42::16"},
}
"""What they announce, and with which next hop."""
CLIENT_ADDRESSES = {"frr1": ("10.21.1.1", "fd10:21:0:1::1"), "bird1": ("10.22.1.1", "fd10:22:0:1::1")}
"""Somebody in there who answers."""
EVIDENCE = {
    "frr1": {
        "bgp": "vtysh -c 'show bgp summary'",
        "table": "vtysh -c 'show bgp ipv4 unicast'",
        "log": "cat /run/frr/frr.log",
    },
    "bird1": {"bgp": "birdc -s /run/bird/bird.ctl show protocols all", "log": "cat /run/bird/bird.log"},
}
START_SECONDS = 90.0

Routes = Mapping[str, frozenset[str]]


class World:
    """Everything that the scenario's parts share."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.stack = Stack(run, "172.20.0.2")
        self.generated: dict[str, Any] = {"prefixes": prefixes()}
        self.facts = inventory.facts([*inventory.read_documents([INVENTORY]), self.generated])
        self._declared = {router: self.facts.expected(router) for router in self.routers}
        self.changed: dict[str, str] = {}
        """Prefixes declared since the start: prefix -> site, or "" for one that was taken away."""

    @property
    def gateways(self) -> list[str]:
        return [gateway.name for gateway in self.facts.gateways]

    @property
    def routers(self) -> list[str]:
        """Gateways and clients: everybody whose kernel must hold the fabric's routes."""
        return [*self.gateways, *CLIENTS]

    def node(self, name: str) -> Node:
        return self.run.lab.node(name)

    def host(self, site: str) -> Node:
        return self.node(f"host-{site}")

    def host_address(self, site: str, version: int = 4) -> str:
        return f"10.{SITES[site]}.0.10" if version == 4 else f"fd10:{SITES[site]}::10"

    def expected(self, router: str) -> dict[str, frozenset[str]]:
        """prefix -> next hops in the kernel of a gateway or client, as things are declared now."""
        wanted = dict(self._declared[router])
        own = "" if router in CLIENTS else self.facts.gateway(router).site
        for client, announced in CLIENT_PREFIXES.items():
            if client != router:
                wanted |= {prefix: frozenset({next_hop}) for prefix, next_hop in announced.items()}
        for prefix, site in self.changed.items():
            wanted.pop(prefix, None)
            if site and site != own:
                wanted[prefix] = self.facts.next_hops(site, prefix)
        return wanted

    def actual(self, router: str) -> dict[str, frozenset[str]]:
        return installed(self.node(router), CLIENTS.get(router, "76"))

    def wrong(self, router: str) -> str:
        """How the router's kernel differs from what it should be; empty when it does not."""
        return difference(self.expected(router), self.actual(router))

    def start(self) -> None:
        """Controller, inventory, speakers; until every kernel holds every route."""
        run, stack = self.run, self.stack
        run.step("start the controller, apply the inventory, start a speaker on every gateway")
        stack.start_controller()
        stack.controller.write(GENERATED, json.dumps(self.generated))
        begun = time.monotonic()
        stack.apply(INVENTORY, Path(GENERATED))
        run.figure("apply_seconds", time.monotonic() - begun)
        begun = time.monotonic()
        stack.start_speakers(self.gateways)
        run.step(f"{len(self.facts.prefixes)} prefixes come into every kernel")
        for router in self.routers:
            log = stack.speakers[router].log if router in stack.speakers else None
            wait_for_routes(run, router, self.expected(router), START_SECONDS, log, begun, CLIENTS.get(router, "76"))
        run.figure("start_to_routes_seconds", time.monotonic() - begun)

    def expect_all_routes(self, when: str) -> None:
        """Every kernel holds exactly what is declared."""
        problems = {router: self.wrong(router) for router in self.routers}
        bad = {router: problem for router, problem in problems.items() if problem}
        self.run.expect(f"{when}: all {len(problems)} kernels hold exactly the declared routes", not bad, _text(bad))

    def has(self, router: str, prefix: str) -> bool:
        """Is exactly this prefix in the router's main table, from Leyline (or from the client's own daemon)?"""
        command = [
            "ip",
            f"-{inventory.version(prefix)}",
            "route",
            "show",
            "exact",
            prefix,
            "proto",
            CLIENTS.get(router, "76"),
        ]
        return bool(self.node(router).out(command).strip())

    def who_has(self, prefix: str) -> str:
        return ", ".join(router for router in self.routers if self.has(router, prefix))

    def tables(self) -> dict[str, Routes]:
        """What FRR's and BIRD's own tables hold."""
        return {"frr1": clients.frr_table(self.node("frr1")), "bird1": clients.bird_table(self.node("bird1"))}

    def declared_fabric(self) -> dict[str, Any]:
        return dict(inventory.read_documents([INVENTORY])[0]["fabric"])

    def declare(self, site: str, prefix: str) -> None:
        self.stack.rest.post("/prefixes", {"site": site, "prefix": prefix})
        self.changed[prefix] = site

    def withdraw(self, site: str, prefix: str) -> None:
        self.stack.rest.delete(f"/prefixes/{site}/global/{prefix}")
        self.changed[prefix] = ""

    def paths(self, gateway: str, prefix: str) -> list[dict[str, Any]]:
        """The gateway's paths of a prefix, from its own mouth: an ask by way of the controller."""
        ask = {"kind": "routes", "arguments": {"prefix": prefix}}
        found: list[dict[str, Any]] = self.stack.rest.post(f"/gateways/{gateway}/asks", ask)["routes"]
        return found

    def watch(self, without: str = "") -> RouteWatch:
        """Every change of the routes of every router but one."""
        return RouteWatch(self.node(name) for name in self.routers if name != without)

    @contextmanager
    def nothing_lost(self, what: str, *sites: str) -> Iterator[None]:
        """Pings every 5 ms from the host of each of `sites` to the next one's, both families; none may be lost."""
        train = PingTrain(
            self.host(source).pings(self.host_address(target, version), f"{source} to {target}, IPv{version}")
            for source, target in zip(sites, (*sites[1:], sites[0]), strict=True)
            for version in (4, 6)
        )
        try:
            yield
        finally:
            counts = train.finish()
        lost = {name: str(pings) for name, pings in counts.items() if pings.lost}
        sent = sum(pings.sent for pings in counts.values())
        missing = sum(pings.lost for pings in counts.values())
        key = re.sub(r"\W+", "_", what)
        self.run.figure(f"{key}_pings_lost", missing)
        self.run.expect(f"{what}: none of {sent} pings is lost", not lost and sent > 0, _text(lost))

    def counter(self, node: str, name: str) -> int:
        return counted(self.node(node), name)

    def removals(self, events: list[RouteEvent]) -> str:
        """The withdrawals among `events`, as text; empty = none."""
        gone = [event for event in events if event.action == "remove"]
        return "\n".join(f"{event.node}: {event.prefix} (protocol {event.protocol})" for event in gone[:20])


def _text(problems: Mapping[str, str]) -> str:
    return "\n".join(f"{name}: {problem}" for name, problem in problems.items())
