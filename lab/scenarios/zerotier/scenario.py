"""Real ZeroTier: a root of its own, six gateways let in by keys, 1,000 routes; then a restart, and a revocation."""

from __future__ import annotations

import time

from lab.compare import difference, installed
from lab.expect import Run
from lab.pings import PingTrain
from lab.scenarios.zerotier.entry import enter, make_segment
from lab.scenarios.zerotier.world import (
    PREFIXES,
    PREFIXES6,
    SETTLED_SECONDS,
    SPOKES,
    World,
    gateway_address,
    host_address,
    prefixes,
    prefixes6,
)
from lab.zerotier import HOME, missing, version

__all__ = ["EVIDENCE", "missing", "scenario"]

GATEWAYS = ("hub-1", "hub-2", *SPOKES)
EVIDENCE = {name: {"local.conf": f"cat {HOME}/local.conf"} for name in GATEWAYS}
RESTARTED = "paris-1"
REVOKED = "lima-1"
REVOKED_SECONDS = 2.0
RESTART_SECONDS = 60.0
NEXT_HOPS_SECONDS = 30.0


def scenario(run: Run) -> None:
    world = World(run)
    try:
        run.step(f"ZeroTier One {version()} on seven nodes, with a root of their own")
        world.start_services()
        started = make_segment(world)
        enter(world)
        everything_works(world, started)
        restart_of_zerotier(world)
        revocation(world)
    finally:
        world.keep_evidence()


def everything_works(world: World, started: float) -> None:
    run = world.run
    run.step("routes arrive in every kernel")
    for gateway in GATEWAYS:
        run.wait_until(
            f"{gateway} has every route, next hop = originating uplink", lambda name=gateway: not world.wrong(name),  # type: ignore[misc]
            SETTLED_SECONDS, lambda name=gateway: f"{world.wrong(name)}\n{world.stack.unsettled()}",
        )  # fmt: skip
    run.figure("nothing_to_routes_seconds", time.monotonic() - started)
    for kind, wanted, each in (("IPv4", 1000, PREFIXES), ("IPv6", 3 * PREFIXES6, PREFIXES6)):
        counts = {gateway: routes(world, gateway, kind) for gateway in GATEWAYS}
        fewest = min(counts.values())
        what = f"there are at least {wanted} of {kind} in every kernel ({fewest}; {each} a site)"
        run.expect(what, fewest >= wanted, counts)

    run.step("hosts reach each other by IPv4 and IPv6, from gateway to gateway")
    run.wait_until("all pairs of hosts reach each other", lambda: not world.silent(), 30, world.silent)
    run.figure("nothing_to_pings_seconds", time.monotonic() - started)
    for source, target in (("berlin", "paris"), ("lima", "oslo")):
        for family, overlay in ((4, world.overlay), (6, world.overlay6)):
            path = world.host(source).traceroute(host_address(target, family))
            hops = [gateway_address(source, family), overlay[f"{target}-1"], host_address(target, family)]
            run.expect(
                f"the path is own gateway, far gateway, host: {' '.join(path)}", path == hops, f"expected {hops}"
            )
    neighbours(world, GATEWAYS)
    paths(world)


def routes(world: World, gateway: str, kind: str) -> int:
    return sum((":" in prefix) == (kind == "IPv6") for prefix in installed(world.node(gateway)))


def neighbours(world: World, gateways: tuple[str, ...]) -> None:
    """What the gateways computed is what the far interfaces have."""
    for gateway in gateways:
        world.run.wait_until(
            f"{gateway} has a permanent neighbour entry for every next hop, with the far interface's MAC address",
            lambda name=gateway: not world.neighbours_missing(name), NEXT_HOPS_SECONDS,  # type: ignore[misc]
            lambda name=gateway: f"{world.neighbours_missing(name)}, has {world.permanent(name)}",
        )  # fmt: skip


def paths(world: World) -> None:
    """ZeroTier itself goes directly, and the speakers say so."""
    run = world.run
    others = {name: {world.services[far].identity.node_id for far in GATEWAYS if far != name} for name in GATEWAYS}

    def relayed() -> list[str]:
        return [f"{name}: {ids - world.services[name].direct()}" for name, ids in others.items()
                if not ids <= world.services[name].direct()]  # fmt: skip

    run.wait_until("every gateway has a direct path to every other", lambda: not relayed(), 30, relayed)

    def unsaid() -> list[str]:
        said = {
            name: {peer["node_id"] for peer in world.stack.report(name).get("peers", ()) if peer["state"] == "direct"}
            for name in GATEWAYS
        }
        return [f"{name}: {ids - said[name]}" for name, ids in others.items() if not ids <= said[name]]

    run.wait_until("their speakers report these paths as direct", lambda: not unsaid(), 60, unsaid)


def restart_of_zerotier(world: World) -> None:
    """The interface goes, and with it everything that the kernel knew of it; all of it comes back."""
    run, service = world.run, world.services[RESTARTED]
    before = (world.addresses(RESTARTED), world.permanent(RESTARTED))
    run.step(f"zerotier-one of {RESTARTED} restarts")
    service.stop()
    run.expect("its interface is gone", not world.mac(RESTARTED))
    at = time.monotonic()
    service.start()
    address = run.wait_until(
        "it has its address again", lambda: world.addresses(RESTARTED) == before[0], RESTART_SECONDS,
        lambda: f"{world.addresses(RESTARTED)}, before {before[0]}", at,
    )  # fmt: skip
    run.figure("restart_to_address_seconds", address)
    entries = run.wait_until(
        "it has its permanent neighbour entries again",
        lambda: before[1].items() <= world.permanent(RESTARTED).items(), RESTART_SECONDS,
        lambda: f"{world.permanent(RESTARTED)}, before {before[1]}", at,
    )  # fmt: skip
    run.figure("restart_to_neighbours_seconds", entries)
    routes = run.wait_until(
        "it has every route again", lambda: not world.wrong(RESTARTED), RESTART_SECONDS,
        lambda: world.wrong(RESTARTED), at,
    )  # fmt: skip
    run.figure("restart_to_routes_seconds", routes)
    for gateway in GATEWAYS:
        run.wait_until(
            f"{gateway} has every route", lambda name=gateway: not world.wrong(name), RESTART_SECONDS,  # type: ignore[misc]
            lambda name=gateway: world.wrong(name), at,
        )  # fmt: skip
    run.wait_until("all pairs of hosts reach each other again", lambda: not world.silent(), 30, world.silent)
    run.figure("restart_to_pings_seconds", time.monotonic() - at)


def revocation(world: World) -> None:
    """Nobody sends to it, nobody has its routes, and ZeroTier carries nothing of its any more."""
    run = world.run
    site, gone = SPOKES[REVOKED], {world.overlay[REVOKED], world.overlay6[REVOKED]}
    others = [name for name in GATEWAYS if name != REVOKED]
    wanted = {name: world.expected(name, without=(REVOKED,)) for name in others}
    lans = {prefixes(site)[0], prefixes6(site)[0]}
    run.step(f"{REVOKED} is revoked")
    berlin, hub = world.host("berlin"), world.node("hub-1")
    train = PingTrain(
        [
            *(berlin.pings(host_address(site, family), f"hosts, IPv{family}") for family in (4, 6)),
            hub.pings(world.overlay[REVOKED], "segment, IPv4"),
            hub.pings(world.overlay6[REVOKED], "segment, IPv6"),
        ]
    )
    try:
        run.wait_until("pings are answered", lambda: train.answered() >= 100, 20)
        at = time.monotonic()
        world.stack.leyline("gateway", "revoke", REVOKED, "--yes")
        run.figure("revoke_command_seconds", time.monotonic() - at)
        out = run.wait_until(
            f"no other kernel has a route by {REVOKED}",
            lambda: not any(gone & hops for name in others for hops in installed(world.node(name)).values()),
            REVOKED_SECONDS, lambda: [name for name in others if lans & installed(world.node(name)).keys()], at,
            patience=60,
        )  # fmt: skip
        run.figure("revoked_routes_gone_seconds", out)
        run.wait_until("some more seconds go by", lambda: time.monotonic() > at + 5, 10)
    finally:
        tallies = train.finish()
    for name, tally in tallies.items():
        lost = set(tally.missing)
        last = max((tally.times[number] for number in range(tally.sent) if number not in lost), default=at)
        seconds = max(last - at, 0.0)
        run.figure(f"revoked_{name.replace(', ', '_').lower()}_last_answer_seconds", seconds)
        run.expect(
            f"{name}: the last ping is answered within {REVOKED_SECONDS:g} s", seconds <= REVOKED_SECONDS, seconds
        )
    for name in others:
        run.wait_until(
            f"{name} keeps every other route", lambda name=name: installed(world.node(name)) == wanted[name],  # type: ignore[misc]
            10, lambda name=name: difference(wanted[name], installed(world.node(name))),
        )  # fmt: skip
    members = world.root.get(f"/controller/network/{world.network}/member/{world.services[REVOKED].identity.node_id}")
    run.expect("ZeroTier's controller has it as not authorised, or not at all", not members.get("authorized"), members)
