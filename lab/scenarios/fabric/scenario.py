"""Two hubs, six sites, 5,000 prefixes, an FRR and a BIRD: the main job, its speed, and what may not disturb it."""

from __future__ import annotations

from lab.expect import Run
from lab.scenarios.fabric import failures
from lab.scenarios.fabric.latency import latency
from lab.scenarios.fabric.main_path import main_path
from lab.scenarios.fabric.world import EVIDENCE, World

__all__ = ["EVIDENCE", "scenario"]


def scenario(run: Run) -> None:
    world = World(run)
    world.start()
    main_path(world)
    latency(world)
    failures.controller_dies(world)
    failures.agent_dies(world, "berlin-1", "berlin")
    failures.agent_dies(world, "hub-1", "berlin")
    failures.exabgp_dies(world, "berlin-1", ("berlin", "paris", "oslo"))
    failures.exabgp_dies(world, "hub-1", ("berlin", "paris", "oslo"))
    failures.interface_goes(world, "quito-1")
    failures.zebra_beside(world)
    failures.without_grace(world)
    leaked = world.counter("internet", "private")
    run.expect("no private packet left by the default route in all that time", leaked == 0, f"{leaked} packets")
    for hub in world.facts.hubs():
        count = world.counter(hub, "forwarded")
        run.expect(f"{hub} has forwarded nothing in all that time", count == 0, f"{count} packets")
