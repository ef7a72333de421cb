"""Flow rules as the text of Central's rules editor. Only what Leyline may own: ethertypes and characteristics. Pure.

The language: ZeroTierOne/rule-compiler. A line is an action and the matches before it; JSON has the matches first.
"""

from __future__ import annotations

from collections.abc import Iterable

from controller.zerotier.port import Refused, Rule
from controller.zerotier.wire import plain_rule

ACTIONS = {"ACTION_ACCEPT": "accept", "ACTION_DROP": "drop", "ACTION_BREAK": "break"}
CHARACTERISTICS = {
    1 << 63: "inbound",
    1 << 62: "multicast",
    1 << 61: "broadcast",
    1 << 60: "ipauth",
    1 << 59: "macauth",
}


def rules_source(rules: Iterable[Rule]) -> str:
    """One line an action. Raises Refused for a rule that it cannot say, and for matches without an action."""
    lines, matches = [], ""
    for rule in map(plain_rule, rules):
        action = ACTIONS.get(str(rule.get("type")))
        if action is None:
            matches = _joined(matches, rule)
        else:
            lines.append(f"{action}{matches};")
            matches = ""
    if matches:
        raise Refused(f"these rules end with a match and no action:{matches}")
    return "\n".join(lines)


def _joined(matches: str, rule: Rule) -> str:
    word = "" if not matches else " or" if rule.get("or") else " and"
    return f"{matches}{word}{' not' if rule.get('not') else ''} {_match(rule)}"


def _match(rule: Rule) -> str:
    if rule.get("type") == "MATCH_ETHERTYPE":
        return f"ethertype {int(rule['etherType'])}"
    if rule.get("type") == "MATCH_CHARACTERISTICS":
        name = CHARACTERISTICS.get(int(str(rule.get("mask", "0")), 16))
        if name is not None:
            return f"chr {name}"
    raise Refused(f"Leyline cannot write {dict(rule)} for ZeroTier Central: put it into Central's own rules editor")
