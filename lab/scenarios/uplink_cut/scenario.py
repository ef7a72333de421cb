"""One of lima's two uplinks dies without losing its carrier: traffic takes the other one, in both directions."""

from __future__ import annotations

from lab.expect import Run
from lab.failover.fabric import overlay
from lab.failover.world import TOPOLOGY, World

__all__ = ["TOPOLOGY", "scenario"]

MOST_MS = 400
GATEWAYS = ("hub-1", "hub-2", "paris-1", "lima-1")
PAIRS = (("lima", "paris"), ("paris", "lima"))


def scenario(run: Run) -> None:
    world = World(run, gateways=GATEWAYS)
    with world.cuts:
        world.start()
        cut_whole_uplink(world)
        world.cuts.heal()
        world.wait_for_routes()
        far_uplink(world)
        world.expect_clean()


def cut_whole_uplink(world: World) -> None:
    """Neither hubs nor anybody else is reached over lima's first uplink; the BGP sessions of lima went over it too."""
    run = world.run
    world.wait_hubs("lima-1", ("zt0", "zt1"))
    run.step("lima's first uplink is cut at the segment; its carrier stays")
    with world.flood(*PAIRS) as flood:
        world.wait_live(("paris-1", "lima-1"))
        flood.go_on()
        at = world.cuts.uplink("lima-1:zt0")
        flood.observe(3)
        run.expect(
            "paris sends by lima's second uplink", world.next_hop_of("paris-1", "lima") == {overlay("lima-1", "zt1")}
        )
        before = packets(world)
        flood.go_on(500)
        received, sent = (now - then for now, then in zip(packets(world), before, strict=True))
        run.expect(
            "lima sends and receives over its second uplink", min(received, sent) >= 450, f"{received}, {sent} packets"
        )
    flood.expect_window("uplink cut", "uplink_cut_ms", MOST_MS, at)
    with world.flood(*PAIRS) as flood:
        world.run.step("... and stays so after BGP over that uplink is gone for longer than its hold time")
        flood.observe(12)
        sessions = world.speakers.report("lima-1").get("sessions", ())
        run.expect(
            "lima's BGP has come back by its second uplink", all(each["state"] == "up" for each in sessions), sessions
        )
    flood.expect_none_lost("12 s without the first uplink", "uplink_gone_pings_lost")


def far_uplink(world: World) -> None:
    """Only paris does not reach lima's first uplink any more; the hubs still do and still reflect it."""
    run = world.run
    run.step("paris alone is cut from lima's first uplink: the hubs know nothing of it")
    with world.flood(*PAIRS) as flood:
        world.wait_live(("paris-1", "lima-1"))
        flood.go_on()
        at = world.cuts.pair((world.mac("paris-1"), world.mac("lima-1")))
        flood.observe(3)
        run.expect(
            "paris sends by lima's second uplink", world.next_hop_of("paris-1", "lima") == {overlay("lima-1", "zt1")}
        )
    flood.expect_window("far uplink cut", "far_uplink_cut_ms", MOST_MS, at)
    forwarded = {hub: world.counter(hub, "forwarded") for hub in world.hubs}
    run.expect("no hub had to forward", not any(forwarded.values()), forwarded)


def packets(world: World) -> tuple[int, int]:
    """Received and sent on lima's second uplink."""
    node = world.node("lima-1")
    received, sent = (node.out(["cat", f"/sys/class/net/zt1/statistics/{way}_packets"]) for way in ("rx", "tx"))
    return int(received), int(sent)
