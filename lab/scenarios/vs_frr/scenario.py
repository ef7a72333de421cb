"""The same cuts under Leyline and FRR (bgpd, bfdd, zebra; same timers; a route reflector), in one lab and one run.

What is counted goes to the site that loses its gateway: one way, the one that BGP and BFD decide about.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lab import clients
from lab.compare import installed, wait_to_reach
from lab.cuts import Cuts
from lab.expect import Run
from lab.loss import Tally, told, worst_ms
from lab.speakers import PlannedSpeakers
from lab.udp import UdpTrain, one_way

INVENTORY = Path(__file__).with_name("inventory.yml")
SWITCHES = ("segment", *(f"{side}lan-{site}" for side in ("", "frr-") for site in ("berlin", "paris", "oslo")))
EVIDENCE = {
    f"frr-{name}": {
        "bgp": "vtysh -c 'show bgp ipv4 unicast'",
        "bfd": "vtysh -c 'show bfd peers'",
        "log": "cat /run/frr/frr.log",
    }
    for name in ("rr", "berlin-1", "berlin-2", "paris-1", "oslo-1")
}
CUTS = 3
"""How often the gateway is cut under each; the medians are compared."""
WAIT_SECONDS = 60.0
PATIENCE_TICKS = 10_000
"""Milliseconds for which the direct path stays broken."""
MOST_MS = 400


@dataclass(frozen=True)
class Side:
    """One of the two: where its nodes are called what, and how its tables are read."""

    name: str
    prefix: str  # Of the names of its nodes.
    lan: int  # Added to a site's number in its LAN's 10.NUMBER.0.0/24.
    third: int  # Byte of its overlay addresses.
    protocol: str  # Of its routes in the kernel.

    def host(self, site: str) -> str:
        return f"{self.prefix}host-{site}"

    def address(self, number: int) -> str:
        return f"10.{number + self.lan}.0.10"

    def berlin(self) -> str:
        return f"10.{1 + self.lan}.0.0/24"

    def gateway(self, number: int) -> str:
        return f"10.42.{self.third}.{number}"


LEYLINE = Side("Leyline", "", 0, 0, "76")
FRR = Side("FRR", "frr-", 10, 1, "186")


@dataclass
class World:
    run: Run
    cuts: Cuts
    speakers: PlannedSpeakers

    def next_hop(self, side: Side, router: str) -> frozenset[str]:
        """Where the router's kernel sends packets for berlin."""
        node = self.run.lab.node(f"{side.prefix}{router}")
        return installed(node, side.protocol).get(side.berlin(), frozenset())

    def train(self, side: Side, *pairs: tuple[str, str, int]) -> UdpTrain:
        """Datagrams between hosts: (site, site, number of the second one)."""
        node = self.run.lab.node
        return UdpTrain(
            [one_way(node(side.host(a)), node(side.host(b)), side.address(to), f"{side.name}: {a} to {b}")
             for a, b, to in pairs],
            port=40_000 + 100 * side.lan,
        )  # fmt: skip

    def until(self, what: str, condition: Callable[[], object], evidence: object = "") -> float:
        return self.run.wait_until(what, condition, WAIT_SECONDS, evidence)

    def wait(self, train: UdpTrain, milliseconds: int) -> None:
        ticks = train.ticks + milliseconds
        self.until(f"{milliseconds} ms go by", lambda: train.ticks >= ticks)


def scenario(run: Run) -> None:
    with Cuts(run.lab, SWITCHES) as cuts:
        world = World(run, cuts, PlannedSpeakers(run, INVENTORY))
        start(world)
        gateway_cut(world)
        direct_path_cut(world)


def start(world: World) -> None:
    run = world.run
    run.step("start Leyline's half; FRR's is up already")
    world.speakers.start()
    world.speakers.wait_for_sessions(WAIT_SECONDS)
    for side in (LEYLINE, FRR):
        usual(world, side)
        for source, number in (("paris", 1), ("oslo", 1), ("paris", 4)):
            wait_to_reach(run, run.lab.node(side.host(source)), side.address(number))
    frr = run.lab.node("frr-rr")
    world.until("BFD is up between FRR's reflector and its four clients", lambda: bfd_up(frr) == 4)


def bfd_up(reflector: object) -> int:
    return sum(peer["status"] == "up" for peer in clients.vtysh(reflector, "show bfd peers"))  # type: ignore[arg-type]


def usual(world: World, side: Side) -> None:
    """Until both remote routers send to berlin-1, which has the higher preference."""
    for router in ("paris-1", "oslo-1"):
        world.until(
            f"{side.name}: {router} sends to berlin-1",
            lambda router=router: world.next_hop(side, router) == {side.gateway(2)},  # type: ignore[misc]
            lambda router=router: world.next_hop(side, router),
        )


def gateway_cut(world: World) -> None:
    """berlin-1 is cut off, in turn under Leyline and FRR; the other half of the lab idles meanwhile."""
    run = world.run
    found: dict[str, list[float]] = {LEYLINE.name: [], FRR.name: []}
    for number in range(CUTS):
        for side in (LEYLINE, FRR):
            run.step(f"{side.name}: power cut of berlin-1, number {number + 1}")
            tallies = one_cut(world, side)
            found[side.name].append(worst_ms(tallies))
            lasting = [name for name, tally in tallies.items() if not tally.recovered]
            run.expect(f"{side.name}: every flow came back", not lasting, told(tallies))
            run.expect(f"{side.name}: every flow felt the cut", all(tally.lost for tally in tallies.values()))
            world.cuts.heal()
            usual(world, side)
    ours, theirs = (statistics.median(found[side.name]) for side in (LEYLINE, FRR))
    run.figure("gateway_cut_ms", ours)
    run.figure("frr_gateway_cut_ms", theirs)
    run.figure("gateway_cut_ratio", ours / theirs)
    run.expect(f"Leyline's loss window is at most {MOST_MS} ms ({ours:.0f} ms; FRR's {theirs:.0f} ms)", ours <= MOST_MS)
    run.table("power cut of a gateway, ms without a packet", ("", "each", "median"), [
        (name, ", ".join(f"{ms:.0f}" for ms in each), f"{statistics.median(each):.0f}") for name, each in found.items()
    ])  # fmt: skip


def one_cut(world: World, side: Side) -> dict[str, Tally]:
    train = world.train(side, ("paris", "berlin", 1), ("oslo", "berlin", 1))
    try:
        if side is LEYLINE:
            hops = [(router, LEYLINE.gateway(2)) for router in ("paris-1", "oslo-1")]
            world.until(
                "BFD is up towards berlin-1",
                lambda: all(world.speakers.next_hop(*hop).get("state") == "up" for hop in hops),
                lambda: [world.speakers.next_hop(*hop) for hop in hops],
            )
        world.wait(train, 500)
        world.cuts.node(f"{side.prefix}berlin-1")
        world.wait(train, 3000)
    finally:
        tallies = train.finish()
    return tallies


def direct_path_cut(world: World) -> None:
    """Only paris and oslo lose each other, for ten seconds, under both at once."""
    run = world.run
    run.step("the path between paris and oslo breaks for 10 s, under both")
    ways = (("paris", "oslo", 4), ("oslo", "paris", 2))
    trains = {side.name: world.train(side, *ways) for side in (LEYLINE, FRR)}
    try:
        hops = (("paris-1", LEYLINE.gateway(5)), ("oslo-1", LEYLINE.gateway(4)))
        world.until(
            "BFD is up between them", lambda: all(world.speakers.next_hop(*hop).get("state") == "up" for hop in hops)
        )
        for train in trains.values():
            world.wait(train, 300)
        mac = world.cuts.mac
        world.cuts.pair(
            *((mac(f"{side.prefix}paris-1:zt0"), mac(f"{side.prefix}oslo-1:zt0")) for side in (LEYLINE, FRR))
        )
        world.wait(trains[FRR.name], PATIENCE_TICKS)
    finally:
        tallies = {name: train.finish() for name, train in trains.items()}
    ours, theirs = tallies[LEYLINE.name], tallies[FRR.name]
    came_back = all(tally.recovered for tally in ours.values())
    frr_back = all(tally.recovered for tally in theirs.values())
    run.figure("direct_path_cut_ms", worst_ms(ours) if came_back else None)
    run.figure("frr_ms", worst_ms(theirs) if frr_back else None)
    run.figure("recovered", frr_back)
    run.expect(f"Leyline goes through the hub within {MOST_MS} ms", came_back and worst_ms(ours) <= MOST_MS, told(ours))
    run.expect("FRR does not recover while the path stays broken", not frr_back, told(theirs))
