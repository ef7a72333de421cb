"""`explain` against the kernel: 1,000 random (site, address) pairs, each held against `ip route get` there.

The gateways are asked as `leyline speaker show` asks them, all at once.
"""

from __future__ import annotations

import random
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address, ip_network
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from lab.node import Node
from lab.scenarios.te.world import World
from lab.speakers import STATE_DIR
from speaker.show import fetch

PAIRS = 1_000
SEED = 4
BY_REST = 40
WHILE_DEAD = 25
"""Pairs of each site."""
ELSEWHERE = ("198.51.100.0/24", "172.31.0.0/16", "2001:db8::/64")
ASK_ALL = 'for address in "$@"; do echo "$address $(ip route get "$address" 2>&1 | head -n 1)"; done'
Announced = Mapping[str, list[dict[str, Any]]]
Verdict = Mapping[str, Any]


class Got(NamedTuple):
    """What `ip route get` says. `kind`: "local", "direct", "via", "unreachable" or "none"."""

    kind: str
    device: str = ""
    via: str = ""


def explain_agrees(world: World) -> None:
    run = world.run
    run.step(f"`explain` for {PAIRS} random pairs of site and address, and the kernel's own answer")
    chance = random.Random(SEED)
    asked = pairs(world.document, world.announced, chance)
    begun = time.monotonic()
    verdicts = asked_of_all(world, asked)
    run.figure("explain_seconds", time.monotonic() - begun)
    wrong, seen = compared(world, verdicts)
    total = sum(seen.values())
    run.expect(f"all {total} answers are what `ip route get` says", not wrong and total >= PAIRS, "\n".join(wrong[:20]))
    run.figure("explain_differs", len(wrong))
    by_rest(world, verdicts, chance)
    run.table("what explain said", ("verdict", "times"), sorted(seen.items()))


def asked_of_all(world: World, asked: Mapping[str, list[str]]) -> dict[str, dict[str, Verdict]]:
    """Gateway -> address -> verdict."""
    with ThreadPoolExecutor(len(world.gateways)) as pool:
        return dict(pool.map(lambda name: (name, answers(world, name, asked)), world.gateways))


def explain_agrees_while_dead(world: World, gateway: str, address: str, dead: str) -> None:
    """The same for fewer pairs while `dead`, a next hop of `gateway` to `address`, does not answer: that it says."""
    some = pairs(world.document, world.announced, random.Random(SEED))
    asked = {site: addresses[:WHILE_DEAD] for site, addresses in some.items()}
    wrong, seen = compared(world, asked_of_all(world, asked))
    world.run.expect(
        f"`explain` is what `ip route get` says then, too: {sum(seen.values())} answers", not wrong, "\n".join(wrong)
    )
    (entry,) = world.stack.rest.get(f"/explain?from={gateway}&address={address}")["gateways"]
    said = [each for each in entry["differences"] if dead in each]
    world.run.expect("and it names the next hop that does not answer", said, entry["differences"])


def pairs(document: Mapping[str, Any], announced: Announced, chance: random.Random) -> dict[str, list[str]]:
    """Site -> addresses: announced ones, declared ones, the segment's, gateways' own, and some of elsewhere."""
    sites = sorted({each["site"] for each in document["gateways"]})
    own = [uplink["address"] for each in document["gateways"] for uplink in each["uplinks"]]
    own += [each["local_address"] for each in document.get("lan_peers", ())]
    pools = [
        [each["prefix"] for each in document["prefixes"]],
        [each["prefix"] for routes in announced.values() for each in routes],
        [each["prefix"] for each in document["allocations"]],
        [f"{address}/32" for address in own],
        [document["fabric"]["segment"], document["fabric"]["segment6"]],
        list(ELSEWHERE),
    ]
    found: dict[str, list[str]] = defaultdict(list)
    for _ in range(PAIRS):
        pool = chance.choices(pools, (60, 5, 15, 5, 5, 10))[0]
        found[chance.choice(sites)].append(_inside(chance, chance.choice(pool)))
    return found


def _inside(chance: random.Random, prefix: str) -> str:
    """An address of it; the first and the last one of an IPv4 subnet are no destinations."""
    network = ip_network(prefix)
    if network.num_addresses == 1:
        return str(network[0])
    address = network[chance.randrange(1, min(network.num_addresses - 1, 1 << 40))]
    return str(address) if address.packed[-1] not in (0, 255) else str(network[1])


def answers(world: World, gateway: str, asked: Mapping[str, list[str]]) -> dict[str, Verdict]:
    """Address -> what the gateway itself says, for those that its site is asked about."""
    site = next(each["site"] for each in world.document["gateways"] if each["name"] == gateway)
    control = Path(f"/proc/{world.node(gateway).pid}/root{STATE_DIR}/agent.sock")
    return {address: fetch(control, "explain", {"address": address})["verdict"] for address in asked[site]}


def by_rest(world: World, verdicts: Mapping[str, Mapping[str, Verdict]], chance: random.Random) -> None:
    """`leyline explain` takes its live part from the gateways as they are; a few times, for it costs a round trip.

    Nothing differs from what was intended, but where strangers and LAN routers announce: of that nothing is declared.
    """
    wrong, differs = [], []
    undeclared = [ip_network(each["prefix"]) for routes in world.announced.values() for each in routes]
    for gateway in chance.choices(sorted(verdicts), k=BY_REST):
        address, verdict = chance.choice(sorted(verdicts[gateway].items()))
        (entry,) = world.stack.rest.get(f"/explain?from={gateway}&address={address}")["gateways"]
        if entry["live"] is None or entry["live"]["verdict"] != verdict:
            wrong.append(f"{gateway} to {address}: {entry} but {verdict}")
        if entry["differences"] and not any(ip_address(address) in each for each in undeclared):
            differs.append(f"{gateway} to {address}: {'; '.join(entry['differences'])}")
    world.run.expect(f"the controller says the same, {BY_REST} times", not wrong, "\n".join(wrong))
    world.run.expect("and that nothing differs from what was intended", not differs, "\n".join(differs))


def compared(world: World, verdicts: Mapping[str, Mapping[str, Verdict]]) -> tuple[list[str], Counter[str]]:
    """(where explain and the kernel differ, verdict -> times)."""
    wrong, seen = [], Counter[str]()
    for gateway, asked in verdicts.items():
        kernel = routes_got(world.node(gateway), list(asked))
        for address, verdict in asked.items():
            seen[verdict["what"]] += 1
            if not agrees(verdict, kernel[address]):
                wrong.append(f"{gateway} to {address}: {verdict} but {kernel[address]}")
    return wrong, seen


def routes_got(node: Node, addresses: list[str]) -> dict[str, Got]:
    lines = node.out(["sh", "-c", ASK_ALL, "sh", *addresses]).splitlines()
    return {address: got(answer) for address, _, answer in (line.partition(" ") for line in lines)}


def got(answer: str) -> Got:
    """Of the first line that `ip route get` prints."""
    words = answer.split()
    if words[0] == "unreachable" or "No route to host" in answer:
        return Got("unreachable")
    if "Network is unreachable" in answer:
        return Got("none")
    after = dict(pairwise(words))
    if words[0] == "local":
        return Got("local", after["dev"])
    via = after.get("via", "")
    return Got("via" if via else "direct", after["dev"], str(ip_address(via)) if via else "")


def agrees(verdict: Verdict, kernel: Got) -> bool:
    """Does the kernel do what explain says?"""
    match verdict["what"]:
        case "itself":
            return kernel.kind == "local"
        case "segment":
            return kernel.kind == "direct" and kernel.device.startswith("zt")
        case "connected":
            return kernel.kind == "direct" and kernel.device.startswith("lan")
        case "own":
            return kernel.kind == "via" and kernel.device.startswith("lan")
        case "route":
            return Got("via", kernel.device, kernel.via) == kernel and any(
                (way["interface"], way["address"]) == (kernel.device, kernel.via) for way in verdict["ways"]
            )
        case "unreachable" | "declared":
            return kernel.kind == "unreachable"
        case "none":
            return kernel.kind == "none" or kernel.device.startswith("wan")
    return False
