"""Numbered UDP datagrams from one node to another, one way: which direction was cut, and for how long."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from lab.linux import socket_in
from lab.node import Node
from lab.train import Sender, Train

FIRST_PORT = 40_000
FLOOD_SECONDS = 0.001
FORMAT = struct.Struct("!QQ")  # the train's mark, our own number


@dataclass(frozen=True)
class UdpFlow:
    """From a network namespace to another one, which has `address`."""

    name: str
    netns: str
    target: str
    address: str


def one_way(source: Node, target: Node, address: str, name: str = "") -> UdpFlow:
    return UdpFlow(name or f"{source.name} to {target.name}", source.netns, target.netns, address)


class UdpTrain(Train):
    """Sends all flows until `finish`: a `Tally` for each, in which missing are those that did not arrive."""

    def __init__(self, flows: Iterable[UdpFlow], interval: float = FLOOD_SECONDS, port: int = FIRST_PORT) -> None:
        super().__init__([Counter(flow, port + number) for number, flow in enumerate(flows)], interval)


class Counter(Sender):
    def __init__(self, flow: UdpFlow, port: int) -> None:
        family = socket.AF_INET6 if ":" in flow.address else socket.AF_INET
        self.mark = os.getpid() << 16 | port
        self.receiver = socket_in(flow.target, family, socket.SOCK_DGRAM)
        self.receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.receiver.bind((flow.address, port))
        self.receiver.setblocking(False)
        sending = socket_in(flow.netns, family, socket.SOCK_DGRAM)
        sending.connect((flow.address, port))
        super().__init__(flow.name, sending)

    def packet(self, number: int) -> bytes:
        return FORMAT.pack(self.mark, number)

    def listening(self) -> Iterator[tuple[socket.socket, Callable[[], None]]]:
        yield self.receiver, self.receive
        yield self.socket, self.read_errors

    def receive(self) -> None:
        try:
            data = self.receiver.recv(64)
        except OSError:
            return
        if len(data) == FORMAT.size:
            mark, number = FORMAT.unpack(data)
            if mark == self.mark:
                self.note(number)

    def close(self) -> None:
        super().close()
        self.receiver.close()
