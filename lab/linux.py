"""The system calls that Python 3.11 lacks: namespaces, mounts, pidfds of strangers. Nothing of ours is decided here."""

from __future__ import annotations

import ctypes
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_REMOUNT = 32
MS_BIND = 4096
MS_REC = 16384
MS_SLAVE = 1 << 19
MS_SHARED = 1 << 20
MNT_DETACH = 2
PR_SET_NAME = 15

NETNS_DIR = Path("/run/netns")
"""Where `ip netns` looks for names."""

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    _check(_libc.unshare(flags), "unshare")


def setns(fd: int, kind: int) -> None:
    _check(_libc.setns(fd, kind), "setns")


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    words = [text.encode() for text in (source, target, kind, options)]
    result = _libc.mount(words[0], words[1], words[2] or None, ctypes.c_ulong(flags), words[3] or None)
    _check(result, f"mount {source} on {target}")


def unmount(target: str) -> None:
    """Lazily, so that it works whoever still looks at it."""
    _check(_libc.umount2(target.encode(), MNT_DETACH), f"unmount {target}")


def name_process(name: str) -> None:
    """What `ps` and `top` show; the kernel keeps 15 bytes."""
    _check(_libc.prctl(PR_SET_NAME, name.encode()[:15], 0, 0, 0), "prctl")


def prepare_netns_dir() -> None:
    """What `ip netns add` does before it makes its first name: the directory is a shared mount."""
    NETNS_DIR.mkdir(mode=0o755, parents=True, exist_ok=True)
    try:
        mount("", str(NETNS_DIR), "none", MS_SHARED | MS_REC)
    except OSError:
        mount(str(NETNS_DIR), str(NETNS_DIR), "none", MS_BIND | MS_REC)
        mount("", str(NETNS_DIR), "none", MS_SHARED | MS_REC)


def name_netns(name: str) -> None:
    """Give the caller's network namespace a name that `ip netns` shows. Raises FileExistsError when it is taken."""
    path = NETNS_DIR / name
    path.touch(mode=0o644, exist_ok=False)
    mount("/proc/self/ns/net", str(path), "none", MS_BIND)


def forget_netns(name: str) -> None:
    """Take the name away; the namespace goes with its last process."""
    path = NETNS_DIR / name
    with suppress(OSError):  # A plain file, if its maker died between `touch` and `mount`.
        unmount(str(path))
    path.unlink(missing_ok=True)


@contextmanager
def inside_netns(path: str) -> Iterator[None]:
    """This thread, for a moment, in the network namespace at `path`. What is opened here stays there."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        there = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            setns(there, CLONE_NEWNET)
        finally:
            os.close(there)
        try:
            yield
        finally:
            setns(home, CLONE_NEWNET)
    finally:
        os.close(home)


def socket_in(netns: str, family: int, kind: int, protocol: int = 0) -> socket.socket:
    """A socket that belongs to the named network namespace."""
    with inside_netns(str(NETNS_DIR / netns)):
        return socket.socket(family, kind, protocol)


class Ticker:
    """A timer to wait for beside sockets (timerfd, CLOCK_MONOTONIC): due at fixed times, so that nothing drifts."""

    def __init__(self, seconds: float) -> None:
        self._fd = _libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            _check(-1, "timerfd_create")
        whole, rest = divmod(round(seconds * 1e9), 10**9)
        period = (ctypes.c_long * 4)(whole, rest, whole, rest)  # struct itimerspec: interval, first
        _check(_libc.timerfd_settime(self._fd, 0, period, None), "timerfd_settime")

    def fileno(self) -> int:
        return int(self._fd)

    def ticks(self) -> int:
        """How many times it was due since the last look."""
        try:
            return int.from_bytes(os.read(self._fd, 8), sys.byteorder)
        except BlockingIOError:
            return 0

    def close(self) -> None:
        os.close(self._fd)
