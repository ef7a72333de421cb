"""Every interface of this box with its carrier and networks, followed; and which one a foreign route points to."""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from collections.abc import Callable, Iterable
from contextlib import suppress
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network, ip_interface

from speaker.kernel import messages as m
from speaker.kernel import parse
from speaker.kernel.links import GROUPS, read_links
from speaker.kernel.port import PROTO_LEYLINE, UNICAST, KernelError
from speaker.kernel.socket import RECEIVE_SIZE, open_netlink
from speaker.rib.prefix import Family, key_of_text

Network = IPv4Network | IPv6Network
Address = IPv4Interface | IPv6Interface
RTM_GETADDR = 22
IFA_ADDRESS = 1
RTA_MULTIPATH = 9
RTM_F_FIB_MATCH = 0x2000
IFADDRMSG = parse.ADDRESS
NEXT_HOP = struct.Struct("=HBBi")  # rtnexthop: length, flags, hops, index
DATAGRAMS_PER_TURN = 64
POLL_SECONDS = 0.1


class LanLinks:
    """Follows all interfaces of this network namespace. Lives on the event loop; `changed` is called after a burst."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._links: dict[int, tuple[str, bool]] = {}
        self._addresses: dict[int, set[Address]] = {}
        self._heard = 0  # Datagrams, since the start.
        self._socket: socket.socket | None = None

    @property
    def ports(self) -> dict[str, tuple[bool, tuple[Network, ...]]]:
        """name -> (up and with a carrier, the networks of its addresses)."""
        return {
            name: (up, tuple(sorted({address.network for address in self._addresses.get(index, ())}, key=str)))
            for index, (name, up) in self._links.items()
        }

    def start(self) -> None:
        """Reads the present state and follows. Raises KernelError."""
        self._socket = open_netlink(GROUPS)  # Before the reading, so that nothing falls between.
        self._socket.setblocking(False)
        asyncio.get_running_loop().add_reader(self._socket, self._readable)
        self._read_all()
        self._changed()

    async def run(self, names: Callable[[], Iterable[str]]) -> None:
        """Asks after the carrier of these interfaces ten times a second, for ever.

        Linux may say that a cable was pulled as late as a second after (net/core/link_watch.c: at most one batch of
        events a second, but for stacked devices). It does know, and says so at once to who asks.
        """
        while True:
            await asyncio.sleep(POLL_SECONDS)
            wanted, heard = set(names()), self._heard
            indexes = [index for index, (name, up) in self._links.items() if up and name in wanted]
            with suppress(KernelError):  # Then events alone tell, or the next look.
                for index in await asyncio.to_thread(without_carrier, indexes) if indexes else ():
                    if heard == self._heard:  # Else the answer may be older than what was heard meanwhile.
                        self._links[index] = (self._links[index][0], False)
                        self._changed()

    def close(self) -> None:
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def _readable(self) -> None:
        before = self.ports
        for _ in range(DATAGRAMS_PER_TURN):
            if self._socket is None:
                return
            try:
                buffer = self._socket.recv(RECEIVE_SIZE)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self._heard += 1
                self._read_all()
                continue
            self._heard += 1
            for type_, _, _, start, end in parse.split(buffer):
                self._note(type_, buffer, start, end)
        if self.ports != before:
            self._changed()

    def _note(self, type_: int, buffer: bytes, start: int, end: int) -> None:
        if type_ in (m.RTM_NEWLINK, m.RTM_DELLINK) and buffer[start] == m.AF_UNSPEC:
            name, index, up = parse.link(buffer, start, end)
            if type_ == m.RTM_NEWLINK:
                self._links[index] = (name, up)
            else:
                self._links.pop(index, None)
                self._addresses.pop(index, None)
        elif type_ in (m.RTM_NEWADDR, m.RTM_DELADDR):
            index, found = address(buffer, start, end)
            if found is not None and type_ == m.RTM_NEWADDR:
                self._addresses.setdefault(index, set()).add(found)
            elif found is not None:
                self._addresses.get(index, set()).discard(found)

    def _read_all(self) -> None:
        self._links = read_links()
        self._addresses = read_addresses()


def without_carrier(indexes: Iterable[int]) -> list[int]:
    """Those of the interfaces that have no carrier at this moment, or are gone. Blocks, maybe for RTNL."""
    found = []
    with open_netlink() as sock:
        try:
            for index in indexes:
                body = parse.LINK.pack(m.AF_UNSPEC, 0, index, 0, 0)
                header = m.HEADER.pack(m.HEADER.size + len(body), m.RTM_GETLINK, m.NLM_F_REQUEST, 1, 0)
                sock.send(header + body)
                answer = sock.recv(RECEIVE_SIZE)
                carriers = [
                    parse.LINK.unpack_from(answer, start)[3] & parse.IFF_LOWER_UP
                    for type_, _, _, start, _ in parse.split(answer)
                    if type_ == m.RTM_NEWLINK
                ]
                if not any(carriers):
                    found.append(index)
        except OSError as error:
            raise KernelError(error.errno, f"asking after interfaces: {error.strerror}") from error
    return found


def address(buffer: bytes, start: int, end: int) -> tuple[int, Address | None]:
    """(interface index, address with its network) of an RTM_NEWADDR or RTM_DELADDR. Raises parse.Malformed."""
    index = parse.address_index(buffer, start, end)
    bits = IFADDRMSG.unpack_from(buffer, start)[1]
    value = parse.attributes(buffer, start + IFADDRMSG.size, end).get(IFA_ADDRESS, b"")
    if len(value) not in (4, 16) or bits > len(value) * 8:
        return index, None
    return index, ip_interface((value, bits))


def read_addresses() -> dict[int, set[Address]]:
    """interface index -> its addresses. Raises KernelError."""
    found: dict[int, set[Address]] = {}
    request = m.HEADER.pack(m.HEADER.size + IFADDRMSG.size, RTM_GETADDR, m.NLM_F_REQUEST | m.NLM_F_DUMP, 1, 0)
    with open_netlink() as sock:
        try:
            sock.send(request + bytes(IFADDRMSG.size))
            while True:
                buffer = sock.recv(RECEIVE_SIZE)
                for type_, _, _, start, end in parse.split(buffer):
                    if type_ == m.RTM_NEWADDR:
                        index, own = address(buffer, start, end)
                        if own is not None:
                            found.setdefault(index, set()).add(own)
                    elif type_ in (m.NLMSG_DONE, m.NLMSG_ERROR):
                        return found
        except OSError as error:
            raise KernelError(error.errno, f"reading addresses: {error.strerror}") from error


def routed_by(prefixes: Iterable[str]) -> dict[str, str]:
    """prefix -> interface of the route that others made for it, or for the start of it. Blocks for 50 us a prefix.

    A shorter route (the default route for one) says nothing about the prefix. Raises KernelError.
    """
    found = {}
    with open_netlink() as sock:
        try:
            for prefix in prefixes:
                family, key = key_of_text(prefix)
                sock.send(_lookup(family, key))
                index = _outgoing(sock.recv(RECEIVE_SIZE), key[0])
                if index:
                    found[prefix] = socket.if_indextoname(index)
        except OSError as error:
            raise KernelError(error.errno, f"looking up routes: {error.strerror}") from error
    return found


def _lookup(family: Family, key: bytes) -> bytes:
    """RTM_GETROUTE for the route itself that the prefix's first address takes."""
    size = family.bits // 8
    body = m.ROUTE.pack(m.ADDRESS_FAMILY[family], family.bits, 0, 0, 0, 0, 0, 0, RTM_F_FIB_MATCH)
    body += m.ATTRIBUTE.pack(4 + size, m.RTA_DST) + key[1:].ljust(size, b"\0")
    return m.HEADER.pack(m.HEADER.size + len(body), m.RTM_GETROUTE, m.NLM_F_REQUEST, 1, 0) + body


def _outgoing(buffer: bytes, least_bits: int) -> int:
    """The interface of a unicast route that is not ours and no shorter; 0 when it is another. Raises Malformed."""
    for type_, _, _, start, end in parse.split(buffer):
        if type_ != m.RTM_NEWROUTE:
            continue
        _, bits, _, _, _, protocol, _, kind, _ = m.ROUTE.unpack_from(buffer, start)
        if kind != UNICAST or protocol == PROTO_LEYLINE or bits < max(least_bits, 1):
            continue
        attributes = parse.attributes(buffer, start + m.ROUTE.size, end)
        if m.RTA_OIF in attributes:
            return int(parse.U32.unpack(attributes[m.RTA_OIF])[0])
        if len(attributes.get(RTA_MULTIPATH, b"")) >= NEXT_HOP.size:
            return int(NEXT_HOP.unpack_from(attributes[RTA_MULTIPATH])[3])
    return 0
