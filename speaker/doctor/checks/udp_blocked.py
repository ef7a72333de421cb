"""Does the provider's firewall block ZeroTier's UDP?"""

from __future__ import annotations

from collections.abc import Iterator

from speaker.doctor.facts import Facts
from speaker.doctor.finding import Found
from speaker.zerotier.peers import Peer

SILENT_SECONDS = 30.0
"""ZeroTier asks after every path each 14 s. Its own `online` stays true for 500 s after the last answer of a root."""


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
        elif not service.online and not any(map(_heard, service.peers)):
            named = "no root is known" if not roots else f"none of {len(roots)} roots answers"
            what = f"ZeroTier is offline, {named}: UDP {service.port} is blocked, or the circuit is down"
            yield Found("error", where, what, fix)
        elif roots and not any(map(_heard, service.peers)):
            silent = min((peer.silent_seconds for peer in service.peers if peer.silent_seconds >= 0), default=0.0)
            since = f"for {silent:.0f} s" if silent else "by a path of its own"
            what = f"nobody has been heard {since}: UDP {service.port} is blocked, or the circuit is down"
            yield Found("error", where, what, fix)
        elif roots and not any(map(_heard, roots)):
            what = f"none of {len(roots)} roots answers: new paths cannot be found, those that stand live on"
            yield Found("warning", where, what, fix)


def _heard(peer: Peer) -> bool:
    return 0 <= peer.silent_seconds <= SILENT_SECONDS and not peer.tunneled
