"""Do the network's flow rules drop what routing needs, while BGP may stay up?"""

from __future__ import annotations

from collections.abc import Iterator

from controller.client.examine.facts import Facts, Found, Level

DETOURS_ONLY = "rules-no-mpls"


def check(facts: Facts) -> Iterator[Found]:
    where = f"network {facts.segment.get('network', '')}"
    for rule in facts.segment.get("rules") or ():
        at = f" (rule {rule['rule']})" if rule.get("rule") else ""
        fix = f"put this before it: {rule['snippet']}" if rule.get("snippet") else "leyline segment show has the rules"
        level: Level = "warning" if rule["code"] == DETOURS_ONLY else "error"
        yield Found(level, where, f"{rule['message']}{at}", f"{fix}; or let Leyline keep them: segment_rules: owned")
