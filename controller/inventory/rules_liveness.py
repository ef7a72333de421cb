"""Rules about what keeps traffic off the dead: first hops of LANs, and how many BFD packets a gateway sends."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from controller.inventory.findings import Finding
from controller.inventory.model import (
    HIGHEST_PRIORITY,
    BfdTimers,
    Gateway,
    Inventory,
    Prefix,
    bfd_of,
    circuit_classes,
    residents,
    vrid_of,
)
from controller.inventory.rules_members import taken, unreadable

MAX_BFD_PACKETS = 1_500
"""Per second and direction. Beyond it BFD itself is what loads a small gateway, and what it waits for."""


def _first_hops(inventory: Inventory) -> list[Prefix]:
    return [each for each in inventory.prefixes if each.first_hop is not None]


def bad_first_hop(inventory: Inventory) -> Iterator[Finding]:
    """Hosts can only use a router address of their own subnet."""
    for each in _first_hops(inventory):
        hop, network = each.first_hop, each.prefix
        assert hop is not None
        ends = (network.network_address, network.broadcast_address)
        if hop.version != network.version:
            message = f"first_hop {hop} is IPv{hop.version} and {network} is not: use an address inside it"
            yield Finding(each.label, "first-hop-outside", message, field="first_hop")
        elif hop not in network:
            message = f"first_hop {hop} is outside {network}: use an address inside it"
            yield Finding(each.label, "first-hop-outside", message, field="first_hop")
        elif network.prefixlen == network.max_prefixlen:
            message = f"{network} has no room for a router and hosts: leave first_hop out"
            yield Finding(each.label, "first-hop-reserved", message, field="first_hop")
        elif hop in ends and network.prefixlen < network.max_prefixlen - 1 and (hop == ends[0] or hop.version == 4):
            # /31 and /127 have neither (RFC 3021, RFC 6164); IPv6 has no broadcast, but its first one is anycast.
            message = f"first_hop {hop} is the network or broadcast address of {network}: use another"
            yield Finding(each.label, "first-hop-reserved", message, field="first_hop")


def shared_first_hop(inventory: Inventory) -> Iterator[Finding]:
    """A VRID is a MAC address (RFC 9568 7.3): two instances with one would answer for each other in a shared LAN."""
    by_site: dict[str, list[Prefix]] = defaultdict(list)
    for each in _first_hops(inventory):
        by_site[each.site].append(each)
    for site, prefixes in by_site.items():
        yield from taken(((each.label, each.first_hop) for each in prefixes), "first-hop-taken", "first_hop")
        owners: dict[tuple[int, int], list[Prefix]] = defaultdict(list)
        for each in prefixes:
            owners[each.prefix.version, vrid_of(each)].append(each)
        for (_, vrid), same in owners.items():
            first, *others = sorted(same, key=lambda each: each.label)
            for other in others:
                message = (
                    f"VRRP has vrid {vrid} for {first.prefix} too{_derived(first, other)}:"
                    f" set vrid of one of them to a number that no other first hop of site {site} has"
                )
                yield Finding(other.label, "vrid-taken", message, field="vrid")


def _derived(*prefixes: Prefix) -> str:
    names = [str(each.prefix) for each in prefixes if each.vrid is None]
    return f" (derived from {' and '.join(names)})" if names else ""


def unused_first_hop(inventory: Inventory) -> Iterator[Finding]:
    """A first hop lives on the gateways that announce its prefix."""
    with_first_hop = any(each.first_hop is not None for each in inventory.prefixes)
    of_site = residents(inventory) if with_first_hop else {}
    lost = unreadable(inventory, "gateway")
    for each in inventory.prefixes:
        if each.first_hop is None:
            if each.vrid is not None:
                message = f"vrid {each.vrid}, but no first_hop: declare one, or leave vrid out"
                yield Finding(each.label, "vrid-without-first-hop", message, field="vrid")
            continue
        gateways = each.gateways or of_site.get(each.site, ())
        if not gateways and not lost:
            message = f"first_hop {each.first_hop} stands on no gateway, for site {each.site} has none: declare one"
            yield Finding(each.label, "first-hop-unused", message, field="first_hop")
        elif len(gateways) > HIGHEST_PRIORITY:
            message = (
                f"{len(gateways)} gateways share first_hop {each.first_hop}, and VRRP has priorities for"
                f" {HIGHEST_PRIORITY}: name at most so many in gateways"
            )
            yield Finding(each.label, "first-hop-crowded", message, field="first_hop")


def bfd_packet_budget(inventory: Inventory) -> Iterator[Finding]:
    """A gateway's BFD packets a second, each way: its hubs (a hub: everybody) always, others on demand or as spares."""
    if unreadable(inventory, "circuit-class"):
        return  # It may be the one that makes the difference.
    rates = _Rates(inventory)
    for gateway in inventory.gateways:
        always = rates.always(gateway)
        on_demand = rates.on_demand(gateway)
        if always + on_demand <= MAX_BFD_PACKETS:
            continue
        parts = (
            f"{_shown(always)} always, up to {_shown(on_demand)} over its other uplinks on demand"
            if gateway.role == "hub"
            else f"{_shown(always)} for hubs, up to {_shown(on_demand)} for other spokes on demand"
        )
        way_out = "give its uplinks a slower circuit class, that class a slower bfd (wan, lte) or off," + (
            " or the fabric fewer bfd_max_sessions"
            if on_demand and always <= MAX_BFD_PACKETS
            else " or those of its peers: the slower end rules"
        )
        message = (
            f"BFD would take {_shown(always + on_demand)} packets a second each way"
            f"{f' ({parts})' if on_demand else ''}; at most {_shown(MAX_BFD_PACKETS)} are allowed: {way_out}"
        )
        yield Finding(gateway.label, "bfd-packet-budget", message, field="uplinks")


def _shown(rate: float) -> str:
    return f"{rate:,.0f}"


class _Rates:
    """Intervals of all uplinks, counted once, so that 2,000 gateways cost no more than one look at each."""

    def __init__(self, inventory: Inventory) -> None:
        self.timers = {name: bfd_of(each) for name, each in circuit_classes(inventory).items()}
        self.most = inventory.fabric.bfd_max_sessions if inventory.fabric is not None else 0
        self.spokes: Counter[int] = Counter()
        self.hubs: Counter[int] = Counter()  # All uplinks of hubs.
        self.hub_ends: Counter[int] = Counter()  # Where their sessions end: the primary uplinks.
        for gateway in inventory.gateways:
            intervals = self.intervals(gateway)
            (self.hubs if gateway.role == "hub" else self.spokes).update(intervals)
            if gateway.role == "hub":
                self.hub_ends.update(self.end(gateway))

    def intervals(self, gateway: Gateway) -> list[int]:
        found = [self.timers.get(uplink.circuit_class) for uplink in gateway.uplinks]
        return [each.interval_ms for each in found if isinstance(each, BfdTimers)]

    def end(self, gateway: Gateway) -> list[int]:
        timers = self.timers.get(gateway.uplinks[0].circuit_class) if gateway.uplinks else None
        return [] if timers is None else [timers.interval_ms]

    def always(self, gateway: Gateway) -> float:
        """A pair is an uplink and a hub's primary address; two hubs have one for both when both are primary."""
        own = Counter(self.intervals(gateway))
        if gateway.role == "spoke":
            return _rate(own, self.hub_ends)
        end = Counter(self.end(gateway))
        secondary = own - end
        others = self.spokes + self.hubs
        others.subtract(own)
        return _rate(end, others) + _rate(secondary, self.hub_ends - end)

    def on_demand(self, gateway: Gateway) -> float:
        """As many as may be, over the fastest uplinks. `bfd_max_sessions` is for spares, too."""
        own = Counter(self.intervals(gateway))
        if gateway.role == "spoke":
            strangers = self.spokes.total() - own.total()
        else:
            own -= Counter(self.end(gateway))  # That one always has its sessions, with everybody.
            strangers = self.spokes.total() + self.hubs.total() - self.hub_ends.total() - own.total()
        rate, left = 0.0, self.most
        for interval in sorted(own.elements()):
            pairs = min(left, strangers)
            rate, left = rate + pairs * 1000 / interval, left - pairs
        return rate


def _rate(ones: Counter[int], others: Counter[int]) -> float:
    """Packets a second of sessions between each of `ones` and each of `others`: the slower end rules."""
    return sum(count * many * 1000 / max(one, other) for one, count in ones.items() for other, many in others.items())
