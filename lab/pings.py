"""Pings at a fixed, short distance between many pairs of nodes, by one thread; every lost one is known by its number.

iputils' ping spins when its interval is below the kernel's tick, and half a dozen of them starve what they watch.
"""

from __future__ import annotations

import os
import selectors
import socket
import struct
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from lab.linux import socket_in

INTERVAL_SECONDS = 0.005
LAST_ANSWER_SECONDS = 1.0
"""How long the last answers are waited for."""
ECHO = {socket.AF_INET: (socket.IPPROTO_ICMP, 8, 0), socket.AF_INET6: (socket.IPPROTO_ICMPV6, 128, 129)}
"""Family -> protocol, type of the request, type of the reply."""
FORMAT = struct.Struct("!BBHHHQ")  # type, code, checksum, identifier, sequence, our own number


@dataclass(frozen=True)
class Pings:
    """What a train of pings came to."""

    sent: int
    missing: tuple[int, ...]  # Numbers, from 0, of those without an answer.

    @property
    def lost(self) -> int:
        return len(self.missing)

    def __str__(self) -> str:
        shown = ", ".join(map(str, self.missing[:20]))
        return f"{self.lost} of {self.sent} lost{f': number {shown}' if self.missing else ''}"


@dataclass(frozen=True)
class Flow:
    """From a network namespace (by its name) to an address."""

    name: str
    netns: str
    address: str


@dataclass
class _Sender:
    flow: Flow
    socket: socket.socket
    family: int
    identifier: int
    sent: int = 0
    answered: set[int] = field(default_factory=set)


class PingTrain:
    """Pings all flows until `finish`. Start and finish are quick; nothing is printed, nothing is forked."""

    def __init__(self, flows: Iterable[Flow], interval: float = INTERVAL_SECONDS) -> None:
        self._interval = interval
        self._selector = selectors.DefaultSelector()
        self._senders = [self._open(flow, number) for number, flow in enumerate(flows)]
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def finish(self) -> dict[str, Pings]:
        """Stop, wait a moment for the last answers; name of the flow -> what came of it."""
        self._stopping.set()
        self._thread.join()
        for sender in self._senders:
            sender.socket.close()
        self._selector.close()
        return {s.flow.name: Pings(s.sent, tuple(sorted(set(range(s.sent)) - s.answered))) for s in self._senders}

    def answered(self) -> int:
        """Answers so far, of all flows."""
        return sum(len(sender.answered) for sender in self._senders)

    def _open(self, flow: Flow, number: int) -> _Sender:
        family = socket.AF_INET6 if ":" in flow.address else socket.AF_INET
        raw = socket_in(flow.netns, family, socket.SOCK_RAW, ECHO[family][0])
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        raw.setblocking(False)
        raw.connect((flow.address, 0))
        sender = _Sender(flow, raw, family, (os.getpid() + number) & 0xFFFF)
        self._selector.register(raw, selectors.EVENT_READ, sender)
        return sender

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stopping.is_set():
            for sender in self._senders:
                _send(sender)
            due = max(due + self._interval, time.monotonic())
            self._receive_until(due)
        end = time.monotonic() + LAST_ANSWER_SECONDS
        while time.monotonic() < end and any(len(s.answered) < s.sent for s in self._senders):
            self._receive_until(min(end, time.monotonic() + self._interval))

    def _receive_until(self, moment: float) -> None:
        while True:
            left = moment - time.monotonic()
            for key, _ in self._selector.select(max(0.0, left)):
                _receive(key.data)
            if left <= 0:
                return


def _send(sender: _Sender) -> None:
    _, request, _ = ECHO[sender.family]  # type: ignore[index]
    header = (request, 0, 0, sender.identifier, sender.sent & 0xFFFF, sender.sent)
    packet = FORMAT.pack(*header)
    if sender.family == socket.AF_INET:  # For ICMPv6 the kernel does it.
        packet = FORMAT.pack(request, 0, checksum(packet), *header[3:])
    sender.sent += 1
    try:
        sender.socket.send(packet)
    except OSError:
        return  # No route, or an ICMP error that came back: one without an answer.


def _receive(sender: _Sender) -> None:
    _, _, reply = ECHO[sender.family]  # type: ignore[index]
    try:
        data = sender.socket.recv(2048)
    except OSError:
        return
    start = (data[0] & 15) * 4 if sender.family == socket.AF_INET else 0
    if len(data) < start + FORMAT.size:
        return
    kind, _, _, identifier, _, number = FORMAT.unpack_from(data, start)
    if (kind, identifier) == (reply, sender.identifier):
        sender.answered.add(number)


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071) of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF
