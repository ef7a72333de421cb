"""The LAN cable of the gateway that has the traffic is pulled: the site's other gateway takes over, both ways."""

from __future__ import annotations

import statistics

from lab.expect import Run
from lab.failover.fabric import overlay
from lab.failover.world import TOPOLOGY, World

__all__ = ["TOPOLOGY", "scenario"]

MEDIAN_MS = 400
PULLS = 3
GATEWAYS = ("hub-1", "hub-2", "berlin-1", "berlin-2", "paris-1")
PAIRS = (("berlin", "paris"), ("paris", "berlin"))
CABLE = "berlin-1:lan0"


def scenario(run: Run) -> None:
    world = World(run, gateways=GATEWAYS)
    found = []
    with world.cuts:
        world.start()
        for number in range(PULLS):
            found.append(pull(world, number + 1))
            run.step("the cable is plugged in again")
            world.cuts.plug(CABLE)
            world.wait_for_routes()
        world.expect_clean()
    median = statistics.median(found)
    run.figure("lan_cut_median_ms", median)
    run.figure("lan_cut_worst_ms", max(found))
    run.expect(f"the median of {PULLS} pulls is {median:.0f} ms, at most {MEDIAN_MS}", median <= MEDIAN_MS, found)


def pull(world: World, number: int) -> float:
    """The longest time without an answer, in ms."""
    run = world.run
    run.step(f"pull number {number} of the LAN cable of berlin-1, the hosts' router")
    with world.flood(*PAIRS) as flood:
        flood.go_on()
        at = world.cuts.pull(CABLE)
        flood.observe(3)
        wrong = world.next_hop_of("paris-1", "berlin") - {overlay("berlin-2")}
        run.expect("paris no longer sends to berlin-1, which is alive but cannot deliver", not wrong, wrong)
    lasting = [name for name, tally in flood.tallies.items() if not tally.recovered]
    run.expect("every flow came back", not lasting, flood.text)
    return flood.worst_ms(at)
