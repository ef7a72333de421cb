"""Does ZeroTier run over its own overlay somewhere, or may it?"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from controller.client.examine.facts import Facts, Found, Json


def check(facts: Facts) -> Iterator[Found]:
    segments = [ip_network(text) for name in ("segment", "segment6") if (text := facts.fabric.get(name))]
    sites = {status["gateway"]: status.get("site", "") for status in facts.statuses}
    for path in facts.paths:
        try:
            address = ip_address(path["physical"].partition("/")[0])
        except ValueError:
            continue  # Relayed, or not known.
        where = f"{path['gateway']}/{path['uplink']}"
        if any(address in segment for segment in segments):
            what = f"ZeroTier reaches {path['to']} at {path['physical']}, which is on the segment: over itself"
            fix = "see local.conf there: interfacePrefixBlacklist must name the segment's and the LANs' interfaces"
            yield Found("error", where, what, fix)
        elif around := _allocation(facts, address, sites.get(path["gateway"], "")):
            what = (
                f"ZeroTier reaches {path['to']} at {path['physical']}, which is inside {around['prefix']} of site"
                f" {around['site']}: a route of the fabric may lead it over itself"
            )
            fix = f"add {address} to the fabric's underlay, so that no route covers it"
            yield Found("warning", where, what, fix)


def _allocation(facts: Facts, address: IPv4Address | IPv6Address, site: str) -> Json | None:
    """Another site's that contains the address, which is not declared to be underlay."""
    if any(address in ip_network(text) for text in facts.fabric.get("underlay") or ()):
        return None
    others = (each for each in facts.allocations if each["site"] != site)
    return next((each for each in others if address in ip_network(each["prefix"])), None)
