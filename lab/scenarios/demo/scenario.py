"""The fabric's main job, to look at: everything started, every host reaching every other, past the hubs."""

from __future__ import annotations

from lab.expect import Run
from lab.scenarios.fabric.main_path import main_path
from lab.scenarios.fabric.world import EVIDENCE, World

__all__ = ["EVIDENCE", "TOPOLOGY", "scenario"]

TOPOLOGY = "../fabric/fabric.clab.yml"


def scenario(run: Run) -> None:
    world = World(run)
    world.start()
    main_path(world)
