"""Are paths relayed, and is it because of the NAT in front of this gateway, or because the NAT has changed?"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from speaker.doctor.facts import Facts
from speaker.doctor.finding import Found
from speaker.zerotier.nat import DEPENDENT, UNSEEN

RELAYED_SECONDS = 120.0
"""ZeroTier relays the first packets of every path."""


def check(facts: Facts) -> Iterator[Found]:
    report = facts.report
    if report is None:
        return
    for service in facts.services:
        relayed = [
            peer.address
            for peer in report.peers
            if peer.uplink == service.uplink and peer.address and peer.state == "relayed"
            if facts.now - peer.since >= RELAYED_SECONDS
        ]
        if not relayed:
            continue
        some = ", ".join(relayed[:5]) + (f" and {len(relayed) - 5} others" if len(relayed) > 5 else "")
        nat = facts.nat.get(service.uplink)
        if nat is not None and nat.kind == DEPENDENT:
            changed = f" It was {nat.before} until {_when(nat.since)}." if nat.before else ""
            what = f"relayed to {some}: the NAT maps each destination to a port of its own (RFC 4787 4.1).{changed}"
            fix = f"ask the provider for endpoint-independent mapping, forward UDP {service.port}, or use IPv6"
            yield Found("error" if nat.before else "warning", f"uplink {service.uplink}", what, fix)
        elif nat is None or nat.kind == UNSEEN:
            what = f"relayed to {some}; it is not known whether this gateway's NAT is the reason"
            fix = (
                "run the doctor at the far end, and compare surfaceAddresses with listeningOn in `zerotier-cli info -j`"
                " here: it takes two roots that answer to tell"
            )
            yield Found("warning", f"uplink {service.uplink}", what, fix)
        else:
            what = f"relayed to {some}, and this gateway's NAT is not the reason"
            fix = "run the doctor at the far end; see what there drops UDP, or maps it by destination"
            yield Found("warning", f"uplink {service.uplink}", what, fix)


def _when(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")
