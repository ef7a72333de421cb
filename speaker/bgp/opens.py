"""What an OPEN says, and what two of them negotiate (RFC 4271 4.2, RFC 5492, 4760, 7911, 6793, 4724)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from speaker.bgp.negotiated import Negotiated
from speaker.bgp.wire import FAMILY_OF
from speaker.rib.prefix import Family

MULTIPROTOCOL, ROUTE_REFRESH, GRACEFUL_RESTART, FOUR_OCTETS_AS, ADD_PATH, ENHANCED_REFRESH = 1, 2, 64, 65, 69, 70
CAPABILITIES, EXTENDED = 2, 255
CAN_RECEIVE, CAN_SEND = 1, 2
RESTARTING, FORWARDING = 0x8000, 0x80


class OpenUnreadable(ValueError):
    """The bytes are no OPEN body. ExaBGP has accepted it, so this is a bug of one of us."""


@dataclass(frozen=True, slots=True)
class GracefulRestart:
    """The peer's capability (RFC 4724 3)."""

    restarting: bool  # R bit: it has restarted, and does not wait for our End-of-RIB.
    seconds: int  # How long it may take to come back.
    families: frozenset[Family]  # For these it takes part.
    forwarding: frozenset[Family]  # F bit: it has kept these in its forwarding plane.


@dataclass(frozen=True, slots=True)
class OpenMessage:
    asn: int
    hold_time: int  # seconds
    router_id: bytes  # 4 octets
    families: frozenset[Family] = frozenset({Family.IPV4})
    add_path: dict[Family, int] = field(default_factory=dict)  # CAN_RECEIVE | CAN_SEND
    as4: bool = False
    refresh: bool = False  # RFC 2918
    enhanced_refresh: bool = False  # RFC 7313
    graceful_restart: GracefulRestart | None = None


def parse_open(body: bytes) -> OpenMessage:
    """The OPEN without its header. Unknown capabilities and families are left out. Raises OpenUnreadable."""
    try:
        return _parse(body)
    except (struct.error, IndexError) as error:
        raise OpenUnreadable(f"OPEN of {len(body)} octets: {error}") from None


def negotiate(sent: OpenMessage, received: OpenMessage) -> Negotiated:
    """What holds on the session. `sent` is ours."""
    families = sent.families & received.families

    def agreed(ours: int, theirs: int) -> frozenset[Family]:
        return frozenset(
            family
            for family in families
            if sent.add_path.get(family, 0) & ours and received.add_path.get(family, 0) & theirs
        )

    return Negotiated(
        families=families,
        add_path_receive=agreed(CAN_RECEIVE, CAN_SEND),
        add_path_send=agreed(CAN_SEND, CAN_RECEIVE),
        as4=sent.as4 and received.as4,
    )


def _parse(body: bytes) -> OpenMessage:
    _version, asn, hold_time = struct.unpack_from("!BHH", body)
    router_id = body[5:9]
    families: set[Family] = set()
    add_path: dict[Family, int] = {}
    as4 = refresh = enhanced = False
    graceful = None
    capabilities = list(_capabilities(body))
    for code, value in capabilities:
        if code == MULTIPROTOCOL:
            afi, _reserved, safi = struct.unpack("!HBB", value)
            families |= {FAMILY_OF[afi, safi]} if (afi, safi) in FAMILY_OF else set()
        elif code == FOUR_OCTETS_AS:
            (asn,) = struct.unpack("!L", value)
            as4 = True
        elif code == ADD_PATH:
            for afi, safi, flags in struct.iter_unpack("!HBB", value):
                if (afi, safi) in FAMILY_OF and flags in (1, 2, 3):
                    add_path[FAMILY_OF[afi, safi]] = flags
        elif code == GRACEFUL_RESTART:
            graceful = _graceful(value)
        refresh |= code == ROUTE_REFRESH
        enhanced |= code == ENHANCED_REFRESH
    if not any(code == MULTIPROTOCOL for code, _ in capabilities):
        families = {Family.IPV4}  # RFC 4271: a speaker without RFC 4760 speaks IPv4 unicast.
    return OpenMessage(asn, hold_time, router_id, frozenset(families), add_path, as4, refresh, enhanced, graceful)


def _capabilities(body: bytes) -> Iterator[tuple[int, bytes]]:
    length, position, wide = body[9], 10, False
    if length == EXTENDED and len(body) > 10 and body[10] == EXTENDED:  # RFC 9072
        position, wide = 13, True
    while position < len(body):
        kind = body[position]
        if wide:
            (size,) = struct.unpack_from("!H", body, position + 1)
            position += 3
        else:
            size = body[position + 1]
            position += 2
        if kind == CAPABILITIES:
            inside = body[position : position + size]
            while inside:
                yield inside[0], inside[2 : 2 + inside[1]]
                inside = inside[2 + inside[1] :]
        position += size


def _graceful(value: bytes) -> GracefulRestart:
    (head,) = struct.unpack_from("!H", value)
    entries = [
        (FAMILY_OF[afi, safi], flags)
        for afi, safi, flags in struct.iter_unpack("!HBB", value[2:])
        if (afi, safi) in FAMILY_OF
    ]
    return GracefulRestart(
        restarting=bool(head & RESTARTING),
        seconds=head & 0x0FFF,
        families=frozenset(family for family, _ in entries),
        forwarding=frozenset(family for family, flags in entries if flags & FORWARDING),
    )
