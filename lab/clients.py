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


def frr_details(node: Node, family: str) -> dict[str, list[dict[str, Any]]]:
    """The same paths with their communities, in the other words that FRR has for them then."""
    found: dict[str, list[dict[str, Any]]] = json.loads(
        node.out(["vtysh", "-c", f"show bgp {family} unicast json detail"]) or "{}"
    ).get("routes", {})
    return {prefix: [path for path in paths if "peer" in path] for prefix, paths in found.items()}


def frr_table(node: Node) -> dict[str, frozenset[str]]:
    """prefix -> next hops of all received paths in bgpd, both families; link-local companions left out."""
    table: dict[str, set[str]] = defaultdict(set)
    for family in ("ipv4", "ipv6"):
        for prefix, paths in frr_paths(node, family).items():
            for path in paths:
                if path.get("pathFrom") == "internal":
                    table[prefix] |= {hop["ip"] for hop in path["nexthops"] if hop.get("scope") != "link-local"}
    return {prefix: frozenset(hops) for prefix, hops in table.items() if hops}


def frr_restored(node: Node, peer: str) -> str:
    """Why the session with `peer` is not whole yet: down, or without End-of-RIB in a family. Empty when it is."""
    neighbor = vtysh(node, f"show bgp neighbors {peer}").get(peer, {})
    if neighbor.get("bgpState") != "Established":
        return str(neighbor.get("bgpState", "no such neighbor"))
    restart = neighbor.get("gracefulRestartInfo", {})
    families = ("ipv4Unicast", "ipv6Unicast")
    missing = [f for f in families if not restart.get(f, {}).get("endOfRibStatus", {}).get("endOfRibRecv")]
    return f"no End-of-RIB for {', '.join(missing)}" if missing else ""


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


def bird_restored(node: Node, protocol: str) -> str:
    """Why that BGP session is not whole yet: down, or still in graceful restart. Empty when it is."""
    text = birdc(node, f"show protocols all {protocol}")
    if "Established" not in text:
        return "not established"
    return "graceful restart has not ended" if "graceful restart active" in text else ""
