"""ZeroTier on gateways, with the real one: off its own overlay, moons, two services on a box, relayed paths."""

from __future__ import annotations

import time

from lab.cuts import Cuts
from lab.expect import Run
from lab.scenarios.zerotier_gateway import allowed, mistakes, moons, overlaid, relayed, uplinks
from lab.scenarios.zerotier_gateway.world import GATEWAYS, LTE_HOME, STUBBORN, World
from lab.zerotier import HOME, missing, version

__all__ = ["EVIDENCE", "missing", "scenario"]

EVIDENCE = {name: {"local.conf": f"cat {HOME}/local.conf"} for name in GATEWAYS}
EVIDENCE["oslo-1"]["lte.local.conf"] = f"cat {LTE_HOME}/local.conf"


def scenario(run: Run) -> None:
    world = World(run)
    try:
        with Cuts(run.lab, ["underlay"]) as cuts:
            run.step(f"ZeroTier One {version()}: eight services, two of them on oslo-1, under a root of their own")
            relayed.cut(cuts)
            world.start_services()
            world.stack.start_controller()
            world.declare()
            overlaid.goes_astray(world)
            speakers(world, cuts)
    finally:
        world.keep_evidence()


def speakers(world: World, cuts: Cuts) -> None:
    world.run.step(f"{len(GATEWAYS)} speakers start")
    started = time.monotonic()
    world.start_speakers()
    overlaid.written(world, started)
    moons.made(world, started)
    world.stack.wait_for_sessions(60)
    train = relayed.traffic(world)
    try:
        allowed.kept(world)
        relayed.relayed(world, started)
        healed = relayed.heal(cuts)
        overlaid.kept_off(world, started)
        direct = relayed.direct(world, healed)
        uplinks.both(world)
        moons.orbited(world, started)
        moons.restarted(world)
        moons.moves(world)
        mistakes.all_at_once(world)
        overlaid.stays(world)
        relayed.back(world, direct)
        overlaid.mended(world)
        moons.moved(world, STUBBORN)
        uplinks.one_dies(world)
        moons.removed(world)
    finally:
        train.finish()
