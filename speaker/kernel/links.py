"""Which interfaces are usable. Linux drops next hops and routes with an interface and tells only this about it."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable, Iterable

from speaker.kernel import messages as m
from speaker.kernel import parse
from speaker.kernel.port import KernelError
from speaker.kernel.socket import RECEIVE_SIZE, open_netlink

GROUPS = 0x1 | 0x10 | 0x100  # RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR
DATAGRAMS_PER_TURN = 64

Changed = Callable[[str, int | None], None]
"""(interface name, index), None when it is down, without carrier, or gone: what Fib.set_link takes."""


class LinkWatch:
    """Follows the named interfaces of this network namespace. Lives on the event loop.

    `changed` is called for every change in the kernel's order, so a flap is seen as down and up,
    and again with the same index when an address of the interface came or went: what was refused for lack
    of one may go in now. `overflow` is called when events were lost: read everything again.
    """

    def __init__(self, names: Iterable[str], changed: Changed, overflow: Callable[[], None]) -> None:
        self._watched = set(names)
        self._changed = changed
        self._overflow = overflow
        self._known: dict[int, tuple[str, bool]] = {}  # index -> (name, up) of every interface
        self._socket: socket.socket | None = None

    @property
    def usable(self) -> dict[str, int]:
        """Watched interfaces that are up and have a carrier: name -> index."""
        return {name: index for index, (name, up) in self._known.items() if up and name in self._watched}

    def start(self) -> None:
        """Reads the present state (`changed` is called for each watched interface) and follows. Raises KernelError."""
        self._socket = open_netlink(GROUPS)  # Before the reading, so that nothing falls between.
        self._socket.setblocking(False)
        asyncio.get_running_loop().add_reader(self._socket, self._readable)
        self._known = read_links()
        for name in sorted(self._watched):
            self._changed(name, self.usable.get(name))

    def watch(self, names: Iterable[str]) -> None:
        """Follow these from now on. `changed` is called for each that is new, and with None for each that is not."""
        before = set(self._watched)
        self._watched = set(names)
        for name in sorted(before - self._watched):
            self._changed(name, None)
        for name in sorted(self._watched - before):
            self._changed(name, self.usable.get(name))

    def close(self) -> None:
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def _readable(self) -> None:
        for _ in range(DATAGRAMS_PER_TURN):
            if self._socket is None:
                return
            try:
                buffer = self._socket.recv(RECEIVE_SIZE)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self._resynchronise()
                continue
            self._read(buffer)

    def _resynchronise(self) -> None:
        """Events were lost: an interface may have gone and come back unseen, so present state alone is no answer."""
        before = self.usable
        self._known = read_links()
        for name in sorted(self._watched):
            if before.get(name) != self.usable.get(name):
                self._changed(name, self.usable.get(name))
        self._overflow()

    def _read(self, buffer: bytes) -> None:
        for type_, _, _, start, end in parse.split(buffer):
            if type_ in (m.RTM_NEWLINK, m.RTM_DELLINK) and buffer[start] == m.AF_UNSPEC:
                # AF_BRIDGE: a port left its bridge, which its routes do not mind.
                name, index, up = parse.link(buffer, start, end)
                self._note(name, index, up and type_ == m.RTM_NEWLINK, gone=type_ == m.RTM_DELLINK)
            elif type_ in (m.RTM_NEWADDR, m.RTM_DELADDR):
                name, up = self._known.get(parse.address_index(buffer, start, end), ("", False))
                if up and name in self._watched:
                    self._changed(name, self.usable[name])

    def _note(self, name: str, index: int, up: bool, *, gone: bool) -> None:
        before = self._known.pop(index, (name, False))
        if not gone:
            self._known[index] = (name, up)
        if before[0] != name and before[1] and before[0] in self._watched:
            self._changed(before[0], None)  # Renamed.
        if name in self._watched and (before != (name, up)):
            self._changed(name, index if up else None)


def read_links() -> dict[int, tuple[str, bool]]:
    """index -> (name, up) of every interface here. Raises KernelError."""
    found: dict[int, tuple[str, bool]] = {}
    with open_netlink() as sock:
        try:
            sock.send(m.dump_links(1))
            while True:
                buffer = sock.recv(RECEIVE_SIZE)
                for type_, _, _, start, end in parse.split(buffer):
                    if type_ == m.RTM_NEWLINK:
                        name, index, up = parse.link(buffer, start, end)
                        found[index] = (name, up)
                    elif type_ in (m.NLMSG_DONE, m.NLMSG_ERROR):
                        return found
        except OSError as error:
            raise KernelError(error.errno, f"reading interfaces: {error.strerror}") from error
