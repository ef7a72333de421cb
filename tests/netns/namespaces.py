"""Network namespaces for tests with real kernels and real daemons: made, used, always removed.

Every namespace that this process makes is called `ll-AREA-PID-NAME`; leftovers of dead processes
of the same area are removed when an area is opened, so a crashed run cleans up at the next one.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

NAMES = re.compile(r"^ll-(?P<area>[a-z0-9]+)-(?P<pid>\d+)-")
BIRD = "/usr/sbin/bird"
BIRDC = "/usr/sbin/birdc"
CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


class Failed(AssertionError):
    """A command in a namespace failed, or a condition was not reached; the text holds the evidence."""


class Namespace:
    """One network namespace and the processes started in it. A context manager: leaving it kills and removes both.

    `lo` is up. Only processes that were started through it are ended, each by its own id.
    """

    def __init__(self, area: str, name: str) -> None:
        self.name = f"ll-{area}-{os.getpid()}-{name}"
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        remove_leftovers(self.name.split("-")[1])
        _check(["ip", "netns", "add", self.name])
        try:
            self.run("ip", "link", "set", "lo", "up")
        except Failed:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def run(self, *command: str, check: bool = True, timeout: float = 60, stdin: str | None = None) -> str:
        """Standard output of `command`, run inside. Raises Failed with its output unless `check` is off."""
        return _check(["ip", "netns", "exec", self.name, *command], check=check, timeout=timeout, stdin=stdin)

    def start(
        self,
        *command: str,
        output: IO[bytes] | int | None = subprocess.DEVNULL,
        env: dict[str, str] | None = None,
        cwd: str | Path | None = None,
    ) -> subprocess.Popen[bytes]:
        """A long-running process inside; its group is ended with the namespace. `pid` is the command's own."""
        process = subprocess.Popen(
            ["ip", "netns", "exec", self.name, *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT if output is not None else None,
            env=env,
            cwd=cwd,
            start_new_session=True,
        )
        self._processes.append(process)
        return process

    def bird(self, config: str, directory: Path, *, name: str = "bird") -> Bird:
        """BIRD 2 in the foreground, under `config`, answering birdc before this returns."""
        directory.mkdir(parents=True, exist_ok=True)
        file, socket = directory / f"{name}.conf", directory / f"{name}.ctl"
        file.write_text(config)
        with (directory / f"{name}.log").open("wb") as log:
            process = self.start(BIRD, "-f", "-c", str(file), "-s", str(socket), output=log)
        bird = Bird(self, process, socket, file)
        wait_until(
            lambda: "BIRD" in bird.ask("show status", check=False),
            timeout=15,
            evidence=lambda: (directory / f"{name}.log").read_text(errors="replace"),
        )
        return bird

    def stop(self, process: subprocess.Popen[bytes], sig: int = signal.SIGTERM, timeout: float = 10) -> int:
        """Ends one process started here (its whole group with SIGKILL when it does not go) and reaps it."""
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(sig)
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            _kill_group(process)
        return process.wait()

    def close(self) -> None:
        for process in reversed(self._processes):
            _kill_group(process)
        self._processes.clear()
        _check(["ip", "netns", "del", self.name], check=False)


class Bird:
    """A BIRD that runs in a namespace, asked through its control socket."""

    def __init__(self, namespace: Namespace, process: subprocess.Popen[bytes], socket: Path, config: Path) -> None:
        self.namespace = namespace
        self.process = process
        self.socket = socket
        self.config = config

    def ask(self, command: str, *, check: bool = True, timeout: float = 60) -> str:
        return self.namespace.run(BIRDC, "-s", str(self.socket), *command.split(), check=check, timeout=timeout)

    def routes(self, protocol: str | None = None, table: str | None = None) -> int:
        """Number of routes, of one protocol or of one table or of all."""
        where = (f" protocol {protocol}" if protocol else "") + (f" table {table}" if table else "")
        found = re.search(r"(\d+) of (\d+) routes for", self.ask(f"show route{where} count").split("Total:")[-1])
        return int(found.group(1)) if found else 0

    def established(self, protocol: str) -> bool:
        return "Established" in self.ask(f"show protocols {protocol}", check=False)

    def reconfigure(self, config: str) -> str:
        self.config.write_text(config)
        return self.ask("configure")


def veth(
    left: Namespace,
    left_name: str,
    left_addresses: Sequence[str],
    right: Namespace,
    right_name: str,
    right_addresses: Sequence[str],
) -> None:
    """A pair of interfaces, one end in each namespace, up, with their addresses ("10.0.0.1/24", IPv6 without DAD)."""
    _check(
        [
            "ip",
            "link",
            "add",
            left_name,
            "netns",
            left.name,
            "type",
            "veth",
            "peer",
            "name",
            right_name,
            "netns",
            right.name,
        ]
    )
    for namespace, name, addresses in ((left, left_name, left_addresses), (right, right_name, right_addresses)):
        for address in addresses:
            nodad = ("nodad",) if ":" in address else ()
            namespace.run("ip", "address", "add", address, "dev", name, *nodad)
        namespace.run("ip", "link", "set", name, "up")


@contextlib.contextmanager
def pair(area: str, left: Sequence[str], right: Sequence[str]) -> Iterator[tuple[Namespace, Namespace]]:
    """Two namespaces joined by one veth pair; both ends are called `eth0`."""
    with Namespace(area, "a") as a, Namespace(area, "b") as b:
        veth(a, "eth0", left, b, "eth0", right)
        yield a, b


@contextlib.contextmanager
def segment(area: str, addresses: dict[str, Sequence[str]]) -> Iterator[dict[str, Namespace]]:
    """One flat Ethernet segment: a bridge in a namespace of its own, and one namespace per name with `eth0` on it."""
    with contextlib.ExitStack() as stack:
        switch = stack.enter_context(Namespace(area, "switch"))
        switch.run("ip", "link", "add", "br0", "type", "bridge")
        switch.run("ip", "link", "set", "br0", "up")
        members = {}
        for number, (name, own) in enumerate(addresses.items()):
            members[name] = stack.enter_context(Namespace(area, name))
            veth(members[name], "eth0", own, switch, f"port{number}", ())
            switch.run("ip", "link", "set", f"port{number}", "master", "br0")
        yield members


@contextlib.contextmanager
def inside(name: str) -> Iterator[None]:
    """This thread, and threads that it starts meanwhile, are in the network namespace `name`."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _enter(os.open(Path("/run/netns") / name, os.O_RDONLY | os.O_CLOEXEC))
        yield
    finally:
        _enter(home)


def _enter(descriptor: int) -> None:
    try:
        if _libc.setns(descriptor, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
    finally:
        os.close(descriptor)


def wait_until(
    predicate: Callable[[], bool], timeout: float, evidence: Callable[[], str] | str = "", interval: float = 0.05
) -> float:
    """Seconds until `predicate` held. Raises Failed with the evidence when it did not within `timeout` seconds."""
    started = time.monotonic()
    while not predicate():
        if time.monotonic() - started > timeout:
            text = evidence() if callable(evidence) else evidence
            raise Failed(f"not reached within {timeout} s\n{text}")
        time.sleep(interval)
    return time.monotonic() - started


def remove_leftovers(area: str) -> None:
    """Namespaces of the area whose process is gone: their processes are killed, by id, and they are removed."""
    for line in _check(["ip", "netns", "list"], check=False).splitlines():
        name = line.split()[0] if line.split() else ""
        match = NAMES.match(name)
        if match is None or match["area"] != area or Path(f"/proc/{match['pid']}").exists():
            continue
        for pid in _check(["ip", "netns", "pids", name], check=False).split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        _check(["ip", "netns", "del", name], check=False)


def _check(command: list[str], check: bool = True, timeout: float = 60, stdin: str | None = None) -> str:
    result = subprocess.run(
        command,
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    if check and result.returncode:
        raise Failed(f"{' '.join(command)}: exit {result.returncode}\n{result.stdout}{result.stderr}")
    return result.stdout


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """start_new_session made the process the leader of its group, so its children go with it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
