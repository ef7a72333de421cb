"""A moon that the inventory declares: made on the hub, orbited by the others, kept over restarts, moved, removed."""

from __future__ import annotations

import json
import time

from lab.scenarios.zerotier_gateway.world import HERE, KEYS, MOVED, SEED, World

MADE_SECONDS = 30.0
ORBITED_SECONDS = 90.0
RESTART_SECONDS = 60.0
LET_GO_SECONDS = 60.0


def world_id(world: World) -> str:
    return world.node_id(SEED).rjust(16, "0")


def without(world: World, endpoints: tuple[str, ...] = HERE) -> list[str]:
    """Services that do not have the moon, with these endpoints."""
    found = {key: world.moons(key).get(world_id(world), {}) for key in KEYS}
    return [
        key
        for key, moon in found.items()
        if [sorted(root.get("stableEndpoints", ())) for root in moon.get("roots", ())] != [sorted(endpoints)]
    ]


def made(world: World, at: float) -> None:
    run = world.run
    run.step("the moon that is declared is made by the hub, and orbited by the others")
    file = world.services[SEED].path(f"moons.d/{world_id(world)}.moon")
    run.figure("moon_made_seconds", run.wait_until("the hub has made it", file.exists, MADE_SECONDS, since=at))

    def said() -> str:
        return str(world.stack.report(SEED.partition("/")[0]).get("moon_world", ""))

    run.wait_until("the hub reports its world", lambda: said() == world_id(world), MADE_SECONDS, said)


def orbited(world: World, at: float) -> None:
    """It comes with the next HELLO to its seed, of which there is one a minute (ZT_PEER_PING_PERIOD)."""
    run = world.run
    taken = run.wait_until(
        "every service has the moon, where it answers", lambda: not without(world), ORBITED_SECONDS,
        lambda: without(world), at,
    )  # fmt: skip
    run.figure("moon_orbited_seconds", taken)

    def roots() -> list[str]:
        peers = {
            key: [peer["role"] for peer in world.peers(key) if peer["address"] == world.node_id(SEED)] for key in KEYS
        }
        return [key for key, roles in peers.items() if key != SEED and roles != ["MOON"]]

    run.wait_until("it is a root of theirs", lambda: not roots(), 20, roots)


def restarted(world: World) -> None:
    """Its seed, and one that orbits it."""
    run, keys = world.run, (SEED, "paris-1/main")
    run.step(f"zerotier-one of {' and '.join(keys)} restarts: moon, address, allowManaged and local.conf are kept")
    before = {key: (world.addresses(key), world.settings_file(key).read_text()) for key in keys}
    at = world.restart(*keys)
    run.wait_until(
        "they have their addresses again",
        lambda: all(world.addresses(key) == before[key][0] for key in keys), RESTART_SECONDS,
        lambda: {key: world.addresses(key) for key in keys}, at,
    )  # fmt: skip
    run.figure("restart_to_address_seconds", time.monotonic() - at)
    run.expect("every service has the moon", not without(world), lambda: without(world))
    for key in keys:
        settings = world.settings_file(key).read_text()
        run.expect(f"{key}: what it may take from the network is as before", settings == before[key][1], settings)
        run.expect(f"{key}: nothing listens in LANs or overlay", not world.listening_astray(key))
    joined = world.joined(SEED)
    run.expect("allowManaged, which the speaker turned on, is on", joined.get("allowManaged") is True, joined)
    run.expect("allowDNS, which the operator turned on, is on", joined.get("allowDNS") is True, joined)
    run.expect("allowDefault is off", joined.get("allowDefault") is False, joined)


def moves(world: World) -> None:
    """The others ask their roots every 224 s (node/Node.cpp: 16 heartbeats), or when they start: see `moved`."""
    run = world.run
    run.step("the moon gets another endpoint")
    key = world.services[SEED].path("leyline-moon.json")
    before = json.loads(key.read_text())["signingKey_SECRET"]
    at = time.monotonic()
    world.declare(MOVED)
    taken = run.wait_until("its seed has it", lambda: SEED not in without(world, MOVED), MADE_SECONDS, since=at)
    run.figure("moon_moved_seconds", taken)
    run.expect("with the key of before", json.loads(key.read_text())["signingKey_SECRET"] == before)


def moved(world: World, key: str) -> None:
    """`key`: a service that has just started."""
    world.run.wait_until(
        f"{key}, which has started since, has heard of it", lambda: key not in without(world, MOVED), MADE_SECONDS,
        lambda: world.moons(key),
    )  # fmt: skip


def removed(world: World) -> None:
    run = world.run
    run.step("the moon is taken out of the inventory")
    at = time.monotonic()
    world.declare(())

    def orbiting() -> list[str]:
        return [key for key in KEYS if world_id(world) in world.moons(key)]

    taken = run.wait_until("no service has the moon any more", lambda: not orbiting(), LET_GO_SECONDS, orbiting, at)
    run.figure("moon_removed_seconds", taken)
    files = [key for key in KEYS if world.services[key].path(f"moons.d/{world_id(world)}.moon").exists()]
    run.expect("nor its file", not files, files)
    run.expect("its key stays, so that it can be one again", world.services[SEED].path("leyline-moon.json").exists())
