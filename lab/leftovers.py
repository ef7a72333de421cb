"""What a lab has on this machine, found by looking and not by remembering; and its removal.

Two marks, and each of them is enough: LEYLINE_LAB in the environment of every process that the
lab started, and the names of its network namespaces with whatever runs inside.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lab import linux

MARK = "LEYLINE_LAB"
PREFIX = "ll-"
DEATH_SECONDS = 10.0
"""How long killed processes get to be gone."""


class Survivors(RuntimeError):
    """Processes of a lab that did not die."""


@dataclass(frozen=True)
class Process:
    pid: int
    lab: str  # By its mark; empty = none.
    netns: int  # Inode of its network namespace; 0 = gone meanwhile, or a zombie.
    inner: bool  # In a PID namespace of its own.


def netns_name(lab: str, node: str) -> str:
    return f"{PREFIX}{lab}-{node}"


def scan() -> list[Process]:
    """Every process of this machine, but the caller."""
    pids = (int(name) for name in os.listdir("/proc") if name.isdigit())
    return [_process(pid) for pid in pids if pid != os.getpid()]


def _process(pid: int) -> Process:
    space = _inode(Path(f"/proc/{pid}/ns/pid"))
    return Process(pid, _mark(pid), _inode(Path(f"/proc/{pid}/ns/net")), space != _inode(Path("/proc/self/ns/pid")))


def labs() -> list[str]:
    """Every lab that has a process."""
    return sorted({process.lab for process in scan() if process.lab})


def namespaces(lab: str, processes: list[Process]) -> dict[str, int]:
    """Name -> inode of the network namespaces of `lab`.

    `ll-a-b-c` could be a node of lab `a` or of lab `a-b`: the mark of who lives there tells.
    """
    if not linux.NETNS_DIR.is_dir():
        return {}
    strangers = {process.netns for process in processes if process.lab not in ("", lab)}
    named = {path.name: _inode(path) for path in linux.NETNS_DIR.iterdir() if path.name.startswith(f"{PREFIX}{lab}-")}
    return {name: inode for name, inode in sorted(named.items()) if inode not in strangers}


def processes_of(lab: str) -> list[Process]:
    processes = scan()
    inodes = set(namespaces(lab, processes).values()) - {0}
    return [process for process in processes if process.lab == lab or process.netns in inodes]


def remove(lab: str) -> int:
    """Kill every process of `lab` and drop its namespaces. How many processes there were.

    Raises Survivors when one of them is still there after DEATH_SECONDS.
    """
    killed: set[int] = set()
    deadline = time.monotonic() + DEATH_SECONDS
    while processes := processes_of(lab):
        # Those inside first, so that their parents outside still reap them: an init ends when all of its are reaped.
        alive = {process.pid for process in processes if process.inner} or {process.pid for process in processes}
        if time.monotonic() > deadline:
            raise Survivors(f"lab {lab}: alive after SIGKILL: {', '.join(_describe(pid) for pid in sorted(alive))}")
        for process in processes:
            _close(_signal(process.pid, signal.SIGCONT))  # A stopped parent reaps nobody.
        killed |= alive
        for death in [_signal(pid, signal.SIGKILL) for pid in alive]:
            _await(death, deadline)
    for name in namespaces(lab, scan()):
        linux.forget_netns(name)
    return len(killed)


def _signal(pid: int, number: int) -> int | None:
    """A pidfd of the process that has been signalled; None when it was gone."""
    try:
        fd = os.pidfd_open(pid)
    except OSError:
        return None
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(fd, number)
    return fd


def _close(fd: int | None) -> None:
    if fd is not None:
        os.close(fd)


def _await(death: int | None, deadline: float) -> None:
    if death is None:
        return
    poller = select.poll()
    poller.register(death, select.POLLIN)
    poller.poll(max(0.0, deadline - time.monotonic()) * 1000)
    os.close(death)


def _mark(pid: int) -> str:
    prefix = f"{MARK}=".encode()
    found: Iterator[bytes] = (word for word in _read(f"/proc/{pid}/environ").split(b"\0") if word.startswith(prefix))
    return next(found, prefix).removeprefix(prefix).decode(errors="replace")


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except OSError:
        return 0


def _describe(pid: int) -> str:
    return f"{pid} ({_read(f'/proc/{pid}/cmdline').replace(bytes(1), b' ').decode(errors='replace').strip() or '?'})"
