"""From REST to every kernel: a prefix added, a prefix withdrawn, ten times each."""

from __future__ import annotations

import statistics
import time
from typing import Literal

from lab.scenarios.fabric.world import World
from lab.watch import RouteWatch

ROUNDS = 10
BOUND_SECONDS = 2.0
GIVE_UP_SECONDS = 10.0


def latency(world: World) -> None:
    run = world.run
    run.step(f"a prefix is added by REST, and withdrawn, {ROUNDS} times")
    added, withdrawn = [], []
    with world.watch() as watch:
        for index in range(ROUNDS):
            prefix = f"10.1.{16 + index}.0/24"
            added.append(_round(world, watch, prefix, "add"))
            withdrawn.append(_round(world, watch, prefix, "remove"))
    for what, times in (("add", added), ("withdraw", withdrawn)):
        run.figure(f"{what}_median_seconds", statistics.median(times))
        run.figure(f"{what}_worst_seconds", max(times))
        median = statistics.median(times)
        run.expect(
            f"{what}: in every kernel, the clients' too, in {BOUND_SECONDS:g} s (median of {ROUNDS}: {median:.2f} s)",
            median <= BOUND_SECONDS,
            ", ".join(f"{taken:.2f}" for taken in times),
        )
    world.expect_all_routes("after the changes")


def _round(world: World, watch: RouteWatch, prefix: str, action: Literal["add", "remove"]) -> float:
    """Seconds from the request to the last kernel."""
    concerned = {name for name in world.routers if not name.startswith("berlin")}
    begun = time.monotonic()
    if action == "add":
        world.declare("berlin", prefix)
    else:
        world.withdraw("berlin", prefix)

    def missing() -> set[str]:
        return concerned - watch.latest(prefix, action, begun).keys()

    world.run.wait_until(
        f"{action} {prefix} reaches every kernel",
        lambda: not missing(),
        GIVE_UP_SECONDS,
        lambda: f"not yet: {missing()}",
    )
    return max(watch.latest(prefix, action, begun)[name] for name in concerned) - begun
