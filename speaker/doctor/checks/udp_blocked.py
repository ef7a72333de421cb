"""Does the provider's firewall block ZeroTier's UDP?"""

from __future__ import annotations

from collections.abc import Iterator

from speaker.doctor.facts import Facts
from speaker.doctor.finding import Found


def check(facts: Facts) -> Iterator[Found]:
    for service in facts.services:
        if service.error:
            continue
        where = f"uplink {service.uplink}"
        roots = [peer for peer in service.peers if peer.root]
        fix = f"let UDP {service.port} out, and its answers in, at the provider's firewall and at your own"
        if service.tcp_fallback:
            what = f"ZeroTier goes through its TCP relay: UDP {service.port} is blocked on the way"
            yield Found("error", where, what, fix)
        elif not service.online and not any(peer.heard for peer in service.peers):
            named = "no root is known" if not roots else f"none of {len(roots)} roots answers"
            yield Found(
                "error",
                where,
                f"ZeroTier is offline, {named}: UDP {service.port} is blocked, or the circuit is down",
                fix,
            )
        elif roots and not any(peer.heard for peer in roots) and not service.online:
            what = f"none of {len(roots)} roots answers: new paths cannot be found, those that stand live on"
            yield Found("warning", where, what, fix)
