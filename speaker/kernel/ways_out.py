"""What this box is attached to, interface by interface, and by which of them it reaches addresses outside. Blocks."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address

from pyroute2 import IPRoute, NetlinkError

from speaker.kernel.lan import Address, read_addresses
from speaker.kernel.links import read_links
from speaker.kernel.messages import AF_INET, AF_INET6

MAX_LOOKUPS = 16
OUTSIDE = ("192.0.2.1", "2001:db8::1")
"""Nobody's (RFC 5737, RFC 3849): a route to them is the default route."""


def interface_addresses() -> dict[str, frozenset[Address]]:
    """Name -> addresses with their networks, those without any included. Raises KernelError."""
    addresses = read_addresses()
    return {name: frozenset(addresses.get(index, ())) for index, (name, _) in read_links().items()}


def ways_to(addresses: Iterable[str]) -> frozenset[str]:
    """Interfaces that packets to these addresses leave by now; what has no route is passed over.

    Of more than MAX_LOOKUPS addresses the first are looked up. Raises OSError, or NetlinkError, when the kernel cannot
    be asked.
    """
    found = set()
    with IPRoute() as netlink:
        names = {index: name for index, (name, _) in read_links().items()}
        for address in list(addresses)[:MAX_LOOKUPS]:
            family = AF_INET if ip_address(address).version == 4 else AF_INET6
            try:
                routes = netlink.route("get", dst=address, family=family)
            except NetlinkError:
                continue
            found |= {names[index] for route in routes if (index := route.get("oif")) in names}
    return frozenset(found)
