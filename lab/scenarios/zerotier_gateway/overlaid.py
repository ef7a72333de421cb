"""ZeroTier over LANs and its own overlay: it goes there by itself, and no longer once local.conf is written."""

from __future__ import annotations

import json
import time

from lab.nftables import counted
from lab.pings import PingTrain
from lab.scenarios.zerotier_gateway.world import FIBER, KEYS, LANS, LTE, MEMBERS, SEED, STUBBORN, World

JOINED_SECONDS = 40.0
ASTRAY_SECONDS = 30.0
SETTLED_SECONDS = 60.0
OFF_SECONDS = 100.0
"""Read within 10 s, sockets closed within 30 s, paths dead 19 s later; more for a file that was overlooked."""
SAID_SECONDS = 130.0
QUIET_SECONDS = 4.0
COUNTERS = """
table inet lab {
  counter overlay { }
  counter lan { }
  chain leaving {
    type filter hook postrouting priority 0;
    oifname "zt*" udp dport 9993 counter name overlay
    oifname "lan0" udp dport 9993 counter name lan
  }
}
"""
COUNTED = {"oslo-1": "overlay", "paris-2": "lan"}


def goes_astray(world: World) -> None:
    """Before Leyline: the operator has joined all services, and routes of his lead to LANs."""
    run, at = world.run, time.monotonic()
    run.step("operators join the network by hand: ZeroTier takes every path that it finds")
    for gateway in COUNTED:
        world.node(gateway).run(["nft", "-f", "-"], stdin=COUNTERS)
    for key, service in world.services.items():
        if key == SEED:
            service.post(f"/network/{world.network}", {"allowManaged": False, "allowDNS": True})
        elif key != LTE:
            service.post(f"/network/{world.network}", {})
    members = [key for key in KEYS if key != SEED]
    run.wait_until(
        "members have their addresses, but where allowManaged is off",
        lambda: all(world.addresses(key) for key in members) and not world.addresses(SEED), JOINED_SECONDS,
        lambda: {key: world.addresses(key) for key in KEYS}, at,
    )  # fmt: skip
    world.node("oslo-1").run(f"ip route add {LANS['paris']} via 10.42.0.24 dev ztfiber metric 6000")
    world.node("oslo-1").run(f"ip route add {LANS['berlin']} via 10.42.0.21 dev ztfiber metric 6000")
    at = time.monotonic()
    pings = PingTrain([world.node(one.gateway).pings(other.address, f"{one.key} {other.key}") for one in MEMBERS
                       for other in MEMBERS if one.gateway != other.gateway], 0.5)  # fmt: skip
    try:
        wanted = {("paris-1/main", "paris-2/main", "10.2.0.2/9993"), ("paris-2/main", "paris-1/main", "10.2.0.1/9993"),
                  (FIBER, "paris-1/main", "10.2.0.1/9993"), (FIBER, STUBBORN, "10.1.0.1/9993")}  # fmt: skip

        def missing() -> set[tuple[str, str, str]]:
            return wanted - {(key, *path) for key in KEYS for path in world.astray(key)}

        taken = run.wait_until(
            "gateways of a site talk over their LAN, and oslo-1 to LAN addresses through the overlay itself",
            lambda: not missing(), ASTRAY_SECONDS, missing, at,
        )  # fmt: skip
        run.figure("astray_seconds", taken)
        for gateway, counter in COUNTED.items():
            run.wait_until(
                f"ZeroTier's own packets leave {gateway} by {counter}",
                lambda gateway=gateway, counter=counter: counted(world.node(gateway), counter) > 0, 20,  # type: ignore[misc]
            )  # fmt: skip
    finally:
        pings.finish()


def written(world: World, at: float) -> None:
    """`at`: when the speakers were started."""
    taken = world.run.wait_until(
        "local.conf is written for every service", lambda: all("leyline" in world.local_conf(key) for key in KEYS),
        SETTLED_SECONDS, since=at,
    )  # fmt: skip
    world.run.figure("written_seconds", taken)


def kept_off(world: World, at: float) -> None:
    """`at`: when the speakers were started. Nobody restarts anything."""
    run = world.run
    run.step("the services take local.conf in without a restart")
    operators(world)
    stubborn = [STUBBORN, FIBER]

    def astray() -> dict[str, object]:
        found = {key: (world.astray(key), world.listening_astray(key)) for key in KEYS if key not in stubborn}
        return {key: each for key, each in found.items() if any(each)}

    off = run.wait_until("they have left LANs and overlay", lambda: not astray(), OFF_SECONDS, astray, at)
    run.figure("off_lans_seconds", off)
    before, at = counted(world.node("paris-2"), "lan"), time.monotonic()
    run.wait_until("some seconds go by", lambda: time.monotonic() > at + QUIET_SECONDS, 10)
    passed = counted(world.node("paris-2"), "lan") - before
    run.expect("no packet of ZeroTier's leaves paris-2 by its LAN any more", passed == 0, passed)
    gone = [path for path in world.astray(FIBER) if path.peer != STUBBORN]
    run.expect("oslo-1 reaches paris-1 by the underlay alone", not gone, gone)


def operators(world: World) -> None:
    """What they had in their files is there as it was."""
    for key, service in world.services.items():
        found = world.local_conf(key)
        theirs = {name: value for name, value in found["settings"].items() if name in service.conf["settings"]}
        world.run.expect(f"{key}: the operator's own settings stand", theirs == service.conf["settings"], found)


def stays(world: World) -> None:
    """`bind` is stronger than the lists, and a path that is in use stays: both are said."""
    run = world.run
    run.step(f"the service of {STUBBORN} is bound to its LAN: that is said, and where it leads")
    run.expect("oslo-1 still reaches it through the overlay", world.astray(FIBER), list(world.paths(FIBER)))
    run.wait_until(
        f"{STUBBORN} says on what its service listens",
        lambda: "it listens on 10.1.0.1/9993" in world.problem(STUBBORN), SAID_SECONDS, lambda: world.problem(STUBBORN),
    )  # fmt: skip
    said = f"its path to {world.node_id(STUBBORN)} at 10.1.0.1/9993 leads over the fabric"
    run.wait_until(
        "oslo-1 says which path leads over the fabric", lambda: said in world.problem(FIBER), SAID_SECONDS,
        lambda: world.problem(FIBER),
    )  # fmt: skip


def mended(world: World) -> None:
    """By the operator, as he was told."""
    run = world.run
    run.step(f"the operator of {STUBBORN} takes its LAN out of `bind`, and restarts that service")
    conf = world.local_conf(STUBBORN)
    conf["settings"]["bind"] = conf["settings"]["bind"][:1]
    world.services[STUBBORN].path("local.conf").write_text(json.dumps(conf))
    at = world.restart(STUBBORN)

    def astray() -> list[object]:
        return [*world.listening_astray(STUBBORN), *world.astray(STUBBORN), *world.astray(FIBER)]

    off = run.wait_until("nothing runs over the overlay any more", lambda: not astray(), 60, astray, at)
    run.figure("bind_mended_to_off_overlay_seconds", off)
    run.wait_until("all speakers find their services well", lambda: not world.unwell(), 60, world.unwell)
