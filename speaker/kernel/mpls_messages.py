"""AF_MPLS routes as rtnetlink messages: a label is popped and its packet goes to one neighbour. Pure.

Labels are one to one with what stands behind them, so a message holds the whole value. The kernel looks at
neither protocol nor next hop when a label is deleted: whoever asks must know whose it is.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from speaker.kernel import messages as m
from speaker.kernel import parse
from speaker.kernel.port import PROTO_LEYLINE, TABLE_MAIN, UNICAST

AF_MPLS = 28
RTA_VIA = 18
LABEL_BITS = 20
END_OF_STACK = 0x100  # RFC 3032: label, traffic class, end of stack, TTL; the kernel wants 0 for class and TTL.
LABEL = struct.Struct("!I")
FAMILY = struct.Struct("=H")
PLAIN = {m.RTA_TABLE, m.RTA_DST, m.RTA_OIF, RTA_VIA}
"""Attributes of a route that pops to one neighbour. RTA_NEWDST, RTA_MULTIPATH, RTA_TTL_PROPAGATE make it another."""


class LabelRoute(NamedTuple):
    label: int
    ifindex: int  # 0: its interface is gone.
    address: bytes  # Of the neighbour, 4 or 16 octets; b"" when there is none.
    plain: bool = True  # Nothing else is in it; False is never what we want.


def put(route: LabelRoute, flags: int) -> bytes:
    """RTM_NEWROUTE that pops the label and sends the packet, IPv4 or IPv6, to the neighbour. No look-up.

    Raises ValueError for what is no label (20 bits) and no address.
    """
    if len(route.address) not in (4, 16):
        raise ValueError(f"an address of {len(route.address)} octets")
    family = m.AF_INET if len(route.address) == 4 else m.AF_INET6
    via = FAMILY.pack(family) + route.address
    padding = bytes(-len(via) % 4)
    attributes = (
        m.ATTRIBUTE.pack(4 + len(via), RTA_VIA) + via + padding + m.ATTRIBUTE_U32.pack(8, m.RTA_OIF, route.ifindex)
    )
    return _message(m.RTM_NEWROUTE, m.NLM_F_REQUEST | flags, _destination(route.label) + attributes)


def delete(label: int) -> bytes:
    """RTM_DELROUTE of whatever stands behind the label. Raises ValueError for what is no label."""
    return _message(m.RTM_DELROUTE, m.NLM_F_REQUEST, _destination(label))


def dump(sequence: int) -> bytes:
    """RTM_GETROUTE for our labels; the socket needs NETLINK_GET_STRICT_CHK for the filter."""
    header = m.ROUTE.pack(AF_MPLS, 0, 0, 0, 0, PROTO_LEYLINE, 0, 0, 0)
    total = m.HEADER.size + len(header)
    return m.HEADER.pack(total, m.RTM_GETROUTE, m.NLM_F_REQUEST | m.NLM_F_DUMP, sequence, 0) + header


def routes(buffer: bytes) -> list[LabelRoute]:
    """Our labels in one datagram of a dump. Raises Malformed."""
    return [
        route
        for type_, _, _, start, end in parse.split(buffer)
        if type_ == m.RTM_NEWROUTE and (route := _route(buffer, start, end)) is not None
    ]


def label_of(request: bytes) -> int:
    """The label that one of our own requests is about. Raises Malformed."""
    ((_, _, _, start, end),) = parse.split(request)
    return _label(parse.attributes(request, start + m.ROUTE.size, end))


def _destination(label: int) -> bytes:
    if not 0 <= label < 1 << LABEL_BITS:
        raise ValueError(f"{label} is no label of {LABEL_BITS} bits")
    return m.ATTRIBUTE.pack(8, m.RTA_DST) + LABEL.pack(label << 12 | END_OF_STACK)


def _message(type_: int, flags: int, attributes: bytes) -> bytes:
    header = m.ROUTE.pack(AF_MPLS, LABEL_BITS, 0, 0, TABLE_MAIN, PROTO_LEYLINE, 0, UNICAST, 0)
    total = m.HEADER.size + len(header) + len(attributes)
    return m.HEADER.pack(total, type_, flags, 0, 0) + header + attributes


def _route(buffer: bytes, start: int, end: int) -> LabelRoute | None:
    if end - start < m.ROUTE.size:
        raise parse.Malformed("route message without its header")
    family, _, _, _, _, protocol, _, _, _ = m.ROUTE.unpack_from(buffer, start)
    if family != AF_MPLS or protocol != PROTO_LEYLINE:
        return None
    found = parse.attributes(buffer, start + m.ROUTE.size, end)
    via = found.get(RTA_VIA, b"")
    size = {m.AF_INET: 4, m.AF_INET6: 16}.get(FAMILY.unpack_from(via)[0], 0) if len(via) >= FAMILY.size else 0
    address = via[FAMILY.size :]
    oif = found.get(m.RTA_OIF, bytes(4))
    if len(oif) != 4:
        raise parse.Malformed(f"interface index of {len(oif)} octets")
    plain = found.keys() <= PLAIN and len(address) == size
    return LabelRoute(_label(found), int(parse.U32.unpack(oif)[0]), address, plain)


def _label(found: dict[int, bytes]) -> int:
    destination = found.get(m.RTA_DST, b"")
    if len(destination) != LABEL.size:
        raise parse.Malformed(f"a label of {len(destination)} octets")
    return int(LABEL.unpack(destination)[0]) >> 12
