"""Hubs die, one and then all, and boot again: traffic between spokes does not notice, because no hub is on its way."""

from __future__ import annotations

from lab.expect import Run
from lab.failover.fabric import overlay
from lab.failover.world import TOPOLOGY, World

__all__ = ["TOPOLOGY", "scenario"]

MOST_MS = 400
GATEWAYS = ("hub-1", "hub-2", "berlin-1", "berlin-2", "paris-1", "oslo-1")
PAIRS = (("berlin", "paris"), ("paris", "oslo"), ("oslo", "berlin"))
HOLD_SECONDS, RESTART_SECONDS, HUBLESS_SECONDS = 3, 4, 25
"""The shortened clock: hold time, RFC 4724 restart time, and how long routes stay without any hub (a day)."""


def scenario(run: Run) -> None:
    world = World(
        run,
        gateways=GATEWAYS,
        hold_time=HOLD_SECONDS,
        restart_time=RESTART_SECONDS,
        hubless_seconds=HUBLESS_SECONDS,
    )
    with world.cuts:
        world.start()
        one_hub(world)
        all_hubs(world)
        back(world)
        world.expect_clean()


def one_hub(world: World) -> None:
    run = world.run
    run.step("hub-1 loses its power, for longer than hold and restart time; then it boots again")
    with world.flood(*PAIRS) as flood:
        world.wait_live(("berlin-1", "paris-1"), ("paris-1", "oslo-1"), ("berlin-1", "oslo-1"))
        world.cuts.power_off("hub-1")
        flood.observe(HOLD_SECONDS + RESTART_SECONDS + 2)
        world.power_on("hub-1")
        world.speakers.wait_for_sessions(60)
        world.wait_for_routes()
        flood.go_on()
    flood.expect_none_lost("one hub killed and rebooted", "one_hub_pings_lost")


def all_hubs(world: World) -> None:
    """Longer than BGP itself would keep a route; then a gateway dies, and later the routes' own time is over."""
    run = world.run
    run.step("both hubs lose their power")
    with world.flood(*PAIRS) as flood:
        flood.go_on()
        dead = min(world.cuts.power_off(hub) for hub in world.hubs)
        flood.observe(HOLD_SECONDS + RESTART_SECONDS + 3)
    flood.expect_none_lost("both hubs killed", "both_hubs_pings_lost")
    run.step("without hubs, a gateway loses its power: the senders see it themselves")
    with world.flood(*PAIRS) as flood:
        flood.go_on()
        at = world.cuts.power_off("berlin-1")
        flood.observe(2)
    flood.expect_window("gateway cut without hubs", "hubless_gateway_cut_ms", MOST_MS, at)
    run.step(f"after {HUBLESS_SECONDS} s without any hub (a day, unless set) routes go")
    others = [name for name in world.spokes if name not in ("berlin-1", "oslo-1")]
    seconds = run.wait_until(
        "the routes are gone", lambda: not any(world.has_route(name, "oslo") for name in others),
        HUBLESS_SECONDS + 10, since=dead,
    )  # fmt: skip
    run.expect("and not before", seconds >= HUBLESS_SECONDS - 1, f"{seconds:.1f} s")
    run.figure("hubless_kept_seconds", seconds)


def back(world: World) -> None:
    run = world.run
    run.step("power is back everywhere")
    for name in (*world.hubs, "berlin-1"):
        world.power_on(name)
    world.speakers.wait_for_sessions(60)
    world.wait_for_routes()
    pairs = [(a, b, version) for a, b in PAIRS for version in (4, 6)]
    run.wait_until("the hosts reach each other", lambda: not world.silent(pairs), 20, lambda: world.silent(pairs))
    run.expect("paris sends to berlin-1 again", world.next_hop_of("paris-1", "berlin") == {overlay("berlin-1")})
