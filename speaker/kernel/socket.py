"""Linux: the netlink socket behind the port. Moves bytes and decides nothing."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator

from speaker.kernel import messages as m
from speaker.kernel import parse
from speaker.kernel.port import TABLE_MAIN, DumpInterrupted, Fault, KernelError, NextHopRecord, RouteRecord
from speaker.rib.prefix import Family

SOL_NETLINK = 270
NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK = 11, 12
SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33

SEND_BUFFER = 4 << 20
RECEIVE_BUFFER = 16 << 20  # A refused message costs about 1 KB of it, and a batch holds thousands.
RECEIVE_SIZE = 256 << 10
DUMP_ATTEMPTS = 5
TIMEOUT_SECONDS = 30.0  # Of silence. Another program may hold RTNL for long; for ever is a fault.


def open_netlink(groups: int = 0) -> socket.socket:
    """A NETLINK_ROUTE socket with extended acks, strict dump filters and large buffers. Raises KernelError."""
    try:
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    except OSError as error:
        raise KernelError(error.errno, f"no netlink socket: {error.strerror}") from error
    try:
        for forced, plain, size in (
            (SO_SNDBUFFORCE, socket.SO_SNDBUF, SEND_BUFFER),
            (SO_RCVBUFFORCE, socket.SO_RCVBUF, RECEIVE_BUFFER),
        ):
            try:
                sock.setsockopt(socket.SOL_SOCKET, forced, size)
            except PermissionError:
                sock.setsockopt(socket.SOL_SOCKET, plain, size)
        sock.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
        sock.setsockopt(SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1)
        seconds = int(TIMEOUT_SECONDS)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", seconds, 0))
        sock.bind((0, groups))
    except OSError as error:
        sock.close()
        raise KernelError(error.errno, f"netlink socket: {error.strerror}") from error
    return sock


class LinuxKernel:
    """The kernel of this process's network namespace. Writing and reading have a socket each, so that one thread may
    write while another reads; one caller at a time for either.

    Blocks in the kernel with the GIL released. After a KernelError the socket is a new one, so
    that late answers are never taken for another request's.
    """

    def __init__(self) -> None:
        """Raises KernelError."""
        self._socket = open_netlink()
        self._reader = open_netlink()
        self._sequence = 0

    def close(self) -> None:
        self._socket.close()
        self._reader.close()

    def submit(self, messages: bytes) -> list[Fault]:
        sequence = self._next_sequence()
        faults: list[Fault] = []
        try:
            self._socket.send(messages + m.barrier(sequence))
            while True:
                buffer = self._socket.recv(RECEIVE_SIZE)
                for type_, flags, answered, start, end in parse.split(buffer):
                    if type_ != m.NLMSG_ERROR:
                        continue
                    fault = parse.fault(buffer, flags, start, end)
                    if fault is not None:
                        faults.append(fault)
                    elif answered == sequence:
                        return faults
        except (OSError, parse.Malformed) as error:
            self._socket.close()  # A new one, because answers to this request may still come.
            self._socket = open_netlink()
            raise _broken("writing routes", error) from error

    def nexthops(self) -> list[NextHopRecord]:
        sequence = self._next_sequence()
        buffers = self._dump(m.dump_nexthops(sequence), sequence)
        return [record for buffer in buffers for record in parse.nexthops(buffer)]

    def routes(self, family: Family, table: int = TABLE_MAIN) -> Iterator[list[RouteRecord]]:
        sequence = self._next_sequence()
        try:
            buffers = self._dump(m.dump_routes(family, sequence, table), sequence)
        except KernelError as error:
            if error.errno != errno.ENOENT or table == TABLE_MAIN:
                raise
            return iter(())  # A table without routes does not exist.
        return (parse.routes(buffer, table) for buffer in buffers)

    def _dump(self, request: bytes, sequence: int) -> list[bytes]:
        """All datagrams of a dump during which nothing moved. The only place that dumps."""
        try:
            for _ in range(DUMP_ATTEMPTS):
                buffers = self._dump_once(request, sequence)
                if buffers is not None:
                    return buffers
        except (OSError, parse.Malformed) as error:
            self._reader.close()
            self._reader = open_netlink()
            raise _broken("reading the kernel", error) from error
        raise DumpInterrupted(errno.EINTR, f"the kernel's tables changed during {DUMP_ATTEMPTS} readings")

    def _dump_once(self, request: bytes, sequence: int) -> list[bytes] | None:
        """None when the tables changed meanwhile."""
        buffers: list[bytes] = []
        interrupted = done = False
        self._reader.send(request)
        while not done:
            buffer = self._reader.recv(RECEIVE_SIZE)
            part = parse.dump_part(buffer, sequence)
            if part.fault is not None:
                raise KernelError(part.fault.errno, part.fault.text)
            if part.ours:
                buffers.append(buffer)
                interrupted = interrupted or part.interrupted
                done = part.done
        return None if interrupted else buffers

    def _next_sequence(self) -> int:
        """New on its socket. Writing and reading share the count; that they may get the same number is no harm."""
        self._sequence = self._sequence % 0xFFFFFFFE + 1  # Never 0: that is what single messages carry.
        return self._sequence


def _broken(what: str, error: OSError | parse.Malformed) -> KernelError:
    number = (error.errno or errno.EIO) if isinstance(error, OSError) else errno.EPROTO
    text = f"no answer within {TIMEOUT_SECONDS:.0f} s" if number == errno.EAGAIN else str(error)
    return KernelError(number, f"{what}: {text}")
