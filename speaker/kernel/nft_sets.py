"""The elements of one nftables set of addresses, read over netlink: a hundredth of what a process `nft` costs."""

from __future__ import annotations

import errno
import socket
import struct
from ipaddress import ip_address

from speaker.kernel import messages as m
from speaker.kernel import parse
from speaker.kernel.port import KernelError

NETLINK_NETFILTER = 12
NFPROTO_INET = 1
NFT_MSG_GETSETELEM = 10 << 8 | 13  # NFNL_SUBSYS_NFTABLES
NFT_MSG_NEWSETELEM = 10 << 8 | 12
NFTA_SET_ELEM_LIST_TABLE, NFTA_SET_ELEM_LIST_SET, NFTA_SET_ELEM_LIST_ELEMENTS = 1, 2, 3
NFTA_SET_ELEM_KEY = NFTA_DATA_VALUE = NFTA_LIST_ELEM = 1
NFGENMSG = struct.Struct("=BBH")  # family, version, resource id
SEQUENCE = 1
RECEIVE_SIZE = 256 << 10
SECONDS = 10
ATTEMPTS = 5


def request(table: str, name: str) -> bytes:
    """NFT_MSG_GETSETELEM, as a dump. Pure."""
    body = NFGENMSG.pack(NFPROTO_INET, 0, 0)
    for kind, text in ((NFTA_SET_ELEM_LIST_TABLE, table), (NFTA_SET_ELEM_LIST_SET, name)):
        value = text.encode() + b"\0"
        body += m.ATTRIBUTE.pack(4 + len(value), kind) + value + bytes(-len(value) % 4)
    flags = m.NLM_F_REQUEST | m.NLM_F_DUMP
    return m.HEADER.pack(m.HEADER.size + len(body), NFT_MSG_GETSETELEM, flags, SEQUENCE, 0) + body


def addresses(buffer: bytes) -> list[str]:
    """The keys in one datagram of the answer, as text. Pure. Raises parse.Malformed."""
    found = []
    for type_, _, _, start, end in parse.split(buffer):
        if type_ != NFT_MSG_NEWSETELEM:
            continue
        listed = parse.attributes(buffer, start + NFGENMSG.size, end).get(NFTA_SET_ELEM_LIST_ELEMENTS, b"")
        for element in _each(listed):
            key = parse.attributes(element, 0, len(element)).get(NFTA_SET_ELEM_KEY, b"")
            value = parse.attributes(key, 0, len(key)).get(NFTA_DATA_VALUE, b"")
            if len(value) not in (4, 16):
                raise parse.Malformed(f"set element of {len(value)} octets is no address")
            found.append(str(ip_address(value)))
    return found


def _each(buffer: bytes) -> list[bytes]:
    """The values of a list: attributes of one and the same type."""
    found, start = [], 0
    while len(buffer) - start >= 4:
        length = m.ATTRIBUTE.unpack_from(buffer, start)[0]
        if not 4 <= length <= len(buffer) - start:
            raise parse.Malformed(f"list element of length {length} where {len(buffer) - start} octets are left")
        found.append(buffer[start + 4 : start + length])
        start += (length + 3) & ~3
    return found


def elements(table: str, name: str) -> frozenset[str]:
    """Addresses in the set `name` of `table inet`, now. Blocks for a millisecond per thousand.

    Raises KernelError: ENOENT without such a table or set, EPERM without CAP_NET_ADMIN.
    """
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", SECONDS, 0))
            for _ in range(ATTEMPTS):
                found = _dump(sock, request(table, name))
                if found is not None:
                    return found
    except KernelError:
        raise
    except OSError as error:
        raise KernelError(error.errno, f"reading nftables set {name}: {error.strerror}") from error
    except parse.Malformed as error:
        raise KernelError(errno.EPROTO, f"reading nftables set {name}: {error}") from error
    raise KernelError(errno.EINTR, f"nftables set {name} changed during {ATTEMPTS} readings")


def _dump(sock: socket.socket, message: bytes) -> frozenset[str] | None:
    """None when the table changed meanwhile; what is left of that answer is in no later one."""
    found: list[str] = []
    interrupted = False
    sock.send(message)
    while True:
        buffer = sock.recv(RECEIVE_SIZE)
        part = parse.dump_part(buffer, SEQUENCE)
        if part.fault is not None:
            raise KernelError(part.fault.errno, f"nftables: {part.fault.text}")
        if not part.ours:
            continue
        interrupted = interrupted or part.interrupted
        found += addresses(buffer)
        if part.done:
            return None if interrupted else frozenset(found)
