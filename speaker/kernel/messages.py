"""rtnetlink requests as bytes: routes by next-hop id, next-hop objects, groups. Pure.

A million routes differ in their address only, so a route message is `head + key[1:] + tail`
with head and tail made once per (family, length, next-hop id). Host byte order, as netlink has it.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache

from speaker.kernel.port import PROTO_LEYLINE, TABLE_MAIN, UNICAST, UNREACHABLE
from speaker.rib.prefix import Family, Key

AF_UNSPEC, AF_INET, AF_INET6 = 0, 2, 10
NLMSG_NOOP, NLMSG_ERROR, NLMSG_DONE, NLMSG_OVERRUN = 1, 2, 3, 4
RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
RTM_NEWADDR, RTM_DELADDR = 20, 21
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWNEXTHOP, RTM_DELNEXTHOP, RTM_GETNEXTHOP = 104, 105, 106

NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP_INTR, NLM_F_DUMP = 0x1, 0x4, 0x10, 0x300
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE = 0x100, 0x200, 0x400
NLM_F_CAPPED, NLM_F_ACK_TLVS = 0x100, 0x200  # In an NLMSG_ERROR.

CREATE = NLM_F_CREATE | NLM_F_EXCL
"""Refused with EEXIST when there is one already, be it foreign: plain NLM_F_REPLACE would overwrite a stranger's."""
REPLACE = NLM_F_REPLACE
"""Refused with ENOENT when there is none: then our view is wrong, and we learn it."""

RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_TABLE, RTA_NH_ID = 1, 4, 5, 6, 15, 30
NHA_ID, NHA_GROUP, NHA_GROUP_TYPE, NHA_BLACKHOLE, NHA_OIF, NHA_GATEWAY = 1, 2, 3, 4, 5, 6
NHA_ENCAP_TYPE, NHA_ENCAP, NHA_RES_GROUP = 7, 8, 12
NEXTHOP_GRP_TYPE_MPATH, NEXTHOP_GRP_TYPE_RES = 0, 1
NHA_RES_GROUP_BUCKETS, NHA_RES_GROUP_IDLE_TIMER, NHA_RES_GROUP_UNBALANCED_TIMER = 1, 2, 3
LWTUNNEL_ENCAP_MPLS, MPLS_IPTUNNEL_DST = 1, 1
NLA_F_NESTED = 0x8000
SCOPE_NOWHERE = 255
MAX_WEIGHT = 255
MAX_LABEL = (1 << 20) - 1
BUCKETS = 128
IDLE_SECONDS = 1
UNBALANCED_SECONDS = 60
"""A member that comes back gets idle buckets at once, and its whole share after a minute at the latest."""
CLOCK_TICKS = 100  # USER_HZ: what netlink counts the timers in.

HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
ROUTE = struct.Struct("=BBBBBBBBI")  # rtmsg: family, dst_len, src_len, tos, table, protocol, scope, type, flags
NEXTHOP = struct.Struct("=BBBBI")  # nhmsg: family, scope, protocol, reserved, flags
MEMBER = struct.Struct("=IBBH")  # nexthop_grp: id, weight - 1, reserved
ATTRIBUTE = struct.Struct("=HH")
ATTRIBUTE_U32 = struct.Struct("=HHI")
ATTRIBUTE_U16 = struct.Struct("=HHHxx")
RESILIENT = struct.pack(
    "=HH HHHxx HHI HHI",
    4 + 8 + 8 + 8,
    NHA_RES_GROUP | NLA_F_NESTED,
    *(6, NHA_RES_GROUP_BUCKETS, BUCKETS),
    *(8, NHA_RES_GROUP_IDLE_TIMER, IDLE_SECONDS * CLOCK_TICKS),
    *(8, NHA_RES_GROUP_UNBALANCED_TIMER, UNBALANCED_SECONDS * CLOCK_TICKS),
)

ADDRESS_FAMILY = {Family.IPV4: AF_INET, Family.IPV6: AF_INET6}


def route_frame(
    family: Family, length: int, flags: int, metric: int, nhid: int, table: int = TABLE_MAIN
) -> tuple[bytes, bytes]:
    """(head, tail) of RTM_NEWROUTE for prefixes of `length` bits: the message is head + key[1:] + tail.

    nhid 0 makes the route `unreachable`.
    """
    size = family.bits // 8
    kind = UNICAST if nhid else UNREACHABLE
    tail = bytes(size - (length + 7) // 8) + ATTRIBUTE_U32.pack(8, RTA_PRIORITY, metric)
    if nhid:
        tail += ATTRIBUTE_U32.pack(8, RTA_NH_ID, nhid)
    return _frame(family, length, RTM_NEWROUTE, flags, 0, kind, tail, table)


@lru_cache(maxsize=4096)
def delete_frame(
    family: Family, length: int, metric: int, nhid: int = 0, table: int = TABLE_MAIN
) -> tuple[bytes, bytes]:
    """(head, tail) of RTM_DELROUTE. Protocol and metric must match, so a foreign route is never hit.

    nhid 0 means whatever it refers to, of whatever type.
    """
    size = family.bits // 8
    tail = bytes(size - (length + 7) // 8) + ATTRIBUTE_U32.pack(8, RTA_PRIORITY, metric)
    if nhid:
        tail += ATTRIBUTE_U32.pack(8, RTA_NH_ID, nhid)
    return _frame(family, length, RTM_DELROUTE, 0, SCOPE_NOWHERE, 0, tail, table)


def _frame(
    family: Family, length: int, type_: int, flags: int, scope: int, kind: int, tail: bytes, table: int
) -> tuple[bytes, bytes]:
    if table != TABLE_MAIN:  # The header has room for one octet.
        tail += ATTRIBUTE_U32.pack(8, RTA_TABLE, table)
    size = family.bits // 8
    octets = (length + 7) // 8
    total = HEADER.size + ROUTE.size + ATTRIBUTE.size + octets + len(tail)
    head = (
        HEADER.pack(total, type_, NLM_F_REQUEST | flags, 0, 0)
        + ROUTE.pack(ADDRESS_FAMILY[family], length, 0, 0, _octet(table), PROTO_LEYLINE, scope, kind, 0)
        + ATTRIBUTE.pack(ATTRIBUTE.size + size, RTA_DST)
    )
    return head, tail


def _octet(table: int) -> int:
    """What the header says of the table; 0 (RT_TABLE_UNSPEC): the attribute says it."""
    return table if table < 256 else 0


def put_route(family: Family, key: Key, flags: int, metric: int, nhid: int, table: int = TABLE_MAIN) -> bytes:
    """One RTM_NEWROUTE; for many, use the frames."""
    head, tail = route_frame(family, key[0], flags, metric, nhid, table)
    return head + key[1:] + tail


def delete_route(family: Family, key: Key, metric: int, nhid: int = 0, table: int = TABLE_MAIN) -> bytes:
    """One RTM_DELROUTE."""
    head, tail = delete_frame(family, key[0], metric, nhid, table)
    return head + key[1:] + tail


def put_nexthop(id_: int, ifindex: int, gateway: bytes, flags: int, label: int | None = None) -> bytes:
    """RTM_NEWNEXTHOP of one gateway (4 or 16 octets) on one interface. With a label, MPLS is pushed (RFC 3032).

    Raises ValueError for a label that has no 20 bits.
    """
    family = AF_INET if len(gateway) == 4 else AF_INET6
    return _nexthop(
        RTM_NEWNEXTHOP,
        flags,
        family,
        ATTRIBUTE_U32.pack(8, NHA_ID, id_)
        + ATTRIBUTE.pack(4 + len(gateway), NHA_GATEWAY)
        + gateway
        + ATTRIBUTE_U32.pack(8, NHA_OIF, ifindex)
        + (b"" if label is None else _push(label)),
    )


def _push(label: int) -> bytes:
    """The attributes of a next hop that pushes one label: bottom of stack, TTL left to the kernel."""
    if not 0 <= label <= MAX_LABEL:
        raise ValueError(f"label {label} is not in 0..{MAX_LABEL}")
    entry = (label << 12 | 1 << 8).to_bytes(4, "big")
    return (
        ATTRIBUTE_U16.pack(6, NHA_ENCAP_TYPE, LWTUNNEL_ENCAP_MPLS)
        + ATTRIBUTE.pack(12, NHA_ENCAP | NLA_F_NESTED)
        + ATTRIBUTE.pack(8, MPLS_IPTUNNEL_DST)
        + entry
    )


def put_blackhole(id_: int, family: Family, flags: int) -> bytes:
    """RTM_NEWNEXTHOP that drops in silence. In a group it can only be the sole member."""
    return _nexthop(
        RTM_NEWNEXTHOP,
        flags,
        ADDRESS_FAMILY[family],
        ATTRIBUTE_U32.pack(8, NHA_ID, id_) + ATTRIBUTE.pack(4, NHA_BLACKHOLE),
    )


def put_group(id_: int, members: Sequence[tuple[int, int]], flags: int, resilient: bool = False) -> bytes:
    """RTM_NEWNEXTHOP of a hash-threshold or a resilient group. Members are (next-hop id, weight).

    The kernel keeps a group's type and number of buckets for its whole life.
    Raises ValueError for a weight outside 1..255 or no members: the kernel keeps one octet.
    """
    if not members:
        raise ValueError(f"group {id_:#x} has no members: delete it, or give it a blackhole")
    for member, weight in members:
        if not 1 <= weight <= MAX_WEIGHT:
            raise ValueError(f"group {id_:#x}: weight {weight} of {member:#x} is not in 1..{MAX_WEIGHT}")
    entries = b"".join(MEMBER.pack(member, weight - 1, 0, 0) for member, weight in members)
    return _nexthop(
        RTM_NEWNEXTHOP,
        flags,
        AF_UNSPEC,
        ATTRIBUTE_U32.pack(8, NHA_ID, id_)
        + ATTRIBUTE_U16.pack(6, NHA_GROUP_TYPE, NEXTHOP_GRP_TYPE_RES if resilient else NEXTHOP_GRP_TYPE_MPATH)
        + ATTRIBUTE.pack(4 + len(entries), NHA_GROUP)
        + entries
        + (RESILIENT if resilient else b""),
    )


def delete_nexthop(id_: int) -> bytes:
    """RTM_DELNEXTHOP. It leaves all its groups; a group that becomes empty goes too, with every route in it."""
    return _nexthop(RTM_DELNEXTHOP, 0, AF_UNSPEC, ATTRIBUTE_U32.pack(8, NHA_ID, id_), protocol=0)


def _nexthop(type_: int, flags: int, family: int, attributes: bytes, protocol: int = PROTO_LEYLINE) -> bytes:
    total = HEADER.size + NEXTHOP.size + len(attributes)
    return HEADER.pack(total, type_, NLM_F_REQUEST | flags, 0, 0) + NEXTHOP.pack(family, 0, protocol, 0, 0) + attributes


def barrier(sequence: int) -> bytes:
    """Ends a batch: a no-op whose acknowledgement says that everything before it was looked at."""
    return HEADER.pack(HEADER.size, NLMSG_NOOP, NLM_F_REQUEST | NLM_F_ACK, sequence, 0)


def dump_routes(family: Family, sequence: int, table: int = TABLE_MAIN) -> bytes:
    """RTM_GETROUTE for our routes in one table; the socket needs NETLINK_GET_STRICT_CHK for the filter."""
    return (
        HEADER.pack(36, RTM_GETROUTE, NLM_F_REQUEST | NLM_F_DUMP, sequence, 0)
        + ROUTE.pack(ADDRESS_FAMILY[family], 0, 0, 0, 0, PROTO_LEYLINE, 0, 0, 0)
        + ATTRIBUTE_U32.pack(8, RTA_TABLE, table)
    )


def dump_nexthops(sequence: int) -> bytes:
    return HEADER.pack(24, RTM_GETNEXTHOP, NLM_F_REQUEST | NLM_F_DUMP, sequence, 0) + NEXTHOP.pack(0, 0, 0, 0, 0)


def dump_links(sequence: int) -> bytes:
    return HEADER.pack(32, RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, sequence, 0) + bytes(16)
