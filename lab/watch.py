"""Watches the routes of many network namespaces at once: one netlink socket in each, one thread, exact times."""

from __future__ import annotations

import ipaddress
import selectors
import socket
import struct
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from lab.linux import socket_in
from lab.node import Node

RTM_NEWROUTE = 24
RTM_DELROUTE = 25
RTA_DST = 1
RTA_TABLE = 15
GROUPS = 1 << 6 | 1 << 10  # RTMGRP_IPV4_ROUTE, RTMGRP_IPV6_ROUTE
SO_RCVBUFFORCE = 33
BUFFER_BYTES = 64 << 20
MOST_EVENTS = 2_000_000
MAIN_TABLE = 254
CLONED = 0x200  # RTM_F_CLONED: a cache entry, no route.


@dataclass(frozen=True)
class RouteEvent:
    at: float  # time.monotonic
    node: str
    action: Literal["add", "remove"]  # A replaced route is an "add".
    prefix: str
    protocol: int


class Overrun(RuntimeError):
    """The kernel had more to tell than the socket could hold: what was seen is not everything."""


class RouteWatch:
    """A context manager; from entering on, every change of the main table in the nodes is noted."""

    def __init__(self, nodes: Iterable[Node]) -> None:
        self._nodes = list(nodes)
        self._events: list[RouteEvent] = []
        self._lost: list[str] = []
        self._stop, self._stopped = socket.socketpair()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._selector = selectors.DefaultSelector()
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> RouteWatch:
        for node in self._nodes:
            listener = socket_in(node.netns, socket.AF_NETLINK, socket.SOCK_RAW, 0)
            listener.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
            listener.bind((0, GROUPS))
            listener.setblocking(False)
            self._sockets.append(listener)
            self._selector.register(listener, selectors.EVENT_READ, node.name)
        self._selector.register(self._stopped, selectors.EVENT_READ, "")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.close()
        self._thread.join(10)
        for listener in (*self._sockets, self._stopped):
            listener.close()
        self._selector.close()

    def events(self, prefix: str = "", since: float = 0.0) -> list[RouteEvent]:
        """What happened, in order. Raises Overrun when something may be missing."""
        if self._lost:
            raise Overrun(f"route events were lost in {', '.join(sorted(set(self._lost)))}")
        return [event for event in self._events if event.at >= since and prefix in ("", event.prefix)]

    def latest(self, prefix: str, action: Literal["add", "remove"], since: float) -> dict[str, float]:
        """Node -> when `prefix` was first put (or taken) there after `since`."""
        found: dict[str, float] = {}
        for event in self.events(prefix, since):
            if event.action == action:
                found.setdefault(event.node, event.at)
        return found

    def _watch(self) -> None:
        while len(self._events) < MOST_EVENTS:
            for key, _ in self._selector.select():
                if not key.data:
                    return
                self._read(key.fileobj, key.data)  # type: ignore[arg-type]
        self._lost.append("the watch itself, which is full")

    def _read(self, listener: socket.socket, node: str) -> None:
        while True:
            try:
                data = listener.recv(1 << 18)
            except BlockingIOError:
                return
            except OSError:
                self._lost.append(node)
                return
            at = time.monotonic()
            self._events += [RouteEvent(at, node, *found) for found in routes_in(data)]


def routes_in(data: bytes) -> Iterator[tuple[Literal["add", "remove"], str, int]]:
    """(action, prefix, protocol) of every route message of the main table in a netlink datagram."""
    offset = 0
    while offset + 16 <= len(data):
        length, kind = struct.unpack_from("=IH", data, offset)
        if length < 16:
            return
        if kind in (RTM_NEWROUTE, RTM_DELROUTE):
            family, bits, _, _, table, protocol, _, _, flags = struct.unpack_from("=8BI", data, offset + 16)
            attributes = dict(_attributes(data, offset + 28, offset + length))
            table = struct.unpack("=I", attributes[RTA_TABLE])[0] if RTA_TABLE in attributes else table
            if table == MAIN_TABLE and not flags & CLONED:
                zero = bytes(4 if family == socket.AF_INET else 16)
                address = ipaddress.ip_address(attributes.get(RTA_DST, zero))
                yield "add" if kind == RTM_NEWROUTE else "remove", f"{address}/{bits}", protocol
        offset += (length + 3) & ~3


def _attributes(data: bytes, offset: int, end: int) -> Iterator[tuple[int, bytes]]:
    while offset + 4 <= end:
        length, kind = struct.unpack_from("=HH", data, offset)
        if length < 4:
            return
        yield kind & 0x3FFF, data[offset + 4 : offset + length]
        offset += (length + 3) & ~3
