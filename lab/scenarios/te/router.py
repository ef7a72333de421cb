"""A router (FRR) in nyc's LAN, by eBGP with nyc-1: its prefixes are the site's, and it has the fabric's routes."""

from __future__ import annotations

from typing import Any

from lab.clients import frr_paths
from lab.scenarios.te.world import World

PEER = {
    "name": "nyc-router",
    "gateway": "nyc-1",
    "address": "10.3.0.9",
    "local_address": "10.3.0.1",
    "interface": "lan0",
    "asn": 65010,
}
OWN = ("10.3.8.0/24", "10.3.10.0/24")
FOREIGN = "10.77.0.0/24"
"""What it announces, too, and may not."""
ADDRESS = "10.3.8.1"
JOIN_SECONDS = 20.0
PARTNERS = {"10.21.1.0/24": (64512, 65021)}
"""AS_PATH of what did not begin in the fabric."""


def router_joins(world: World) -> None:
    run, rest = world.run, world.stack.rest
    run.step("a router in nyc's LAN: what it may announce reaches every table, and it has the fabric's routes")
    world.announced["nyc-1"] = [{"prefix": prefix, "as_path": [PEER["asn"]], "med": 0} for prefix in OWN]
    for prefix in OWN:
        world.lan_routes["nyc-1", prefix] = str(PEER["address"])
    wanted = world.expected()
    rest.post("/lan-peers", PEER)
    run.figure("router_seconds", world.settle("every table has its prefixes", wanted, JOIN_SECONDS))
    given = _given(world)
    run.wait_until("it has the routes of nyc-1", lambda: told(world) == given, JOIN_SECONDS, lambda: _text(world))
    run.expect("the router is reached from berlin", world.host("berlin").reaches(ADDRESS))
    ask = {"kind": "routes", "arguments": {"prefix": FOREIGN}}
    (refused,) = rest.post("/gateways/nyc-1/asks", ask)["routes"]
    run.expect("nyc-1 says why it does not take the rest", refused["rejected"] == "prefix-not-allocated", refused)


def told(world: World) -> dict[str, tuple[tuple[int, ...], str]]:
    """What stands in the router's table: prefix -> (AS_PATH, next hop)."""
    return {
        prefix: (tuple(map(int, path["path"].split())), path["nexthops"][0]["ip"])
        for prefix, paths in frr_paths(world.node("router"), "ipv4").items()
        for path in paths
        if path.get("peerId") == PEER["local_address"]
    }


def _given(world: World) -> dict[str, tuple[tuple[int, ...], str]]:
    """nyc-1's routes and its own prefixes, in the router's eyes."""
    own = [each["prefix"] for each in world.document["prefixes"] if each["site"] == "nyc"]
    prefixes: set[Any] = {*own, *world.expected().kernels["nyc-1"]}
    hop = str(PEER["local_address"])
    return {prefix: (PARTNERS.get(prefix, (64512,)), hop) for prefix in prefixes if ":" not in prefix}


def _text(world: World) -> str:
    has, given = told(world), _given(world)
    return "\n".join(
        f"{prefix}: {has.get(prefix)}, expected {given.get(prefix)}"
        for prefix in sorted({*has, *given})
        if has.get(prefix) != given.get(prefix)
    )
