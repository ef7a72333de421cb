"""Numbered packets of many flows at a fixed, short distance, by one thread. What the packets are, flows say.

The times are absolute: after a stall (this is no real-time system) what was missed is left out instead of sent in one
burst, so that a gap of the network is never filled by packets that belong elsewhere.
"""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from struct import Struct

from lab.linux import Ticker
from lab.loss import Tally

LAST_ANSWER_SECONDS = 1.0
"""How long the last answers are waited for."""
MOST_UNREACHABLE = 100_000
IP_RECVERR = 11
IPV6_RECVERR = 25
EXTENDED_ERROR = Struct("=IBBBBII")  # struct sock_extended_err: errno, origin, type, code, pad, info, data
ORIGINS = {2: (3, 11), 3: (1, 3)}
"""Origin of an extended error (ICMP, ICMPv6) -> its types unreachable and time exceeded."""


class Sender(ABC):
    """One flow: sends numbered packets, and knows which came through."""

    def __init__(self, name: str, sending: socket.socket) -> None:
        self.name = name
        self.socket = sending
        self.times = array("d")
        self.came = bytearray()
        self.arrived = 0
        self.duplicates = 0
        self.unreachable: list[float] = []
        self.expired = 0
        level, option = (
            (socket.IPPROTO_IP, IP_RECVERR) if sending.family == socket.AF_INET else (socket.IPPROTO_IPV6, IPV6_RECVERR)
        )
        sending.setsockopt(level, option, 1)
        sending.setblocking(False)

    @abstractmethod
    def packet(self, number: int) -> bytes:
        """The bytes of the packet `number`."""

    @abstractmethod
    def receive(self) -> None:
        """Something can be read; call `note` for what came through."""

    def listening(self) -> Iterator[tuple[socket.socket, Callable[[], None]]]:
        """Sockets to watch, and what to call when they can be read."""
        yield self.socket, self.receive

    def close(self) -> None:
        self.socket.close()

    def send(self) -> None:
        packet = self.packet(len(self.times))
        self.times.append(time.monotonic())
        self.came.append(0)
        for _ in range(2):
            try:
                self.socket.send(packet)
            except OSError:  # An ICMP error that came back is told once, in place of sending. Else there is no route.
                self.read_errors()
            else:
                return

    def note(self, number: int) -> None:
        """Packet `number` came through."""
        if number >= len(self.came):
            return  # Not one of this train.
        if self.came[number]:
            self.duplicates += 1
            return
        self.came[number] = 1
        self.arrived += 1

    def read_errors(self) -> None:
        """What came back as ICMP errors (RFC 792, RFC 4443)."""
        while True:
            try:
                _, ancillary, _, _ = self.socket.recvmsg(64, 512, socket.MSG_ERRQUEUE)
            except OSError:
                self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)  # Forgets it: else it is told for ever.
                return
            for _, _, data in ancillary:
                if len(data) >= EXTENDED_ERROR.size:
                    self._note_error(*EXTENDED_ERROR.unpack_from(data)[1:3])

    def _note_error(self, origin: int, kind: int) -> None:
        unreachable, expired = ORIGINS.get(origin, (-1, -1))
        if kind == unreachable and len(self.unreachable) < MOST_UNREACHABLE:
            self.unreachable.append(time.monotonic())
        self.expired += kind == expired

    def tally(self) -> Tally:
        missing = tuple(number for number, came in enumerate(self.came) if not came)
        return Tally(len(self.times), missing, self.times, tuple(self.unreachable), self.expired, self.duplicates)


class Train:
    """Sends all flows until `finish`. Start and finish are quick; nothing is printed, nothing is forked."""

    def __init__(self, senders: Iterable[Sender], interval: float) -> None:
        self._senders: Sequence[Sender] = list(senders)
        self._ticker = Ticker(interval)
        self._epoll = select.epoll()
        self._watched: dict[int, tuple[Sender, Callable[[], None]]] = {}
        for sender in self._senders:
            for listener, receive in sender.listening():
                self._watched[listener.fileno()] = sender, receive
                self._epoll.register(listener.fileno(), select.EPOLLIN)
        self._epoll.register(self._ticker.fileno(), select.EPOLLIN)
        self.ticks = 0
        """How often all flows have sent."""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def finish(self) -> dict[str, Tally]:
        """Stop, wait a moment for the last answers; name of the flow -> what came of it."""
        self._stopping.set()
        self._thread.join()
        for sender in self._senders:
            sender.close()
        self._epoll.close()
        self._ticker.close()
        return {sender.name: sender.tally() for sender in self._senders}

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(sender.name for sender in self._senders)

    def answered(self, name: str = "") -> int:
        """How many came through so far, of all flows or of one."""
        return sum(sender.arrived for sender in self._senders if name in ("", sender.name))

    def unreachable(self, name: str = "") -> int:
        """How many ICMP unreachables came back so far, of all flows or of one."""
        return sum(len(sender.unreachable) for sender in self._senders if name in ("", sender.name))

    def expired(self) -> int:
        """How many ICMP time exceeded came back so far, of all flows."""
        return sum(sender.expired for sender in self._senders)

    def _run(self) -> None:
        with suppress(PermissionError):  # A thread that waits for its turn measures the queue, not the network.
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
        while not self._stopping.is_set():
            if self._wait():
                for sender in self._senders:
                    sender.send()
                self.ticks += 1
        end = time.monotonic() + LAST_ANSWER_SECONDS
        while time.monotonic() < end and any(sender.arrived < len(sender.times) for sender in self._senders):
            self._wait()

    def _wait(self) -> bool:
        """Take in what comes, once; is it time to send?"""
        due = False
        for fd, event in self._epoll.poll(1.0):
            if fd not in self._watched:
                due = self._ticker.ticks() > 0
                continue
            sender, receive = self._watched[fd]
            if event & select.EPOLLERR:
                sender.read_errors()
            if event & select.EPOLLIN:
                receive()
        return due
