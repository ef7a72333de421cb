"""Communities as text, and the extended communities that routing itself reads or writes.

Text is what operators type and plans carry; tuples, integers and octets are what attributes hold.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable

AS_TRANS = 23456
BLACKHOLE = 65535 << 16 | 666
"""RFC 7999 5."""
LargeCommunity = tuple[int, int, int]

CIRCUIT_CLASS, UPLINK, REASON, MAX_PATHS, RULED_MED, RULED_PREPEND = 3, 4, 9, 10, 11, 12
"""Functions of large communities that speakers set or read (docs/communities.md)."""

_LINK_BANDWIDTH = (b"\x40\x04", b"\x00\x04")  # Not transitive, and the transitive form that some send.
_ROUTERS_MAC = b"\x06\x03"  # RFC 9135 8.1
_LARGEST_FLOAT32 = (2 - 2**-23) * 2.0**127


def large_community(text: str) -> LargeCommunity:
    """The large community that "64512:1:7" is (RFC 8092). Raises ValueError that names the text and the form."""
    first, second, third = _numbers(text, 3, 2**32 - 1, "AS:function:value")
    return first, second, third


def parse_large(texts: Iterable[str]) -> tuple[LargeCommunity, ...]:
    """Those of a plan, sorted, without duplicates (RFC 8092 3). Raises ValueError as `large_community` does."""
    return tuple(sorted(set(map(large_community, texts))))


def large_text(community: LargeCommunity) -> str:
    return "{}:{}:{}".format(*community)


def community(text: str) -> int:
    """The community that "65535:0" is (RFC 1997), 32 bits. Raises ValueError that names the text and the form."""
    high, low = _numbers(text, 2, 2**16 - 1, "AS:value")
    return high << 16 | low


def community_text(value: int) -> str:
    return f"{value >> 16}:{value & 0xFFFF}"


def link_bandwidth(asn: int, bits: float) -> bytes:
    """Link Bandwidth (RFC 10005) of `bits` per second: octets per second as an IEEE float, with a two-octet AS number.

    Raises ValueError for a bandwidth that is negative or not finite.
    """
    if not 0 <= bits / 8 <= _LARGEST_FLOAT32:
        raise ValueError(f"{bits} bit/s is no bandwidth: it must be finite and not negative")
    return b"\x40\x04" + struct.pack("!Hf", asn if asn < 1 << 16 else AS_TRANS, bits / 8)


def bandwidth_of(communities: Iterable[bytes]) -> float | None:
    """Octets per second. None when there is none, or none that a weight can be made of.

    Of several the lowest counts, transitive or not (RFC 10005); negative, infinite and NaN say nothing.
    """
    stated = [struct.unpack("!f", each[4:])[0] for each in communities if each[:2] in _LINK_BANDWIDTH]
    return min((octets for octets in stated if 0 <= octets < math.inf), default=None) or None


def routers_mac(mac: bytes) -> bytes:
    """Router's MAC (RFC 9135 8.1): the next hop's Ethernet address, of 6 octets. Raises ValueError for another size."""
    if len(mac) != 6:
        raise ValueError(f"{len(mac)} octets are no Ethernet address")
    return _ROUTERS_MAC + mac


def mac_of_hop(communities: Iterable[bytes]) -> bytes:
    """What Router's MAC says; b"" when there is none, or more than one and they differ."""
    stated = {each[2:] for each in communities if each[:2] == _ROUTERS_MAC}
    return stated.pop() if len(stated) == 1 else b""


def without_hop_communities(communities: Iterable[bytes]) -> tuple[bytes, ...]:
    """All but those that say something about the next hop: only a hub may say that about a client's."""
    return tuple(c for c in communities if c[:2] not in _LINK_BANDWIDTH and c[:2] != _ROUTERS_MAC)


def _numbers(text: str, count: int, largest: int, form: str) -> tuple[int, ...]:
    parts = text.split(":")
    if len(parts) != count or not all(part.isascii() and part.isdigit() and len(part) <= 10 for part in parts):
        raise ValueError(f"{text!r} is no community: write {form}, in decimal numbers")
    numbers = tuple(map(int, parts))
    if max(numbers) > largest:
        raise ValueError(f"{text!r} is no community: each number is at most {largest}")
    return numbers
