"""What goes out by `announce raw`: messages into lines, how many may be unanswered, what waits for whom. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

LINES_IN_FLIGHT = 4
BLOB_OCTETS = 64 << 10
"""Messages of one line; twice as many hex digits. ExaBGP refuses lines of 1 MiB."""
QUEUED_OCTETS = 1 << 20
"""Congested: more than that waits here."""
PEER_OCTETS = 8 << 20
"""Congested: more than that waits for one peer, here and in ExaBGP."""


@dataclass(slots=True)
class _Blob:
    peers: tuple[str, ...]
    data: bytearray


@dataclass(slots=True)
class _Waiting:
    here: int = 0  # Octets queued here or in a line not answered yet.
    there: int = 0  # Octets in ExaBGP, as last said.


class Sender:
    """Complete messages for peers, strictly first in, first out, over one connection to the bridge.

    `first_id` keeps its lines apart from those of an agent before it, whose answers may still come.
    """

    def __init__(self, first_id: int = 1) -> None:
        self._blobs: deque[_Blob] = deque()
        self._in_flight: dict[int, _Blob] = {}
        self._waiting: dict[str, _Waiting] = {}
        self._queued = 0
        self._last_id = first_id - 1

    def put(self, peers: tuple[str, ...], messages: Iterable[bytes]) -> None:
        """Queues messages. Those for the same peers share lines."""
        last = self._blobs[-1] if self._blobs else None
        octets = 0
        for message in messages:
            if last is None or last.peers != peers or len(last.data) + len(message) > BLOB_OCTETS:
                last = _Blob(peers, bytearray())
                self._blobs.append(last)
            last.data += message
            octets += len(message)
        self._queued += octets
        for peer in peers:
            self._waiting.setdefault(peer, _Waiting()).here += octets

    def pump(self) -> bytes:
        """The lines that may be written now."""
        lines = []
        while self._blobs and len(self._in_flight) < LINES_IN_FLIGHT:
            blob = self._blobs.popleft()
            lines.append(f"announce raw {self._fly(blob)} {'+'.join(blob.peers)} {blob.data.hex()}\n")
        return "".join(lines).encode("ascii")

    def ask(self) -> bytes:
        """A line that asks what waits in ExaBGP now; nothing when that is known, or known soon."""
        names = tuple(peer for peer, waiting in self._waiting.items() if waiting.there)
        if not names or self._in_flight:
            return b""
        return f"announce raw {self._fly(_Blob(names, bytearray()))} {'+'.join(names)}\n".encode("ascii")

    def answered(self, number: int, backlog: Mapping[str, int | None]) -> None:
        """ExaBGP has taken the line `number`. Answers to somebody else's lines do no harm."""
        blob = self._in_flight.pop(number, None)
        if blob is None:
            return
        self._queued -= len(blob.data)
        for peer in blob.peers:
            waiting = self._waiting[peer]
            waiting.here -= len(blob.data)
            waiting.there = backlog.get(peer) or 0

    def up(self, peer: str) -> None:
        """A new session: what waited in ExaBGP for the one before is gone."""
        self._waiting.setdefault(peer, _Waiting()).there = 0

    def congested(self, peers: Sequence[str] | None) -> bool:
        """Whether to wait before more is put for any of `peers` (all when None)."""
        slow = self.slow()
        return self._queued > QUEUED_OCTETS or bool(slow if peers is None else slow.intersection(peers))

    def slow(self) -> frozenset[str]:
        """Peers for which more than PEER_OCTETS wait."""
        return frozenset(name for name, waiting in self._waiting.items() if waiting.here + waiting.there > PEER_OCTETS)

    def _fly(self, blob: _Blob) -> int:
        self._last_id += 1
        self._in_flight[self._last_id] = blob
        return self._last_id
