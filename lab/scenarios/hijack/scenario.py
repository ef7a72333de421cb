"""A gateway in bad hands: a stock ExaBGP with a client's address and session tries to take what is not its own.

One attack after another against two real hubs. None may change anything in any other gateway's kernel or end any
session, while a legal prefix, announced in the same breath, arrives: so nobody is just deaf. And the API says what
was refused, from whom and why.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lab.compare import difference, wait_to_reach
from lab.expect import Run
from lab.loss import told
from lab.pings import PingTrain
from lab.routes import routes
from lab.scenarios.hijack import attacks
from lab.scenarios.hijack.attacker import Attacker, Route
from lab.scenarios.hijack.attacks import ADDRESS, ADDRESS6, FABRIC, LEGAL, LEGALS, OPERATORS, SHARED, Attack
from lab.scenarios.hijack.flood import flood, session
from lab.sessions import connections
from lab.stack import Stack
from lab.watch import RouteWatch
from speaker.rib.reasons import REASONS

INVENTORY = Path(__file__).parent / "inventory.yml"
HUBS = {"hub-1": "10.42.0.1", "hub-2": "10.42.0.2"}
SPOKES = ("berlin-1", "paris-1", "oslo-1")
GATEWAYS = (*HUBS, *SPOKES)
HOSTS = {
    "berlin": ("10.1.0.10", "fd10:1::10"),
    "paris": ("10.2.0.10", "fd10:2::10"),
    "oslo": ("10.3.0.10", "fd10:3::10"),
}
STRANGER, STRANGERS_AS = "10.42.0.7", 65066
START_SECONDS = 60.0
ARRIVE_SECONDS = 10.0
SETTLE_SECONDS = 0.5
"""What an attack does it would have done by then."""

Tables = dict[str, dict[str, frozenset[str]]]


@dataclass(frozen=True)
class World:
    run: Run
    stack: Stack
    rogue: Attacker
    watch: RouteWatch
    tables: Tables
    """Of every gateway of ours, while nobody attacks."""
    sessions: dict[str, dict[str, str]]


def scenario(run: Run) -> None:
    stack = Stack(run, "172.20.0.2")
    run.step("start the controller, apply the inventory, start a speaker on every gateway, and two stock ExaBGPs")
    stack.start_controller()
    stack.apply(INVENTORY)
    stack.start_speakers(GATEWAYS)
    rogue = Attacker(run.lab.node("rogue"), ADDRESS, FABRIC, FABRIC, tuple(HUBS.values()))
    stranger = Attacker(run.lab.node("stranger"), STRANGER, STRANGERS_AS, FABRIC, tuple(HUBS.values()))
    for attacker in (rogue, stranger):
        attacker.start()
    stack.wait_for_sessions(START_SECONDS)
    run.step("the rogue behaves: it announces what its site may announce")
    rogue.announce(attacks.HONEST, attacks.announced(*attacks.FILLING))
    until_everywhere(run, attacks.FILLING[-1], ADDRESS)
    for site, others in HOSTS.items():
        for addresses in HOSTS.values():
            for address in addresses if addresses is not others else ():
                wait_to_reach(run, run.lab.node(f"host-{site}"), address)
    nodes = [run.lab.node(name) for name in GATEWAYS]
    flows = [run.lab.node(f"host-{a}").pings(address) for a in HOSTS for b in HOSTS if a != b for address in HOSTS[b]]
    train = PingTrain(flows)
    try:
        with RouteWatch(nodes) as watch:
            world = World(
                run, stack, rogue, watch, kernels(run), {name: connections(run.lab.node(name)) for name in GATEWAYS}
            )
            for attack in attacks.attacks():
                suffer(world, attack)
            suffer_a_foreign_first_as(world, stranger)
            reported(world)
            suffer_a_flood(comes_back(world))
    finally:
        tallies = train.finish()
    lost, sent = (sum(getattr(tally, what) for tally in tallies.values()) for what in ("lost", "sent"))
    run.figure("pings_lost", lost)
    run.expect(f"none of {sent} pings between the sites is lost", lost == 0 < sent, lambda: told(tallies))


def suffer(world: World, attack: Attack) -> None:
    """One attack, and that nothing comes of it."""
    run = world.run
    run.step(f"attack: {attack.name}")
    since = time.monotonic()
    world.rogue.announce(*attack.routes, *LEGALS)
    if attack.withdrawn:
        world.rogue.withdraw(*attack.withdrawn)
        world.rogue.announce(*attack.withdrawn)
    arrives(world, LEGAL, since)
    for hub in HUBS:
        refuses(world, hub, "rogue", attack.refused)
        if attack.overruled:
            overrules(world, hub, attack.overruled)
    unharmed(world, attack.name, since)
    if attack.overruled:
        as_hubs_say(world)
    world.rogue.withdraw(*attack.after, *LEGALS)
    world.rogue.announce(attacks.HONEST)
    restored(world)


def suffer_a_foreign_first_as(world: World, stranger: Attacker) -> None:
    """By eBGP, of another site: what claims to come from another AS, or from ours."""
    run, since = world.run, time.monotonic()
    run.step("attack: foreign first AS, by eBGP")
    legal, foreign, looped = (
        Route((prefix,), 7, f"next-hop {STRANGER} origin igp as-path [ {path} ]")
        for prefix, path in (
            ("10.4.1.0/24", STRANGERS_AS),
            ("10.4.2.0/24", f"65099 {STRANGERS_AS}"),
            ("10.4.3.0/24", f"{STRANGERS_AS} {FABRIC}"),
        )
    )
    stranger.announce(foreign, looped, legal)
    arrives(world, legal.prefixes, since, STRANGER)
    for hub in HUBS:
        refuses(world, hub, "stranger", frozenset({("10.4.2.0/24", "first-as"), ("10.4.3.0/24", "as-loop")}))
    unharmed(world, "foreign first AS", since, legal.prefixes)
    stranger.withdraw(foreign, looped, legal)
    restored(world)


def comes_back(world: World) -> World:
    """The rogue's session ends and comes again, with a tool that can flood: see `attacker`."""
    world.run.step("the rogue ends its session, and is back with a faster tool")
    former = {hub: session(world.stack, hub)["since"] for hub in HUBS}
    world.rogue.come_back_to_flood()
    world.run.wait_until(
        "every hub has a new session with it",
        lambda: all(session(world.stack, hub)["since"] != since for hub, since in former.items()), START_SECONDS,
    )  # fmt: skip
    world.stack.wait_for_sessions(START_SECONDS)
    world.rogue.announce(attacks.HONEST, attacks.announced(*attacks.FILLING))
    restored(world)
    return replace(world, sessions={name: connections(world.run.lab.node(name)) for name in GATEWAYS})


def suffer_a_flood(world: World) -> None:
    since = time.monotonic()
    changed = flood(world.run, world.stack, world.rogue, world.watch, HUBS, SPOKES)
    for hub in HUBS:
        asked = filtered(world, hub, "rogue", "--limit", "1000")
        world.run.expect(
            f"{hub} says which: at most so many as asked for, and how many of each reason",
            len(asked["filtered"]) == 1000
            and asked["truncated"]
            and reasons(asked) == {"prefix-not-allocated", "over-limit"},
            asked["counts"],
        )
    unharmed(world, "200,000 junk prefixes", since, (*LEGAL, *changed))
    world.run.step("the operator takes the rogue out of the inventory")
    world.stack.rest.delete("/clients/rogue")
    gone = {prefix for prefix, via in world.tables["berlin-1"].items() if ADDRESS in via} | {*LEGAL, *changed}

    def wrong() -> str:
        return "\n".join(
            f"{name}: {text}"
            for name, found in kernels(world.run).items()
            if (text := difference(without(world.tables[name], gone), without(found, {*changed})))
        )

    world.run.wait_until("all that it announced is gone, and nothing else", lambda: not wrong(), 60, wrong)


def without(found: dict[str, frozenset[str]], prefixes: Collection[str]) -> dict[str, frozenset[str]]:
    return {prefix: via for prefix, via in found.items() if prefix not in prefixes}


def kernels(run: Run) -> Tables:
    """The whole main tables of every gateway of ours: of whatever protocol and kind, with next hops."""
    return {name: table(run, name) for name in GATEWAYS}


def table(run: Run, name: str) -> dict[str, frozenset[str]]:
    node = run.lab.node(name)
    found = {**routes(node, 4), **routes(node, 6)}
    return {
        prefix: route.next_hops | {f"proto {route.protocol}", f"metric {route.metric}", route.kind}
        for prefix, route in found.items()
    }


def until_everywhere(run: Run, prefix: str, hop: str) -> None:
    run.wait_until(
        f"{prefix} has arrived everywhere",
        lambda: all(hop in table(run, name).get(prefix, ()) for name in GATEWAYS),
        ARRIVE_SECONDS,
    )


def arrives(world: World, legal: tuple[str, ...], since: float, hop: str = "") -> None:
    """What is legal, and came in the same breath, is in every kernel."""

    def missing() -> list[str]:
        wanted = {prefix: hop or (ADDRESS6 if ":" in prefix else ADDRESS) for prefix in legal}
        tables = kernels(world.run)
        return [f"{name}: {p}" for name in tables for p, via in wanted.items() if via not in tables[name].get(p, ())]

    what = f"{', '.join(legal)}, which is legal, arrives at every gateway"
    world.run.wait_until(what, lambda: not missing(), ARRIVE_SECONDS, missing, since)


def unharmed(world: World, name: str, since: float, legal: tuple[str, ...] = LEGAL) -> None:
    """Nothing but `legal` has changed in any kernel, not for a moment; every session is the one that it was."""
    run = world.run
    time.sleep(SETTLE_SECONDS)
    events = [event for event in world.watch.events(since=since) if event.prefix not in legal]
    run.expect(f"{name}: nobody's kernel changed, not for a moment", not events, lambda: events[:20])
    wrong = "\n".join(
        f"{gateway}: {text}" for gateway, found in kernels(run).items()
        if (text := difference(world.tables[gateway], without(found, legal)))
    )  # fmt: skip
    run.expect(f"{name}: every whole table is what it was", not wrong, wrong)
    now = {gateway: connections(run.lab.node(gateway)) for gateway in GATEWAYS}
    run.expect(f"{name}: no session has ended, the rogue's neither", now == world.sessions, f"{world.sessions}\n{now}")
    unsettled = world.stack.unsettled()
    run.expect(f"{name}: every session of ours is up", not unsettled, unsettled)


def restored(world: World) -> None:
    """The attack is over: hubs refuse nothing, and all is as before."""

    def wrong() -> str:
        lines = [f"{hub} refuses {filtered(world, hub)['counts']}" for hub in HUBS if filtered(world, hub)["counts"]]
        return "\n".join(
            lines + [f"{n}: {d}" for n, t in kernels(world.run).items() if (d := difference(world.tables[n], t))]
        )

    world.run.wait_until("after it all is as it was", lambda: not wrong(), ARRIVE_SECONDS, wrong)


def filtered(world: World, hub: str, peer: str = "", *options: str) -> dict[str, Any]:
    """`leyline show filtered`, as the operator gives it, but without a process for each."""
    if options:
        found = json.loads(world.stack.leyline("show", "filtered", hub, "--json", "--peer", peer, *options))
    else:
        found = world.stack.rest.post(f"/gateways/{hub}/asks", {"kind": "filtered", "arguments": {"peer": peer}})
    return dict(found)


def reasons(answer: dict[str, Any]) -> set[str]:
    return {each["rejected"] for each in answer["counts"]}


def refuses(world: World, hub: str, peer: str, expected: attacks.Refusals) -> None:
    """The API says exactly what was refused, from whom, and why."""

    def wrong() -> str:
        rows = filtered(world, hub, peer)["filtered"]
        found = {(row["prefix"], row["rejected"]) for row in rows}
        unsaid = [row for row in rows if row["from"] != peer or row["reason"] != REASONS[row["rejected"]]]
        return "" if found == expected and not unsaid else f"{sorted(found)}, expected {sorted(expected)}; {unsaid}"

    why = ", ".join(sorted({reason for _, reason in expected})) or "nothing"
    world.run.wait_until(f"{hub} refuses from {peer}: {why}", lambda: not wrong(), ARRIVE_SECONDS, wrong)


def overrules(world: World, hub: str, expected: frozenset[str]) -> None:
    """The path is legal, what it claims is not: the API says what the hub did not take the rogue's word for."""

    def said() -> set[str]:
        asked = {"kind": "routes", "arguments": {"prefix": SHARED}}
        rows = world.stack.rest.post(f"/gateways/{hub}/asks", asked)["routes"]
        return {word for row in rows if row["from"] == "rogue" for word in row["overruled"]}

    what = f"{hub} says what it did not take the rogue's word for: {', '.join(sorted(expected))}"
    world.run.wait_until(what, lambda: said() == expected, ARRIVE_SECONDS, lambda: sorted(said()))


def as_hubs_say(world: World) -> None:
    """What berlin-1 hears of the rogue's path: number, preference and communities of its place; oslo-1's is used."""
    asked = {"kind": "routes", "arguments": {"prefix": SHARED}}
    rows = world.stack.rest.post("/gateways/berlin-1/asks", asked)["routes"]
    rogues = [row for row in rows if row["next_hop"] == ADDRESS]
    own = {f"{FABRIC}:1:3", f"{FABRIC}:4:6", OPERATORS}
    functions = {f"{FABRIC}:{number}:" for number in (5, 6, 7, 8, 9, 10)}
    good = rogues and all(
        row["path_id"] == attacks.NUMBER
        and row["local_pref"] == 100
        and not row["best"]
        and own <= set(row["communities"])
        and not any(each.startswith(tuple(functions)) for each in row["communities"])
        for row in rogues
    )
    world.run.expect("of the rogue's path others hear what the hubs say of it, and what operators say", good, rows)


def reported(world: World) -> None:
    """Without asking: the hubs' reports have the numbers."""
    world.run.step("announce what is refused, and ask nobody")
    theft = attacks.announced("10.2.0.0/24")
    world.rogue.announce(theft)

    def rows() -> list[tuple[str, str, str, int]]:
        items = json.loads(world.stack.leyline("show", "filtered", "--json"))
        return [(item["gateway"], item["peer"], item["rejected"], item["paths"]) for item in items]

    expected = [(hub, "rogue", "prefix-not-allocated", 1) for hub in HUBS]
    world.run.wait_until("`leyline show filtered` has it from the hubs' reports", lambda: rows() == expected, 30, rows)
    shown = world.stack.leyline("show", "filtered", "hub-1")
    world.run.step(shown.strip())
    said = all(word in shown for word in ("10.2.0.0/24", "rogue", REASONS["prefix-not-allocated"]))
    world.run.expect("`leyline show filtered hub-1` says what, from whom and why", said, shown)
    world.rogue.withdraw(theft)
    restored(world)
