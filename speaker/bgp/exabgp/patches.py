"""The replacements inside ExaBGP 5.0.15. Imported by the launcher only, after `symbols.verify`.

Inward, UPDATE bodies are handed on undecoded. Outward, `announce raw` queues complete messages per
peer, strictly first in, first out, behind what ExaBGP itself has to send. What keeps sessions up where
5.0.15 would lose them stands in resilience.py.
"""

# ruff: noqa: ARG001, ARG002, ARG003, ARG005 - the signatures are ExaBGP's

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Iterator
from typing import Any

from exabgp.bgp.fsm import FSM
from exabgp.bgp.message import Message, Open, Update
from exabgp.reactor.api import API
from exabgp.reactor.api.command.command import Command
from exabgp.reactor.api.response import json as json_module
from exabgp.reactor.loop import Reactor
from exabgp.reactor.peer import Peer
from exabgp.rib.outgoing import OutgoingRIB

from speaker.bgp.exabgp import resilience

MOST_QUEUED_OCTETS = int(os.environ.get("LEYLINE_PEER_QUEUE") or 64 << 20)
"""Per peer. A peer that leaves more than that unread is told Cease, Out of Resources (RFC 4486), and starts again."""

UPDATE = Message.CODE.UPDATE
CEASE_OUT_OF_RESOURCES = b"\xff" * 16 + b"\x00\x15\x03\x06\x08"


def apply(config_file: str) -> None:
    """Puts all replacements in place. `config_file` is read again at every reload for the address to listen on."""
    _pass_updates_through()
    _hex()
    _queue()
    _commands()
    resilience.apply(config_file)


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
