"""Does a firewall on this box drop what must come in: BGP, BFD, ZeroTier's own UDP?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from speaker.doctor.facts import Facts
from speaker.doctor.finding import Found
from speaker.doctor.nft_verdict import Packet, Ruleset

BGP, BFD, ZEROTIER = 179, 3784, 9993


class _Wanted(NamedTuple):
    packet: Packet
    what: str
    accept: str  # What a rule would have to say.


def check(facts: Facts) -> Iterator[Found]:
    if facts.nft is None:
        return
    rules = Ruleset(facts.nft)
    for wanted in dict.fromkeys(_wanted(facts)):
        verdict = rules.judge("input", wanted.packet)
        if verdict.verdict == "drop":
            fix = f"nft insert rule {verdict.chain} {wanted.accept} accept, and the same in its configuration file"
            yield Found("error", f"nftables {verdict.chain}", f"{wanted.what} is dropped", fix)


def _wanted(facts: Facts) -> Iterator[_Wanted]:
    moon = facts.plan.moon.uplink if facts.plan is not None and facts.plan.moon is not None else None
    for service in facts.services:
        if service.uplink != moon and any(peer.heard for peer in service.peers):
            continue  # It speaks first, and what answers is let in. A moon is spoken to first.
        port = service.port or ZEROTIER
        yield _Wanted(Packet(protocol="udp", dport=port), f"ZeroTier (UDP {port})", f"udp dport {port}")
    if facts.plan is None:
        return
    devices = {uplink.address: uplink.interface for uplink in facts.plan.uplinks}
    for session in facts.plan.sessions:
        device = devices.get(session.local_address, "")
        if not device:
            continue
        ends = {"iifname": device, "saddr": session.peer_address, "daddr": session.local_address}
        if session.passive:
            packet = Packet(**ends, protocol="tcp", dport=BGP)
            yield _Wanted(packet, f"BGP from {session.peer}", f'iifname "{device}" tcp dport {BGP}')
        if session.peer_is_ours:
            packet = Packet(**ends, protocol="udp", dport=BFD)
            yield _Wanted(packet, f"BFD from {session.peer}", f'iifname "{device}" udp dport {BFD}')
