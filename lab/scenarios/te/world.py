"""The fabric of this scenario, started; and how far it is from what the oracle says that it must be."""

from __future__ import annotations

import copy
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from lab import inventory
from lab.compare import difference, installed
from lab.expect import Run
from lab.nftables import counted
from lab.node import Node
from lab.scenarios.te import oracle, strangers
from lab.scenarios.te.oracle import Expected, Told
from lab.stack import Stack

INVENTORY = Path(__file__).parent / "inventory.yml"
SITES = {"berlin": 1, "paris": 2, "nyc": 3, "denver": 4, "tokyo": 5, "sydney": 6}
"""Those with gateways of ours and a host -> number N: 10.N.0.0/24 is the LAN, 10.N.9.0/24 finance behind the host."""
CLIENTS = (strangers.PARTNER, strangers.LEGACY)
START_SECONDS = 90.0
SHOWN = 8


class World:
    """Everything that the scenario's parts share. `document` and `announced` follow what the scenario changes."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.stack = Stack(run, "172.20.0.2")
        self.document: dict[str, Any] = copy.deepcopy(dict(inventory.read_documents([INVENTORY])[0]))
        self.announced = copy.deepcopy(strangers.ANNOUNCED)
        self.lan_routes: dict[tuple[str, str], str] = {}
        """(gateway, prefix) -> next hop, behind a router in its LAN: of these the oracle does not speak."""
        gateways = self.document["gateways"]
        self.gateways: list[str] = [each["name"] for each in gateways]
        self.hubs = {each["name"]: each["uplinks"][0]["address"] for each in gateways if each["role"] == "hub"}

    def node(self, name: str) -> Node:
        return self.run.lab.node(name)

    def host(self, site: str) -> Node:
        return self.node(f"host-{site}")

    def expected(self, *, without: Collection[tuple[str, str]] = ()) -> Expected:
        """By the oracle, as things are declared now. `without`: (site, prefix) that are not announced."""
        prefixes = [each for each in self.document["prefixes"] if (each["site"], each["prefix"]) not in without]
        return oracle.expected(self.document | {"prefixes": prefixes}, self.announced)

    def start(self) -> None:
        """Controller, inventory, speakers, clients; until every table is as the oracle says."""
        run, stack = self.run, self.stack
        run.step("start the controller, apply the inventory, start a speaker on every gateway")
        stack.start_controller()
        stack.apply(INVENTORY)
        begun = time.monotonic()
        stack.start_speakers(self.gateways)
        run.step("FRR and BIRD are given what `leyline client-config` prints")
        strangers.start(run, stack)
        self.settle(
            "every kernel and every client's table is as the oracle says", self.expected(), START_SECONDS, begun
        )
        run.figure("start_seconds", time.monotonic() - begun)

    def settle(self, what: str, wanted: Expected, seconds: float, since: float | None = None) -> float:
        """Seconds until every table is as `wanted`. Raises Unmet."""
        return self.run.wait_until(
            what,
            lambda: next(self.problems(wanted), None) is None,
            seconds,
            lambda: "\n".join(self.problems(wanted)),
            since,
        )

    def problems(self, wanted: Expected) -> Iterator[str]:
        """Of every table that is not as `wanted`, how it differs."""
        yield from self.kernel_problems(wanted, self.gateways)
        for name in CLIENTS:
            if problem := told_difference(wanted.tables[name], strangers.told(name, self.node(name), self.hubs)):
                yield f"{name}'s table: {problem}"

    def kernel_problems(self, wanted: Expected, gateways: Collection[str], dead: Collection[str] = ()) -> Iterator[str]:
        """The same of these kernels alone, while nobody answers at the next hops `dead`."""
        for name in gateways:
            behind = {p: frozenset({hop}) for (gateway, p), hop in self.lan_routes.items() if gateway == name}
            if problem := difference(wanted.kernel(name, dead) | behind, installed(self.node(name))):
                yield f"{name}'s kernel: {problem}"

    def satellites(self) -> set[str]:
        """Overlay addresses of all uplinks over satellite."""
        return {
            uplink[field]
            for gateway in self.document["gateways"]
            for uplink in gateway["uplinks"]
            for field in ("address", "address6")
            if uplink["circuit_class"] == "satellite"
        }

    def leaked(self) -> int:
        """Private packets that left a gateway by its default route since the lab began."""
        return counted(self.node("internet"), "private")


def told_difference(wanted: frozenset[Told], actual: frozenset[Told]) -> str:
    """Empty when equal."""
    missing, extra = sorted(wanted - actual, key=str), sorted(actual - wanted, key=str)
    if not missing and not extra:
        return ""
    parts = (("missing", missing), ("not expected", extra))
    return f"{len(actual)} routes, {len(wanted)} expected\n" + "\n".join(
        f"{what}: {len(routes)}\n" + "\n".join(f"  {route}" for route in routes[:SHOWN]) for what, routes in parts
    )
