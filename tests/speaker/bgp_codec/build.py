"""UPDATEs put together octet by octet, independently of the encoder: right ones and wrong ones."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from speaker.bgp.decode import Decoder
from speaker.bgp.negotiated import Negotiated
from speaker.rib.path import Update
from speaker.rib.prefix import Family, Key

BOTH = frozenset(Family)
PLAIN = Negotiated(families=BOTH)
ADD_PATH = Negotiated(add_path_receive=BOTH, add_path_send=BOTH, families=BOTH)

PREFIX = bytes.fromhex("180a0001")  # 10.0.1.0/24
PREFIX6 = bytes.fromhex("30fd4200010000")  # fd42:1::/48

ORIGIN = bytes.fromhex("40010100")
AS_PATH = bytes.fromhex("400200")
NEXT_HOP = bytes.fromhex("4003040a2a0003")
LOCAL_PREF = bytes.fromhex("400504000000d2")
BASE = (ORIGIN, AS_PATH, NEXT_HOP, LOCAL_PREF)


def attribute(flags: int, code: int, value: bytes, length: int | None = None) -> bytes:
    """One attribute; `length` when it is to lie."""
    claimed = len(value) if length is None else length
    header = struct.pack("!BBH", flags, code, claimed) if flags & 0x10 else struct.pack("!BBB", flags, code, claimed)
    return header + value


def body(attributes: Iterable[bytes] = BASE, announced: bytes = PREFIX, withdrawn: bytes = b"") -> bytes:
    field = b"".join(attributes)
    return struct.pack("!H", len(withdrawn)) + withdrawn + struct.pack("!H", len(field)) + field + announced


def mp_reach(prefixes: bytes = PREFIX6, flags: int = 0x80, next_hop: str = "fd420042000000000000000000000003") -> bytes:
    address = bytes.fromhex(next_hop)
    return attribute(flags, 14, b"\0\2\1" + bytes((len(address),)) + address + b"\0" + prefixes)


def mp_unreach(prefixes: bytes = PREFIX6, flags: int = 0x80) -> bytes:
    return attribute(flags, 15, b"\0\2\1" + prefixes)


def decode(octets: bytes, *, ibgp: bool = True, negotiated: Negotiated = PLAIN) -> Update:
    return Decoder(negotiated, ibgp).decode(octets)


def announced_keys(update: Update) -> list[Key]:
    return [key for _, _, keys, _ in update.announced for key in keys]


def withdrawn_keys(update: Update) -> list[Key]:
    return [key for _, _, keys in update.withdrawn for key in keys]
