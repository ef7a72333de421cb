"""A gateway loses its power: its site has another one, or it has none."""

from __future__ import annotations

from lab.expect import Run
from lab.failover.fabric import host_address, overlay
from lab.failover.world import TOPOLOGY, World

__all__ = ["TOPOLOGY", "scenario"]

MOST_MS = {"fast": 400, "normal": 1200}
"""Timers -> the longest that hosts may go without an answer."""
BEHIND_OSLO = 1_000
UNREACHABLE_SECONDS = 1.0
PAIRS = (("berlin", "paris"), ("paris", "berlin"), ("berlin", "oslo"), ("oslo", "berlin"))
"""Of sites, between whose hosts pings go while berlin's first gateway is cut."""
NEIGHBOURS = (("berlin-1", "paris-1"), ("berlin-1", "oslo-1"), ("berlin-2", "paris-1"), ("berlin-2", "oslo-1"))


def scenario(run: Run) -> None:
    world = World(run, more=BEHIND_OSLO - 2)
    with world.cuts:
        world.start()
        site_with_two(world, "fast")
        site_with_one(world)
        back_again(world)
        world.retime("normal")
        site_with_two(world, "normal")
        world.expect_clean()


def site_with_two(world: World, timers: str) -> None:
    """berlin-1, the hosts' router and everybody's best path to berlin, is cut from segment, LAN and WAN at once."""
    run = world.run
    run.step(f"BFD {timers}: power cut of berlin-1, while hosts ping every millisecond, both ways")
    with world.flood(*PAIRS) as flood:
        world.wait_live(NEIGHBOURS[0], NEIGHBOURS[1])
        wait_for_timers(world, timers)
        flood.go_on()
        at = world.cuts.power_off("berlin-1")
        flood.observe(3)
    flood.expect_window(f"power cut with {timers}", f"gateway_cut_{timers}_ms", MOST_MS[timers], at)


def wait_for_timers(world: World, timers: str) -> None:
    """Until both ends have agreed on the detection time of `timers`."""
    wanted = {"fast": 300, "normal": 900}[timers]
    ways = [("paris-1", overlay("berlin-1")), ("berlin-1", overlay("paris-1")), ("oslo-1", overlay("berlin-1"))]
    world.run.wait_until(
        f"the detection time is {wanted} ms",
        lambda: all(world.speakers.next_hop(g, address).get("detection_ms") == wanted for g, address in ways),
        20,
        lambda: "\n".join(f"{g}: {world.speakers.next_hop(g, address)}" for g, address in ways),
    )


def back_again(world: World) -> None:
    """Both boot, and berlin-1 takes the traffic over again; what that costs is the story of drain and restarts."""
    world.run.step("berlin-1 and oslo-1 get power again")
    for gateway in ("berlin-1", "oslo-1"):
        world.power_on(gateway)
    world.speakers.wait_for_sessions(60)
    world.wait_for_routes()


def site_with_one(world: World) -> None:
    """Nobody else has oslo's prefixes: a fast no, and not one packet on another way out."""
    run = world.run
    run.step(f"power cut of oslo-1, which alone has {BEHIND_OSLO} prefixes behind it")
    with world.flood(("berlin", "oslo"), ("paris", "oslo")) as flood:
        world.wait_live(("berlin-2", "oslo-1"), ("paris-1", "oslo-1"))
        flood.go_on()
        at = world.cuts.power_off("oslo-1")
        run.wait_until(
            "every host is told that oslo is unreachable",
            lambda: all(flood.train.unreachable(name) for name in flood.train.names), 10,
        )  # fmt: skip
        flood.observe(1)
    told = {name: tally.unreachable_after(at) for name, tally in flood.tallies.items()}
    slowest = max((seconds for seconds in told.values() if seconds is not None), default=None)
    run.figure("unreachable_1000_routes_seconds", slowest)
    good = slowest is not None and None not in told.values() and slowest <= UNREACHABLE_SECONDS
    run.expect(f"the hosts are told within {UNREACHABLE_SECONDS:g} s of the cut ({slowest})", good, told)
    leaked = world.counter("internet", "private")
    run.expect(f"nothing for {host_address('oslo')} left by the default route", leaked == 0, f"{leaked} packets")
    run.expect("the flows have stopped", not any(tally.recovered for tally in flood.tallies.values()), flood.text)
