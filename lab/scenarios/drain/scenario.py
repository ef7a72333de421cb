"""A gateway is drained for maintenance, and comes back: as an operator does it, and not one ping is lost.

Pings every millisecond go both ways between the hosts of two sites. Everything that berlin-1 carried, as next hop of
the other site and as router of its LAN, goes over to berlin-2 and returns.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

from lab.carriers import Carriers
from lab.compare import wait_to_reach
from lab.expect import Run
from lab.loss import told
from lab.pings import FLOOD_SECONDS, PingTrain
from lab.stack import Stack

INVENTORY = Path(__file__).parent / "inventory.yml"
GATEWAYS = ("hub-1", "hub-2", "berlin-1", "berlin-2", "paris-1", "paris-2")
DRAINED, OTHER = "berlin-1", "berlin-2"
HOSTS = {"berlin": ("10.1.0.10", "fd10:1::10"), "paris": ("10.2.0.10", "fd10:2::10")}
FIRST_HOPS = ("10.1.0.254", "fd10:1::fe")
START_SECONDS = 60.0
DRAIN_SECONDS = 60.0
BACK_SECONDS = 15.0
NEAR_ZERO = 5.0
"""Packets a second."""
QUIET_SECONDS = 2.0


def scenario(run: Run) -> None:
    stack = Stack(run, "172.20.0.2")
    run.step("start the controller, apply the inventory, start a speaker on every gateway")
    stack.start_controller()
    stack.apply(INVENTORY)
    stack.start_speakers(GATEWAYS)
    stack.wait_for_sessions(START_SECONDS)
    run.wait_until("berlin-1 is the router of its LAN", lambda: masters(run) == {DRAINED}, 15, lambda: look(run))
    for site, other in (("berlin", "paris"), ("paris", "berlin")):
        for address in HOSTS[other]:
            wait_to_reach(run, run.lab.node(f"host-{site}"), address)
    interfaces = {
        f"{gateway}:{interface}": (run.lab.node(gateway), interface)
        for gateway in (DRAINED, OTHER)
        for interface in ("zt0", "lan0")
    }
    ways = (("berlin", "paris"), ("paris", "berlin"))
    flows = [run.lab.node(f"host-{a}").pings(address) for a, b in ways for address in HOSTS[b]]
    with Carriers(interfaces) as seen:
        train = PingTrain(flows, FLOOD_SECONDS)
        try:
            run.wait_until("all pings go through berlin-1", lambda: carries(seen, DRAINED), BACK_SECONDS, seen.counts)
            drain(run, stack, seen)
            undrain(run, stack, seen)
        finally:
            tallies = train.finish()
    lost, sent = (sum(getattr(tally, what) for tally in tallies.values()) for what in ("lost", "sent"))
    run.figure("pings_lost", lost)
    run.expect(f"none of {sent} pings is lost across drain and undrain", lost == 0 < sent, lambda: told(tallies))


def drain(run: Run, stack: Stack, seen: Carriers) -> None:
    run.step(f"`leyline drain {DRAINED}`")
    begun = time.monotonic()
    said = stack.leyline("drain", DRAINED, "--timeout", f"{DRAIN_SECONDS:g}")
    run.figure("drain_seconds", time.monotonic() - begun)
    run.step(said.strip())
    run.expect("it says that the gateway is drained", "drained: " in said, said)
    run.expect(f"{OTHER} is the router of the LAN", masters(run) == {OTHER}, lambda: look(run))
    since = time.monotonic()
    run.wait_until(f"{QUIET_SECONDS:g} s go by", lambda: time.monotonic() - since >= QUIET_SECONDS, QUIET_SECONDS + 1)
    counts = traffic(seen, since)
    rate = sum(count for name, count in counts.items() if name.startswith(f"{DRAINED}:")) / QUIET_SECONDS
    run.figure("drained_packets_per_second", rate)
    run.expect(f"{rate:.0f} packets/s pass through {DRAINED}, less than {NEAR_ZERO:g}", rate < NEAR_ZERO, counts)
    run.expect(f"and all through {OTHER}, both ways", carries(seen, OTHER), counts)


def undrain(run: Run, stack: Stack, seen: Carriers) -> None:
    run.step(f"`leyline undrain {DRAINED}`")
    begun = time.monotonic()
    run.step(stack.leyline("undrain", DRAINED).strip())
    run.wait_until(
        f"all traffic is back, both ways, through {DRAINED}", lambda: carries(seen, DRAINED), BACK_SECONDS,
        lambda: f"{traffic(seen, time.monotonic() - 1)}\n{look(run)}",
    )  # fmt: skip
    run.figure("undrain_seconds", time.monotonic() - begun)
    since = time.monotonic()
    run.wait_until(f"{QUIET_SECONDS:g} s go by", lambda: time.monotonic() - since >= QUIET_SECONDS, QUIET_SECONDS + 1)
    run.expect(f"{DRAINED} is the router of the LAN again", masters(run) == {DRAINED}, lambda: look(run))


def traffic(seen: Carriers, since: float) -> dict[str, int]:
    """Gateway and interface -> IPv4 packets of the hosts that arrived there; those of gateways are left out."""
    counts = [seen.counts(HOSTS[site][0], since) for site in HOSTS]
    return {name: sum(count[name] for count in counts) for name in counts[0]}


def carries(seen: Carriers, gateway: str, seconds: float = 0.5) -> bool:
    """Did `gateway`, and no other one of berlin, carry all of the last `seconds`, on both of its sides?"""
    counts = traffic(seen, time.monotonic() - seconds)
    return all((count > 100) if name.startswith(f"{gateway}:") else (count == 0) for name, count in counts.items())


def masters(run: Run) -> set[str]:
    """The gateways that hold all addresses of berlin's first hop."""
    found = set()
    for gateway in (DRAINED, OTHER):
        rows = json.loads(run.lab.node(gateway).out(["ip", "-j", "address"]))
        held = {entry["local"] for row in rows for entry in row["addr_info"]}
        if held & set(FIRST_HOPS):
            found.add(gateway if set(FIRST_HOPS) <= held else f"{gateway} in part")
    return found


def look(run: Run) -> str:
    return "\n".join(run.lab.node(gateway).out("ip -br address") for gateway in (DRAINED, OTHER))
