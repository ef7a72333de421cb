"""The UDP sockets of BFD (RFC 5881): per uplink and family one that listens, per session one that sends.

A listener is bound to the uplink's device and to its own address, so the kernel hands us nothing that is for
anybody else. Bound to a device means bound to the interface's index: when an interface is made anew, its sockets hear
nothing any more, and are opened again.
"""

from __future__ import annotations

import errno
import random
import socket
import struct
from collections import Counter
from collections.abc import Callable, Iterator

from speaker.liveness.bfd.control import BfdUplink

PORT = 3784
SOURCE_PORTS = range(49152, 65536)
SINGLE_HOP = 255
CLASS_SELECTOR_6 = 0xC0  # As an octet of the IP header.
PRIORITY = 6
READ_AT_ONCE = 1500
"""Packets read from one listener before timers have their turn: about what its buffer holds."""
BUFFER_OCTETS = 512 << 10
LARGEST = 512
PORT_TRIES = 16

# Not all of them are named in Python's socket module; <linux/in.h>, <linux/in6.h>, <asm-generic/socket.h>.
IP_FREEBIND, IP_RECVTTL = 15, 12
IPV6_FREEBIND = 78
SO_RCVBUFFORCE = 33
RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR = 0x1, 0x10, 0x100

_TTL_255 = struct.pack("i", SINGLE_HOP)

Received = Callable[[str, str, bytes, bool], None]
"""(device, remote, payload, TTL was 255)"""


class Uplink:
    """The listeners of one uplink. `index` is the interface they are bound to; 0 while there is none."""

    def __init__(self, config: BfdUplink) -> None:
        self.config = config
        self.index = 0
        self.listeners: dict[str, socket.socket] = {}
        self.trouble = ""

    def addresses(self) -> Iterator[str]:
        yield self.config.address
        if self.config.address6 is not None:
            yield self.config.address6


class Network:
    """`opened` and `closed` are told of every listener, so that the loop waits for it. `complain` gets a line of text
    for each new trouble. Errors of sending are counted in `counters`, by name of the error."""

    def __init__(
        self,
        opened: Callable[[socket.socket, Uplink], None],
        closed: Callable[[socket.socket], None],
        complain: Callable[[str], None],
    ) -> None:
        self.counters: Counter[str] = Counter()
        self._opened = opened
        self._closed = closed
        self._complain = complain
        self._uplinks: dict[str, Uplink] = {}
        self._senders: dict[tuple[str, str, str], socket.socket] = {}  # (device, local, remote)

    def set_uplinks(self, uplinks: tuple[BfdUplink, ...]) -> None:
        wanted = {uplink.device: uplink for uplink in uplinks}
        for device, uplink in list(self._uplinks.items()):
            config = wanted.get(device)
            if config is not None and config[:3] == uplink.config[:3]:
                continue
            self._close(uplink)
            del self._uplinks[device]
        for device, config in wanted.items():
            self._uplinks.setdefault(device, Uplink(config))
        self.check()

    def check(self) -> None:
        """After a word of the kernel, and once a second: every uplink that has its interface has its listeners."""
        for uplink in self._uplinks.values():
            try:
                index = socket.if_nametoindex(uplink.config.device)
            except OSError:
                index = 0
            if index != uplink.index:
                self._close(uplink)
                self._close_senders(uplink.config.device)
                uplink.index = index
            if index:
                self._open(uplink)

    def read(self, listener: socket.socket, uplink: Uplink, received: Received) -> None:
        """Hands on all that waits, up to a bound."""
        device = uplink.config.device
        for _ in range(READ_AT_ONCE):
            try:
                payload, ancillary, _, source = listener.recvmsg(LARGEST, 64)
            except BlockingIOError:
                return
            except OSError as error:
                self._count(error)
                return
            received(device, source[0], payload, bool(ancillary) and ancillary[0][2] == _TTL_255)

    def send(self, device: str, local: str, remote: str, data: bytes) -> None:
        """One packet from the session's own port. What fails is counted; the next packet tries anew."""
        key = (device, local, remote)
        try:
            sender = self._senders.get(key)
            if sender is None:
                sender = self._senders[key] = _sender(device, local)
            sender.sendto(data, (remote, PORT))
        except OSError as error:
            self._count(error)
            if error.errno in (errno.ENODEV, errno.ENXIO):
                self.forget(device, local, remote)

    def forget(self, device: str, local: str, remote: str) -> None:
        """The session is gone, or its socket is of no use."""
        sender = self._senders.pop((device, local, remote), None)
        if sender is not None:
            sender.close()

    def _open(self, uplink: Uplink) -> None:
        trouble = ""
        for address in uplink.addresses():
            if address in uplink.listeners:
                continue
            try:
                listener = _listener(uplink.config.device, address)
            except OSError as error:
                taken = "; another BFD daemon, such as FRR's bfdd, has it" if error.errno == errno.EADDRINUSE else ""
                trouble = f"cannot listen on UDP {PORT} of {address} on {uplink.config.device}: {error.strerror}{taken}"
                continue
            uplink.listeners[address] = listener
            self._opened(listener, uplink)
        if trouble and trouble != uplink.trouble:
            self._complain(f"{trouble}. Tried again every second.")
        uplink.trouble = trouble

    def _close(self, uplink: Uplink) -> None:
        for listener in uplink.listeners.values():
            self._closed(listener)
            listener.close()
        uplink.listeners.clear()

    def _close_senders(self, device: str) -> None:
        for key in [key for key in self._senders if key[0] == device]:
            self.forget(*key)

    def _count(self, error: OSError) -> None:
        self.counters[errno.errorcode.get(error.errno or 0, str(error.errno))] += 1


def link_watch() -> socket.socket:
    """Readable when an interface or an address of one came or went. What it says need not be understood."""
    watch = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, 0)
    watch.bind((0, RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR))
    return watch


def drain(watch: socket.socket) -> None:
    """Reads and forgets what waits, up to a bound; also after an overflow (ENOBUFS)."""
    for _ in range(READ_AT_ONCE):
        try:
            watch.recv(LARGEST)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise


def _socket(device: str, address: str) -> socket.socket:
    """Bound to the device, not yet to an address. The address may be missing on it for now."""
    six = ":" in address
    made = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode() + b"\0")
        if six:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            made.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
        else:
            made.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
    except OSError:
        made.close()
        raise
    return made


def _listener(device: str, address: str) -> socket.socket:
    made = _socket(device, address)
    try:
        if ":" in address:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
        else:
            made.setsockopt(socket.IPPROTO_IP, IP_RECVTTL, 1)
        try:
            made.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_OCTETS)
        except PermissionError:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_OCTETS)
        made.bind((address, PORT))
    except OSError:
        made.close()
        raise
    return made


def _sender(device: str, address: str) -> socket.socket:
    """From a port of its own (RFC 5881 4). Not connected: an ICMP error would then cost the next packet."""
    made = _socket(device, address)
    try:
        if ":" in address:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, SINGLE_HOP)
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, CLASS_SELECTOR_6)
        else:
            made.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, SINGLE_HOP)
            made.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, CLASS_SELECTOR_6)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, PRIORITY)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)  # Nobody has anything to say to this port.
        _bind_somewhere(made, address)
    except OSError:
        made.close()
        raise
    return made


def _bind_somewhere(made: socket.socket, address: str) -> None:
    for left in reversed(range(PORT_TRIES)):
        try:
            made.bind((address, random.choice(SOURCE_PORTS)))
        except OSError as error:
            if error.errno != errno.EADDRINUSE or not left:
                raise
            continue
        return
