"""Replacements that keep sessions of ExaBGP 5.0.15 up where it would lose them. Imported by patches.py only.

A hook that died, a peer that reads slowly or not at all, a lost SYN, a peer that comes back before its old
connection has timed out, an overlay address that comes late.
"""

# ruff: noqa: ARG001 - the signatures are ExaBGP's

from __future__ import annotations

import errno
import socket
import sys
import time
from collections.abc import Iterator
from typing import Any

from exabgp.bgp.fsm import FSM
from exabgp.bgp.message import Message
from exabgp.bgp.message.open.capability import Capability
from exabgp.logger import log
from exabgp.protocol.ip import IP
from exabgp.reactor.api.processes import Processes
from exabgp.reactor.delay import Delay
from exabgp.reactor.listener import Listener
from exabgp.reactor.loop import Reactor
from exabgp.reactor.network.connection import Connection
from exabgp.reactor.network.error import LostConnection, NetworkError
from exabgp.reactor.network.outgoing import Outgoing
from exabgp.reactor.peer import ACTION, Peer

from speaker.bgp.exabgp.listen import listen_address

CONNECT_SECONDS = 1.5
"""An unanswered attempt to connect starts again after that: a lost SYN must not wait for the kernel's back-off."""

RECONNECT_SECONDS = 1.0
RESPAWN_PAUSE_SECONDS = 0.5
RESPAWNS_WITHOUT_PAUSE = 5

NOTIFICATION, KEEPALIVE = Message.CODE.NOTIFICATION, Message.CODE.KEEPALIVE
BLOCKED = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR, errno.ENOBUFS)


def apply(config_file: str) -> None:
    """Puts them in place. `config_file` is read again at every reload for the address to listen on."""
    _writer()
    _sessions()
    _processes()
    _listening(config_file)
    _quiet()


# The connection ------------------------------------------------------------------------------------------------------


def _flush(connection: Any) -> bool:
    """Hands the kernel what it takes. True when nothing is left."""
    unsent = connection.leyline_unsent
    while unsent:
        try:
            number = connection.io.send(memoryview(unsent)[: 1 << 20])
        except OSError as error:
            if error.errno in BLOCKED:
                return False
            connection.close()
            raise NetworkError(f"writing to {connection.peer}: {error}") from None
        if not number:
            connection.close()
            raise LostConnection("lost the TCP connection")
        del unsent[:number]
    return True


def _writer() -> None:
    """5.0.15 can put a KEEPALIVE into the middle of a message that the kernel took only half of, and waits for
    ever to send a NOTIFICATION to a peer that is gone. Here whole messages follow each other; a KEEPALIVE
    waits its turn without holding up the reading side; a NOTIFICATION is tried once."""

    def writer(self: Any, data: bytes) -> Iterator[bool]:
        if not self.io:
            yield True
            return
        kind = data[18]
        unsent = self.leyline_unsent
        if kind == NOTIFICATION and unsent and not _flush(self):
            yield True
            return
        unsent += data
        while not _flush(self):
            if kind in (KEEPALIVE, NOTIFICATION):
                break
            yield False
            if not self.io:
                break
        yield True

    connection_init = Connection.__init__

    def init(self: Any, *arguments: Any, **named: Any) -> None:
        connection_init(self, *arguments, **named)
        self.leyline_unsent = bytearray()

    Connection.__init__ = init
    Connection.writer = writer


def _sessions() -> None:
    run, main, establish = Peer.run, Peer._main, Outgoing.establish
    handle_connection, reestablish = Peer.handle_connection, Peer.reestablish

    def main_marked(self: Any) -> Iterator[Any]:
        self.proto.leyline_up = True  # The first step of what follows writes the `up` event.
        yield from main(self)

    def run_without_spinning(self: Any) -> Any:
        """A peer whose socket is full has its next turn after a poll, not at once (98 % CPU otherwise)."""
        action = run(self)
        if action == ACTION.NOW and self.proto is not None and self.proto.connection is not None:
            return ACTION.LATER if self.proto.connection.leyline_unsent else ACTION.NOW
        return action

    def establish_bounded(self: Any) -> Iterator[bool]:
        attempt, io, since = establish(self), None, 0.0
        while True:
            try:
                connected = next(attempt)
            except StopIteration:
                return
            if self.io is not io:
                io, since = self.io, time.monotonic()
            elif not connected and io is not None and time.monotonic() - since > CONNECT_SECONDS:
                attempt.close()
                io.close()
                self.io = io = None
                attempt = establish(self)
            yield connected

    def handle_connection_of_restarted(self: Any, connection: Any) -> Any:
        """RFC 4724 5: a peer that does graceful restart and connects anew has lost the old connection."""
        if self.fsm == FSM.ESTABLISHED and self.neighbor["passive"] and not self.stopping():
            opened = self.proto.negotiated.received_open
            if opened is not None and opened.capabilities.announced(Capability.CODE.GRACEFUL_RESTART):
                self._reset("the peer connected anew")
        return handle_connection(self, connection)

    def reestablish_at_once(self: Any, restart_neighbor: Any = None) -> None:
        """Without a connection there is nothing to tear down first; a passive peer would keep its old settings."""
        reestablish(self, restart_neighbor)
        if restart_neighbor is not None and self.proto is None:
            self.generator = self._teardown = self._neighbor = None
            self.neighbor = restart_neighbor

    def increase(self: Any) -> None:
        self._time = time.time() + self._next
        self._next = RECONNECT_SECONDS

    Peer.run = run_without_spinning
    Peer._main = main_marked
    Peer.reestablish = reestablish_at_once
    Peer.handle_connection = handle_connection_of_restarted
    Outgoing.establish = establish_bounded
    Delay.increase = increase


# The hook and the listening socket -----------------------------------------------------------------------------------


def _processes() -> None:
    def write(self: Any, process: str, string: str | None, neighbor: Any = None) -> bool:
        """An event for a hook that died is lost, not the session: the next hook asks how things stand."""
        running = self._process.get(process)
        if string is None or running is None:
            return True
        try:
            running.stdin.write(f"{string}\n".encode("ascii", "replace"))
            running.stdin.flush()
        except OSError:
            return True
        return True

    def record_respawn(self: Any, process: str) -> None:
        """5.0.15 exits, and drops every session, at the sixth death of a hook in a minute. Here it waits a little."""
        minute = int(time.time()) & self.respawn_timemask
        deaths = self._respawning.setdefault(process, {}).get(minute, 0) + 1
        self._respawning[process] = {minute: deaths}
        if deaths > RESPAWNS_WITHOUT_PAUSE:
            time.sleep(RESPAWN_PAUSE_SECONDS)

    Processes.write = write
    Processes._record_respawn = record_respawn


def _listening(config_file: str) -> None:
    reload, new_socket = Reactor.reload, Listener._new_socket
    started = False

    def reload_with_listening(self: Any) -> bool:
        nonlocal started
        address = listen_address(config_file)
        self._ips = [IP.create(address)] if address else []
        for ip in self._ips:
            if not self.listener.listen_on(ip, None, self._port, None, False, None):
                sys.stderr.write(f"cannot listen on {ip} port {self._port}: does another BGP daemon hold it?\n")
                if not started:
                    return False
        started = True
        return bool(reload(self))

    def new_socket_free(self: Any, ip: Any) -> Any:
        """The overlay address may come later than we do, and go and come again."""
        sock = new_socket(self, ip)
        sock.setsockopt(socket.SOL_IP, getattr(socket, "IP_FREEBIND", 15), 1)
        return sock

    Reactor.reload = reload_with_listening
    Listener._new_socket = new_socket_free


def _quiet() -> None:
    """Errors go to standard error. Everything less is not even formatted: it is a tenth of the work per UPDATE."""
    error = log.error

    def say_nothing(message: Any, source: str = "", level: str = "") -> None:
        """What is below an error."""

    def say(message: Any, source: str = "", level: str = "ERROR") -> None:
        if source != "advice":  # That there is no environment file: it would not be read anyway.
            error(message, source, level)

    for name in ("debug", "info", "warning"):
        setattr(log, name, staticmethod(say_nothing))
    log.error = staticmethod(say)
