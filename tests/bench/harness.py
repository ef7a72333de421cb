"""What the benchmarks share: order of runs, medians, memory, versions, and when a table is full."""

from __future__ import annotations

import ctypes
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.netns.namespaces import Failed, Namespace

RUNS = 3
UPDATE_OCTETS = 1000
"""A frame this long to or from port 179 is an UPDATE with routes: no OPEN, KEEPALIVE or ACK is."""
ETH_P_ALL = 3
CLONE_NEWNET = 0x40000000


@dataclass(frozen=True)
class Measured:
    """One run of one contestant: seconds by what was timed, resident memory in MB by process."""

    seconds: Mapping[str, float]
    rss_mb: Mapping[str, float] = field(default_factory=dict)


def alternate(contestants: Mapping[str, Callable[[], Measured]], runs: int = RUNS) -> dict[str, Measured]:
    """Medians of `runs` runs of each, taken for each timing alone; the order is turned round from run to run."""
    results: dict[str, list[Measured]] = {name: [] for name in contestants}
    for number in range(runs):
        names = list(contestants) if number % 2 == 0 else list(reversed(contestants))
        for name in names:
            results[name].append(contestants[name]())
            say(f"  {name} run {number + 1}: {_text(results[name][-1].seconds)}  RSS {dict(results[name][-1].rss_mb)}")
    return {name: _median(measured) for name, measured in results.items()}


def _median(measured: list[Measured]) -> Measured:
    def middle(values: list[float]) -> float:
        return sorted(values)[len(values) // 2]

    return Measured(
        {what: middle([one.seconds[what] for one in measured]) for what in measured[0].seconds},
        {what: middle([one.rss_mb[what] for one in measured]) for what in measured[0].rss_mb},
    )


def _text(seconds: Mapping[str, float]) -> str:
    return ", ".join(f"{what} {value:.2f} s" for what, value in seconds.items())


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def emit(**fields: object) -> None:
    """One result line."""
    print(json.dumps(fields), flush=True)


def ratio(theirs: float, ours: float) -> float:
    """How many times faster we are."""
    return round(theirs / ours, 2)


def rss_mb(pid: int) -> float:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return round(int(found.group(1)) / 1024, 1) if found else 0.0


def version_of(*command: str) -> str:
    """The first version number that a program prints about itself."""
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    number = re.search(r"\d+\.\d+[.\w]*", found.stdout + found.stderr)
    return number.group(0) if number else "unknown"


class Inside:
    """A thread that lives in a network namespace: what it opens, and /proc/thread-self/net, are the namespace's."""

    def __init__(self, namespace: Namespace) -> None:
        self._pool = ThreadPoolExecutor(1)
        self._pool.submit(_enter, namespace.name).result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._pool.shutdown(wait=True)

    def kernel_routes(self) -> int:
        """IPv4 prefixes in the main table; cheap, whatever their number."""
        return self._pool.submit(_main_table_prefixes).result()

    def first_update(self, interface: str) -> FirstUpdate:
        return FirstUpdate(self._pool.submit(_sniffer, interface).result())


class FirstUpdate:
    """When the first long BGP segment after `arm` was seen (time.monotonic)."""

    def __init__(self, sniffer: socket.socket) -> None:
        self._sniffer = sniffer
        self._seen = threading.Event()
        self.at = 0.0
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def wait(self, timeout: float) -> float:
        if not self._seen.wait(timeout):
            raise Failed(f"no UPDATE on the wire within {timeout} s")
        return self.at

    def _watch(self) -> None:
        with self._sniffer:
            while True:
                frame = self._sniffer.recv(65535)
                if len(frame) >= UPDATE_OCTETS and frame[12:14] == b"\x08\x00" and frame[23] == 6:
                    ports = frame[14 + 4 * (frame[14] & 15) :][:4]
                    if 179 in (int.from_bytes(ports[:2], "big"), int.from_bytes(ports[2:], "big")):
                        self.at = time.monotonic()
                        self._seen.set()
                        return


def _sniffer(interface: str) -> socket.socket:
    sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    sniffer.bind((interface, 0))
    return sniffer


def _main_table_prefixes() -> int:
    text = Path("/proc/thread-self/net/fib_triestat").read_text()
    main = text[text.index("Main:") :]
    found = re.search(r"Prefixes:\s+(\d+)", main)
    return int(found.group(1)) if found else 0


def _enter(name: str) -> None:
    descriptor = os.open(f"/run/netns/{name}", os.O_RDONLY)
    try:
        if ctypes.CDLL(None, use_errno=True).setns(descriptor, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns {name}")
    finally:
        os.close(descriptor)


def until(reached: Callable[[], bool], timeout: float, what: str, interval: float = 0.02) -> float:
    """time.monotonic() when `reached` first held. Raises Failed."""
    deadline = time.monotonic() + timeout
    while not reached():
        if time.monotonic() > deadline:
            raise Failed(f"{what}: not reached within {timeout} s")
        time.sleep(interval)
    return time.monotonic()


def children_of(pid: int) -> list[int]:
    """The pid and all below it."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in task.read_text().split():
                found += children_of(int(child))
    return found
