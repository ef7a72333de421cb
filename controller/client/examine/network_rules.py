"""Do the network's flow rules drop what routing needs, while BGP may stay up?"""

from __future__ import annotations

from collections.abc import Iterator

from controller.client.examine.facts import Facts, Found, Json, Level

SETTINGS = ("multicast-limit", "broadcast-off")
DETOURS_ONLY = "rules-no-mpls"
ADVICE = " Put what is missing before it, or declare segment_rules: owned."
"""With which the message ends; here it stands in the fix."""


def check(facts: Facts) -> Iterator[Found]:
    where = f"network {facts.segment.get('network', '')}"
    for rule in facts.segment.get("rules") or ():
        level: Level = "warning" if rule["code"] == DETOURS_ONLY else "error"
        yield Found(level, where, rule["message"].removesuffix(ADVICE), _way_out(rule))


def _way_out(rule: Json) -> str:
    if rule["code"] in SETTINGS:
        return f"{rule['snippet']}, in ZeroTier"
    lines = (line for line in rule.get("snippet", "").splitlines() if not line.startswith("#"))
    missing = " ".join(lines) or "leyline segment show has the rules;"
    return f"put this before it: {missing} or declare segment_rules: owned, and Leyline keeps them"
