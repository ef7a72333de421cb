"""What a node's kernel forwards by, read as values: prefix -> next hops."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lab.node import Node

LEYLINE = "76"
"""Our route protocol, as `ip` prints it."""


@dataclass(frozen=True)
class KernelRoute:
    prefix: str
    protocol: str
    metric: int
    kind: str  # "unicast", "unreachable", "blackhole", ...
    next_hops: frozenset[str]  # Gateways; through next-hop objects and groups, if it refers to one.


def routes(node: Node, version: int, protocol: str = "") -> dict[str, KernelRoute]:
    """The main table (of one protocol), the best metric of each prefix."""
    command = ["ip", f"-{version}", "-N", "-j", "-d", "route", "show", "table", "main"]
    rows = json.loads(node.out([*command, *(["proto", protocol] if protocol else [])]) or "[]")
    objects = next_hops(node)
    found: dict[str, KernelRoute] = {}
    for row in rows:
        route = _route(row, objects, version)
        if route.prefix not in found or found[route.prefix].metric > route.metric:
            found[route.prefix] = route
    return found


def next_hops(node: Node) -> dict[int, frozenset[str]]:
    """Id of a next-hop object or group -> the gateways it stands for."""
    rows = json.loads(node.out(["ip", "-N", "-j", "nexthop", "show"]) or "[]")
    single = {
        row["id"]: frozenset({row["gateway"]} if "gateway" in row else set()) for row in rows if "group" not in row
    }
    groups = {
        row["id"]: frozenset().union(*(single.get(member["id"], frozenset()) for member in row["group"]))
        for row in rows
        if "group" in row
    }
    return {**single, **groups}


def _route(row: Mapping[str, Any], objects: Mapping[int, frozenset[str]], version: int) -> KernelRoute:
    hops = (
        {row["gateway"]}
        if "gateway" in row
        else {hop["gateway"] for hop in row.get("nexthops", ()) if "gateway" in hop}
    )
    if row.get("nhid") in objects:
        hops = set(objects[row["nhid"]]) or hops
    return KernelRoute(
        _prefix(row["dst"], version),
        str(row.get("protocol", "")),
        int(row.get("metric", 0)),
        _kind(row),
        frozenset(hops),
    )


ROUTE_TYPES = {"1": "unicast", "6": "blackhole", "7": "unreachable", "8": "prohibit"}


def _kind(row: Mapping[str, Any]) -> str:
    kind = str(row.get("type", "unicast"))
    return ROUTE_TYPES.get(kind, kind)


def _prefix(text: str, version: int) -> str:
    if text == "default":
        return "0.0.0.0/0" if version == 4 else "::/0"
    return text if "/" in text else f"{text}/{32 if version == 4 else 128}"
