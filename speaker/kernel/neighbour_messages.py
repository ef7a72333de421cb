"""Entries of the neighbour table (ARP and ND caches) as rtnetlink messages. Pure.

The kernel deletes by interface and address, whoever made the entry: whoever asks must know whose it is.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from speaker.kernel import messages as m
from speaker.kernel import parse
from speaker.kernel.port import PROTO_LEYLINE
from speaker.rib.prefix import Family

RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30
NDA_DST, NDA_LLADDR, NDA_PROTOCOL = 1, 2, 12
NUD_NOARP, NUD_PERMANENT = 0x40, 0x80
NTF_PROXY, NTF_EXT_LEARNED = 0x08, 0x10
NEIGHBOUR = struct.Struct("=BxxxiHBB")  # ndmsg: family, interface, state, flags, type
MAC_OCTETS = 6


class Name(NamedTuple):
    """The kernel keeps one entry per name."""

    ifindex: int
    address: bytes  # 4 or 16 octets


class Entry(NamedTuple):
    """What stands under a name, whoever made it."""

    name: Name
    mac: bytes  # b"" while it is not resolved.
    state: int
    flags: int
    protocol: int  # 0 for what the kernel resolved itself, and for most programs.

    @property
    def ours(self) -> bool:
        return self.protocol == PROTO_LEYLINE

    @property
    def foreign(self) -> bool:
        """Somebody meant it: not ours, and not what the kernel has only found out."""
        meant = self.state & (NUD_PERMANENT | NUD_NOARP) or self.flags & NTF_EXT_LEARNED
        return not self.ours and bool(meant)

    def holds(self, mac: bytes) -> bool:
        """It is as `put` makes it."""
        return self.ours and self.mac == mac and self.state == NUD_PERMANENT and not self.flags & NTF_EXT_LEARNED


def put(name: Name, mac: bytes) -> bytes:
    """RTM_NEWNEIGH of a permanent entry that says that it is ours; what the kernel had found out goes.

    Raises ValueError for what is no address and no MAC.
    """
    if len(mac) != MAC_OCTETS:
        raise ValueError(f"a MAC of {len(mac)} octets")
    attributes = _attribute(NDA_DST, name.address) + _attribute(NDA_LLADDR, mac)
    attributes += _attribute(NDA_PROTOCOL, bytes((PROTO_LEYLINE,)))
    return _message(RTM_NEWNEIGH, m.NLM_F_CREATE | m.NLM_F_REPLACE, name, NUD_PERMANENT, attributes)


def delete(name: Name) -> bytes:
    """RTM_DELNEIGH of whatever stands there. Raises ValueError for what is no address."""
    return _message(RTM_DELNEIGH, 0, name, 0, _attribute(NDA_DST, name.address))


def dump(family: Family, sequence: int) -> bytes:
    """RTM_GETNEIGH of one family's whole table."""
    header = NEIGHBOUR.pack(m.ADDRESS_FAMILY[family], 0, 0, 0, 0)
    total = m.HEADER.size + len(header)
    return m.HEADER.pack(total, RTM_GETNEIGH, m.NLM_F_REQUEST | m.NLM_F_DUMP, sequence, 0) + header


def entries(buffer: bytes) -> list[Entry]:
    """Those in one datagram of a dump, proxy entries left out. Raises Malformed."""
    return [
        entry
        for type_, _, _, start, end in parse.split(buffer)
        if type_ == RTM_NEWNEIGH and (entry := _entry(buffer, start, end)) is not None
    ]


def name_of(request: bytes) -> Name:
    """What one of our own requests is about. Raises Malformed."""
    ((_, _, _, start, end),) = parse.split(request)
    return _named(request, start, end)[0]


def entry_of(request: bytes) -> Entry:
    """What one of our own `put`s makes. Raises Malformed."""
    ((_, _, _, start, end),) = parse.split(request)
    found = _entry(request, start, end)
    if found is None:
        raise parse.Malformed("no entry")
    return found


def _entry(buffer: bytes, start: int, end: int) -> Entry | None:
    name, found = _named(buffer, start, end)
    _, _, state, flags, _ = NEIGHBOUR.unpack_from(buffer, start)
    if flags & NTF_PROXY or not name.address:
        return None
    protocol = found.get(NDA_PROTOCOL, b"\0")
    return Entry(name, found.get(NDA_LLADDR, b""), state, flags, protocol[0] if protocol else 0)


def _named(buffer: bytes, start: int, end: int) -> tuple[Name, dict[int, bytes]]:
    if end - start < NEIGHBOUR.size:
        raise parse.Malformed("neighbour message without its header")
    family, ifindex, _, _, _ = NEIGHBOUR.unpack_from(buffer, start)
    found = parse.attributes(buffer, start + NEIGHBOUR.size, end)
    address = found.get(NDA_DST, b"")
    if address and len(address) != {m.AF_INET: 4, m.AF_INET6: 16}.get(family):
        raise parse.Malformed(f"neighbour address of {len(address)} octets")
    return Name(ifindex, address), found


def _attribute(kind: int, value: bytes) -> bytes:
    return m.ATTRIBUTE.pack(4 + len(value), kind) + value + bytes(-len(value) % 4)


def _message(type_: int, flags: int, name: Name, state: int, attributes: bytes) -> bytes:
    family = {4: m.AF_INET, 16: m.AF_INET6}.get(len(name.address))
    if family is None:
        raise ValueError(f"an address of {len(name.address)} octets")
    header = NEIGHBOUR.pack(family, name.ifindex, state, 0, 0)
    total = m.HEADER.size + len(header) + len(attributes)
    return m.HEADER.pack(total, type_, m.NLM_F_REQUEST | flags, 0, 0) + header + attributes
