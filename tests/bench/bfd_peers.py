"""The far ends of many BFD sessions: one leyline-bfd in a namespace, and what it says of its sessions."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from speaker.liveness.bfd.control import BfdUplink, Status, Want, decode, encode
from tests.netns.namespaces import Namespace, wait_until

INTERVAL_US, MULTIPLIER = 100_000, 3
READ_OCTETS = 1 << 16


class BfdPeers:
    """A context manager: leyline-bfd with one uplink per interface, which waits for `expected` to begin.

    `uplinks`: (interface, its address).
    """

    def __init__(self, namespace: Namespace, place: Path, uplinks: Sequence[tuple[str, str]], expected: str) -> None:
        place.mkdir()
        with (place / "log").open("wb") as log:
            self.process: subprocess.Popen[bytes] = namespace.start(
                sys.executable, "-m", "speaker.liveness.bfd", str(place), output=log
            )
        path = place / "bfd.sock"
        wait_until(path.exists, 10, (place / "log").read_text)
        ends = tuple(BfdUplink(device, address, None, INTERVAL_US, MULTIPLIER) for device, address in uplinks)
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._socket.sendall(encode("want", Want(ends, (), frozenset({expected}), admin_down=False)))
        self._lock = threading.Lock()
        self._statuses: dict[tuple[str, str], Status] = {}
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._socket.close()

    def statuses(self) -> list[Status]:
        with self._lock:
            return list(self._statuses.values())

    def up(self) -> int:
        return sum(status.state == "Up" for status in self.statuses())

    def downs(self) -> int:
        """How often a session went from Up to Down, all together, since the start."""
        return sum(status.downs for status in self.statuses())

    def _read(self) -> None:
        rest = b""
        while True:
            try:
                data = self._socket.recv(READ_OCTETS)
            except OSError:
                return
            if not data:
                return
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                kind, value = decode(line)
                with self._lock:
                    if kind == "status":
                        self._statuses[value.device, value.remote] = value
                    elif kind == "gone":
                        self._statuses.pop((value[0], value[1]), None)
