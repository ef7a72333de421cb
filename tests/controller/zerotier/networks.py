"""Networks with managed routes, as they were before Leyline came, for the tests of the import."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

from controller.zerotier.port import ManagedRoute, MemberState, NetworkState

NETWORK = "53fe91125f00abcd"
ACCEPT = ({"type": "ACTION_ACCEPT"},)


def route(target: str, via: str = "") -> ManagedRoute:
    return ManagedRoute(ip_network(target), ip_address(via) if via else None)


def network(*routes: ManagedRoute, **fields: Any) -> NetworkState:
    return NetworkState(NETWORK, "office", routes=routes, rules=ACCEPT, **fields)


def member(node_id: str, *addresses: str, name: str = "", authorised: bool = True, **fields: Any) -> MemberState:
    return MemberState(node_id, authorised, tuple(map(ip_address, addresses)), name, **fields)


def by_id(*members: MemberState) -> dict[str, MemberState]:
    return {each.node_id: each for each in members}


ON_LINK = route("10.42.0.0/24")
BERLIN, PARIS = member("a000000001", "10.42.0.1", name="Berlin GW"), member("a000000002", "10.42.0.2", name="paris")
LAPTOP = member("a000000004", "10.42.0.4", name="laptop")
TO_BERLIN, TO_PARIS = route("10.1.0.0/16", "10.42.0.1"), route("10.2.0.0/24", "10.42.0.2")
"""Berlin, Paris and a laptop: one route each for the sites."""
