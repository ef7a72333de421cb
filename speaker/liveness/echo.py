"""ICMP echoes of one size over one interface, never fragmented, with the kernel's own time of arrival.

The agent's loop may be busy for many milliseconds; so an echo carries the time at which it left, and the kernel
says when its answer came (SO_TIMESTAMPNS, socket(7)). Needs CAP_NET_RAW.
"""

from __future__ import annotations

import asyncio
import errno
import secrets
import socket
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from time import time_ns
from typing import NamedTuple

from speaker.liveness.damping import Pair
from speaker.liveness.path_probes import HEADERS, Probe
from speaker.liveness.probes import ECHO, FAMILY, HEADER, ICMP, checksum

IDENTIFIER = 0x4C59
"""Of every echo of ours: nftables knows by it that a probe is no use of a next hop (speaker/kernel/nft.py)."""
STAMP = struct.Struct("!8sq")  # Token of this process, Unix nanoseconds of departure.
TIMESPEC = struct.Struct("@qq")
ANSWERS_PER_TURN = 64
RECEIVE_SIZE = 16_384  # The largest packet of a segment, and more.

SOL_RAW, ICMP_FILTER, ICMPV6_FILTER = 255, 1, 1  # linux/icmp.h, linux/icmpv6.h
SO_TIMESTAMPNS = 35  # asm-generic/socket.h
MTU_DISCOVER, PROBE = {4: (socket.IPPROTO_IP, 10), 6: (socket.IPPROTO_IPV6, 23)}, 3  # Not what the kernel has cached.

Answered = Callable[[Pair, int, float], None]
"""(pair, sequence, round trip in seconds)"""


class NoEchoes(Exception):
    """This process may not send any."""


class Reply(NamedTuple):
    sequence: int
    left_ns: int  # Unix time.


class Echoes:
    """Sockets of this process, one per interface and version, made when they are needed. Lives on the event loop."""

    def __init__(self, answered: Answered) -> None:
        self._answered = answered
        self._token = secrets.token_bytes(8)
        self._sockets: dict[tuple[str, int], socket.socket] = {}
        self._sources: Mapping[tuple[str, int], str] = {}

    def configure(self, sources: Mapping[tuple[str, int], str]) -> None:
        """`sources`: (device, IP version) -> our overlay address there. Sockets of others are closed."""
        for key in [key for key in self._sockets if sources.get(key) != self._sources.get(key)]:
            self._close(key)
        self._sources = dict(sources)

    def send(self, probe: Probe) -> None:
        """Raises OSError (EMSGSIZE for more than the interface takes), NoEchoes without CAP_NET_RAW."""
        device, remote = probe.pair
        version = 6 if ":" in remote else 4
        sock = self._sockets.get((device, version)) or self._open(device, version)
        packet = render(version, probe.sequence, probe.size, STAMP.pack(self._token, time_ns()))
        try:
            sock.sendto(packet, (remote, 0))
        except OSError as error:
            if error.errno in (errno.ENODEV, errno.ENXIO):  # The interface went, and the socket is bound to that one.
                self._close((device, version))
            raise

    def close(self) -> None:
        for key in list(self._sockets):
            self._close(key)

    def _open(self, device: str, version: int) -> socket.socket:
        sock = socket.socket(
            FAMILY[version], socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, ICMP[version]
        )
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
            sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            sock.setsockopt(*MTU_DISCOVER[version], PROBE)
            sock.setsockopt(*_only_replies(version))
            if source := self._sources.get((device, version)):
                sock.bind((source, 0))
        except OSError:
            sock.close()
            raise
        self._sockets[device, version] = sock
        asyncio.get_running_loop().add_reader(sock, self._readable, device, version, sock)
        return sock

    def _close(self, key: tuple[str, int]) -> None:
        sock = self._sockets.pop(key)
        with suppress(RuntimeError):  # The loop is gone.
            asyncio.get_running_loop().remove_reader(sock)
        sock.close()

    def _readable(self, device: str, version: int, sock: socket.socket) -> None:
        for data, came_ns, remote in _received(sock):
            reply = read(version, data, self._token)
            if reply is not None:
                self._answered((device, remote), reply.sequence, (came_ns - reply.left_ns) / 1e9)


def _received(sock: socket.socket) -> Iterator[tuple[bytes, int, str]]:
    """(packet, Unix nanoseconds of its arrival, sender), a bounded number a turn."""
    for _ in range(ANSWERS_PER_TURN):
        try:
            data, ancillary, _, sender = sock.recvmsg(RECEIVE_SIZE, socket.CMSG_SPACE(TIMESPEC.size))
        except OSError:  # Nothing more, or an ICMP error of some probe: its answer will not come.
            return
        came = time_ns()
        for level, kind, value in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS) and len(value) >= TIMESPEC.size:
                seconds, nanoseconds = TIMESPEC.unpack_from(value)
                came = seconds * 1_000_000_000 + nanoseconds
        yield data, came, str(sender[0])


def render(version: int, sequence: int, size: int, stamp: bytes) -> bytes:
    """An echo that is `size` bytes with its IP header. For IPv6 the kernel fills the checksum in. Pure."""
    payload = stamp.ljust(size - HEADERS[version], b"\0")
    header = HEADER.pack(ECHO[version][0], 0, 0, IDENTIFIER, sequence)
    if version == 4:
        header = HEADER.pack(ECHO[version][0], 0, checksum(header + payload), IDENTIFIER, sequence)
    return header + payload


def read(version: int, packet: bytes, token: bytes) -> Reply | None:
    """The answer to one of ours; None for anything else. A raw IPv4 socket gives the IP header too. Pure."""
    if version == 4:
        packet = packet[(packet[0] & 0x0F) * 4 :] if packet else b""
    if len(packet) < HEADER.size + STAMP.size:
        return None
    kind, _, _, identifier, sequence = HEADER.unpack_from(packet)
    said, left = STAMP.unpack_from(packet, HEADER.size)
    if kind != ECHO[version][1] or identifier != IDENTIFIER or said != token:
        return None
    return Reply(sequence, left)


def _only_replies(version: int) -> tuple[int, int, bytes]:
    """Of all ICMP that comes to this box, echo replies alone wake us: a set bit blocks its type."""
    kind = ECHO[version][1]
    if version == 4:
        return SOL_RAW, ICMP_FILTER, struct.pack("@I", 0xFFFFFFFF & ~(1 << kind))
    words = [0xFFFFFFFF] * 8
    words[kind >> 5] &= ~(1 << (kind & 31))
    return socket.IPPROTO_ICMPV6, ICMPV6_FILTER, struct.pack("@8I", *words)
