"""Does ZeroTier run over its own overlay somewhere?"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address, ip_network

from controller.client.examine.facts import Facts, Found


def check(facts: Facts) -> Iterator[Found]:
    segments = [ip_network(text) for name in ("segment", "segment6") if (text := facts.fabric.get(name))]
    for path in facts.paths:
        try:
            address = ip_address(path["physical"].partition("/")[0])
        except ValueError:
            continue  # Relayed, or not known.
        if any(address in segment for segment in segments):
            what = f"ZeroTier reaches {path['to']} at {path['physical']}, which is on the segment: over itself"
            fix = "see local.conf there: interfacePrefixBlacklist must name the segment's and the LANs' interfaces"
            yield Found("error", f"{path['gateway']}/{path['uplink']}", what, fix)
