"""The rest of the fabric's 5,000 prefixes, worked out instead of written down. Pure."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from itertools import cycle
from typing import Any

TOTAL = 5_000
TOTAL6 = 1_000
"""Of the total, so many are IPv6."""
SITES = {"berlin": 1, "paris": 2, "tokyo": 3, "oslo": 4, "lima": 5, "quito": 6}
"""Site -> its number: it owns 10.NUMBER.0.0/16 and fd10:NUMBER::/48."""


def prefixes(total: int = TOTAL, total6: int = TOTAL6) -> list[dict[str, Any]]:
    """As many as with the LANs of inventory.yml (one per site and family) make `total`; dealt out to the sites in turn.

    IPv4 are /27 from the upper half of the site's /16, IPv6 are /64 from :100: on.
    """
    found: list[dict[str, Any]] = []
    turn = cycle(SITES.items())
    for index in range(total - total6 - len(SITES)):
        site, number = next(turn)
        base = int(IPv4Network(f"10.{number}.128.0/17").network_address)
        found.append({"site": site, "prefix": str(IPv4Network((base + index // len(SITES) * 32, 27)))})
    for index in range(total6 - len(SITES)):
        site, number = next(turn)
        base = int(IPv6Network(f"fd10:{number}:0:100::/64").network_address)
        found.append({"site": site, "prefix": str(IPv6Network((base + (index // len(SITES) << 64), 64)))})
    return found
