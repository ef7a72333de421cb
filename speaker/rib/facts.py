"""What the routing table must know about the gateway it runs on."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from speaker.plan import Plan
from speaker.rib.spans import Network


@dataclass(frozen=True, slots=True)
class RouterFacts:
    """Compared whole. A new plan or a new connected prefix makes new facts."""

    router_id: bytes  # 4 octets
    asn: int
    max_paths: int
    cluster_id: bytes  # 4 octets; a hub's is its router id
    own_next_hops: frozenset[bytes] = frozenset()
    segments: frozenset[Network] = frozenset()
    connected: frozenset[Network] = frozenset()
    """Prefixes of our own interfaces, the segment left out. No received route for them or inside them makes a
    route here: it would take traffic away from a LAN that is directly attached."""
    underlay: frozenset[Network] = frozenset()
    """Addresses that ZeroTier runs over: never taken as routes. What covers them is taken by a hub only where it is
    declared, and stands in a table of its own."""
    blackhole: bool = False
    """BLACKHOLE (RFC 7999) is honoured."""
    network: str = ""
    """ZeroTier's network id, where next hops' MACs are computed from node ids; "" where ARP finds them."""


def network_of_macs(plan: Plan) -> str:
    """The network whose members' MACs are computed; "" where they are not."""
    return plan.network if plan.permanent_neighbours else ""


def facts_of(plan: Plan, connected: frozenset[Network] = frozenset()) -> RouterFacts:
    """The facts that follow from `plan`, with the connected prefixes of this box."""
    router_id = ip_address(plan.router_id).packed
    addresses = [text for uplink in plan.uplinks for text in (uplink.address, uplink.address6) if text]
    return RouterFacts(
        router_id=router_id,
        asn=plan.asn,
        max_paths=plan.max_paths,
        cluster_id=router_id,
        own_next_hops=frozenset(ip_address(text).packed for text in addresses),
        segments=frozenset(ip_network(text) for text in plan.segments),
        connected=connected,
        underlay=frozenset(ip_network(text) for text in plan.underlay),
        blackhole=plan.blackhole,
        network=network_of_macs(plan),
    )
