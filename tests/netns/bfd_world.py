"""leyline-bfd in namespaces, asked as the agent asks it; and FRR's bfdd."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import Popen
from typing import Any

from speaker.liveness.bfd import control
from speaker.liveness.bfd.control import BfdUplink, Status, Want
from tests.netns.namespaces import Namespace, wait_until

BFDD = "/usr/lib/frr/bfdd"
ZEBRA = "/usr/lib/frr/zebra"


class Leyline:
    """One leyline-bfd and an agent's connection to it. Reads when asked; `statuses` is what it has said."""

    def __init__(self, namespace: Namespace, directory: Path) -> None:
        self.namespace = namespace
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.statuses: dict[tuple[str, str], Status] = {}
        self.heard: list[tuple[str, Any]] = []
        self.process = self._start()
        self.connect()

    def _start(self) -> Popen[bytes]:
        with (self.directory / "bfd.log").open("ab") as log:
            return self.namespace.start(
                sys.executable, "-m", "speaker.liveness.bfd", str(self.directory), output=log, cwd=Path.cwd()
            )

    def connect(self) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        path = str(self.directory / "bfd.sock")
        wait_until(lambda: self.socket.connect_ex(path) == 0, 10, self.log)
        self.rest = b""
        self.until(lambda: any(kind == "replayed" for kind, _ in self.heard))

    def restart(self, sig: int = signal.SIGKILL) -> None:
        self.namespace.stop(self.process, sig)
        self.socket.close()
        self.heard.clear()
        self.statuses.clear()
        self.process = self._start()
        self.connect()

    def say(self, kind: str, value: Any) -> None:
        self.socket.sendall(control.encode(kind, value))

    def want(
        self,
        address: str,
        *remotes: str,
        address6: str | None = None,
        interval_ms: int = 100,
        multiplier: int = 3,
        accept: tuple[str, ...] = (),
        admin_down: bool = False,
    ) -> None:
        uplink = BfdUplink("eth0", address, address6, interval_ms * 1000, multiplier)
        sessions = tuple(("eth0", remote) for remote in remotes)
        self.say("want", Want((uplink,), sessions, frozenset(accept), admin_down))

    def read(self) -> None:
        """All that has come."""
        self.socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while data := self.socket.recv(1 << 20):
                self.rest += data
        self.socket.setblocking(True)
        *lines, self.rest = self.rest.split(b"\n")
        for line in lines:
            kind, value = control.decode(line)
            self.heard.append((kind, value))
            if kind == "status":
                self.statuses[value.device, value.remote] = value
            elif kind == "gone":
                self.statuses.pop(tuple(value), None)

    def until(self, predicate: Callable[[], bool], timeout: float = 15) -> float:
        def reached() -> bool:
            self.read()
            return predicate()

        return wait_until(reached, timeout, self.evidence, interval=0.005)

    def status(self, remote: str) -> Status:
        self.read()
        return self.statuses["eth0", remote]

    def until_state(self, remote: str, state: str, timeout: float = 15) -> float:
        return self.until(lambda: self.state(remote) == state, timeout)

    def state(self, remote: str) -> str:
        found = self.statuses.get(("eth0", remote))
        return found.state if found is not None else ""

    def up(self) -> int:
        self.read()
        return sum(status.state == "Up" for status in self.statuses.values())

    def counters(self) -> dict[str, int]:
        self.read()
        self.heard.clear()
        self.say("counters", True)
        self.until(lambda: any(kind == "counters" for kind, _ in self.heard))
        return next(value for kind, value in self.heard if kind == "counters")

    def cpu_seconds(self) -> float:
        return cpu_seconds(int((self.directory / "bfd.pid").read_text()))

    def evidence(self) -> str:
        said = [value for kind, value in self.heard if kind == "error"]
        return "\n".join([*map(str, list(self.statuses.values())[:10]), *map(str, said), self.log()])

    def log(self) -> str:
        return (self.directory / "bfd.log").read_text(errors="replace")[-3000:]


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


class Bfdd:
    """FRR's zebra and bfdd. Needs `directory` where user frr may write."""

    def __init__(self, namespace: Namespace, directory: Path, config: str) -> None:
        self.namespace = namespace
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o777)
        (directory / "zebra.conf").write_text("hostname zebra\n")
        (directory / "bfdd.conf").write_text(f"hostname bfdd\n{config}")
        self.zebra = self._start(ZEBRA, "zebra")
        wait_until((directory / "zserv.api").exists, 20, self.log)
        self.process = self._start(BFDD, "bfdd", "--bfdctl", str(directory / "bfdd.sock"))
        wait_until(lambda: bool(self.peers()), 20, self.log)

    def _start(self, binary: str, name: str, *more: str) -> Popen[bytes]:
        d = self.directory
        with (d / f"{name}.log").open("wb") as log:
            return self.namespace.start(
                *(binary, "-z", str(d / "zserv.api"), "-i", str(d / f"{name}.pid")),
                *("--vty_socket", str(d), "-f", str(d / f"{name}.conf"), "-A", "127.0.0.1", "-P", "0"),
                *("--log", "stdout", "--log-level", "debugging", *more),
                output=log,
            )

    def stop(self) -> None:
        for process in (self.process, self.zebra):
            self.namespace.stop(process, signal.SIGKILL)

    def vtysh(self, *commands: str, check: bool = False) -> str:
        said = [word for command in commands for word in ("-c", command)]
        return self.namespace.run("vtysh", "--vty_socket", str(self.directory), *said, check=check)

    def peers(self) -> list[dict[str, Any]]:
        text = self.vtysh("show bfd peers json")
        with contextlib.suppress(ValueError):
            found = json.loads(text[text.index("[") :])
            return found if isinstance(found, list) else []
        return []

    def peer(self, address: str) -> dict[str, Any]:
        return next((peer for peer in self.peers() if peer["peer"] == address), {})

    def log(self) -> str:
        logs = [path.read_text(errors="replace")[-2500:] for path in sorted(self.directory.glob("*.log"))]
        return "\n".join([*logs, self.vtysh("show bfd peers")])


@contextlib.contextmanager
def silenced(namespace: Namespace) -> Iterator[None]:
    """Carrier stays; nothing of BFD gets in."""
    namespace.run(
        "nft",
        "-f",
        "-",
        stdin="table inet cut { chain in { type filter hook input priority 0; udp dport 3784 drop; }; }",
    )
    try:
        yield
    finally:
        namespace.run("nft", "delete", "table", "inet", "cut")
