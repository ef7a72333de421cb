"""The agent's side of the bridge: typed events in batches, raw messages out, bounded both ways.

    async with BridgeClient(path) as client:
        async for events in client.batches():
            ...
            client.send(peers, messages)
            await client.drain()

Inward: what is parsed and not taken yet is bounded by not reading the socket; then the bridge's queue
fills, overflows, and Overflow arrives. Outward: `send` never waits; `drain` waits until little enough is
queued; see sending.py.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
import structlog

from speaker.bgp import wire
from speaker.bgp.events import (
    BridgeGone,
    Event,
    Hello,
    Overflow,
    PeerDown,
    PeerUp,
    RefreshReceived,
    UpdateReceived,
)
from speaker.bgp.lines import Line, SessionLine, parse_line, split_lines
from speaker.bgp.opens import OpenMessage, OpenUnreadable, negotiate, parse_open
from speaker.bgp.sending import Sender
from speaker.bgp.stock import Stock, peer_up
from speaker.bgp.text import Unreadable
from speaker.rib.prefix import Family
from speaker.spawn import spawn

log = structlog.get_logger(__name__)

STOCK_CHANGES = 5_000
"""Mode stock: `drain` returns when no more changes of prefixes wait."""
STOCK_HELD = 10_000
"""Mode stock: lines kept for a session while its capabilities are asked for; then it counts as lost."""
UNREAD_EVENTS = 20_000
BATCH_EVENTS, BATCH_OCTETS = 64, 32 << 10
RETRY_SECONDS = (0.05, 0.5)
"""First and longest pause between attempts to connect."""
POLL_SECONDS = 0.05
TICK_SECONDS = 0.005
ANSWER_SECONDS = 5.0
ENDED = re.compile(r"notification (?:sent|received) \((\d+),(\d+)\)")
HOLD_TIMER_EXPIRED = 4
KIND = re.compile(rb'"type": ?"([a-z-]+)"')
NOT_TO_BE_MISSED = (b"update", b"state", b"route-refresh")
RECONFIGURED = "closing without sending any notification"
"""ExaBGP's reason when it ends a session of graceful restart because its configuration is another one."""


@dataclass(frozen=True, slots=True)
class SessionState:
    """One configured session, as ExaBGP says."""

    peer: str
    description: str
    up: bool
    leaving: bool  # Taken out of the configuration, not gone yet.


@dataclass(slots=True)
class _Peer:
    sent: bytes | None = None  # Bodies of the OPENs of the present or coming session.
    received: bytes | None = None
    up: bool = False
    ceased: bool = False  # We have sent a NOTIFICATION.


class NotConnected(ConnectionError):
    """There is no bridge to ask just now."""


class BridgeClient:
    """One connection to the bridge, made again whenever it is lost. `hello` is None while there is none."""

    def __init__(self, socket_path: str | Path) -> None:
        self.socket_path = str(socket_path)
        self.hello: Hello | None = None
        self._peers: dict[str, _Peer] = {}
        self._events: deque[Event] = deque()
        self._arrived = asyncio.Event()
        self._progress = asyncio.Event()
        self._sender = Sender(_fresh_id())
        self._last_question = 0
        self._questions: dict[int, asyncio.Future[tuple[SessionState, ...]]] = {}
        self._transport: asyncio.Transport | None = None
        self._stock: Stock | None = None  # Mode stock only.
        self._held: dict[str, list[bytes]] = {}  # Mode stock: updates of sessions whose capabilities are asked for.
        self._timer: asyncio.TimerHandle | None = None
        self._paused = False
        self._lost = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = spawn(self._stay_connected())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._transport is not None:
            self._transport.abort()

    # What the agent calls ----------------------------------------------------------------------------------------

    async def batches(self) -> AsyncIterator[list[Event]]:
        """Events in order, up to BATCH_EVENTS at a time, or BATCH_OCTETS of UPDATEs. Never ends by itself."""
        while True:
            await self._arrived.wait()
            batch: list[Event] = []
            octets = 0
            while self._events and len(batch) < BATCH_EVENTS and octets < BATCH_OCTETS:
                event = self._events.popleft()
                octets += len(event.body) if isinstance(event, UpdateReceived) else 0
                batch.append(event)
            if not self._events:
                self._arrived.clear()
            if self._paused and len(self._events) < UNREAD_EVENTS // 2 and self._transport is not None:
                self._paused = False
                self._transport.resume_reading()
            if batch:
                yield batch

    def send(self, peers: Sequence[str], messages: Iterable[bytes]) -> None:
        """Queues complete BGP messages for each of the peers, strictly first in, first out.

        Peers that are not up get nothing: they are sent everything on PeerUp. Bounded only if the caller
        awaits `drain` now and then.
        """
        targets = tuple(peer for peer in peers if peer in self._peers and self._peers[peer].up)
        if not targets or self._transport is None:
            return
        if self._stock is not None:
            made = list(messages)
            for peer in targets:
                self._stock.put(peer, made)
            self._pump_text()
            return
        self._sender.put(targets, messages)
        self._transport.write(self._sender.pump())

    async def drain(self, peers: Sequence[str] | None = None) -> None:
        """Waits until little is queued here, and not too much in ExaBGP for any of `peers` (all when None).

        Returns at once when there is no bridge. A peer that reads nothing at all is ended by the launcher
        once 64 MiB wait for it, so this ends too.
        """
        while self._transport is not None and self._congested(peers):
            self._progress.clear()
            try:
                await asyncio.wait_for(self._progress.wait(), POLL_SECONDS)
            except TimeoutError:
                if self._transport is not None and self._stock is None:
                    self._transport.write(self._sender.ask())

    def congested(self) -> frozenset[str]:
        """Peers for which more than PEER_OCTETS wait."""
        return self._sender.slow()

    def teardown(self, peer: str, subcode: int) -> None:
        """Ends a session by NOTIFICATION Cease (RFC 4486), behind what is queued. The peer purges what we sent it."""
        if peer in self._peers and self._peers[peer].up:
            self.send([peer], [wire.notification(wire.CEASE, subcode)])
            self._peers[peer].ceased = True

    async def sessions(self) -> tuple[SessionState, ...]:
        """How ExaBGP sees its sessions now. Raises NotConnected, or TimeoutError after ANSWER_SECONDS."""
        if self._transport is None or self._stock is not None:
            raise NotConnected(f"no ExaBGP of ours behind {self.socket_path}")
        self._last_question += 1
        number = self._last_question
        answer = self._questions[number] = asyncio.get_running_loop().create_future()
        self._transport.write(b"show sessions %d\n" % number)
        try:
            return await asyncio.wait_for(answer, ANSWER_SECONDS)
        finally:
            self._questions.pop(number, None)

    # Outward --------------------------------------------------------------------------------------------------------

    def _congested(self, peers: Sequence[str] | None) -> bool:
        if self._stock is not None:
            return self._stock.waiting() > STOCK_CHANGES
        return self._sender.congested(peers)

    def _answered(self, line: Line) -> None:
        self._sender.answered(line.id, line.backlog)
        if self._transport is not None:
            self._transport.write(self._sender.pump())
        self._progress.set()

    # Inward ---------------------------------------------------------------------------------------------------------

    def _received(self, lines: list[bytes]) -> None:
        for data in lines:
            try:
                self._understand(parse_line(data), data)
            except (msgspec.MsgspecError, Unreadable) as error:
                log.warning("line_from_bridge_unreadable", error=str(error), line=data[:200])
                self._missed(data)
        if self._events:
            self._arrived.set()
        if len(self._events) > UNREAD_EVENTS and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def _missed(self, data: bytes) -> None:
        """A line that told of a session is lost, and a wrong route may stand for it: as after an overflow.

        Mode stock: what a peer announces may be the reason, and must not cost it its session (RFC 7606).
        """
        kind = KIND.search(data)
        if kind is None or kind[1] not in NOT_TO_BE_MISSED or self._stock is not None or self._transport is None:
            return
        self._all_down("a line of the bridge was unreadable")
        self._transport.write(b"show sessions 0\n")

    def _understand(self, line: Line, data: bytes) -> None:
        kind = line.type
        if self._stock is not None and self._understand_stock(self._stock, line, data):
            return
        if kind == "update":
            peer, message = line.neighbor.address.peer, line.neighbor.message
            if peer in self._peers and self._peers[peer].up and line.neighbor.direction == "receive":
                self._events.append(UpdateReceived(peer, _octets(message.body[2:])))
        elif kind == "raw":
            self._answered(line)
        elif kind == "state":
            self._state(line)
        elif kind == "open":
            self._open(line)
        elif kind == "route-refresh":
            self._refresh(line)
        elif kind == "sessions":
            self._sessions(line)
        elif kind == "overflow":
            self._events.append(Overflow())
            self._all_down("events were lost: we read too slowly")
        elif kind == "hello":
            self.hello = Hello(line.mode, line.pid, line.version)
            self._stock = Stock() if line.mode == "stock" else None
            self._events.append(self.hello)

    def _peer(self, name: str) -> _Peer:
        return self._peers.setdefault(name, _Peer())

    def _open(self, line: Line) -> None:
        peer, body = self._peer(line.neighbor.address.peer), _octets(line.neighbor.message.body[2:])
        if line.neighbor.direction == "send":
            peer.sent = body
        else:
            peer.received = body

    def _state(self, line: Line) -> None:
        name, state, reason = line.neighbor.address.peer, line.neighbor.state, line.neighbor.reason
        if state == "up":
            self._up(name, resumed=False)
        elif state == "down":
            self._down(name, reason)

    def _up(self, name: str, resumed: bool) -> None:
        peer = self._peer(name)
        if peer.up:
            return
        if peer.sent is None or peer.received is None:  # We came in the middle of it.
            if self._transport is not None:
                self._transport.write(b"show sessions 0\n")
            return
        try:
            ours, theirs = parse_open(peer.sent), parse_open(peer.received)
        except OpenUnreadable as error:  # The peer's doing, maybe: it costs that session and no other.
            log.warning("open_unreadable", peer=name, error=str(error))
            return
        peer.up, peer.ceased = True, False
        self._sender.up(name)
        self._events.append(_peer_up(name, ours, theirs, resumed))

    def _down(self, name: str, reason: str, ours: bool = False) -> None:
        peer = self._peer(name)
        ended = ENDED.search(reason)
        notified = peer.ceased or (ended is not None and int(ended[1]) != HOLD_TIMER_EXPIRED)
        ours = peer.up and (ours or RECONFIGURED in reason)
        self._events.append(PeerDown(name, reason, established=peer.up, notification=peer.up and notified, ours=ours))
        peer.up, peer.ceased = False, False
        peer.sent = peer.received = None
        if self._stock is not None:
            self._stock.down(name)

    def _refresh(self, line: Line) -> None:
        name, body = line.neighbor.address.peer, _octets(line.neighbor.message.body[2:])
        family = wire.FAMILY_OF.get((int.from_bytes(body[:2], "big"), body[3])) if len(body) == 4 else None
        if family is not None and line.neighbor.direction == "receive" and self._peer(name).up:
            self._events.append(RefreshReceived(name, family, body[2]))

    def _sessions(self, line: Line) -> None:
        question = self._questions.get(line.id)
        if question is not None and not question.done():
            question.set_result(tuple(map(_session_state, line.sessions)))
        if line.id == 0:
            for session in line.sessions:
                if not session.leaving:
                    self._found(session)

    def _found(self, session: SessionLine) -> None:
        peer = self._peer(session.peer)
        if session.up == peer.up:
            return
        if session.sent is not None:
            peer.sent = _octets(session.sent)
        if session.received is not None:
            peer.received = _octets(session.received)
        if not session.up:
            self._down(session.peer, "found down")
        elif peer.sent is not None and peer.received is not None:
            self._up(session.peer, resumed=True)

    def _all_down(self, reason: str) -> None:
        for name, peer in self._peers.items():
            if peer.up:
                self._down(name, reason, ours=True)

    # Mode stock -----------------------------------------------------------------------------------------------------

    def _understand_stock(self, stock: Stock, line: Line, data: bytes) -> bool:
        """What differs from our launcher's lines. False: nothing does."""
        now = asyncio.get_running_loop().time()
        name = line.neighbor.address.peer
        if data in (b"done", b"error"):
            stock.answered(data == b"done", now)
            self._pump_text()
            self._progress.set()
        elif data.startswith(b"["):
            for said in msgspec.json.decode(data):
                self._found_stock(stock, said)
        elif line.type == "state" and line.neighbor.state == "up":
            self._held[name] = []
            stock.say("show neighbor json\n")
            self._pump_text()
        elif line.type == "state" and line.neighbor.state == "down":
            self._held.pop(name, None)
            return False
        elif line.type == "update" and name in self._held:
            if len(self._held[name]) < STOCK_HELD:
                self._held[name].append(data)
        elif line.type == "update" and not line.neighbor.message.body:
            if self._peer(name).up and line.neighbor.direction == "receive":
                message = msgspec.json.decode(data)["neighbor"]["message"]
                self._events.extend(UpdateReceived(name, body) for body in stock.bodies(name, message))
        elif line.type == "refresh":
            self._refresh_stock(name, msgspec.json.decode(data)["neighbor"])
        else:
            return line.type == "open"
        return True

    def _found_stock(self, stock: Stock, said: dict[str, Any]) -> None:
        name = said["peer"]["address"]
        event = peer_up(said, resumed=name not in self._held)
        if event is None or self._peer(name).up:
            return
        peer = self._peer(name)
        peer.up, peer.ceased = True, False
        stock.up(event)
        self._events.append(event)
        for data in self._held.pop(name, []):
            self._understand(parse_line(data), data)

    def _refresh_stock(self, name: str, said: dict[str, Any]) -> None:
        try:
            refresh = said["route-refresh"]
            subtype = ("query", "begin", "end").index(refresh["subtype"])
            if self._peer(name).up and said["direction"] == "receive" and refresh["safi"] == "unicast":
                self._events.append(RefreshReceived(name, Family(refresh["afi"]), subtype))
        except (KeyError, ValueError) as error:
            raise Unreadable(f"route-refresh of {name}: {error!r}") from None

    def _pump_text(self) -> None:
        """Writes what may be said, and comes back when more may."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._stock is None or self._transport is None:
            return
        loop = asyncio.get_running_loop()
        text = self._stock.pump(loop.time())
        if text:
            self._transport.write(text.encode("ascii"))
        for fault in self._stock.faults():
            log.warning("not_said_to_exabgp", fault=fault)
        wake_at = self._stock.wake_at()
        if wake_at is not None:
            self._timer = loop.call_at(max(wake_at, loop.time()) + TICK_SECONDS, self._pump_text)

    # The connection -------------------------------------------------------------------------------------------------

    async def _stay_connected(self) -> None:
        loop = asyncio.get_running_loop()
        pause, longest = RETRY_SECONDS
        while True:
            self._lost.clear()
            try:
                await loop.create_unix_connection(lambda: _Connection(self), self.socket_path)
            except OSError:
                await asyncio.sleep(pause)
                pause = min(pause * 2, longest)
                continue
            await self._lost.wait()
            # A bridge that accepts and goes at once must not make us spin.
            pause = RETRY_SECONDS[0] if self.hello is not None else min(pause * 2, longest)
            self._gone()
            await asyncio.sleep(pause)

    def _gone(self) -> None:
        if self.hello is not None:
            self._events.append(BridgeGone())
        self.hello = None
        self._all_down("the bridge is gone")
        self._peers.clear()
        self._sender = Sender(_fresh_id())
        self._stock = None
        self._held.clear()
        for question in self._questions.values():
            if not question.done():
                question.set_exception(NotConnected("the bridge is gone"))
        self._progress.set()
        if self._events:
            self._arrived.set()


class _Connection(asyncio.Protocol):
    def __init__(self, client: BridgeClient) -> None:
        self.client = client
        self.rest: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.client._paused = False
        self.client._transport = transport

    def data_received(self, data: bytes) -> None:
        lines = split_lines(self.rest, data)
        if lines:
            self.client._received(lines)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio calls it so
        self.client._transport = None
        self.client._lost.set()


def _octets(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise Unreadable(str(error)) from None


def _fresh_id() -> int:
    return time.time_ns() // 1000


def _session_state(line: SessionLine) -> SessionState:
    return SessionState(line.peer, line.description or "", line.up, line.leaving)


def _peer_up(name: str, ours: OpenMessage, theirs: OpenMessage, resumed: bool) -> PeerUp:
    refresh = ours.refresh and theirs.refresh
    return PeerUp(
        peer=name,
        router_id=theirs.router_id,
        negotiated=negotiate(ours, theirs),
        graceful_restart=theirs.graceful_restart,
        refresh=refresh,
        enhanced_refresh=refresh and ours.enhanced_refresh and theirs.enhanced_refresh,
        resumed=resumed,
    )
