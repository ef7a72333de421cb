"""Numbered packets of many flows at a fixed, short distance, by a process of its own. What the packets are, flows say.

In a thread it would wait for the interpreter's lock, whose holder waits for a processor: 40 ms on a busy machine. The
times are absolute: after a stall (this is no real-time system) what was missed is left out instead of sent in one
burst, so that a gap of the network is never filled by packets that belong elsewhere.
"""

from __future__ import annotations

import gc
import mmap
import os
import pickle
import select
import signal
import socket
import time
from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from struct import Struct
from typing import NoReturn

from lab.linux import Ticker
from lab.loss import Tally

LAST_ANSWER_SECONDS = 1.0
"""How long the last answers are waited for."""
MOST_UNREACHABLE = 100_000
IP_RECVERR = 11
IPV6_RECVERR = 25
EXTENDED_ERROR = Struct("=IBBBBII")  # struct sock_extended_err: errno, origin, type, code, pad, info, data
ARRIVED, UNREACHABLE, EXPIRED, SLOTS = range(4)
ORIGINS = {2: (3, 11), 3: (1, 3)}
"""Origin of an extended error (ICMP, ICMPv6) -> its types unreachable and time exceeded."""


class Sender(ABC):
    """One flow: sends numbered packets, and knows which came through."""

    def __init__(self, name: str, sending: socket.socket) -> None:
        self.name = name
        self.socket = sending
        self.times = array("d")
        self.came = bytearray()
        self.duplicates = 0
        self.unreachable: list[float] = []
        self.progress: memoryview = memoryview(array("q", bytes(8 * SLOTS)))
        """ARRIVED, UNREACHABLE and EXPIRED so far: the train's maker looks on."""
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
        self.progress[ARRIVED] += 1

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
            self.progress[UNREACHABLE] += 1
        self.progress[EXPIRED] += kind == expired

    def tally(self) -> Tally:
        missing = tuple(number for number, came in enumerate(self.came) if not came)
        return Tally(
            len(self.times), missing, self.times, tuple(self.unreachable), self.progress[EXPIRED], self.duplicates
        )


class Train:
    """Sends all flows until `finish`. Start is quick, and nothing is printed."""

    def __init__(self, senders: Iterable[Sender], interval: float) -> None:
        senders = list(senders)
        self.names = tuple(sender.name for sender in senders)
        self._shared = memoryview(mmap.mmap(-1, 8 * (1 + SLOTS * len(senders)))).cast("q")
        for number, sender in enumerate(senders):
            sender.progress = self._shared[1 + SLOTS * number : 1 + SLOTS * (number + 1)]
        stop, self._stop = os.pipe()
        self._result, result = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._stop)
            os.close(self._result)  # Else the last words to a maker that is dead would wait for a reader for ever.
            _be_train(senders, interval, self._shared, stop, result)
        os.close(stop)
        os.close(result)
        for sender in senders:
            sender.close()

    def finish(self) -> dict[str, Tally]:
        """Stop, wait a moment for the last answers; name of the flow -> what came of it."""
        os.write(self._stop, b".")  # Closing alone tells nothing while a later train's process has a copy.
        os.close(self._stop)
        with open(self._result, "rb") as result:
            data = result.read()
        os.waitpid(self._pid, 0)
        found: dict[str, Tally] = pickle.loads(data)
        return found

    @property
    def ticks(self) -> int:
        """How often all flows have sent."""
        return int(self._shared[0])

    def answered(self, name: str = "") -> int:
        """How many came through so far, of all flows or of one."""
        return self._sum(ARRIVED, name)

    def unreachable(self, name: str = "") -> int:
        """How many ICMP unreachables came back so far, of all flows or of one."""
        return self._sum(UNREACHABLE, name)

    def expired(self, name: str = "") -> int:
        """How many ICMP time exceeded came back so far, of all flows or of one."""
        return self._sum(EXPIRED, name)

    def _sum(self, slot: int, name: str) -> int:
        return sum(
            int(self._shared[1 + SLOTS * number + slot]) for number, own in enumerate(self.names) if name in ("", own)
        )


def _be_train(senders: Sequence[Sender], interval: float, shared: memoryview, stop: int, result: int) -> NoReturn:
    """The child: it ends when `stop` can be read, also when that is because its maker died."""
    code = 1
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # The maker's Ctrl-C; it will close `stop`.
        gc.disable()
        with suppress(PermissionError):  # One that waits for its turn measures the queue, not the network.
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
        _Loop(senders, interval, shared, stop).run()
        with open(result, "wb") as out:
            pickle.dump({sender.name: sender.tally() for sender in senders}, out)
        code = 0
    finally:
        os._exit(code)


class _Loop:
    def __init__(self, senders: Sequence[Sender], interval: float, shared: memoryview, stop: int) -> None:
        self._senders = senders
        self._shared = shared
        self._stop = stop
        self._stopped = False
        self._ticker = Ticker(interval)
        self._epoll = select.epoll()
        self._watched: dict[int, tuple[Sender, Callable[[], None]]] = {}
        for sender in self._senders:
            for listener, receive in sender.listening():
                self._watched[listener.fileno()] = sender, receive
                self._epoll.register(listener.fileno(), select.EPOLLIN)
        self._epoll.register(self._ticker.fileno(), select.EPOLLIN)
        self._epoll.register(stop, select.EPOLLIN)

    def run(self) -> None:
        while not self._stopped:
            if self._wait():
                for sender in self._senders:
                    sender.send()
                self._shared[0] += 1
        end = time.monotonic() + LAST_ANSWER_SECONDS
        while time.monotonic() < end and any(sender.progress[ARRIVED] < len(sender.times) for sender in self._senders):
            self._wait()

    def _wait(self) -> bool:
        """Take in what comes, once; is it time to send?"""
        due = False
        for fd, event in self._epoll.poll():
            if fd == self._ticker.fileno():
                due = self._ticker.ticks() > 0
            elif fd == self._stop:
                self._stopped = True
                self._epoll.unregister(fd)
            else:
                sender, receive = self._watched[fd]
                if event & select.EPOLLERR:
                    sender.read_errors()
                if event & select.EPOLLIN:
                    receive()
        return due and not self._stopped
