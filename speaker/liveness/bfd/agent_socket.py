"""The unix socket where the agent says what it wants and hears how the sessions stand. The newest connection holds."""

from __future__ import annotations

import os
import select
import socket
import struct
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from speaker.liveness.bfd import control
from speaker.liveness.bfd.control import Status, Unreadable, Want

READ_OCTETS = 16 << 10
"""Heard of the agent in one round of the loop: sessions must not wait for it."""
UNSENT_OCTETS = 64 << 10
"""While more than this waits for the agent, it is not heard, and changes are only noted, each session once."""
UNSENT_CHANGES = 16_384
"""So many sessions changed or gone while the agent does not read: it is cut off, and gets the replay next time."""
ERRORS, ERROR_LETTERS = 10, 500
"""What is said at most about one line."""

Key = tuple[str, str]


class Owner(Protocol):
    """What stands behind the socket."""

    def statuses(self) -> Iterable[Status]: ...

    def status(self, key: Key) -> Status | None: ...

    def want(self, want: Want) -> list[str]:
        """Takes it over; the answer says what of it cannot be."""

    def counters(self) -> dict[str, int]: ...


class AgentSocket:
    """Never waits. `flush` after each round of the loop; the file descriptors are registered in `epoll`."""

    def __init__(self, path: Path, instance: str, owner: Owner, epoll: select.epoll) -> None:
        self._owner = owner
        self._instance = instance
        self._epoll = epoll
        self._agent: socket.socket | None = None
        self._heard = bytearray()
        self._unsent = bytearray()
        self._notes: dict[Key, None] = {}
        self._awaited = select.EPOLLIN
        with suppress(FileNotFoundError):
            path.unlink()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        mask = os.umask(0o177)
        try:
            self._listener.bind(str(path))
        finally:
            os.umask(mask)
        self._listener.listen(4)
        epoll.register(self._listener, select.EPOLLIN)

    def handle(self, descriptor: int, events: int) -> bool:
        """True when the descriptor was ours."""
        if descriptor == self._listener.fileno():
            self._accept()
        elif self._agent is not None and descriptor == self._agent.fileno():
            if events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
                self._read()
        else:
            return False
        return True

    def note(self, key: Key) -> None:
        """The session has changed or is gone."""
        if self._agent is not None:
            self._notes[key] = None

    def flush(self) -> None:
        """Sends what the agent takes now."""
        if self._agent is None:
            return
        if len(self._notes) > UNSENT_CHANGES:
            self._drop()
            return
        while True:
            self._write()
            if self._agent is None or not self._notes or len(self._unsent) > UNSENT_OCTETS:
                break
            while self._notes and len(self._unsent) <= UNSENT_OCTETS:
                key = next(iter(self._notes))
                del self._notes[key]
                status = self._owner.status(key)
                self._say(*(("gone", list(key)) if status is None else ("status", status)))
        awaited = select.EPOLLOUT if self._unsent else 0
        awaited |= select.EPOLLIN if len(self._unsent) <= UNSENT_OCTETS else 0
        if self._agent is not None and awaited != self._awaited:
            self._awaited = awaited
            self._epoll.modify(self._agent, awaited)

    def _accept(self) -> None:
        try:
            peer, _ = self._listener.accept()
        except OSError:
            return
        _, uid, _ = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if uid not in (0, os.getuid()):
            peer.close()
            return
        self._drop()
        peer.setblocking(False)
        self._agent = peer
        self._epoll.register(peer, select.EPOLLIN)
        self._say("hello", self._instance)
        for status in self._owner.statuses():
            self._say("status", status)
        self._say("replayed", True)

    def _drop(self) -> None:
        if self._agent is not None:
            self._epoll.unregister(self._agent)
            self._agent.close()
            self._agent = None
        self._heard.clear()
        self._unsent.clear()
        self._notes.clear()
        self._awaited = select.EPOLLIN

    def _read(self) -> None:
        assert self._agent is not None
        try:
            data = self._agent.recv(READ_OCTETS)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop()
            return
        self._heard += data
        if b"\n" in data:
            *lines, rest = bytes(self._heard).split(b"\n")
            self._heard = bytearray(rest)
            for line in lines:
                self._understand(line)
        if len(self._heard) > control.LINE_OCTETS:
            self._drop()

    def _understand(self, line: bytes) -> None:
        try:
            kind, value = control.decode(line)
            if kind == "want":
                errors = self._owner.want(value)
                for error in errors[:ERRORS]:
                    self._say("error", error)
                if errors[ERRORS:]:
                    self._say("error", f"and {len(errors) - ERRORS} more of this kind")
            elif kind == "counters":
                self._say("counters", self._owner.counters())
            else:
                raise Unreadable(f"{kind!r} is no request; known are want and counters")
        except Unreadable as error:
            self._say("error", str(error)[:ERROR_LETTERS])

    def _say(self, kind: str, value: Any) -> None:
        self._unsent += control.encode(kind, value)

    def _write(self) -> None:
        assert self._agent is not None
        while self._unsent:
            try:
                sent = self._agent.send(self._unsent)
            except BlockingIOError:
                return
            except OSError:
                self._drop()
                return
            del self._unsent[:sent]
