"""Relayed and direct, as the gateways say and as `leyline show paths` has it; what relayed costs, and when no more."""

from __future__ import annotations

import json
import time
from typing import Any

from lab.compare import installed
from lab.cuts import Cuts
from lab.pings import PingTrain
from lab.scenarios.zerotier_gateway.world import LANS, RELAYED_PREFERENCE, RELAYED_SECONDS, World

CUT = ("oslo-1", "berlin-2")
DARK = tuple((one, other) for one in ("berlin-1", "berlin-2") for other in ("paris-1", "paris-2"))
"""No gateway of these two sites gets UDP through to the other."""
BERLIN_1, BERLIN_2 = frozenset({"10.42.0.21"}), frozenset({"10.42.0.22"})
DIRECT_SECONDS = 60.0
HOLD_SECONDS = 60.0
"""That a path must be direct again: `relayed_seconds`, a minute at least."""


def cut(cuts: Cuts) -> None:
    """Nothing passes between these in the underlay, as behind firewalls of providers: before ZeroTier starts."""
    macs = {name: cuts.mac(f"{name}:wan0") for pair in (CUT, *DARK) for name in pair}
    cuts.pair(*((macs[one], macs[other]) for one, other in (CUT, *DARK)))


def heal(cuts: Cuts) -> float:
    """When (Unix time)."""
    cuts.heal_pair((cuts.mac(f"{CUT[0]}:wan0"), cuts.mac(f"{CUT[1]}:wan0")))
    return time.time()


def traffic(world: World) -> PingTrain:
    """What makes gateways talk: only pairs in use are measured."""
    pairs = [
        ("oslo-1", "10.4.0.1", "10.1.0.2"),
        ("oslo-1", "10.4.0.1", "10.2.0.2"),
        ("berlin-2", "10.1.0.2", "10.2.0.2"),
    ]
    return PingTrain([world.node(node).pings(to, f"{node} to {to}", source) for node, source, to in pairs], 0.2)


def way(world: World) -> frozenset[str]:
    """Where oslo-1 sends what is for berlin."""
    return installed(world.node("oslo-1")).get(LANS["berlin"], frozenset())


def shown(world: World, *words: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(world.stack.leyline("show", "paths", *words, "--json"))
    return found


def states(world: World) -> dict[tuple[str, str], str]:
    return {(f"{each['gateway']}/{each['uplink']}", each["to"]): each["state"] for each in shown(world)}


def odd_pairs(world: World) -> object:
    """Of the matrix, what is not as it should be; empty when nothing is."""
    found = {(each["site"], each["to_site"]): each for each in shown(world, "--matrix")}
    odd = [
        each
        for pair, each in found.items()
        if set(pair) != {"oslo", "berlin"}
        and each["state"] != ("relayed" if set(pair) == {"berlin", "paris"} else "direct")
    ]
    missing = {("berlin", "paris"), ("oslo", "berlin"), ("oslo", "paris"), ("core", "oslo")} - found.keys()
    return odd or missing or (found["oslo", "berlin"]["relayed"] != 1 and found["oslo", "berlin"])


def relayed(world: World, at: float) -> None:
    """`at`: when the speakers were started."""
    run = world.run
    run.step("leyline show paths: relayed is called relayed, direct is called direct")
    dark = {(f"{one}/main", f"{other}/main") for one, other in (*DARK, *((b, a) for a, b in DARK))}
    one_way = ("oslo-1/fiber", "berlin-2/main")

    def wrong() -> object:
        found = states(world)
        cut_off = dark | {one_way, one_way[::-1]}
        odd = {
            pair: state
            for pair, state in found.items()
            if (state == "direct") is (pair in cut_off) and state != "unknown"
        }
        return odd or (found.get(one_way) != "relayed" and found)

    run.wait_until("paths are told as they are", lambda: not wrong(), 60, wrong, at, patience=120)

    run.wait_until(
        "the matrix: berlin and paris relayed, of oslo and berlin one path, all others direct",
        lambda: not odd_pairs(world), 60, lambda: odd_pairs(world), patience=90,
    )  # fmt: skip
    rows = [
        [
            each["site"],
            each["to_site"],
            f"{each['gateway']}/{each['uplink']}",
            each["state"],
            each["paths"],
            each["relayed"],
        ]
        for each in shown(world, "--matrix")
    ]
    run.table("leyline show paths --matrix", ("site", "to site", "by", "path", "paths", "relayed"), rows)
    moved = run.wait_until(
        f"relayed for {RELAYED_SECONDS} s, the path to berlin-2 gets {RELAYED_PREFERENCE}: oslo-1 sends to berlin-1",
        lambda: way(world) == BERLIN_1, 60, lambda: way(world), at, patience=120,
    )  # fmt: skip
    run.figure("relayed_moved_seconds", moved)
    found = installed(world.node("paris-2")).get(LANS["berlin"])
    run.expect("where all paths are relayed nothing moves: paris-2 sends to berlin-2", found == BERLIN_2, found)


def direct(world: World, healed: float) -> float:
    """`healed`: Unix time. When it was direct, as oslo-1 has it (Unix time)."""
    run = world.run

    def path() -> dict[str, Any]:
        peers = world.stack.report("oslo-1").get("peers", ())
        return next((each for each in peers if each["uplink"] == "fiber" and each["address"] in BERLIN_2), {})

    run.wait_until("healed, it is direct", lambda: path().get("state") == "direct", DIRECT_SECONDS, path)
    since = float(path()["since"])
    run.figure("healed_to_direct_seconds", since - healed)
    run.expect(f"within {DIRECT_SECONDS:g} s", since - healed <= DIRECT_SECONDS, since - healed)
    return since


def back(world: World, since: float) -> None:
    """`since`: Unix time since when it is direct, as oslo-1 has it."""
    run = world.run
    early = time.time() - since < HOLD_SECONDS - 2
    run.expect("until then it costs", not early or way(world) == BERLIN_1, lambda: way(world))
    run.wait_until(
        f"direct for {HOLD_SECONDS:g} s, it costs nothing: oslo-1 sends to berlin-2", lambda: way(world) == BERLIN_2,
        HOLD_SECONDS + 15, lambda: way(world),
    )  # fmt: skip
    if early:
        run.figure("direct_to_back_seconds", time.time() - since)
