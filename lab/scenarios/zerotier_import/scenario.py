"""Real ZeroTier: a network of managed routes becomes a fabric, by docs/migration.md, under pings; hosts, the floor."""

from __future__ import annotations

import time

from lab.expect import Run
from lab.scenarios.zerotier_import.hosts import everything_dies, floor, gateway_dies
from lab.scenarios.zerotier_import.walk import adopt, finish, prepare, read_the_network, start_speakers
from lab.scenarios.zerotier_import.world import GATEWAYS, JOINED_SECONDS, World
from lab.zerotier import HOME, missing, version

__all__ = ["EVIDENCE", "missing", "scenario"]

EVIDENCE = {name: {"local.conf": f"cat {HOME}/local.conf"} for name in GATEWAYS}
PAIRS = (
    ("host-berlin", "host-paris"), ("host-paris", "host-oslo"), ("host-oslo", "host-berlin"),
    ("laptop", "host-berlin"), ("laptop", "host-oslo"),
)  # fmt: skip


def scenario(run: Run) -> None:
    world = World(run)
    try:
        as_it_is(world)
        cut_over(world)
        gateway_dies(world)
        floor(world)
        everything_dies(world)
    finally:
        world.keep_evidence()


def as_it_is(world: World) -> None:
    world.step(f"ZeroTier One {version()} on six nodes; managed routes lead to four gateways")
    world.start_services()
    world.run.wait_until(
        "everybody reaches every LAN by managed routes", lambda: not world.silent(), JOINED_SECONDS, world.silent
    )


def cut_over(world: World) -> None:
    run = world.run
    train = world.train(*PAIRS)
    try:
        run.wait_until("pings are answered", lambda: train.answered() >= 200, 20)
        at = time.monotonic()
        lines = read_the_network(world)
        prepare(world, lines)
        start_speakers(world, lines)
        adopt(world, lines)
        finish(world)
        run.figure("cut_over_seconds", time.monotonic() - at)
        run.expect("everybody reaches every LAN", not world.silent(), world.silent)
    finally:
        tallies = train.finish()
    run.table("leyline import zerotier --check", ("stage", "waiting", "announced", "undeclared", "kept"), world.left)
    lost = world.tell(tallies, "cut_over")
    world.expect_no_loop(tallies, "the cut-over")
    sent = sum(tally.sent for tally in tallies.values())
    run.expect(f"none of {sent} pings is lost", lost == 0 < sent, f"{lost}; see the table")
