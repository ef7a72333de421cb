"""The replacements inside ExaBGP 5.0.15. Imported by the launcher only, after `symbols.verify`.

Inward, UPDATE bodies are handed on undecoded. Outward, `announce raw` queues complete messages per
peer, strictly first in, first out, behind what ExaBGP itself has to send. The rest keeps sessions up
where 5.0.15 would lose them: a hook that died, a peer that reads slowly or not at all, a lost SYN, a
peer that comes back before its old connection has timed out.
"""

# ruff: noqa: ARG001, ARG002, ARG003, ARG005 - the signatures are ExaBGP's

from __future__ import annotations

import errno
import json
import os
import socket
import sys
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

from exabgp.bgp.fsm import FSM
from exabgp.bgp.message import Message, Open, Update
from exabgp.bgp.message.open.capability import Capability
from exabgp.logger import log
from exabgp.protocol.ip import IP
from exabgp.reactor.api import API
from exabgp.reactor.api import processes as processes_module
from exabgp.reactor.api.command.command import Command
from exabgp.reactor.api.response import json as json_module
from exabgp.reactor.delay import Delay
from exabgp.reactor.listener import Listener
from exabgp.reactor.loop import Reactor
from exabgp.reactor.network.connection import Connection
from exabgp.reactor.network.error import LostConnection, NetworkError
from exabgp.reactor.network.outgoing import Outgoing
from exabgp.reactor.peer import ACTION, Peer
from exabgp.rib.outgoing import OutgoingRIB

from speaker.bgp.exabgp.listen import listen_address

MOST_QUEUED_OCTETS = int(os.environ.get("LEYLINE_PEER_QUEUE") or 64 << 20)
"""Per peer. A peer that leaves more than that unread is told Cease, Out of Resources (RFC 4486), and starts again."""

CONNECT_SECONDS = 1.5
"""An unanswered attempt to connect starts again after that: a lost SYN must not wait for the kernel's back-off."""

RECONNECT_SECONDS = 1.0
RESPAWN_PAUSE_SECONDS = 0.5
RESPAWNS_WITHOUT_PAUSE = 5

UPDATE, NOTIFICATION, KEEPALIVE = Message.CODE.UPDATE, Message.CODE.NOTIFICATION, Message.CODE.KEEPALIVE
CEASE_OUT_OF_RESOURCES = b"\xff" * 16 + b"\x00\x15\x03\x06\x08"
BLOCKED = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR, errno.ENOBUFS)


def apply(config_file: str) -> None:
    """Puts all replacements in place. `config_file` is read again at every reload for the address to listen on."""
    _pass_updates_through()
    _hex()
    _queue()
    _commands()
    _writer()
    _sessions()
    _processes()
    _listening(config_file)
    _quiet()


# Inward --------------------------------------------------------------------------------------------------------------


class _Undecoded:
    """Stands in for the UPDATE decoder: the API hands the body on, nothing in ExaBGP looks at it."""

    nothing = Update([], {})

    @classmethod
    def unpack_message(cls, data: bytes, direction: Any = None, negotiated: Any = None) -> Any:
        return cls.nothing


class _OpenWithBody:
    """Decodes an OPEN as ever and keeps its bytes: an agent that comes later reads the peer's capabilities there."""

    @classmethod
    def unpack_message(cls, data: bytes, direction: Any = None, negotiated: Any = None) -> Any:
        message = Open.unpack_message(data, direction, negotiated)
        message.leyline_body = data
        return message


def _pass_updates_through() -> None:
    Message.registered_message[UPDATE] = _Undecoded
    Message.registered_message[Message.CODE.OPEN] = _OpenWithBody


def _hex() -> None:
    json_module.hexstring = lambda value: "0x" + value.hex()


# Outward -------------------------------------------------------------------------------------------------------------


class _Raw:
    """Complete messages, in the form in which Protocol.new_update asks for them. Sent in one piece."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data

    def messages(self, negotiated: Any, include_withdraw: bool) -> Iterator[bytes]:
        yield self.data


class _Queue:
    """What waits for one peer, on its OutgoingRIB: that object survives a reload of the configuration.

    (It is emptied by a reload where adj-rib-out is off, but route-refresh, which we always configure, turns it on.)
    """

    __slots__ = ("blobs", "full", "octets")

    def __init__(self) -> None:
        self.blobs: deque[bytes] = deque()
        self.octets = 0
        self.full = False  # The session is being ended because of it; nothing more is taken.


def _queue_of(rib: Any) -> _Queue:
    queue: _Queue | None = rib.__dict__.get("leyline_queue")
    if queue is None:
        queue = rib.leyline_queue = _Queue()
    return queue


def _queue() -> None:
    pending, updates, reset = OutgoingRIB.pending, OutgoingRIB.updates, OutgoingRIB.reset

    def pending_too(self: Any) -> bool:
        return bool(_queue_of(self).blobs) or pending(self)

    def updates_too(self: Any, grouped: bool) -> Iterator[Any]:
        yield from updates(self, grouped)
        queue = _queue_of(self)
        while queue.blobs:
            blob = queue.blobs.popleft()
            queue.octets -= len(blob)
            yield _Raw(blob)

    def reset_queue(self: Any) -> None:
        reset(self)  # Runs through `updates`: the queue is empty now.
        _queue_of(self).full = False

    OutgoingRIB.pending = pending_too
    OutgoingRIB.updates = updates_too
    OutgoingRIB.reset = reset_queue
    # An answer to ROUTE-REFRESH out of ExaBGP's own, empty table would make the peer purge what we sent it.
    Peer.resend = lambda self, enhanced, family=None: None
    # A reload asked for while something waits in a queue would be forgotten without a word.
    Reactor._pending_adjribout = lambda self: False


def _backlog(peer: Any) -> int:
    """Octets that wait for a peer: in its queue, and handed to its connection but not to the kernel."""
    connection = peer.proto.connection if peer.proto else None
    return _queue_of(peer.neighbor.rib.outgoing).octets + len(getattr(connection, "leyline_unsent", b""))


def _is_up(peer: Any) -> bool:
    """Established, and its `up` event has been written: an answer must not overtake it."""
    return bool(peer.fsm == FSM.ESTABLISHED and getattr(peer.proto, "leyline_up", False))


def _established(reactor: Any) -> dict[str, Any]:
    return {str(peer.neighbor["peer-address"]): peer for peer in reactor._peers.values() if _is_up(peer)}


def _queue_raw(peer: Any, data: bytes) -> None:
    queue = _queue_of(peer.neighbor.rib.outgoing)
    if queue.full:
        return
    if queue.octets + len(data) > MOST_QUEUED_OCTETS:
        queue.blobs.clear()
        queue.octets = 0
        queue.full = True
        data = CEASE_OUT_OF_RESOURCES
    queue.blobs.append(data)
    queue.octets += len(data)


def _announce_raw(self: Any, reactor: Any, service: str, line: str, use_json: bool) -> bool:
    """announce raw ID PEER[+PEER...] [HEX]: queue complete messages for the peers that are established.

    Answers one JSON line with the id and, for each of the peers, the octets that wait for it (null: not
    established, nothing was queued). Without HEX it only asks.
    """
    words = line.split(" ")
    try:
        number, names = int(words[2]), words[3].split("+")
        data = bytes.fromhex(words[4]) if len(words) > 4 else b""
    except (IndexError, ValueError):
        reactor.processes.answer_error(service)
        return False
    peers = _established(reactor)
    backlog: dict[str, int | None] = {}
    for name in names:
        peer = peers.get(name)
        if peer is not None and data:
            _queue_raw(peer, data)
        backlog[name] = None if peer is None or _queue_of(peer.neighbor.rib.outgoing).full else _backlog(peer)
    answer = json.dumps({"type": "raw", "id": number, "backlog": backlog}, separators=(",", ":"))
    reactor.processes.write(service, answer)
    return True


def _open_bodies(peer: Any) -> tuple[str | None, str | None]:
    negotiated = peer.proto.negotiated if peer.proto else None
    if negotiated is None:
        return None, None
    sent = negotiated.sent_open.message()[Message.HEADER_LEN :].hex() if negotiated.sent_open else None
    received = negotiated.received_open.leyline_body.hex() if negotiated.received_open else None
    return sent, received


def _show_sessions(self: Any, reactor: Any, service: str, line: str, use_json: bool) -> bool:
    """show sessions ID: every configured session, with both OPENs as far as they went over the wire."""
    words = line.split(" ")
    number = int(words[2]) if len(words) > 2 and words[2].isdigit() else 0
    sessions = []
    for peer in reactor._peers.values():
        sent, received = _open_bodies(peer)
        sessions.append(
            {
                "peer": str(peer.neighbor["peer-address"]),
                "description": peer.neighbor["description"],
                "up": _is_up(peer),
                "leaving": peer.stopping(),
                "sent": sent,
                "received": received,
            }
        )
    answer = json.dumps({"type": "sessions", "id": number, "sessions": sessions}, separators=(",", ":"))
    reactor.processes.write(service, answer)
    return True


def _commands() -> None:
    process = API.process

    def process_raw_at_once(self: Any, reactor: Any, service: str, command: str) -> Any:
        """ExaBGP looks for the name of every command it knows in the whole line: half its time when lines are long."""
        if command.startswith("announce raw "):
            return _announce_raw(self, reactor, service, command, use_json=False)
        return process(self, reactor, service, command)

    API.process = process_raw_at_once
    Command.register("announce raw", True)(_announce_raw)
    Command.register("show sessions", False)(_show_sessions)


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
    processes = processes_module.Processes

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

    processes.write = write
    processes._record_respawn = record_respawn


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
