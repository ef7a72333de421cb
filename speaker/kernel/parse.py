"""What the kernel answers: dumps, errors, link events; and our own requests read back. Pure.

The kernel is believed about lengths only as far as the buffer goes: whatever does not fit
raises Malformed.
"""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Iterator
from typing import NamedTuple

from speaker.kernel import messages as m
from speaker.kernel.port import PROTO_LEYLINE, TABLE_MAIN, Fault, NextHopRecord, RouteRecord
from speaker.rib.prefix import Family

FAMILIES = {m.AF_INET: Family.IPV4, m.AF_INET6: Family.IPV6}
NLMSGERR_ATTR_MSG = 1
IFLA_IFNAME = 3
IFF_UP, IFF_RUNNING, IFF_LOWER_UP = 0x1, 0x40, 0x10000
LINK = struct.Struct("=BxHiII")  # ifinfomsg: family, type, index, flags, change
ADDRESS = struct.Struct("=BBBBI")  # ifaddrmsg: family, prefixlen, flags, scope, index
U32 = struct.Struct("=I")


class Malformed(ValueError):
    """Bytes that are no netlink message."""


LENGTH_OCTET = [bytes((length,)) for length in range(129)]
END_OF_DST = [(length + 7) // 8 for length in range(129)]

# What a dump of routes by next-hop id looks like with nexthop_compat_mode 0; anything else takes the slow path.
# length, type | dst_len, table, protocol, type | TABLE | DST | PRIORITY | NH_ID (| IPv6: cache info, preference)
_FAST = {
    m.AF_INET: struct.Struct("=IH10x xBxxBBxB4x I4x I4s II II"),
    m.AF_INET6: struct.Struct("=IH10x xBxxBBxB4x I4x I16s II II 44x"),
}
_U32_TABLE = 8 | m.RTA_TABLE << 16
_U32_PRIORITY = 8 | m.RTA_PRIORITY << 16
_U32_NH_ID = 8 | m.RTA_NH_ID << 16


def split(buffer: bytes) -> Iterator[tuple[int, int, int, int, int]]:
    """(type, flags, sequence, start of payload, end) of each message in the buffer. Raises Malformed."""
    offset, size = 0, len(buffer)
    while offset < size:
        if size - offset < m.HEADER.size:
            raise Malformed(f"{size - offset} octets left where a message header needs {m.HEADER.size}")
        length, type_, flags, sequence, _ = m.HEADER.unpack_from(buffer, offset)
        if not m.HEADER.size <= length <= size - offset:
            raise Malformed(f"message length {length} at {offset} of {size}")
        yield type_, flags, sequence, offset + m.HEADER.size, offset + length
        offset += (length + 3) & ~3


def attributes(buffer: bytes, start: int, end: int) -> dict[int, bytes]:
    """type -> value of the attributes in buffer[start:end]; flags in the type are masked. Raises Malformed."""
    found = {}
    while end - start >= 4:
        length, type_ = m.ATTRIBUTE.unpack_from(buffer, start)
        if not 4 <= length <= end - start:
            raise Malformed(f"attribute {type_} of length {length} where {end - start} octets are left")
        found[type_ & 0x3FFF] = buffer[start + 4 : start + length]
        start += (length + 3) & ~3
    return found


def routes(buffer: bytes, table: int = TABLE_MAIN) -> list[RouteRecord]:
    """Our routes (protocol 76) of one table in one datagram of a dump. Raises Malformed."""
    fast = _FAST.get(buffer[m.HEADER.size]) if len(buffer) > m.HEADER.size else None
    if fast is not None and len(buffer) % fast.size == 0 and table == TABLE_MAIN:
        found = _equal_routes(buffer, fast)
        if found is not None:
            return found
    return [
        ours[1]
        for type_, _, _, start, end in split(buffer)
        if type_ == m.RTM_NEWROUTE and (ours := _route(buffer, start, end)) is not None and ours[0] == table
    ]


def _equal_routes(buffer: bytes, fast: struct.Struct) -> list[RouteRecord] | None:
    """The common case, three times as fast: routes of one layout. None when it is another one."""
    found: list[RouteRecord] = []
    append = found.append
    size = fast.size
    most = 32 if fast is _FAST[m.AF_INET] else 128
    dst_header = (4 + most // 8) | m.RTA_DST << 16
    new = tuple.__new__
    for length, type_, bits, table, protocol, kind, at, ad, dst, ap, metric, an, nhid in fast.iter_unpack(buffer):
        if (
            length != size
            or type_ != m.RTM_NEWROUTE
            or an != _U32_NH_ID
            or ap != _U32_PRIORITY
            or ad != dst_header
            or at != _U32_TABLE
            or bits > most
        ):
            return None
        if protocol == PROTO_LEYLINE and table == TABLE_MAIN:
            append(new(RouteRecord, (LENGTH_OCTET[bits] + dst[: END_OF_DST[bits]], metric, nhid, kind)))
    return found


def _route(buffer: bytes, start: int, end: int) -> tuple[int, RouteRecord] | None:
    """(table, route) of one of ours."""
    if end - start < m.ROUTE.size:
        raise Malformed("route message without its header")
    family, bits, _, _, table, protocol, _, kind, _ = m.ROUTE.unpack_from(buffer, start)
    if protocol != PROTO_LEYLINE or family not in FAMILIES:
        return None
    found = attributes(buffer, start + m.ROUTE.size, end)
    key = _key(FAMILIES[family], bits, found.get(m.RTA_DST, b""))
    record = RouteRecord(key, _u32(found, m.RTA_PRIORITY, 0), _u32(found, m.RTA_NH_ID, 0), kind)
    return _u32(found, m.RTA_TABLE, table), record


def _key(family: Family, bits: int, dst: bytes) -> bytes:
    if bits > family.bits or (bits and len(dst) != family.bits // 8):
        raise Malformed(f"prefix of {bits} bits in {len(dst)} octets")
    return LENGTH_OCTET[bits] + dst[: END_OF_DST[bits]]


def _u32(found: dict[int, bytes], type_: int, default: int) -> int:
    value = found.get(type_)
    if value is None:
        return default
    if len(value) != 4:
        raise Malformed(f"attribute {type_} has {len(value)} octets instead of 4")
    return int(U32.unpack(value)[0])


def nexthops(buffer: bytes) -> list[NextHopRecord]:
    """Every next-hop object in one datagram of a dump. Raises Malformed."""
    return [_nexthop(buffer, start, end) for type_, _, _, start, end in split(buffer) if type_ == m.RTM_NEWNEXTHOP]


def _nexthop(buffer: bytes, start: int, end: int) -> NextHopRecord:
    if end - start < m.NEXTHOP.size:
        raise Malformed("next-hop message without its header")
    family, _, protocol, _, _ = m.NEXTHOP.unpack_from(buffer, start)
    found = attributes(buffer, start + m.NEXTHOP.size, end)
    entries = found.get(m.NHA_GROUP, b"")
    if len(entries) % m.MEMBER.size:
        raise Malformed(f"next-hop group of {len(entries)} octets")
    return NextHopRecord(
        id=_u32(found, m.NHA_ID, 0),
        protocol=protocol,
        ifindex=_u32(found, m.NHA_OIF, 0),
        gateway=found.get(m.NHA_GATEWAY, b""),
        group=tuple((member, weight + 1) for member, weight, _, _ in m.MEMBER.iter_unpack(entries)),
        blackhole=m.NHA_BLACKHOLE in found,
        resilient=m.NHA_RES_GROUP in found,
        label=_label(found),
        family=Family.IPV6 if family == m.AF_INET6 and m.NHA_BLACKHOLE in found else Family.IPV4,
    )


def _label(found: dict[int, bytes]) -> int | None:
    """The label that a next hop of ours pushes. We never push more than one."""
    encap = found.get(m.NHA_ENCAP)
    if encap is None or found.get(m.NHA_ENCAP_TYPE) != m.LWTUNNEL_ENCAP_MPLS.to_bytes(2, sys.byteorder):
        return None
    stack = attributes(encap, 0, len(encap)).get(m.MPLS_IPTUNNEL_DST, b"")
    return int.from_bytes(stack[:4], "big") >> 12 if len(stack) == 4 else None


def fault(buffer: bytes, flags: int, start: int, end: int) -> Fault | None:
    """An NLMSG_ERROR's payload; None when it is an acknowledgement. Raises Malformed."""
    if end - start < 4 + m.HEADER.size:
        raise Malformed("error message without the header of its request")
    number = -struct.unpack_from("=i", buffer, start)[0]
    if number == 0:
        return None
    length = m.HEADER.unpack_from(buffer, start + 4)[0]
    if flags & m.NLM_F_CAPPED:
        length = m.HEADER.size
    if not m.HEADER.size <= length <= end - start - 4:
        raise Malformed(f"error message that quotes {length} octets")
    message = buffer[start + 4 : start + 4 + length]
    text = ""
    if flags & m.NLM_F_ACK_TLVS:
        found = attributes(buffer, start + 4 + ((length + 3) & ~3), end)
        text = found.get(NLMSGERR_ATTR_MSG, b"").rstrip(b"\0").decode("utf-8", "replace")
    return Fault(number, text or os.strerror(number), message)


class DumpPart(NamedTuple):
    ours: bool  # It answers the request with this sequence number.
    interrupted: bool
    done: bool
    fault: Fault | None


def dump_part(buffer: bytes, sequence: int) -> DumpPart:
    """What one datagram of a dump means to its reader, without a walk through its thousand messages.

    The kernel marks an interrupted dump on a datagram's first message or on DONE, and DONE comes
    alone or last. Raises Malformed.
    """
    if len(buffer) < m.HEADER.size:
        raise Malformed(f"{len(buffer)} octets are no netlink message")
    first_length, type_, flags, answered, _ = m.HEADER.unpack_from(buffer)
    if answered != sequence:
        return DumpPart(False, False, False, None)
    plain = first_length and len(buffer) % first_length == 0 and type_ > m.NLMSG_OVERRUN
    if plain and _last_is_no_done(buffer):
        return DumpPart(True, bool(flags & m.NLM_F_DUMP_INTR), False, None)
    interrupted, fault_found = False, None
    for type_, flags, _, start, end in split(buffer):
        interrupted = interrupted or bool(flags & m.NLM_F_DUMP_INTR)
        if type_ == m.NLMSG_ERROR:
            fault_found = fault(buffer, flags, start, end)
        elif type_ == m.NLMSG_DONE:
            number = -struct.unpack_from("=i", buffer, start)[0] if end - start >= 4 else 0
            fault_found = Fault(number, os.strerror(number), b"") if number > 0 else None
            return DumpPart(True, interrupted, True, fault_found)
    return DumpPart(True, interrupted, False, fault_found)


def _last_is_no_done(buffer: bytes) -> bool:
    length, type_ = struct.unpack_from("=IH", buffer, len(buffer) - 20) if len(buffer) >= 20 else (0, 0)
    return bool(length != 20 or type_ != m.NLMSG_DONE)


class Request:
    """One of our own requests, read back: what a fault is about, and what FakeKernel carries out."""

    __slots__ = ("family", "flags", "message", "nexthop", "route", "table", "type")

    def __init__(self, message: bytes) -> None:
        """Raises Malformed."""
        ((type_, flags, _, start, end),) = split(message)
        self.type = type_
        self.flags = flags
        self.message = message
        self.family: Family | None = None
        self.route: RouteRecord | None = None
        self.table = TABLE_MAIN
        self.nexthop: NextHopRecord | None = None
        if type_ in (m.RTM_NEWROUTE, m.RTM_DELROUTE):
            found = _route(message, start, end)
            if found is not None:
                self.table, self.route = found
            self.family = FAMILIES.get(message[start])
        elif type_ in (m.RTM_NEWNEXTHOP, m.RTM_DELNEXTHOP):
            self.nexthop = _nexthop(message, start, end)


def requests(messages: bytes) -> Iterator[Request]:
    """The requests of a batch. Raises Malformed."""
    for _, _, _, start, end in split(messages):
        yield Request(messages[start - m.HEADER.size : end])


def link(buffer: bytes, start: int, end: int) -> tuple[str, int, bool]:
    """(name, index, up) of an RTM_NEWLINK or RTM_DELLINK. Up: administratively and with a carrier. Raises Malformed."""
    if end - start < LINK.size:
        raise Malformed("link message without its header")
    _, _, index, flags, _ = LINK.unpack_from(buffer, start)
    name = attributes(buffer, start + LINK.size, end).get(IFLA_IFNAME, b"").rstrip(b"\0").decode("utf-8", "replace")
    return name, index, bool(flags & IFF_UP) and bool(flags & (IFF_RUNNING | IFF_LOWER_UP))


def address_index(buffer: bytes, start: int, end: int) -> int:
    """The interface that an RTM_NEWADDR or RTM_DELADDR is about. Raises Malformed."""
    if end - start < ADDRESS.size:
        raise Malformed("address message without its header")
    return int(ADDRESS.unpack_from(buffer, start)[4])
