"""Recognises network rules that would break routing. Pure.

Rules are tried out, not compared with known bad ones: the frames that Leyline needs go through them as ZeroTier's
filter does it (source: node/Network.cpp, `_doZtFilter`; the bits are those of rule-compiler.js). What a rule asks and
a frame leaves open (tags, addresses, ports of LAN traffic) is unknown, and only what is dropped in any case is said.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

from controller.zerotier.port import Network, NetworkState, Rule

IPV4, ARP, IPV6, MPLS = 0x0800, 0x0806, 0x86DD, 0x8847
MULTICAST, BROADCAST, IPAUTH, MACAUTH, INBOUND = 1 << 62, 1 << 61, 1 << 60, 1 << 59, 1 << 63
BGP = range(179, 180)
BFD = (range(49152, 65536), range(3784, 3785))  # RFC 5881, 4.
UNSAID = INBOUND | MACAUTH | 0xFFF
"""Bits that a frame leaves open: both ends filter, and TCP's flags come and go."""

CODES = {
    "rules-no-ipauth": "Frames with a sender's IP address that is not its own are dropped: that is all routed traffic.",
    "rules-no-mpls": "MPLS frames are dropped: detours through a hub by label vanish while BGP stays up.",
    "rules-no-arp": "ARP is dropped: members do not find each other.",
    "rules-no-neighbours": "IPv6 neighbour discovery is dropped.",
    "rules-no-bgp": "BGP between members is dropped.",
    "rules-no-bfd": "BFD between members is dropped: every next hop is unknown.",
    "rules-no-routed": "Routed IPv4 or IPv6 is dropped.",
    "multicast-limit": "Multicast has no recipients: ARP does not work.",
    "broadcast-off": "Broadcast is off: ARP does not work.",
}


@dataclass(frozen=True, slots=True)
class RulesFinding:
    """`rule`: number of the rule that drops, from 1; 0: none accepts. `snippet`: ZeroTier's rule language."""

    code: str
    message: str
    snippet: str = ""
    rule: int = 0


@dataclass(frozen=True, slots=True)
class Frame:
    """What is known of a frame. None: may be anything. `sources`: the IP networks that its sender's address is in."""

    what: str
    code: str
    snippet: str
    ethertype: int
    bits: int
    protocol: int | None = None
    ports: tuple[range | None, range | None] = (None, None)  # The sender's, the receiver's.
    segment: Network | None = None  # Both addresses are in it; None with `routed`: the source is outside.
    routed: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """`rule`: the number of the rule that drops, 0 when no rule accepts."""

    dropped: bool
    rule: int = 0


def check_rules(state: NetworkState, segment: IPv4Network, segment6: IPv6Network | None) -> tuple[RulesFinding, ...]:
    """What of the network's own settings breaks routing, each with what is missing."""
    found = [] if state.multicast_limit else [_finding("multicast-limit", "set multicastLimit to 32")]
    if not state.broadcast:
        found.append(_finding("broadcast-off", "set enableBroadcast to true"))
    dropped: dict[tuple[str, int], list[Frame]] = {}
    for frame in frames(segment, segment6):
        verdict = run(state.rules, frame, open_end=bool(state.capabilities))
        if verdict.dropped:
            as_its_own = run(state.rules, replace(frame, bits=frame.bits | IPAUTH), open_end=bool(state.capabilities))
            by_sender = frame.routed and not as_its_own.dropped
            dropped.setdefault(("rules-no-ipauth" if by_sender else frame.code, verdict.rule), []).append(frame)
    return (*found, *(_dropped(code, rule, those) for (code, rule), those in dropped.items()))


def _dropped(code: str, rule: int, those: list[Frame]) -> RulesFinding:
    where = f"rule {rule} drops it" if rule else "no rule accepts it"
    what = ", ".join(frame.what for frame in those)
    message = f"{CODES[code]} ({what}: {where}.) Put what is missing before it, or declare segment_rules: owned."
    lines = list(dict.fromkeys(frame.snippet for frame in those))
    if code == "rules-no-ipauth":
        lines.insert(0, "# before the rule that asks for `chr ipauth`, or instead of it:")
    return RulesFinding(code, message, "\n".join(lines), rule)


def frames(segment: IPv4Network, segment6: IPv6Network | None) -> tuple[Frame, ...]:
    """Those without which routes do not work."""
    four, six = "accept ethertype ipv4;", "accept ethertype ipv6;"
    some = [
        Frame("ARP", "rules-no-arp", "accept ethertype arp;", ARP, BROADCAST | IPAUTH, segment=segment),
        Frame("BGP", "rules-no-bgp", four, IPV4, IPAUTH, 6, (None, BGP), segment),
        Frame("BGP's answers", "rules-no-bgp", four, IPV4, IPAUTH, 6, (BGP, None), segment),
        Frame("BFD", "rules-no-bfd", four, IPV4, IPAUTH, 17, BFD, segment),
        Frame("routed IPv4", "rules-no-routed", four, IPV4, 0, routed=True, segment=segment),
        Frame("MPLS", "rules-no-mpls", "accept ethertype 0x8847;", MPLS, 0),
    ]
    if segment6 is not None:
        some += [
            Frame("IPv6 neighbour discovery", "rules-no-neighbours", six, IPV6, MULTICAST, 58),
            Frame("BFD over IPv6", "rules-no-bfd", six, IPV6, IPAUTH, 17, BFD, segment6),
            Frame("routed IPv6", "rules-no-routed", six, IPV6, 0, routed=True, segment=segment6),
        ]
    return tuple(some)


def run(rules: Sequence[Rule], frame: Frame, *, open_end: bool = False) -> Verdict:
    """What becomes of `frame`. Dropped is only what is so whatever it leaves open.

    `open_end`: members have capabilities, which may accept what no rule does.
    """
    matched: bool | None = True
    may_pass = False
    for number, rule in enumerate(rules, 1):
        kind = str(rule.get("type", ""))
        if kind.startswith("ACTION_"):
            if matched is not False and kind in ENDS:
                ends = kind == "ACTION_DROP" or (kind == "ACTION_BREAK" and not open_end)
                if ends and matched:
                    return Verdict(not may_pass, number)
                if not ends:
                    may_pass = True
                    if matched:
                        return Verdict(False)
            matched = True
            continue
        matched = _combined(matched, _matches(rule, frame), rule)
    return Verdict(not may_pass and not open_end)


ENDS = ("ACTION_ACCEPT", "ACTION_DROP", "ACTION_BREAK", "ACTION_REDIRECT")


def _combined(before: bool | None, matches: bool | None, rule: Rule) -> bool | None:
    """Three-valued AND or OR: a set of matches is one condition of the action after it."""
    if matches is not None and rule.get("not"):
        matches = not matches
    if rule.get("or"):
        return True if before or matches else None if None in (before, matches) else False
    return False if before is False or matches is False else None if None in (before, matches) else True


def _matches(rule: Rule, frame: Frame) -> bool | None:
    judge = MATCHES.get(str(rule.get("type", "")))
    return None if judge is None else judge(rule, frame)


def _ethertype(rule: Rule, frame: Frame) -> bool | None:
    return rule.get("etherType") == frame.ethertype


def _protocol(rule: Rule, frame: Frame) -> bool | None:
    if frame.ethertype not in (IPV4, IPV6):
        return False
    return None if frame.protocol is None else rule.get("ipProtocol") == frame.protocol


def _port(end: int) -> Callable[[Rule, Frame], bool | None]:
    def judge(rule: Rule, frame: Frame) -> bool | None:
        if frame.ethertype not in (IPV4, IPV6) or frame.protocol == 58:
            return False
        ports, start, last = frame.ports[end], rule.get("start"), rule.get("end")
        if ports is None or not isinstance(start, int) or not isinstance(last, int):
            return None
        if start <= ports[0] and ports[-1] <= last:
            return True
        return False if last < ports[0] or ports[-1] < start else None

    return judge


def _characteristics(rule: Rule, frame: Frame) -> bool | None:
    """One bit of the mask is enough."""
    mask = _mask(rule)
    if mask is None:
        return None
    if mask & frame.bits:
        return True
    return None if mask & UNSAID else False


def _mask(rule: Rule) -> int | None:
    try:
        return int(str(rule.get("mask", "")), 16)
    except ValueError:
        return None


def _address(source: bool) -> Callable[[Rule, Frame], bool | None]:
    def judge(rule: Rule, frame: Frame) -> bool | None:
        four = str(rule.get("type", "")).startswith("MATCH_IPV4")
        if frame.ethertype != (IPV4 if four else IPV6):
            return False
        try:
            asked: Any = ip_network(str(rule.get("ip", "")), strict=False)
        except ValueError:
            return None
        if asked.prefixlen == 0:
            return True
        if frame.segment is None or asked.version != frame.segment.version:
            return None
        if frame.routed:
            return False if source and asked.subnet_of(frame.segment) else None
        if frame.segment.subnet_of(asked):
            return True
        return None if frame.segment.overlaps(asked) else False

    return judge


MATCHES: Mapping[str, Callable[[Rule, Frame], bool | None]] = {
    "MATCH_ETHERTYPE": _ethertype,
    "MATCH_IP_PROTOCOL": _protocol,
    "MATCH_IP_SOURCE_PORT_RANGE": _port(0),
    "MATCH_IP_DEST_PORT_RANGE": _port(1),
    "MATCH_CHARACTERISTICS": _characteristics,
    "MATCH_IPV4_SOURCE": _address(True),
    "MATCH_IPV6_SOURCE": _address(True),
    "MATCH_IPV4_DEST": _address(False),
    "MATCH_IPV6_DEST": _address(False),
}
"""What is not here is unknown: tags, ZeroTier addresses, MAC addresses, sizes, chance."""


def _finding(code: str, way_out: str) -> RulesFinding:
    return RulesFinding(code, f"{CODES[code]} In the network's settings {way_out}.")
