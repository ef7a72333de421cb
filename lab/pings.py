"""Pings at a fixed, short distance between many pairs of nodes, by one thread; every lost one is known by its number.

iputils' ping spins when its interval is below the kernel's tick, and half a dozen of them starve what they watch.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from lab.linux import socket_in
from lab.train import Sender, Train

INTERVAL_SECONDS = 0.005
FLOOD_SECONDS = 0.001
"""Of a flood: the resolution of a loss window."""
ECHO = {socket.AF_INET: (socket.IPPROTO_ICMP, 8, 0), socket.AF_INET6: (socket.IPPROTO_ICMPV6, 128, 129)}
"""Family -> protocol, type of the request, type of the reply."""
FORMAT = struct.Struct("!BBHHHQ")  # type, code, checksum, identifier, sequence, our own number
SOL_RAW = 255
ICMP_FILTER = 1  # Of both families: which types the kernel keeps from a raw socket.


@dataclass(frozen=True)
class Flow:
    """From a network namespace (by its name), and one of its addresses if `source` says which, to an address."""

    name: str
    netns: str
    address: str
    source: str = ""


class PingTrain(Train):
    """Pings all flows until `finish`: a `Tally` for each, in which missing are those without an answer."""

    def __init__(self, flows: Iterable[Flow], interval: float = INTERVAL_SECONDS) -> None:
        super().__init__([Pinger(flow, number) for number, flow in enumerate(flows)], interval)


class Pinger(Sender):
    def __init__(self, flow: Flow, number: int) -> None:
        self.family = socket.AF_INET6 if ":" in flow.address else socket.AF_INET
        protocol, self.request, self.reply = ECHO[self.family]
        raw = socket_in(flow.netns, self.family, socket.SOCK_RAW, protocol)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        if self.family == socket.AF_INET:
            raw.setsockopt(SOL_RAW, ICMP_FILTER, struct.pack("=I", 0xFFFFFFFF ^ 1 << self.reply))
        else:
            words = [0xFFFFFFFF ^ (1 << (self.reply & 31) if self.reply >> 5 == word else 0) for word in range(8)]
            raw.setsockopt(socket.IPPROTO_ICMPV6, ICMP_FILTER, struct.pack("=8I", *words))
        if flow.source:
            raw.bind((flow.source, 0))
        raw.connect((flow.address, 0))
        self.identifier = (os.getpid() + number) & 0xFFFF
        super().__init__(flow.name, raw)

    def packet(self, number: int) -> bytes:
        header = (self.request, 0, 0, self.identifier, number & 0xFFFF, number)
        packet = FORMAT.pack(*header)
        if self.family == socket.AF_INET:  # For ICMPv6 the kernel does it.
            packet = FORMAT.pack(self.request, 0, checksum(packet), *header[3:])
        return packet

    def receive(self) -> None:
        try:
            data = self.socket.recv(2048)
        except OSError:
            return
        start = (data[0] & 15) * 4 if self.family == socket.AF_INET else 0
        if len(data) < start + FORMAT.size:
            return
        kind, _, _, identifier, _, number = FORMAT.unpack_from(data, start)
        if (kind, identifier) == (self.reply, self.identifier):
            self.note(number)


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071) of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF
