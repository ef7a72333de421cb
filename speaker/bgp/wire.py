"""BGP messages around the UPDATE: header, NOTIFICATION, ROUTE-REFRESH, End-of-RIB (RFC 4271 4.1, 4.5)."""

from __future__ import annotations

import struct

from speaker.rib.prefix import Family

MARKER = b"\xff" * 16
HEADER_OCTETS = 19
MAX_MESSAGE = 4096

OPEN, UPDATE, NOTIFICATION, KEEPALIVE, ROUTE_REFRESH = 1, 2, 3, 4, 5

REFRESH_REQUEST, REFRESH_BEGIN, REFRESH_END = 0, 1, 2
"""Subtypes of ROUTE-REFRESH (RFC 7313): please send all again; all follows now (BoRR); that was all (EoRR)."""

UPDATE_ERROR, CEASE = 3, 6
MALFORMED_ATTRIBUTE_LIST, OPTIONAL_ATTRIBUTE_ERROR, INVALID_NETWORK_FIELD = 1, 9, 10
"""Subcodes of UPDATE_ERROR (RFC 4271 6.3)."""

FAMILY_OF = {(family.afi, family.safi): family for family in Family}


class SessionReset(Exception):
    """The peer's bytes cannot be parsed far enough to know which prefixes they are about (RFC 7606 3).

    `code` and `subcode` are those of the NOTIFICATION that ends the session, `text` says what was wrong.
    """

    def __init__(self, code: int, subcode: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.subcode = subcode
        self.text = text


def message(kind: int, body: bytes) -> bytes:
    return MARKER + struct.pack("!HB", HEADER_OCTETS + len(body), kind) + body


def end_of_rib(family: Family) -> bytes:
    """The marker after the last route of a family (RFC 4724 2)."""
    if family is Family.IPV4:
        return message(UPDATE, bytes(4))
    return message(UPDATE, struct.pack("!HHBBBHB", 0, 6, 0x80, 15, 3, family.afi, family.safi))


def route_refresh(family: Family, subtype: int = REFRESH_REQUEST) -> bytes:
    """A request for the peer's routes (RFC 2918), or the brackets around ours (RFC 7313)."""
    return message(ROUTE_REFRESH, struct.pack("!HBB", family.afi, subtype, family.safi))


def notification(code: int, subcode: int, data: bytes = b"") -> bytes:
    """The last message of a session. `data` beyond what fits is cut."""
    return message(NOTIFICATION, bytes((code, subcode)) + data[: MAX_MESSAGE - HEADER_OCTETS - 2])
