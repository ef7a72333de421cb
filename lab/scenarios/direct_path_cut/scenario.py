"""Only the direct path between two spokes breaks: both still reach the hubs, and traffic goes through one of them."""

from __future__ import annotations

from lab.expect import Run
from lab.failover.fabric import overlay
from lab.failover.world import TOPOLOGY, World

__all__ = ["TOPOLOGY", "scenario"]

MOST_MS = 400
GATEWAYS = ("hub-1", "hub-2", "paris-1", "oslo-1")
PAIRS = (("paris", "oslo"), ("oslo", "paris"))
BACK_SECONDS = 30.0
"""Slow up: a session must have been up for some seconds before it is trusted again."""


def scenario(run: Run) -> None:
    world = World(run, gateways=GATEWAYS)
    with world.cuts:
        world.start()
        cut(world)
        repair(world)
        world.expect_clean()


def forwarded(world: World) -> int:
    return sum(world.counter(hub, "forwarded") for hub in world.hubs)


def cut(world: World) -> None:
    run = world.run
    run.step("the path between paris-1 and oslo-1 breaks, and nothing else")
    with world.flood(*PAIRS) as flood:
        world.wait_live(("paris-1", "oslo-1"))
        flood.go_on()
        idle = forwarded(world)
        run.expect("until then no hub has forwarded a packet", idle == 0, f"{idle} packets")
        at = world.cuts.pair((world.mac("paris-1"), world.mac("oslo-1")))
        flood.observe(3)
        before, answered = forwarded(world), flood.train.answered()
        flood.go_on(2000)
        through, answers = forwarded(world) - before, flood.train.answered() - answered
        run.expect(
            f"then every packet goes through a hub: {through} forwarded there for {answers} answers",
            through >= 2 * answers * 0.9, f"{through} packets forwarded",
        )  # fmt: skip
    flood.expect_window("direct path cut", "direct_path_cut_ms", MOST_MS, at)


def repair(world: World) -> None:
    run = world.run
    run.step("the path is repaired: back to direct, without loss")
    with world.flood(*PAIRS) as flood:
        flood.go_on()
        world.cuts.heal()
        seconds = run.wait_until("traffic is direct again, both ways", lambda: direct(world), BACK_SECONDS)
        flood.go_on(1000)
        before = forwarded(world)
        flood.go_on(1000)
        after = forwarded(world)
        run.expect("no hub forwards any more", after == before, f"{after - before} packets")
    run.figure("back_to_direct_seconds", seconds)
    flood.expect_none_lost("back to direct", "repair_pings_lost")


def direct(world: World) -> bool:
    """Do both ends say that they use no detour?"""
    ends = (("paris-1", overlay("oslo-1")), ("oslo-1", overlay("paris-1")))
    hops = [world.speakers.next_hop(gateway, address) for gateway, address in ends]
    return all(hop.get("state") == "up" and not hop.get("detour") for hop in hops)
