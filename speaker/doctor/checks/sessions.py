"""Are the BGP sessions up, and does anybody announce more than it may?"""

from __future__ import annotations

from collections.abc import Iterator

from speaker.doctor.facts import Facts
from speaker.doctor.finding import Found


def check(facts: Facts) -> Iterator[Found]:
    sessions = facts.report.sessions if facts.report is not None else ()
    keyed = {each.peer for each in facts.plan.sessions if each.password} if facts.plan is not None else set()
    for session in sessions:
        where = f"session with {session.peer} ({session.peer_address})"
        if session.state == "down":
            reason = session.reason or "it was never up"
            fix = "ping the address over the segment, then see TCP 179 at the far end's firewall and its agent"
            if session.peer in keyed or facts.md5_drops:
                fix += "; compare what both ends know of the hub's MD5 key: leyline fabric md5-keys"
            if facts.md5_drops:
                reason += f"; since boot the kernel has dropped {facts.md5_drops} TCP segments for their MD5 key"
            yield Found("error", where, f"down: {reason}", fix)
        if session.warning:
            yield Found(
                "warning", where, session.warning, "raise the site's max_prefixes, or find what announces so many"
            )
    if facts.plan is not None and facts.report is not None and not facts.plan.sessions:
        yield Found("warning", "sessions", "the plan has none: nothing is learnt", "declare a hub in the inventory")
