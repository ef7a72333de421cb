"""Routes into UPDATE messages (RFC 4271 4.3, RFC 4760, RFC 7911): whole messages, ready to be sent.

IPv4 prefixes go into the classic fields, IPv6 ones into MP_REACH_NLRI and MP_UNREACH_NLRI, which come
first and never beside classic prefixes (RFC 7606 5.1).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from speaker.bgp.as_path import as4_path_of
from speaker.bgp.negotiated import Negotiated
from speaker.bgp.path_attributes import (
    EXTENDED_LENGTH,
    MP_FLAGS,
    MP_REACH_NLRI,
    MP_UNREACH_NLRI,
    OPTIONAL_TRANSITIVE,
    PARTIAL,
    RULES,
)
from speaker.bgp.wire import HEADER_OCTETS, MAX_MESSAGE, UPDATE, message
from speaker.rib.attributes import Attributes
from speaker.rib.prefix import Family, Key

Withdrawn = tuple[int, Sequence[Key]]
"""Path id (left out without ADD-PATH) and prefixes. Attributes stand between them when they are announced."""
Announced = tuple[int, Attributes, Sequence[Key]]

DEFAULT_LOCAL_PREF = 100
CACHED_ATTRIBUTE_SETS = 4096
"""Attribute sets whose encoding is remembered; the oldest is forgotten first."""

_BODY = MAX_MESSAGE - HEADER_OCTETS - 4  # What the two length fields of an UPDATE leave.
_LONGEST_PREFIX = 4 + 1 + 16  # Path id, length, an IPv6 address.

_encoded: dict[tuple[int, bool, bool], tuple[Attributes, bytes]] = {}
"""By identity, because hashing an attribute set costs more than encoding it saves. The value keeps the id taken."""


def encode_updates(
    family: Family,
    negotiated: Negotiated,
    withdrawn: Iterable[Withdrawn],
    announced: Iterable[Announced],
    *,
    ibgp: bool = True,
    faults: list[str] | None = None,
) -> list[bytes]:
    """UPDATE messages with header, each of at most 4096 octets, to be sent in this order.

    No (path id, prefix) may be in both. With ADD-PATH announcements come first, so that a new path arrives
    before the old one leaves; without it withdrawals do, since a later one would take back what replaced it.
    Attributes that leave no room for a prefix cannot be sent: their prefixes are withdrawn, and `faults` says so.
    Raises ValueError when a next hop is not of the family.
    """
    add_path = family in negotiated.add_path_send
    unsendable: list[Withdrawn] = []
    announcements = []
    for _, group in groupby(announced, key=_attributes_id):
        groups = list(group)
        attributes = groups[0][1]
        octets = attribute_octets(attributes, negotiated.as4, ibgp)
        room = _room(family, attributes, octets)
        prefixes = [(path_id, keys) for path_id, _, keys in groups]
        if room < _LONGEST_PREFIX:
            unsendable += prefixes
            if faults is not None:
                count = sum(len(keys) for _, keys in prefixes)
                faults.append(f"{count} prefixes withdrawn: their attributes ({len(octets)} octets) fit no message")
            continue
        for field in _fields(prefixes, room, add_path):
            announcements.append(_announcement(family, attributes.next_hop, octets, field))
    withdrawals = _withdrawals(family, [*withdrawn, *unsendable], add_path)
    return announcements + withdrawals if add_path else withdrawals + announcements


def attribute_octets(attributes: Attributes, as4: bool, ibgp: bool) -> bytes:
    """The path attributes without MP_REACH_NLRI, in order of their codes."""
    key = (id(attributes), as4, ibgp)
    known = _encoded.get(key)
    if known is not None:
        return known[1]
    octets = _attribute_octets(attributes, as4, ibgp)
    if len(_encoded) >= CACHED_ATTRIBUTE_SETS:
        del _encoded[next(iter(_encoded))]
    _encoded[key] = (attributes, octets)
    return octets


def _attributes_id(announced: Announced) -> int:
    return id(announced[1])


def _room(family: Family, attributes: Attributes, octets: bytes) -> int:
    """Octets that are left for prefixes in a message with these attributes."""
    if len(attributes.next_hop) != family.bits // 8:
        raise ValueError(f"a next hop of {len(attributes.next_hop)} octets for {family.value} prefixes")
    return _BODY - len(octets) - (0 if family is Family.IPV4 else 4 + 5 + len(attributes.next_hop))


def _announcement(family: Family, next_hop: bytes, octets: bytes, field: bytes) -> bytes:
    if family is Family.IPV4:
        return message(UPDATE, struct.pack("!HH", 0, len(octets)) + octets + field)
    value = struct.pack("!HBB", family.afi, family.safi, len(next_hop)) + next_hop + b"\0" + field
    reach = _multiprotocol(MP_REACH_NLRI, value)
    return message(UPDATE, struct.pack("!HH", 0, len(reach) + len(octets)) + reach + octets)


def _withdrawals(family: Family, groups: list[Withdrawn], add_path: bool) -> list[bytes]:
    if family is Family.IPV4:
        return [
            message(UPDATE, struct.pack("!H", len(field)) + field + b"\0\0")
            for field in _fields(groups, _BODY, add_path)
        ]
    family_octets = struct.pack("!HB", family.afi, family.safi)
    messages = []
    for field in _fields(groups, _BODY - 4 - 3, add_path):
        unreach = _multiprotocol(MP_UNREACH_NLRI, family_octets + field)
        messages.append(message(UPDATE, struct.pack("!HH", 0, len(unreach)) + unreach))
    return messages


def _multiprotocol(code: int, value: bytes) -> bytes:
    return struct.pack("!BBH", MP_FLAGS | EXTENDED_LENGTH, code, len(value)) + value


def _fields(groups: Iterable[Withdrawn], room: int, add_path: bool) -> Iterator[bytes]:
    """The prefixes as fields of at most `room` octets.

    Slices are cut for the longest prefix of their group: one join instead of a sum over prefixes.
    """
    pieces: list[bytes] = []
    taken = 0
    for path_id, keys in groups:
        if not keys:
            continue
        lead = path_id.to_bytes(4, "big") if add_path else b""
        step = room // (len(lead) + max(map(len, keys)))
        for at in range(0, len(keys), step):
            piece = lead + lead.join(keys[at : at + step])
            if taken + len(piece) > room:
                yield b"".join(pieces)
                pieces, taken = [], 0
            pieces.append(piece)
            taken += len(piece)
    if pieces:
        yield b"".join(pieces)


def _attribute_octets(attributes: Attributes, as4: bool, ibgp: bool) -> bytes:
    encoded = {code: _attribute(flags | PARTIAL, code, value) for flags, code, value in attributes.unknown}
    extra: dict[str, Any] = {"as4_path": (), "as4_aggregator": None}
    if not as4:
        extra["as4_path"] = as4_path_of(attributes.as_path)
        if attributes.aggregator and attributes.aggregator[0] >= 2**16:
            extra["as4_aggregator"] = attributes.aggregator
    if attributes.local_pref is None:
        extra["local_pref"] = DEFAULT_LOCAL_PREF  # iBGP peers withdraw what comes without one (RFC 7606 3 d).
    if len(attributes.next_hop) != 4:
        extra["next_hop"] = None  # It stands in MP_REACH_NLRI.
    for code, rule in RULES[as4].items():
        value = rule.form.write(extra[rule.field] if rule.field in extra else getattr(attributes, rule.field))
        if value is not None and (ibgp or not rule.ibgp_only):
            encoded[code] = _attribute(rule.flags, code, value)
    return b"".join(encoded[code] for code in sorted(encoded))


def _attribute(flags: int, code: int, value: bytes) -> bytes:
    flags &= OPTIONAL_TRANSITIVE | PARTIAL
    if len(value) > 255:
        return struct.pack("!BBH", flags | EXTENDED_LENGTH, code, len(value)) + value
    return bytes((flags, code, len(value))) + value
