"""Intent in a few lines, carried out: every kernel and every client's table is what an independent oracle computes.

Eight sites in three regions, fibre, LTE and satellite uplinks, an anycast prefix, an eBGP client (FRR) and an iBGP
client (BIRD) under the configuration that Leyline writes for them, a router (FRR) in the LAN of nyc-1.
"""

from __future__ import annotations

from lab.expect import Run
from lab.scenarios.te import anycast, explained, intent, sending
from lab.scenarios.te.router import router_joins
from lab.scenarios.te.world import World

EVIDENCE = {
    "partner": {
        "bgp": "vtysh -c 'show bgp summary' -c 'show bgp ipv4 unicast' -c 'show bfd peers'",
        "running": "vtysh -c 'show running-config'",
        "log": "cat /run/frr/bgpd.log",
    },
    "router": {"bgp": "vtysh -c 'show bgp summary' -c 'show bgp ipv4 unicast'", "log": "cat /run/frr/frr.log"},
    "legacy": {
        "bgp": "birdc -s /run/bird/bird.ctl show protocols all",
        "table": "birdc -s /run/bird/bird.ctl show route all",
    },
}


def scenario(run: Run) -> None:
    world = World(run)
    world.start()
    sending.all_send_by_the_best(world)
    router_joins(world)
    intent.all_reach_whom_they_may(world)
    intent.a_rule_changes(world)
    intent.a_breaking_change_is_refused(world)
    anycast.anycast(world)
    explained.explain_agrees(world)
    intent.finance_never_by_satellite(world)
    leaked = world.leaked()
    run.figure("leaked_packets", leaked)
    run.expect("no private packet left by the default route in all that time", leaked == 0, f"{leaked} packets")
