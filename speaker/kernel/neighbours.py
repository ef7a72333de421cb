"""Permanent neighbour entries: next hops whose MAC is known need no ARP and no ND, which ZeroTier carries as multicast.

Entries are ours when they bear our protocol number (NDA_PROTOCOL 76, Linux 5.0). What an operator or another program
has set is never touched, also not where we would say otherwise; what the kernel resolved by itself gives way.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Protocol

from speaker.kernel import neighbour_messages as codec
from speaker.kernel.neighbour_messages import Entry, Name
from speaker.kernel.port import Fault, KernelError
from speaker.kernel.socket import LinuxKernel
from speaker.rib.prefix import Family

Desired = Mapping[Name, bytes]
"""Interface and address -> MAC."""

MESSAGES_PER_BATCH = 1000
MAX_TOLD = 20
GONE = (errno.ENOENT, errno.ENODEV, errno.ENXIO)
"""No fault: it went with its interface, or by somebody's `ip neigh flush`."""


class NeighbourKernel(Protocol):
    """The neighbour tables of one network namespace."""

    def entries(self) -> list[Entry]:
        """All of both families, foreign ones too. Raises KernelError."""
        ...

    def submit(self, messages: bytes) -> list[Fault]:
        """Carry out packed requests in order and say which failed. Raises KernelError when that is unknown."""
        ...

    def close(self) -> None: ...


class LinuxNeighbours(LinuxKernel):
    """The socket with one dump more."""

    def entries(self) -> list[Entry]:
        found: list[Entry] = []
        for family in Family:
            sequence = self._next_sequence()
            for buffer in self._dump(codec.dump(family, sequence), sequence):
                found += codec.entries(buffer)
        return found


@dataclass(slots=True)
class NeighbourOutcome:
    """What `apply` did. Call again after an interface returned: Linux dropped its entries with it."""

    standing: int = 0  # Ours, as desired.
    put: int = 0
    removed: int = 0
    foreign: list[Name] = field(default_factory=list)  # Desired, and somebody else's: left alone.
    errors: list[str] = field(default_factory=list)  # One line an entry, MAX_TOLD at most.


class NeighbourTable:
    """Holds nothing: every call reads the kernel, so what a former process left is taken over."""

    def __init__(self, kernel: Callable[[], NeighbourKernel] = LinuxNeighbours) -> None:
        self._kernel = kernel

    def apply(
        self, desired: Desired, *, may_remove: bool = True, absent: Collection[int] = frozenset()
    ) -> NeighbourOutcome:
        """Bring the kernel to `desired`, and read back. Blocks; run it in a thread.

        Nothing is taken away unless it `may_remove`, and never on interfaces of `absent`, of which nothing can be
        said now.
        """
        outcome = NeighbourOutcome()
        try:
            with closing(self._kernel()) as kernel:
                actual = {entry.name: entry for entry in kernel.entries()}
                puts, removals = changes(actual, desired, absent)
                outcome.put, outcome.removed = len(puts), len(removals) if may_remove else 0
                requests = puts + (removals if may_remove else [])
                faults = _submit(kernel, requests)
                outcome.errors = [_told(fault) for fault in faults if fault.errno not in GONE]
                if requests:
                    actual = {entry.name: entry for entry in kernel.entries()}
        except KernelError as error:
            outcome.errors.append(str(error))
            return outcome
        outcome.foreign = sorted(name for name in desired if name in actual and actual[name].foreign)
        outcome.standing = sum(name in actual and actual[name].holds(mac) for name, mac in desired.items())
        if not outcome.errors:
            excused = {*outcome.foreign, *(codec.name_of(fault.message) for fault in faults)}
            outcome.errors = _lost(actual, desired, excused)
        del outcome.errors[MAX_TOLD:]
        return outcome


def changes(
    actual: Mapping[Name, Entry], desired: Desired, absent: Collection[int] = frozenset()
) -> tuple[list[bytes], list[bytes]]:
    """(entries to put, entries to remove) that lead from `actual` to `desired`. Pure. Foreign ones are in neither."""
    puts = [
        codec.put(name, mac)
        for name, mac in sorted(desired.items())
        if name not in actual or not (actual[name].foreign or actual[name].holds(mac))
    ]
    gone = (name for name, entry in actual.items() if entry.ours and name not in desired and name.ifindex not in absent)
    return puts, [codec.delete(name) for name in sorted(gone)]


def _submit(kernel: NeighbourKernel, requests: Sequence[bytes]) -> list[Fault]:
    batches = range(0, len(requests), MESSAGES_PER_BATCH)
    return [fault for at in batches for fault in kernel.submit(b"".join(requests[at : at + MESSAGES_PER_BATCH]))]


def _lost(actual: Mapping[Name, Entry], desired: Desired, excused: Collection[Name]) -> list[str]:
    """What was taken without complaint and does not stand."""
    lost = [name for name, mac in desired.items() if name not in excused and not _holds(actual, name, mac)]
    return [f"{_text(name)}: was set, and is not there: does another program set it?" for name in sorted(lost)]


def _holds(actual: Mapping[Name, Entry], name: Name, mac: bytes) -> bool:
    entry = actual.get(name)
    return entry is not None and entry.holds(mac)


def _told(fault: Fault) -> str:
    return f"{_text(codec.name_of(fault.message))}: {fault.text or os.strerror(fault.errno)}"


def _text(name: Name) -> str:
    return f"neighbour {ip_address(name.address)} of interface {name.ifindex}"
