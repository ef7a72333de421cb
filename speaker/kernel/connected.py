"""The prefixes that this box is attached to: no received route may take their traffic away."""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import IPv4Network, IPv6Network, ip_interface

from pyroute2 import IPRoute

LOOPBACK = "lo"


def connected_prefixes(uplinks: Collection[str]) -> frozenset[IPv4Network | IPv6Network]:
    """Prefixes of all interfaces but the uplinks, loopback and link-local ones. Blocks for some milliseconds.

    Raises OSError, or pyroute2's NetlinkError, when the kernel cannot be read.
    """
    prefixes = set()
    with IPRoute() as netlink:
        names = {link["index"]: link.get("ifname") for link in netlink.get_links()}
        for address in netlink.get_addr():
            name = names.get(address["index"])
            text = address.get("address")
            if text is None or name is None or name == LOOPBACK or name in uplinks:
                continue
            interface = ip_interface(f"{text}/{address['prefixlen']}")
            if not interface.is_link_local:
                prefixes.add(interface.network)
    return frozenset(prefixes)
