"""The smallest fabric, end to end: declared sites become kernel routes, and hosts reach each other past the hub."""

from __future__ import annotations

import time
from pathlib import Path

from lab import inventory
from lab.compare import wait_for_routes, wait_to_reach
from lab.expect import Run
from lab.stack import Stack

HERE = Path(__file__).parent
INVENTORY = HERE / "inventory.yml"


def scenario(run: Run) -> None:
    facts = inventory.facts(inventory.read_documents([INVENTORY]))
    stack = Stack(run, "172.20.0.2")
    run.step("start the controller, apply the inventory, start a speaker on every gateway")
    stack.start_controller()
    stack.apply(INVENTORY)
    started = time.monotonic()
    stack.start_speakers(gateway.name for gateway in facts.gateways)

    run.step("routes arrive in every kernel")
    for gateway in facts.gateways:
        log = stack.speakers[gateway.name].log
        wait_for_routes(run, gateway.name, facts.expected(gateway.name), 60, log, started)
    run.figure("start_to_routes_seconds", time.monotonic() - started)

    run.step("hosts reach each other, past the hub")
    for source, target in (("berlin", "paris"), ("paris", "berlin")):
        number = facts.gateway(f"{target}-1").number - 1
        host = run.lab.node(f"host-{source}")
        for address in (f"10.{number}.0.10", f"fd10:{number}::10"):
            wait_to_reach(run, host, address)
        own = facts.gateway(f"{source}-1").number - 1
        path = host.traceroute(f"10.{number}.0.10")
        wanted = [f"10.{own}.0.1", *facts.gateway(f"{target}-1").addresses, f"10.{number}.0.10"]
        run.expect(
            f"the path is own gateway, far gateway, host: {' '.join(path)}", path == wanted, f"expected {wanted}"
        )
