"""A tiny BGP speaker on a real socket, for tests: it opens a session, keeps it up, and hands over messages.

    with dial("ll-x-1-a", "10.0.0.1", "10.0.0.2", Speaker(asn=64512, router_id="10.0.0.1")) as session:
        session.send(*encode_updates(Family.IPV4, session.negotiated, [], [...]), end_of_rib(Family.IPV4))
        updates = session.until_end_of_rib(Family.IPV4)   # decoded

It has no routing table and answers nothing by itself but KEEPALIVE. Messages are collected by a thread;
whoever waits says for what and how long, and gets the evidence when it does not come.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Self

from speaker.bgp.decode import Decoder
from speaker.bgp.negotiated import Negotiated
from speaker.bgp.wire import (
    CEASE,
    FAMILY_OF,
    HEADER_OCTETS,
    KEEPALIVE,
    MARKER,
    NOTIFICATION,
    OPEN,
    UPDATE,
    message,
    notification,
)
from speaker.rib.communities import AS_TRANS
from speaker.rib.path import Update
from speaker.rib.prefix import Family

BGP_PORT = 179
_MULTIPROTOCOL, _REFRESH, _RESTART, _AS4, _ADD_PATH, _ENHANCED_REFRESH = 1, 2, 64, 65, 69, 70
_RECEIVE, _SEND = 1, 2
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


class NoSession(AssertionError):
    """The peer did not do what was waited for; the text says what it did instead."""


@dataclass(frozen=True)
class Speaker:
    """What the tiny speaker says about itself in its OPEN."""

    asn: int
    router_id: str
    families: tuple[Family, ...] = (Family.IPV4, Family.IPV6)
    add_path: tuple[Family, ...] = ()  # Offered both ways.
    as4: bool = True
    hold_time: int = 90
    restart_time: int | None = None  # Seconds; None = no graceful restart (RFC 4724).
    more_capabilities: tuple[tuple[int, bytes], ...] = ()

    def open(self) -> bytes:
        """The OPEN message (RFC 4271 4.2, RFC 5492)."""
        capabilities = b"".join(bytes((code, len(value))) + value for code, value in self._capabilities())
        parameter = bytes((2, len(capabilities))) + capabilities
        short = self.asn if self.asn < 2**16 else AS_TRANS
        router_id = ip_address(self.router_id).packed
        return message(OPEN, struct.pack("!BHH4sB", 4, short, self.hold_time, router_id, len(parameter)) + parameter)

    def _capabilities(self) -> Iterator[tuple[int, bytes]]:
        for family in self.families:
            yield _MULTIPROTOCOL, struct.pack("!HBB", family.afi, 0, family.safi)
        yield _REFRESH, b""
        yield _ENHANCED_REFRESH, b""
        if self.as4:
            yield _AS4, struct.pack("!I", self.asn)
        if self.add_path:
            both = _RECEIVE | _SEND
            yield _ADD_PATH, b"".join(struct.pack("!HBB", each.afi, each.safi, both) for each in self.add_path)
        if self.restart_time is not None:
            kept = b"".join(struct.pack("!HBB", each.afi, each.safi, 0x80) for each in self.families)
            yield _RESTART, struct.pack("!H", self.restart_time) + kept
        yield from self.more_capabilities


@dataclass(frozen=True)
class PeerOpen:
    """What the peer's OPEN says."""

    asn: int
    hold_time: int
    router_id: str
    capabilities: tuple[tuple[int, bytes], ...]

    @classmethod
    def read(cls, body: bytes) -> PeerOpen:
        asn, hold_time, router_id = struct.unpack("!HH4s", body[1:9])
        capabilities = tuple(_capabilities(body[10:]))
        for code, value in capabilities:
            if code == _AS4:
                asn = int.from_bytes(value, "big")
        return cls(asn, hold_time, str(ip_address(router_id)), capabilities)

    def has(self, code: int) -> bool:
        return any(own == code for own, _ in self.capabilities)

    def negotiated(self, own: Speaker) -> Negotiated:
        families = {
            FAMILY_OF.get(struct.unpack("!HxB", value)) for code, value in self.capabilities if code == _MULTIPROTOCOL
        }
        modes: dict[Family | None, int] = {}
        for code, value in self.capabilities:
            if code == _ADD_PATH:
                modes |= {FAMILY_OF.get((afi, safi)): mode for afi, safi, mode in struct.iter_unpack("!HBB", value)}
        return Negotiated(
            add_path_receive=frozenset(each for each in own.add_path if modes.get(each, 0) & _SEND),
            add_path_send=frozenset(each for each in own.add_path if modes.get(each, 0) & _RECEIVE),
            as4=own.as4 and self.has(_AS4),
            families=frozenset(each for each in own.families if each in (families or {Family.IPV4})),
        )


class Session:
    """An established session. A context manager: leaving it sends Cease and closes.

    `messages` grows while the session lives: (type, body) of everything after the OPEN.
    """

    def __init__(self, connection: socket.socket, own: Speaker, timeout: float) -> None:
        self._connection = connection
        self._own = own
        self._changed = threading.Condition()
        self._sending = threading.Lock()
        self.messages: list[tuple[int, bytes]] = []
        self.closed = ""  # Why the connection ended; "" while it stands.
        connection.settimeout(timeout)
        connection.sendall(own.open())
        kind, body = _read_message(connection)
        if kind != OPEN:
            raise NoSession(f"instead of OPEN came message {kind}: {body.hex()}")
        self.peer = PeerOpen.read(body)
        self.negotiated = self.peer.negotiated(own)
        self.ibgp = self.peer.asn == own.asn
        connection.sendall(message(KEEPALIVE, b""))
        kind, body = _read_message(connection)
        if kind != KEEPALIVE:
            raise NoSession(f"our OPEN was answered with message {kind}: {body.hex()}")
        self._keepalive_seconds = min(own.hold_time, self.peer.hold_time) / 3 or 3600.0
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, *messages: bytes) -> None:
        """Complete messages, in order; returns when the kernel has taken them."""
        with self._sending:
            self._connection.sendall(b"".join(messages))

    def wait_for(self, found: Callable[[list[tuple[int, bytes]]], bool], timeout: float = 20) -> None:
        """Until `found(messages)` holds. Raises NoSession with what has come by then."""
        with self._changed:
            if self._changed.wait_for(lambda: found(self.messages) or self.closed != "", timeout):
                if found(self.messages):
                    return
                raise NoSession(f"the session ended: {self.closed}; last messages: {self._evidence()}")
        raise NoSession(f"not within {timeout} s; last messages: {self._evidence()}")

    def bodies(self, start: int = 0) -> list[bytes]:
        """Bodies of the UPDATEs among `messages[start:]`."""
        return [body for kind, body in self.messages[start:] if kind == UPDATE]

    def until_end_of_rib(self, *families: Family, timeout: float = 20) -> list[Update]:
        """All UPDATEs so far, decoded, once End-of-RIB has come for each of the families."""
        decoder = Decoder(self.negotiated, self.ibgp)

        def complete(_: list[tuple[int, bytes]]) -> bool:
            return set(families) <= {decoder.decode(body).end_of_rib for body in self.bodies()}

        self.wait_for(complete, timeout)
        return [decoder.decode(body) for body in self.bodies()]

    def close(self, graceful: bool = True) -> None:
        """Cease (peers forget what we said), or without `graceful` just the connection's end (they may keep it)."""
        if graceful:
            # Read on until the peer has closed: with unread data a close is a reset, and a peer whose next write
            # fails over it may never read the NOTIFICATION.
            with contextlib.suppress(OSError):
                self.send(notification(CEASE, 2))
                self._connection.shutdown(socket.SHUT_WR)
            self._reader.join(5)
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._reader.join(5)
        self._connection.close()

    def _read(self) -> None:
        """Collects messages until the connection ends; sends KEEPALIVE in time, also when nothing comes."""
        due = time.monotonic()
        self._connection.settimeout(self._keepalive_seconds / 2)
        buffer = bytearray()
        why = "the peer closed the connection"
        try:
            while True:
                if time.monotonic() >= due:
                    self.send(message(KEEPALIVE, b""))
                    due = time.monotonic() + self._keepalive_seconds * 0.9
                try:
                    data = self._connection.recv(1 << 16)
                except TimeoutError:
                    continue
                if not data:
                    break
                buffer += data
                self._collect(buffer)
        except OSError as error:
            why = str(error)
        with self._changed:
            self.closed = self.closed or why
            self._changed.notify_all()

    def _collect(self, buffer: bytearray) -> None:
        with self._changed:
            while len(buffer) >= HEADER_OCTETS and len(buffer) >= (size := int.from_bytes(buffer[16:18], "big")):
                kind, body = buffer[18], bytes(buffer[HEADER_OCTETS:size])
                del buffer[:size]
                self.messages.append((kind, body))
                if kind == NOTIFICATION:
                    self.closed = f"NOTIFICATION {body[0]}/{body[1]} {body[2:].hex()}"
            self._changed.notify_all()

    def _evidence(self) -> str:
        last = [(kind, body[:60].hex()) for kind, body in self.messages[-5:]]
        return f"{len(self.messages)} messages, the last ones (type, hex): {last}"


def dial(namespace: str | None, local: str, peer: str, own: Speaker, timeout: float = 20) -> Session:
    """A session that we open, from `local` inside the network namespace (None: this one) to port 179 of `peer`.

    A peer that is not there yet, or refuses because it is not ready, is tried again until `timeout`.
    """
    end = time.monotonic() + timeout
    while True:
        connection = socket_in(namespace, ip_address(peer).version)
        try:
            connection.settimeout(max(0.1, end - time.monotonic()))
            connection.bind((local, 0))
            connection.connect((peer, BGP_PORT))
            return Session(connection, own, max(0.1, end - time.monotonic()))
        except (OSError, NoSession) as error:
            connection.close()
            if time.monotonic() > end:
                raise NoSession(f"no session with {peer} within {timeout} s: {error}") from error
            time.sleep(0.1)


@contextlib.contextmanager
def listening(namespace: str | None, local: str, own: Speaker) -> Iterator[Callable[[float], Session]]:
    """A speaker that waits on port 179 of `local`: the value, called with a timeout in seconds, accepts one session."""
    with socket_in(namespace, ip_address(local).version) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((local, BGP_PORT))
        server.listen()

        def accept(timeout: float) -> Session:
            server.settimeout(timeout)
            connection, _ = server.accept()
            return Session(connection, own, timeout)

        yield accept


def socket_in(namespace: str | None, version: int = 4) -> socket.socket:
    """A TCP socket that lives in the named network namespace. Made in a thread of its own, which alone goes there."""
    made: list[socket.socket | OSError] = []

    def make() -> None:
        try:
            if namespace is not None:
                _enter(namespace)
            made.append(socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_STREAM))
        except OSError as error:
            made.append(error)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    [result] = made
    if isinstance(result, OSError):
        raise result
    return result


def _enter(namespace: str) -> None:
    with open(f"/run/netns/{namespace}") as file:
        if _libc.setns(file.fileno(), _CLONE_NEWNET):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), namespace)


def _read_message(connection: socket.socket) -> tuple[int, bytes]:
    header = _read_exactly(connection, HEADER_OCTETS)
    if header[:16] != MARKER:
        raise NoSession(f"no BGP message: {header.hex()}")
    return header[18], _read_exactly(connection, int.from_bytes(header[16:18], "big") - HEADER_OCTETS)


def _read_exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            raise NoSession("the peer closed the connection before the session was established")
        data += more
    return data


def _capabilities(parameters: Sequence[int]) -> Iterator[tuple[int, bytes]]:
    """Capabilities in the optional parameters of an OPEN (RFC 5492 4)."""
    octets = bytes(parameters)
    while octets:
        kind, size = octets[0], octets[1]
        inside, octets = octets[2 : 2 + size], octets[2 + size :]
        while kind == 2 and inside:
            length = inside[1]
            yield inside[0], inside[2 : 2 + length]
            inside = inside[2 + length :]
