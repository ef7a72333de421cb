"""AS_PATH on the wire, and what a speaker of 2-octet AS numbers hides in AS4_PATH (RFC 4271 4.3, RFC 6793)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from speaker.rib.attributes import (
    AS_CONFED_SEQUENCE,
    AS_CONFED_SET,
    AS_SEQUENCE,
    AS_SET,
    AsSegment,
)
from speaker.rib.communities import AS_TRANS

AsPath = tuple[AsSegment, ...]

_CONFEDERATION = (AS_CONFED_SEQUENCE, AS_CONFED_SET)
_LONGEST_SEGMENT = 255


class Malformed(ValueError):
    """The value of an attribute breaks its own rules; the text says how."""


class Codec:
    """AS paths with AS numbers of 2 or 4 octets."""

    def __init__(self, asn_octets: int) -> None:
        self._octets = asn_octets
        self._letter = "H" if asn_octets == 2 else "I"

    def read(self, value: bytes) -> AsPath:
        """The segments. Raises Malformed for what RFC 7606 7.2 lists: unknown type, empty or cut-off segment."""
        segments = []
        at = 0
        while at < len(value):
            if at + 2 > len(value):
                raise Malformed("one octet is left after the last segment")
            kind, count = value[at], value[at + 1]
            end = at + 2 + count * self._octets
            if not AS_SET <= kind <= AS_CONFED_SET:
                raise Malformed(f"segment type {kind} is undefined")
            if not count:
                raise Malformed("a segment is empty")
            if end > len(value):
                raise Malformed(f"a segment of {count} AS numbers is cut off")
            segments.append((kind, struct.unpack(f"!{count}{self._letter}", value[at + 2 : end])))
            at = end
        return tuple(segments)

    def read_as4_path(self, value: bytes) -> AsPath:
        """As `read`; confederation segments have no place here and are dropped (RFC 6793 6)."""
        return tuple(segment for segment in self.read(value) if segment[0] not in _CONFEDERATION)

    def write(self, path: AsPath) -> bytes:
        """AS numbers that do not fit become AS_TRANS; segments that do not fit are split."""
        return b"".join(self._segments(path))

    def _segments(self, path: AsPath) -> Iterator[bytes]:
        largest = (1 << 8 * self._octets) - 1
        for kind, asns in path:
            fitting = [asn if asn <= largest else AS_TRANS for asn in asns]
            for at in range(0, len(fitting), _LONGEST_SEGMENT):
                part = fitting[at : at + _LONGEST_SEGMENT]
                yield struct.pack(f"!BB{len(part)}{self._letter}", kind, len(part), *part)


def as4_path_of(path: AsPath) -> AsPath:
    """What a peer of 2-octet AS numbers must carry in AS4_PATH beside `path` (RFC 6793 4.2.2).

    () when all its AS numbers fit.
    """
    if all(asn < 2**16 for _, asns in path for asn in asns):
        return ()
    return tuple(segment for segment in path if segment[0] not in _CONFEDERATION)


def with_as4_path(path: AsPath, as4_path: AsPath) -> AsPath:
    """The real path behind an AS_PATH with AS_TRANS in it (RFC 6793 4.2.3).

    AS4_PATH replaces as much of the end as it is long; what speakers of 2-octet numbers put in front stays.
    An AS4_PATH longer than the AS_PATH says nothing.
    """
    surplus = _length(path) - _length(as4_path)
    if surplus < 0 or not as4_path:
        return path
    lead = _leading(path, surplus)
    if lead and lead[-1][0] == as4_path[0][0] == AS_SEQUENCE:
        return (*lead[:-1], (AS_SEQUENCE, lead[-1][1] + as4_path[0][1]), *as4_path[1:])
    return lead + as4_path


def _length(path: AsPath) -> int:
    """RFC 4271 9.1.2.2 a, RFC 5065: a set counts one, a confederation nothing."""
    return sum(len(asns) if kind == AS_SEQUENCE else kind == AS_SET for kind, asns in path)


def _leading(path: AsPath, count: int) -> AsPath:
    """The first `count` AS numbers, with the confederation segments in front of and between them."""
    lead: list[AsSegment] = []
    for kind, asns in path:
        if kind in _CONFEDERATION:
            lead.append((kind, asns))
        elif not count:
            break
        elif kind == AS_SET:
            lead.append((kind, asns))
            count -= 1
        else:
            lead.append((kind, asns[:count]))
            count -= len(lead[-1][1])
    return tuple(lead)
