"""FRR and BIRD in a lab: their tables and sessions, read as values."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from ipaddress import ip_address
from typing import Any

from lab.node import Node

BIRD_SOCKET = "/run/bird/bird.ctl"
BIRD_PREFIX = re.compile(r"^(\S+/\d+)\s+")
BIRD_VIA = re.compile(r"\bvia (\S+) on ")


def vtysh(node: Node, command: str) -> Any:
    """The JSON that FRR answers. Raises CommandFailed."""
    return json.loads(node.out(["vtysh", "-c", f"{command} json"]) or "{}")


def frr_paths(node: Node, family: str) -> dict[str, list[dict[str, Any]]]:
    """prefix -> every path in bgpd's table of `family` ("ipv4" or "ipv6"), as FRR describes it."""
    found: dict[str, list[dict[str, Any]]] = vtysh(node, f"show bgp {family} unicast").get("routes", {})
    return found


def frr_table(node: Node) -> dict[str, frozenset[str]]:
    """prefix -> next hops of all received paths in bgpd, both families; link-local companions left out."""
    table: dict[str, set[str]] = defaultdict(set)
    for family in ("ipv4", "ipv6"):
        for prefix, paths in frr_paths(node, family).items():
            for path in paths:
                if path.get("pathFrom") == "internal":
                    table[prefix] |= {hop["ip"] for hop in path["nexthops"] if hop.get("scope") != "link-local"}
    return {prefix: frozenset(hops) for prefix, hops in table.items() if hops}


def frr_stale(node: Node) -> int:
    """How many paths bgpd only keeps because of graceful restart."""
    families = ("ipv4", "ipv6")
    return sum(bool(path.get("stale")) for f in families for paths in frr_paths(node, f).values() for path in paths)


def frr_sessions(node: Node) -> dict[str, tuple[str, int]]:
    """peer -> (state, how many times the session was established)."""
    neighbors = vtysh(node, "show bgp neighbors")
    return {peer: (str(n.get("bgpState")), int(n.get("connectionsEstablished", 0))) for peer, n in neighbors.items()}


def birdc(node: Node, command: str) -> str:
    """Raises CommandFailed."""
    return node.out(["birdc", "-s", BIRD_SOCKET, command])


def bird_table(node: Node) -> dict[str, frozenset[str]]:
    """prefix -> next hops of all BGP paths, both families."""
    table: dict[str, set[str]] = defaultdict(set)
    prefix = ""
    for line in birdc(node, "show route where source = RTS_BGP").splitlines():
        if found := BIRD_PREFIX.match(line):
            prefix = found[1]
        if via := BIRD_VIA.search(line):
            table[prefix].add(str(ip_address(via[1])))
    return {prefix: frozenset(hops) for prefix, hops in table.items()}


def bird_sessions(node: Node) -> dict[str, str]:
    """protocol -> "Established", or whatever it is."""
    rows = [line.split() for line in birdc(node, "show protocols").splitlines()]
    return {row[0]: row[-1] for row in rows if len(row) > 5 and row[1] == "BGP"}
