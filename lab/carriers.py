"""Which gateway carries which flow: packets seen as they arrive at an interface of each, by one thread."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Mapping
from typing import NamedTuple

from lab.linux import socket_in
from lab.node import Node

ETH_P_IP = 0x0800
SO_RCVBUFFORCE = 33
BUFFER_BYTES = 16 << 20
MOST_SIGHTINGS = 1_000_000
TAKEN = 128
"""Bytes of each packet that are looked at."""
ECHOES = (0, 8)


class Stream(NamedTuple):
    """Packets that a router treats alike: addresses, and ports or the identifier of a ping."""

    source: str
    target: str
    protocol: int
    ports: tuple[int, int]  # Source, destination; of a ping (0 or 8, identifier).


class Sighting(NamedTuple):
    at: float  # time.monotonic of reading
    carrier: str  # At whose interface it arrived.
    sender: str  # MAC address of who sent it there.
    stream: Stream


class Carriers:
    """A context manager; from entering on, IPv4 packets of UDP and ping that arrive at the given interfaces are noted.

    `interfaces`: name of the carrier -> (node, interface). Packets that the carriers send are not seen.
    """

    def __init__(self, interfaces: Mapping[str, tuple[Node, str]]) -> None:
        self._epoll = select.epoll()
        self._sockets: dict[int, tuple[str, socket.socket]] = {}
        self._seen: list[Sighting] = []
        self._stop, self._stopped = socket.socketpair()
        self._epoll.register(self._stopped.fileno(), select.EPOLLIN)
        for name, (node, interface) in interfaces.items():
            sniffer = socket_in(node.netns, socket.AF_PACKET, socket.SOCK_DGRAM, 0)
            sniffer.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
            sniffer.bind((interface, ETH_P_IP))
            sniffer.setblocking(False)
            self._sockets[sniffer.fileno()] = name, sniffer
            self._epoll.register(sniffer.fileno(), select.EPOLLIN)
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Carriers:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.close()
        self._thread.join(10)
        for sniffer in [one[1] for one in self._sockets.values()]:
            sniffer.close()
        self._stopped.close()
        self._epoll.close()

    def packets(self, target: str = "", since: float = 0.0) -> list[Sighting]:
        """Those for the address `target` (or any), in the order in which they were seen."""
        return [one for one in list(self._seen) if one.at >= since and target in ("", one.stream.target)]

    def counts(self, target: str = "", since: float = 0.0) -> dict[str, int]:
        """Carrier -> packets, carriers without any included."""
        found: dict[str, int] = {name: 0 for name, _ in self._sockets.values()}
        for one in self.packets(target, since):
            found[one.carrier] += 1
        return found

    def of_streams(self, target: str = "", since: float = 0.0) -> dict[Stream, list[str]]:
        """Stream -> its carriers, one after the other: a stream that never moved has one."""
        found: dict[Stream, list[str]] = {}
        for one in self.packets(target, since):
            carriers = found.setdefault(one.stream, [])
            if not carriers or carriers[-1] != one.carrier:
                carriers.append(one.carrier)
        return found

    def _watch(self) -> None:
        while len(self._seen) < MOST_SIGHTINGS:
            for fd, _ in self._epoll.poll():
                if fd not in self._sockets:
                    return
                self._read(*self._sockets[fd])

    def _read(self, name: str, sniffer: socket.socket) -> None:
        while True:
            try:
                data, source = sniffer.recvfrom(TAKEN)
            except OSError:  # Nothing more, or the interface is gone.
                return
            if (stream := stream_of(data)) is not None:
                self._seen.append(Sighting(time.monotonic(), name, source[4].hex(":"), stream))


def stream_of(packet: bytes) -> Stream | None:
    """Of an IPv4 packet; None for fragments and for what is neither UDP nor a ping."""
    if len(packet) < 28 or packet[0] >> 4 != 4 or int.from_bytes(packet[6:8], "big") & 0x1FFF:
        return None
    start, protocol = (packet[0] & 15) * 4, packet[9]
    body = packet[start : start + 8]
    if len(body) < 8:
        return None
    ports: tuple[int, int]
    if protocol == socket.IPPROTO_UDP:
        ports = int.from_bytes(body[:2], "big"), int.from_bytes(body[2:4], "big")
    elif protocol == socket.IPPROTO_ICMP and body[0] in ECHOES:
        ports = body[0], int.from_bytes(body[4:6], "big")
    else:
        return None
    return Stream(socket.inet_ntoa(packet[12:16]), socket.inet_ntoa(packet[16:20]), protocol, ports)
