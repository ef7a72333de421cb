"""What this box is attached to: no received route may take the traffic of its prefixes away."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_interface

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

LOOPBACK = "lo"
IFF_UP = 1  # linux/if.h


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


def own_addresses() -> frozenset[bytes]:
    """Addresses of all interfaces that are up, in 4 or 16 octets: what the kernel keeps. Blocks for some milliseconds.

    As far as can be read: it is for people only.
    """
    found = set()
    with suppress(OSError, NetlinkError), IPRoute() as netlink:
        up = {link["index"] for link in netlink.get_links() if link["flags"] & IFF_UP}
        for address in netlink.get_addr():
            # On a tunnel IFA_ADDRESS is the other end.
            text = address.get("local") or address.get("address")
            if text is not None and address["index"] in up:
                found.add(ip_address(text).packed)
    return frozenset(found)
