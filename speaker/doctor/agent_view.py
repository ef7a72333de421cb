"""What the agent here says, and how the kernel's routes differ from it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from ipaddress import ip_address, ip_network
from itertools import product
from pathlib import Path
from typing import Any

import msgspec
from pyroute2 import IPRoute, NetlinkError

from speaker.doctor.facts import RouteDifferences, Shadow
from speaker.doctor.here import Unreadable
from speaker.kernel.lan import RTM_F_FIB_MATCH
from speaker.kernel.port import METRIC_ROUTE, PROTO_LEYLINE, TABLE_LAN, TABLE_MAIN, Kernel, NextHopRecord
from speaker.kernel.socket import LinuxKernel
from speaker.plan import Plan, PlanUnreadable, decode
from speaker.report import Report
from speaker.rib.prefix import Family, network_of
from speaker.show import NoAnswer, fetch

MOST_PATHS = 20_000
MOST_EXPLAINED = 50
MOST_NAMED = 5

Way = tuple[str, str]
"""(interface, neighbour's address)"""


def agents_report(control: Path) -> Report:
    """Raises Unreadable."""
    try:
        return msgspec.convert(fetch(control, "report", {}), Report)
    except (NoAnswer, msgspec.ValidationError) as error:
        raise Unreadable(str(error)) from None


def stored_plan(path: Path) -> Plan:
    """The plan that the agent had last. Raises Unreadable."""
    try:
        return decode(path.read_bytes())
    except (OSError, PlanUnreadable) as error:
        raise Unreadable(f"{path}: {error}") from None


def route_differences(control: Path, devices: Mapping[int, str]) -> RouteDifferences | None:
    """None when there are more paths than can be compared so. `devices`: index -> interface. Raises Unreadable."""
    try:
        said = fetch(control, "routes", {"limit": str(MOST_PATHS)})
        if said["truncated"]:
            return None
        wanted = {route["prefix"] for route in said["routes"] if route["installed"]}
        with closing(LinuxKernel()) as kernel:
            there = dict(ours(kernel))
            ways = ways_of(kernel.nexthops(), devices)
        both = sorted(wanted & there.keys())
        step = max(1, len(both) // MOST_EXPLAINED)
        sample = both[::step][:MOST_EXPLAINED]
        shadowed = tuple(shadows(sample))
        changed = [
            prefix
            for prefix in sample
            if (decided := decided_ways(control, prefix)) and decided != ways.get(there[prefix], frozenset())
        ]
    except (NoAnswer, OSError, KeyError, NetlinkError) as error:
        raise Unreadable(f"routes: {error}") from None
    missing, extra = sorted(wanted - there.keys()), sorted(there.keys() - wanted)
    counts = (len(missing), len(extra), len(changed))
    named = [tuple(each[:MOST_NAMED]) for each in (missing, extra, changed)]
    return RouteDifferences(named[0], named[1], named[2], counts, shadowed[:MOST_NAMED])


def shadows(prefixes: Iterable[str]) -> Iterator[Shadow]:
    """Of those prefixes for which the kernel has another program's route before ours. Raises NetlinkError, OSError."""
    with IPRoute() as netlink:
        for prefix in prefixes:
            try:
                (route, *_) = netlink.route("get", dst=str(ip_network(prefix)[0]), flags=RTM_F_FIB_MATCH)
            except NetlinkError:
                continue  # Unreachable, by a route of ours or of others.
            if shadow := shadow_of(prefix, route):
                yield shadow


def shadow_of(prefix: str, route: Mapping[str, Any]) -> Shadow | None:
    """`route`: the one that the kernel takes for an address of the prefix. Pure."""
    protocol = route.get("proto")
    if protocol in (None, PROTO_LEYLINE) or route.get("dst_len") != ip_network(prefix).prefixlen:
        return None
    return Shadow(prefix, int(protocol), int(route.get("priority") or 0))


def ours(kernel: Kernel) -> Iterator[tuple[str, int]]:
    """(prefix, next-hop id) of our routes, the unreachable ones too; not the rejects beneath them.

    Those around the underlay stand in TABLE_LAN.
    """
    for table, family in product((TABLE_MAIN, TABLE_LAN), Family):
        for chunk in kernel.routes(family, table):
            for record in chunk:
                if record.metric == METRIC_ROUTE:
                    yield str(network_of(family, record.key)), record.nhid


def ways_of(records: list[NextHopRecord], devices: Mapping[int, str]) -> dict[int, frozenset[Way]]:
    """Id of each of our next-hop objects and groups -> where it leads. Pure."""
    records = [record for record in records if record.protocol == PROTO_LEYLINE]
    single = {
        record.id: (devices.get(record.ifindex, str(record.ifindex)), str(ip_address(record.gateway)))
        for record in records
        if record.gateway
    }
    groups = {
        record.id: frozenset(single[member] for member, _ in record.group if member in single)
        for record in records
        if record.group
    }
    return {**{number: frozenset({way}) for number, way in single.items()}, **groups}


def decided_ways(control: Path, prefix: str) -> frozenset[Way]:
    """Where the agent wants packets of the prefix to go; nothing while it is on its way into the kernel."""
    body = fetch(control, "explain", {"address": str(ip_network(prefix).network_address)})
    return explained_ways(body, prefix)


def explained_ways(body: Any, prefix: str) -> frozenset[Way]:
    """Pure."""
    for each in body["prefixes"]:
        if each["prefix"] == prefix and each.get("kernel") and not each["kernel"]["moving"]:
            return frozenset((way["interface"], way["address"]) for way in each["kernel"]["ways"])
    return frozenset()
