"""Which paths have been relayed for longer than it takes ZeroTier to find a direct one?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from controller.client.examine.facts import Facts, Found

RELAYED_SECONDS = 120.0


def check(facts: Facts) -> Iterator[Found]:
    """One finding an uplink: where all of its paths are relayed, it is the uplink."""
    paths: dict[tuple[str, str], list[str]] = defaultdict(list)
    relayed: dict[tuple[str, str], list[str]] = defaultdict(list)
    for path in facts.paths:
        pair = path["gateway"], path["uplink"]
        if path["state"] != "unknown":
            paths[pair].append(path["to"])
        if path["state"] == "relayed" and path["since"] and facts.now - path["since"] >= RELAYED_SECONDS:
            relayed[pair].append(path["to"])
    for (gateway, uplink), names in relayed.items():
        some = ", ".join(names[:5]) + (f" and {len(names) - 5} others" if len(names) > 5 else "")
        if len(names) == len(paths[gateway, uplink]) > 1:
            what = f"all its {len(names)} paths are relayed: {some}"
        else:
            what = f"relayed to {some}"
        fix = f"leyline doctor --gateway {gateway} says whether its NAT or a firewall is the reason"
        yield Found("warning", f"{gateway}/{uplink}", what, fix)
