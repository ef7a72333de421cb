"""A service with one address in three regions, each copy of which says where it is."""

from __future__ import annotations

import sys
import time

from lab.cuts import Cuts
from lab.node import Node
from lab.scenarios.te.world import World

ADDRESS, PREFIX = "10.200.0.1", "10.200.0.0/24"
COPIES = ("paris", "denver", "tokyo")
NEAREST = {"berlin": "paris", "paris": "paris", "nyc": "denver", "denver": "denver", "sydney": "tokyo"}
"""Who asks -> whose copy of the own region answers."""
FOLLOW_SECONDS = 5.0
SERVICE = """
import socket, sys
listener = socket.create_server((sys.argv[1], 7))
while True:
    with listener.accept()[0] as one:
        one.sendall(sys.argv[2].encode())
"""
QUESTION = """
import socket, sys
with socket.create_connection((sys.argv[1], 7), 2) as one:
    print(one.recv(64).decode())
"""


def anycast(world: World) -> None:
    run = world.run
    run.step("one address in three regions: everybody gets the copy of his own region")
    for site in COPIES:
        world.host(site).start([sys.executable, "-c", SERVICE, ADDRESS, site], name="service")
    for site, copy in NEAREST.items():
        run.wait_until(f"{site} is answered by {copy}", lambda s=site, c=copy: who(world.host(s)) == c, 5)  # type: ignore[misc]
    dies_in_turn(world)


def dies_in_turn(world: World) -> None:
    """The nearest copy's host dies, then the next one; ap is closed, so its copy is for ap."""
    run, nyc = world.run, world.host("nyc")
    run.step("the nearest copy dies, then the next one")
    without = [("denver", PREFIX)]
    wanted = [world.expected(without=without), world.expected(without=[*without, ("paris", PREFIX)])]
    whole = world.expected()
    with Cuts(run.lab, ["lan-denver", "lan-paris"]) as cuts:
        at = cuts.uplink("host-denver:eth1")
        taken = world.settle("denver's copy is dead: every table says paris", wanted[0], FOLLOW_SECONDS, at)
        run.figure("anycast_follow_seconds", taken)
        run.expect("nyc is answered by paris", who(nyc) == "paris", lambda: who(nyc))
        at = cuts.uplink("host-paris:eth1")
        world.settle("paris's copy is dead, too: only ap has the address", wanted[1], FOLLOW_SECONDS, at)
        said = nyc.run(f"ping -n -c 2 -i 0.2 -W 1 {ADDRESS}", check=False).stdout
        run.expect("nyc is told that it is unreachable: ap is closed", "nreachable" in said, said)
        run.expect("sydney is answered by tokyo all the time", who(world.host("sydney")) == "tokyo")
        at = cuts.heal()
        world.settle("both live again, and every table is as before", whole, 2 * FOLLOW_SECONDS, at)
    run.wait_until("nyc is answered by denver again", lambda: who(nyc) == "denver", FOLLOW_SECONDS)
    run.figure("anycast_seconds", time.monotonic() - at)


def who(node: Node) -> str:
    """The site whose copy answers; "" when none does."""
    return node.run([sys.executable, "-c", QUESTION, ADDRESS], check=False).stdout.strip()
