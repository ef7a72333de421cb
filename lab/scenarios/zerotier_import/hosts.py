"""Members without BGP: their managed summary moves when its gateway dies. And the floor beneath BGP's routes."""

from __future__ import annotations

import time

from lab.pings import PingTrain
from lab.routes import LEYLINE
from lab.scenarios.zerotier_import.walk import APPLY, PLACE, answer
from lab.scenarios.zerotier_import.world import BGP, HOSTS, INTERVAL_SECONDS, MANAGED, MEMBERS, World

MOVED_SECONDS = 40.0
GUARD = 4999
BERLIN, OSLO = "host-paris to host-berlin", "host-paris to host-oslo"
HIDDEN = "10.4.0.0/16"
FLOOR = "10.1.0.0/23"
"""Declared, and longer than its allocation: the guard does not hide it."""


def gateway_dies(world: World) -> None:
    """The one that hosts' packets for berlin go by: its power is cut, and does not come back."""
    run = world.run
    (via,) = [via for target, via in world.managed() if target.startswith("10.1.")]
    dies = next(name for name, address in MEMBERS.items() if address == via)
    other = next(name for name in ("berlin-1", "berlin-2") if name != dies)
    world.node("host-berlin").run(f"ip route replace default via 10.1.0.{other[-1]}")
    train = world.train(("laptop", "host-berlin"), ("laptop", "host-paris"))
    try:
        run.wait_until("the laptop's pings are answered", lambda: train.answered() > 100, 20)
        world.step(f"{dies} loses its power")
        at = time.monotonic()
        for interface in ("wan0", "lan0"):
            world.node(dies).run(f"ip link set {interface} down")
        run.wait_until(
            f"the summary leads to {other}",
            lambda: MEMBERS[other] in {via for target, via in world.managed() if target.startswith("10.1.")},
            MOVED_SECONDS, world.segment, at, patience=70,
        )  # fmt: skip
        run.figure("summary_moved_seconds", time.monotonic() - at)
        before = train.answered("laptop to host-berlin")
        run.wait_until(
            "the laptop reaches berlin again", lambda: train.answered("laptop to host-berlin") > before + 50,
            MOVED_SECONDS + 10, lambda: world.node("laptop").out("ip route"), at, patience=90,
        )  # fmt: skip
        run.figure("laptop_without_berlin_seconds", time.monotonic() - at)
    finally:
        tallies = train.finish()
    world.expect_no_loop(tallies, "a dead gateway of hosts")
    run.figure("laptop_to_paris_lost", tallies["laptop to host-paris"].lost)


def floor(world: World) -> None:
    """`managed_floor`; then a gateway's Leyline is killed, and at last its routes are gone: guard first, all then."""
    run = world.run
    world.step("leyline apply, with managed_floor: true")
    answer(world, guard_default=True, managed_floor=True)
    world.shell(APPLY, PLACE)
    run.wait_until(
        f"the floor is there, {FLOOR} among it", lambda: FLOOR in {target for target, _ in world.managed()}, 30,
        world.segment,
    )  # fmt: skip
    run.wait_until("what the guard hides is said", lambda: _said(world) == ["floor-hidden"], 20, world.segment)
    run.wait_until("the segment is as declared", lambda: world.segment()["condition"] == "settled", 60, world.segment)
    run.wait_until(
        "every kernel has it", lambda: FLOOR in dict(world.in_kernel("paris-1")), 20, lambda: world.table("paris-1")
    )
    train = world.train(("host-paris", "host-berlin"), ("host-berlin", "host-paris"), ("host-paris", "host-oslo"))
    try:
        _floor(world, train)
    finally:
        tallies = train.finish()
    world.expect_no_loop(tallies, "the floor")
    kept = tallies[BERLIN]
    run.figure("floor_lost", kept.lost)
    run.expect("paris has reached berlin all the time", kept.lost == 0, kept.windows)


def _said(world: World) -> list[str]:
    return [each["code"] for each in world.segment()["summaries"]["remarks"]]


def _floor(world: World, train: PingTrain) -> None:
    run, paris = world.run, world.node("paris-1")
    run.wait_until("pings are answered", lambda: train.answered() > 300, 20)
    world.step("paris-1: the agent is killed, and who would start it again")
    world.stack.speakers["paris-1"].kill()
    world.stack.stop("paris-1", "agent")
    _more(world, train, BERLIN, OSLO)
    run.expect("its routes forward on", not [each for each in world.not_by_bgp() if each.startswith("paris")])
    world.step("paris-1: its BGP routes go, the guard stays")
    told = train.unreachable(OSLO)  # Linux tells the first few packets of a steady stream, and then no more.
    for row in world.table("paris-1", LEYLINE):
        if row.get("metric") == BGP:
            paris.run(["ip", "route", "del", row["dst"], "proto", LEYLINE, "metric", str(BGP)])
    ways = world.ways("paris-1")
    run.expect(f"its kernel goes on by the floor: {FLOOR}", ways[FLOOR].metric == MANAGED, ways)
    run.expect("and rejects what the guard hides", ways[HIDDEN].metric == GUARD, ways[HIDDEN])
    _more(world, train, BERLIN)
    run.wait_until("its hosts are told that oslo is gone", lambda: train.unreachable(OSLO) > told, 10)
    world.step("paris-1: the guard goes, too")
    paris.run(f"ip -4 route flush table main proto {LEYLINE}")
    _more(world, train, BERLIN, OSLO)
    path = world.node("host-paris").traceroute(HOSTS["host-berlin"])
    run.expect(f"the path has no circle: {' '.join(path)}", len(path) == len(set(path)) == 3, path)


def _more(world: World, train: PingTrain, *flows: str) -> None:
    """Pings are answered now."""
    before = {flow: train.answered(flow) for flow in flows}
    for flow in flows:
        world.run.wait_until(
            f"{flow}: pings are answered", lambda flow=flow: train.answered(flow) > before[flow] + 100, 15,  # type: ignore[misc]
            lambda: world.node("paris-1").out("ip route"),
        )  # fmt: skip


def everything_dies(world: World) -> None:
    """The whole gateway falls silent while its kernel forwards on: others reject, or go by the floor."""
    run = world.run
    train = world.train(("host-berlin", "host-paris"), ("host-oslo", "host-paris"), ("laptop", "host-paris"))
    try:
        world.step("paris-1: ExaBGP and BFD are killed as well")
        for name in ("exabgp", "bfd"):
            world.stack.stop("paris-1", name)
        ticks = train.ticks + round(20 / INTERVAL_SECONDS)
        run.wait_until("20 seconds go by", lambda: train.ticks >= ticks, 60)
    finally:
        tallies = train.finish()
    world.expect_no_loop(tallies, "a gateway without Leyline")
    for name, tally in tallies.items():
        rest = tally.sent - tally.lost
        run.figure(f"{name.replace(' ', '_')}_answered", rest)
        run.figure(f"{name.replace(' ', '_')}_unreachable", len(tally.unreachable))
    lost = tallies["laptop to host-paris"].lost
    run.expect("a member without BGP notices nothing", lost == 0, tallies["laptop to host-paris"].windows)
