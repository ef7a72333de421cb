"""Many UDP flows from one node to another, told apart by their source ports."""

from __future__ import annotations

import socket
from collections.abc import Iterable

from lab.linux import socket_in
from lab.node import Node

FIRST_PORT = 20_000
TARGET_PORT = 7_000


class Flows:
    """A context manager. `send` sends one packet of each flow."""

    def __init__(self, source: Node, target: Node, address: str, count: int) -> None:
        self.count = count
        self._target = address, TARGET_PORT
        self._sink = socket_in(target.netns, socket.AF_INET, socket.SOCK_DGRAM)  # Bound, so that nobody sends ICMP.
        self._sink.bind(self._target)
        self._sockets = [self._open(source, FIRST_PORT + number) for number in range(count)]

    def __enter__(self) -> Flows:
        return self

    def __exit__(self, *_: object) -> None:
        for one in (*self._sockets, self._sink):
            one.close()

    def send(self) -> None:
        for one in self._sockets:
            one.sendto(b"x", self._target)

    def _open(self, source: Node, port: int) -> socket.socket:
        made = socket_in(source.netns, socket.AF_INET, socket.SOCK_DGRAM)
        made.bind(("", port))
        return made


def share(carriers: Iterable[str], name: str) -> float:
    """Of all, how much `name` carries."""
    every = list(carriers)
    return every.count(name) / len(every) if every else 0.0
