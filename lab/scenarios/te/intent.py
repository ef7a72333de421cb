"""Rules and assertions in a running fabric: a change that all follow, one that is refused, a class never used."""

from __future__ import annotations

import json
import time
from itertools import permutations, product

from lab.compare import wait_to_reach
from lab.cuts import Cuts
from lab.node import CommandFailed
from lab.routes import routes
from lab.scenarios.te import explained, sending, strangers
from lab.scenarios.te.oracle import Expected
from lab.scenarios.te.world import SITES, World

OUTSIDE_AP = ("berlin", "paris", "nyc", "denver")
CLIENT_SECONDS = 30.0
"""FRR that restarts gracefully chooses nothing before it has heard everybody, however full its table is."""
CHANGE_SECONDS = 5.0
SATELLITE_SECONDS = 40.0
"""LTE is watched every 2 s, and dead after five of them; its repair is trusted 2 s later."""
NEW_RULE = {
    "name": "us-sees-paris-by-lte",
    "order": 75,
    "match": {"sites": ["paris"], "circuit_classes": ["lte"]},
    "viewer": {"regions": ["us"]},
    "action": {"preference": 500},
}
BREAKING = {
    "name": "nothing-of-berlin",
    "match": {"sites": ["berlin"]},
    "viewer": {"sites": ["nyc"]},
    "action": {"deny": True},
}
ASSERTION = "nyc-reaches-berlin"
LTE_OF_DENVER = ("10.42.0.10", "fd42:42::a")
WATCHERS = ("hub-1", "hub-2", "nyc-1", "berlin-1", "paris-1")
"""Who notices that it is dead: hubs, and where hosts send there. Nobody watches what he does not use."""
ANSWERED = frozenset(f"10.{SITES[site]}.{lan}.0/24" for site in ("nyc", "berlin", "paris") for lan in (0, 9))
"""Behind those with whom denver talks at that time."""
UNREACHABLE = "unreachable"


def all_reach_whom_they_may(world: World) -> None:
    """Hosts, by what the oracle says that the kernels of both ends have."""
    run = world.run
    run.step("every host pings every other one: closed regions answer, and are answered, only where a rule opens them")
    kernels = world.expected().kernels
    has = {(a, b): f"10.{SITES[b]}.0.0/24" in kernels[f"{a}-1"] for a, b in permutations(SITES, 2)}
    wrong = []
    for a, b in has:
        wanted = has[a, b] and has[b, a]
        if world.host(a).reaches(f"10.{SITES[b]}.0.10", count=1, seconds=1) != wanted:
            wrong.append(f"{a} to {b}: {'silent' if wanted else 'answered'}")
    run.expect(f"all {len(has)} pairs are as the rules say", not wrong, "\n".join(wrong))
    for site, address in product(OUTSIDE_AP, strangers.ADDRESSES):
        wait_to_reach(run, world.host(site), address, CLIENT_SECONDS)
    run.table(
        "who reaches whom",
        ("host of", "reaches the hosts of"),
        [(a, ", ".join(b for b in SITES if b != a and has[a, b] and has[b, a])) for a in SITES],
    )


def a_rule_changes(world: World) -> None:
    run, rest = world.run, world.stack.rest
    run.step("rules change by REST, and change back")
    before, kept = world.expected(), list(world.document["rules"])
    further = {"action": {"prepend": 4, "med": 77}}
    changed = [each | further if each["name"] == "paris-is-far-for-partner" else each for each in kept]
    world.document["rules"] = [*changed, NEW_RULE]
    wanted = world.expected()
    run.expect("the oracle says that this moves kernels and both clients", moved(before, wanted) >= 4, "it does not")
    at = time.monotonic()
    rest.post("/rules", NEW_RULE)
    rest.call("PATCH", "/rules/paris-is-far-for-partner", further)
    run.figure("rule_change_seconds", world.settle("all tables follow", wanted, CHANGE_SECONDS, at))
    world.document["rules"] = kept
    at = time.monotonic()
    rest.delete(f"/rules/{NEW_RULE['name']}")
    rest.call("PATCH", "/rules/paris-is-far-for-partner", {"action": {"prepend": 2, "med": None}})
    run.figure("rule_back_seconds", world.settle("all tables return", before, CHANGE_SECONDS, at))


def moved(one: Expected, other: Expected) -> int:
    """Tables that differ."""
    kernels = sum(one.kernels[name] != other.kernels[name] for name in one.kernels)
    return kernels + sum(one.tables[name] != other.tables[name] for name in one.tables)


def a_breaking_change_is_refused(world: World) -> None:
    run, stack = world.run, world.stack
    run.step("a rule that breaks an assertion is refused")
    stack.controller.write("/run/breaking.yml", json.dumps({"rules": [BREAKING]}))
    revision = stack.rest.get("/fabric")
    try:
        said, refused = stack.leyline("apply", "/run/breaking.yml"), False
    except CommandFailed as error:
        said, refused = str(error), True
    run.expect("`leyline apply` refuses it", refused, said)
    run.expect("and says which assertion", ASSERTION in said, said)
    run.expect("and which rule broke it", str(BREAKING["name"]) in said, said)
    run.expect("nothing was changed", stack.rest.get("/fabric") == revision, "the fabric is another one")
    problems = list(world.problems(world.expected()))
    run.expect("no table has moved", not problems, "\n".join(problems))


def finance_never_by_satellite(world: World) -> None:
    """denver's LTE dies, so that satellite is all that is left there: its LAN goes over it, its finance does not."""
    run, nyc = world.run, world.host("nyc")
    run.step("finance never over satellite, even when satellite is all there is")
    by_satellite(world, "while all is well")
    sending.settle(world, "and leaves no gateway over satellite either", sending.BEST, CHANGE_SECONDS)
    wanted = world.expected()
    for site in ("nyc", "berlin", "paris"):
        world.host(site).reaches("10.4.0.10")

    def wrong() -> list[str]:
        return list(world.kernel_problems(wanted, WATCHERS, LTE_OF_DENVER))

    with Cuts(run.lab, ["segment"]) as cuts:
        at = cuts.uplink("denver-1:zt1")
        taken = run.wait_until(
            "denver's LTE is dead: who watches it goes over satellite, but for finance",
            lambda: not wrong(),
            SATELLITE_SECONDS,
            lambda: "\n".join(wrong()),
            at,
        )
        run.figure("satellite_seconds", taken)
        by_satellite(world, "with satellite alone")
        what = "denver itself sends over satellite then, finance too: rules are about far ends"
        sending.settle(world, what, {"denver-1": "zt0"}, SATELLITE_SECONDS, at, only=ANSWERED)
        run.expect("nyc reaches denver's LAN", nyc.reaches("10.4.0.10"))
        explained.explain_agrees_while_dead(world, "nyc-1", "10.4.0.10", LTE_OF_DENVER[0])
        kind = routes(world.node("nyc-1"), 4)["10.4.9.0/24"].kind
        run.expect("denver's finance is unreachable in nyc's kernel", kind == UNREACHABLE, kind)
        said = nyc.run("ping -n -c 2 -i 0.2 -W 1 10.4.9.10", check=False).stdout
        run.expect("and the host there is told so", UNREACHABLE[1:] in said, said)
        at = cuts.heal()
        world.settle("LTE is back, and every table is as before", wanted, SATELLITE_SECONDS, at)
        sending.settle(world, "denver sends over LTE again", sending.BEST, SATELLITE_SECONDS, at)
    run.expect("nyc reaches denver's finance again", nyc.reaches("10.4.9.10"))


def by_satellite(world: World, when: str) -> None:
    """No kernel has a finance network over a satellite uplink; LANs may."""
    over = world.satellites()
    finance = {f"10.{number}.9.0/24" for number in SITES.values()}
    bad = [
        f"{name}: {prefix} via {', '.join(route.next_hops)}"
        for name in world.gateways
        for prefix, route in routes(world.node(name), 4).items()
        if prefix in finance and route.next_hops & over
    ]
    world.run.expect(f"{when}: finance goes over satellite in no kernel", not bad, "\n".join(bad))
    world.run.figure(f"finance_by_satellite_{'alone' if 'alone' in when else 'well'}", len(bad))
