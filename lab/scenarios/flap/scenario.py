"""A next hop that comes and goes every second: traffic leaves it quickly, and does not run after it.

The direct path between paris and the gateway of berlin that it prefers is cut for a second, healed for a second, for
a minute. From paris to berlin there is another gateway, back there is the detour through a hub.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from lab.carriers import Carriers
from lab.expect import Run
from lab.failover.fabric import host_address, overlay
from lab.failover.world import TOPOLOGY, Flood, World
from lab.speakers import STATE_DIR, leyline

__all__ = ["TOPOLOGY", "scenario"]

GATEWAYS = ("hub-1", "hub-2", "berlin-1", "berlin-2", "paris-1")
CYCLES = 30
HALF_SECONDS = 1.0
DETECTION_MS = 300.0
"""Of `fast`: 100 ms x 3."""
MOVES = 3
LOSSES = 2
"""Detection times that may be lost in all."""


def scenario(run: Run) -> None:
    world = World(run, gateways=GATEWAYS)
    with world.cuts:
        world.start()
        flapping(world)
        world.expect_clean()


def flapping(world: World) -> None:
    run = world.run
    pair = world.mac("paris-1"), world.mac("berlin-1")
    seen = Carriers({name: (world.node(name), "zt0") for name in ("berlin-1", "berlin-2", "paris-1")})
    with seen, world.flood(("paris", "berlin"), versions=(4,)) as flood:
        flood.go_on()
        world.wait_live(("paris-1", "berlin-1"))
        run.step(f"paris-1 and berlin-1 are cut from each other, and healed, every {HALF_SECONDS:g} s, {CYCLES} times")
        begun = time.monotonic()
        for half in range(0, 2 * CYCLES, 2):
            world.cuts.pair(pair)
            _sleep_until(begun + (half + 1) * HALF_SECONDS)
            world.cuts.heal_pair(pair)
            _sleep_until(begun + (half + 2) * HALF_SECONDS)
        run.step(f"{time.monotonic() - begun:.0f} s later")
        said = world.speakers.next_hop("paris-1", overlay("berlin-1"))
        shown = world.node("paris-1").out([*leyline(), "speaker", "show", "liveness", "--state-dir", STATE_DIR])
        flood.go_on()
    _expect_told(run, said, shown)
    _expect_few(world, flood, seen, begun)


def _sleep_until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.monotonic()))


def _expect_told(run: Run, said: dict[str, Any], shown: str) -> None:
    """The operator can see why the next hop is not in use though it answers now and then."""
    run.expect(
        "paris-1 reports that it holds the next hop, or that it is down", said.get("state") in ("held", "down"), said
    )
    run.expect(f"it says why: {said.get('reason')}", said.get("reason"), said)
    run.expect(f"it has counted {said.get('flaps')} flaps", said.get("flaps", 0) >= 1, said)
    row = next((line for line in shown.splitlines() if overlay("berlin-1") in line.split()), "")
    run.expect("`leyline speaker show liveness` shows it", str(said.get("state")) in row, shown)
    run.step(f"`leyline speaker show liveness` at the end:\n{shown}")


def _expect_few(world: World, flood: Flood, seen: Carriers, begun: float) -> None:
    run = world.run
    ways = {
        "from paris to berlin": moves(seen, host_address("berlin"), begun),
        "back": moves(seen, host_address("paris"), begun),
    }
    for what, found in ways.items():
        run.figure(f"moves_{what.replace(' ', '_')}", max(found, default=0))
        run.expect(
            f"traffic {what} moves {max(found, default=0)} times, at most {MOVES}",
            1 <= max(found, default=0) <= MOVES,
            found,
        )
    lost = {name: sum(window.ms for window in tally.windows) for name, tally in flood.tallies.items()}
    worst, limit = max(lost.values()), LOSSES * DETECTION_MS
    run.figure("lost_ms", worst)
    run.expect(f"{worst:.0f} ms are lost in all, at most {limit:g}", worst <= limit, flood.text)
    run.step(f"packets by gateway: {dict(Counter(one.carrier for one in seen.packets(host_address('berlin'), begun)))}")


def moves(seen: Carriers, target: str, since: float) -> list[int]:
    """Of each stream towards `target`: how often it went another way than just before."""
    ways: dict[object, list[tuple[str, str]]] = {}
    for one in seen.packets(target, since):
        taken = ways.setdefault(one.stream, [])
        if not taken or taken[-1] != (one.carrier, one.sender):
            taken.append((one.carrier, one.sender))
    return [len(taken) - 1 for taken in ways.values()]
