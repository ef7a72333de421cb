"""Neighbour tables in memory: the same bytes in, the same errors out as from Linux."""

from __future__ import annotations

import errno
from collections import Counter

from speaker.kernel import messages as m
from speaker.kernel import neighbour_messages as codec
from speaker.kernel.neighbour_messages import Entry, Name
from speaker.kernel.parse import split
from speaker.kernel.port import Fault, KernelError


class FakeNeighbours:
    """State is public. `failures`: Counter of "dump", "submit" (KernelError) and "put" (that many are refused)."""

    def __init__(self, *links: int) -> None:
        self.table: dict[Name, Entry] = {}
        self.links = set(links) or {1}
        self.failures: Counter[str] = Counter()
        self.log: list[tuple[int, Name]] = []
        self.forgets = False  # Takes everything and keeps nothing.
        self.opened = self.closed = 0

    def __call__(self) -> FakeNeighbours:
        self.opened += 1
        return self

    def close(self) -> None:
        self.closed += 1

    def add(self, entry: Entry) -> None:
        self.table[entry.name] = entry

    def link_gone(self, index: int) -> None:
        self.links.discard(index)
        self.table = {name: entry for name, entry in self.table.items() if name.ifindex != index}

    def entries(self) -> list[Entry]:
        self._break("dump")
        return list(self.table.values())

    def submit(self, messages: bytes) -> list[Fault]:
        self._break("submit")
        faults = []
        for type_, flags, _, start, end in split(messages):
            request = messages[start - m.HEADER.size : end]
            number = self._carry_out(type_, flags, request)
            if number:
                faults.append(Fault(number, "", request))
        return faults

    def _carry_out(self, type_: int, flags: int, request: bytes) -> int:
        name = codec.name_of(request)
        self.log.append((type_, name))
        if name.ifindex not in self.links:
            return errno.ENODEV
        if type_ == codec.RTM_DELNEIGH:
            return 0 if self.table.pop(name, None) is not None else errno.ENOENT
        assert flags & m.NLM_F_CREATE
        assert flags & m.NLM_F_REPLACE
        if self.failures["put"] > 0:
            self.failures["put"] -= 1
            return errno.ENOBUFS
        if not self.forgets:
            self.table[name] = codec.entry_of(request)
        return 0

    def _break(self, what: str) -> None:
        if self.failures[what] > 0:
            self.failures[what] -= 1
            raise KernelError(errno.ENOBUFS, f"{what} failed")
