"""What both ends of a session agreed on in their OPENs, as far as it changes the bytes of an UPDATE."""

from __future__ import annotations

from dataclasses import dataclass

from speaker.rib.prefix import Family


@dataclass(frozen=True, slots=True)
class Negotiated:
    """The result of capability negotiation. One value per session; equal values mean equal encodings."""

    add_path_receive: frozenset[Family] = frozenset()  # The peer sends path ids (RFC 7911).
    add_path_send: frozenset[Family] = frozenset()  # We send path ids.
    as4: bool = True  # AS numbers have four octets (RFC 6793).
    families: frozenset[Family] = frozenset({Family.IPV4})  # RFC 4760; others are ignored on receipt.
