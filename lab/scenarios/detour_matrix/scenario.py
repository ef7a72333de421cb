"""Two hubs, four spokes, random broken paths between any of them: what can be delivered is, and nothing circles."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Iterable
from itertools import combinations, permutations

from lab.expect import Run
from lab.failover.fabric import UPLINKS, host_address
from lab.failover.world import TOPOLOGY, World
from lab.udp import UdpFlow, UdpTrain, one_way

__all__ = ["TOPOLOGY", "delivered", "scenario"]

HUBS = ("hub-1", "hub-2")
SPOKES = ("berlin-1", "paris-1", "oslo-1", "lima-1")
COMBINATIONS = 30
SEED = 20
BROKEN = (1, 7)
"""So many of the 15 paths are broken at once, from and to."""
SETTLE_SECONDS = 30.0
"""A hub tells by BGP whom it relays to; its TCP connection to a spoke that was cut off from it comes back by and by."""
LOOK_TICKS = 40
INTERVAL_SECONDS = 0.005

Path = frozenset[str]  # Both ends.


def delivered(source: str, target: str, broken: Iterable[Path]) -> bool:
    """The model: directly, or through one hub that both reach."""
    gone = set(broken)

    def whole(a: str, b: str) -> bool:
        return frozenset((a, b)) not in gone

    return whole(source, target) or any(whole(source, hub) and whole(hub, target) for hub in HUBS)


def drawn(number: int = COMBINATIONS, seed: int = SEED) -> list[frozenset[Path]]:
    """Combinations of broken paths: the same ones in every run."""
    dice = random.Random(seed)
    paths = [frozenset(pair) for pair in combinations((*HUBS, *SPOKES), 2)]
    return [frozenset(dice.sample(paths, dice.randint(*BROKEN))) for _ in range(number)]


def scenario(run: Run) -> None:
    # No BGP session may end meanwhile: this is about paths of packets. No hysteresis either, which only costs time.
    # Lima's second uplink is of no use here: a next hop that was never used has no BFD session, and counts as alive.
    world = World(
        run, gateways=(*HUBS, *SPOKES), interfaces=("zt0",), hold_time=600, bfd_up_delay_ms=0, bfd_hold_max_ms=0
    )
    world.node("lima-1").run("ip link set zt1 down")
    with world.cuts:
        world.start()
        train = UdpTrain([flow(world, *pair) for pair in permutations(SPOKES, 2)], INTERVAL_SECONDS)
        try:
            world.wait_live(*combinations(SPOKES, 2))
            took = [broken_paths(world, train, paths, number) for number, paths in enumerate(drawn(), 1)]
        finally:
            train.finish()
        run.figure("settle_median_seconds", statistics.median(took))
        run.figure("settle_worst_seconds", max(took))
        run.figure("combinations", len(took))
        world.expect_clean()


def flow(world: World, source: str, target: str) -> UdpFlow:
    """Between the hosts behind two spokes."""
    (a, b), (near, far) = (UPLINKS[source][0], UPLINKS[target][0]), (source, target)
    return one_way(world.host(a), world.host(b), host_address(b), f"{near} to {far}")


def broken_paths(world: World, train: UdpTrain, paths: frozenset[Path], number: int) -> float:
    """Seconds until exactly what can be delivered is."""
    text = ", ".join(sorted(" and ".join(sorted(path)) for path in paths))
    world.run.step(f"{number} of {COMBINATIONS}: broken between {text}")
    wanted = {f"{a} to {b}": delivered(a, b, paths) for a, b in permutations(SPOKES, 2)}
    since = time.monotonic()
    world.cuts.only(*((world.mac(a), world.mac(b)) for a, b in map(sorted, paths)))
    seen: dict[str, bool | None] = {}

    def as_wanted() -> bool:
        seen.update(coming(train))
        return seen == wanted

    def differences() -> str:
        return "\n".join(
            f"{name}: {seen[name]}, expected {wanted[name]}" for name in wanted if seen[name] != wanted[name]
        )

    count = sum(wanted.values())
    return world.run.wait_until(
        f"{count} of {len(wanted)} flows are delivered, as the model says",
        as_wanted,
        SETTLE_SECONDS,
        differences,
        since,
    )


def coming(train: UdpTrain) -> dict[str, bool | None]:
    """Flow -> do its packets arrive, for a moment from now on? None: some of them."""
    before, ticks = {name: train.answered(name) for name in train.names}, train.ticks
    while train.ticks < ticks + LOOK_TICKS:
        time.sleep(INTERVAL_SECONDS)
    came = {name: train.answered(name) - before[name] for name in train.names}
    return {name: None if 0 < count < LOOK_TICKS * 0.8 else count > 0 for name, count in came.items()}
