"""The table of path attributes: how each is read and written, and what becomes of a bad one (RFC 7606 7).

Decoding, encoding and error handling all follow this table. An attribute without a row is unknown:
an optional transitive one is passed on (RFC 4271 5), any other is not.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from speaker.bgp import as_path
from speaker.bgp.as_path import Malformed
from speaker.rib.communities import AS_TRANS, LargeCommunity

OPTIONAL, TRANSITIVE, PARTIAL, EXTENDED_LENGTH = 0x80, 0x40, 0x20, 0x10

WELL_KNOWN = TRANSITIVE
OPTIONAL_TRANSITIVE = OPTIONAL | TRANSITIVE
OPTIONAL_LOCAL = OPTIONAL

MP_REACH_NLRI, MP_UNREACH_NLRI = 14, 15
MP_NAMES = {MP_REACH_NLRI: "MP_REACH_NLRI", MP_UNREACH_NLRI: "MP_UNREACH_NLRI"}
MP_FLAGS = OPTIONAL_LOCAL  # RFC 4760. Their values hold prefixes: the codec treats them apart from the table.


class Treatment(Enum):
    """What RFC 7606 2 makes of a malformed attribute."""

    DISCARD = "attribute discarded"
    WITHDRAW = "prefixes treated as withdrawn"


@dataclass(frozen=True, slots=True)
class Form:
    """How a value stands on the wire."""

    fits: Callable[[int], bool]  # Is this a possible length, in octets?
    read: Callable[[bytes], Any]  # Of a possible length. Raises Malformed.
    write: Callable[[Any], bytes | None]  # None: there is nothing to say, the attribute is left out.


@dataclass(frozen=True, slots=True)
class Rule:
    """One type of attribute."""

    code: int
    name: str
    field: str  # Of Attributes; as4_path and as4_aggregator are merged into others (RFC 6793).
    flags: int  # Optional and Transitive, as they must be.
    form: Form
    malformed: Treatment
    ibgp_only: bool = False  # Discarded when it comes over eBGP, never sent there.


def rules(asn_octets: int) -> Mapping[int, Rule]:
    """The table by attribute code, in order, for a session whose AS numbers have 2 or 4 octets."""
    discard, withdraw = Treatment.DISCARD, Treatment.WITHDRAW
    internal = True
    # fmt: off
    table = (
        Rule(1, "ORIGIN", "origin", WELL_KNOWN, ORIGIN, withdraw),
        Rule(2, "AS_PATH", "as_path", WELL_KNOWN, path(asn_octets), withdraw),
        Rule(3, "NEXT_HOP", "next_hop", WELL_KNOWN, HOST, withdraw),
        Rule(4, "MULTI_EXIT_DISC", "med", OPTIONAL_LOCAL, NUMBER, withdraw),
        Rule(5, "LOCAL_PREF", "local_pref", WELL_KNOWN, NUMBER, withdraw, internal),
        Rule(6, "ATOMIC_AGGREGATE", "atomic_aggregate", WELL_KNOWN, FLAG, discard),
        Rule(7, "AGGREGATOR", "aggregator", OPTIONAL_TRANSITIVE, aggregator(asn_octets), discard),
        Rule(8, "COMMUNITIES", "communities", OPTIONAL_TRANSITIVE, NUMBERS, withdraw),
        Rule(9, "ORIGINATOR_ID", "originator_id", OPTIONAL_LOCAL, ROUTER_ID, withdraw, internal),
        Rule(10, "CLUSTER_LIST", "cluster_list", OPTIONAL_LOCAL, pieces_of(4), withdraw, internal),
        Rule(16, "EXTENDED_COMMUNITIES", "extended_communities", OPTIONAL_TRANSITIVE, pieces_of(8), withdraw),
        Rule(17, "AS4_PATH", "as4_path", OPTIONAL_TRANSITIVE, AS4_PATH, discard),
        Rule(18, "AS4_AGGREGATOR", "as4_aggregator", OPTIONAL_TRANSITIVE, aggregator(4), discard),
        Rule(32, "LARGE_COMMUNITY", "large_communities", OPTIONAL_TRANSITIVE, TRIPLES, withdraw),
    )
    # fmt: on
    return {rule.code: rule for rule in table}


def exactly(octets: int) -> Callable[[int], bool]:
    return lambda size: size == octets


def multiple_of(octets: int) -> Callable[[int], bool]:
    """An empty list is malformed: who has nothing to say leaves the attribute out (RFC 7606 4)."""
    return lambda size: size > 0 and size % octets == 0


def is_host(address: bytes) -> bool:
    """Can it be a next hop: not unspecified, loopback, multicast or (IPv4) reserved (RFC 4271 6.3)."""
    if len(address) == 4:
        return address[0] not in (0, 127) and address[0] < 224
    return address[0] != 0xFF and address[:15] != bytes(15)


def _read_origin(value: bytes) -> int:
    if value[0] > 2:
        raise Malformed(f"value {value[0]} is undefined")
    return value[0]


def _read_host(value: bytes) -> bytes:
    if not is_host(value):
        raise Malformed(f"{'.'.join(map(str, value))} is no host's address")
    return value


def _read_triples(value: bytes) -> tuple[LargeCommunity, ...]:
    """RFC 8092 3: duplicates are removed."""
    return tuple(dict.fromkeys(struct.iter_unpack("!III", value)))


def _write_present(value: bytes | None) -> bytes | None:
    return value


def pieces_of(octets: int) -> Form:
    return Form(
        multiple_of(octets),
        lambda value: tuple(value[at : at + octets] for at in range(0, len(value), octets)),
        lambda pieces: b"".join(pieces) or None,
    )


def path(asn_octets: int) -> Form:
    codec = as_path.Codec(asn_octets)
    return Form(lambda _: True, codec.read, codec.write)


def aggregator(asn_octets: int) -> Form:
    """An AS number that does not fit becomes AS_TRANS."""

    def write(value: tuple[int, bytes] | None) -> bytes | None:
        if value is None:
            return None
        asn, router = value
        return (asn if asn < 1 << 8 * asn_octets else AS_TRANS).to_bytes(asn_octets, "big") + router

    return Form(exactly(asn_octets + 4), lambda value: (int.from_bytes(value[:-4], "big"), value[-4:]), write)


ORIGIN = Form(exactly(1), _read_origin, lambda value: bytes((value,)))
HOST = Form(exactly(4), _read_host, _write_present)
NUMBER = Form(
    exactly(4),
    lambda value: int.from_bytes(value, "big"),
    lambda number: None if number is None else number.to_bytes(4, "big"),
)
FLAG = Form(exactly(0), lambda _: True, lambda flag: b"" if flag else None)
NUMBERS = Form(
    multiple_of(4),
    lambda value: struct.unpack(f"!{len(value) // 4}I", value),
    lambda numbers: struct.pack(f"!{len(numbers)}I", *numbers) or None,
)
ROUTER_ID = Form(exactly(4), bytes, _write_present)
TRIPLES = Form(
    multiple_of(12),
    _read_triples,
    lambda triples: b"".join(struct.pack("!III", *triple) for triple in triples) or None,
)
AS4_PATH = Form(
    lambda size: size >= 6,  # RFC 6793 6.
    as_path.Codec(4).read_as4_path,
    lambda segments: as_path.Codec(4).write(segments) or None,
)

RULES = {True: rules(4), False: rules(2)}
"""The table, by Negotiated.as4."""
