"""One node of a running lab: run a command in it, start a process in it, ping from it."""

from __future__ import annotations

import os
import re
import select
import shlex
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lab.leftovers import MARK
from lab.pings import Flow


class CommandFailed(RuntimeError):
    """A command in a node ended with an error."""


@dataclass(frozen=True)
class Process:
    """A process in a node. `pid` is the machine's number of it."""

    pid: int
    fd: int  # pidfd: still names the same process when the number is used again
    log: Path
    name: str

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Nothing happens when it is gone already."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.fd, number)

    def wait(self, seconds: float) -> bool:
        """Is it gone, at the latest after `seconds`?"""
        poller = select.poll()
        poller.register(self.fd, select.POLLIN)
        return bool(poller.poll(seconds * 1000))

    def alive(self) -> bool:
        return not self.wait(0)


class Node:
    """A node by its name, its init's process number and its network namespace."""

    def __init__(self, lab: str, name: str, pid: int, netns: str, env: Mapping[str, str], state: Path) -> None:
        self.lab = lab
        self.name = name
        self.pid = pid
        self.netns = netns
        self.env = dict(env)
        self.state = state

    def __repr__(self) -> str:
        return f"Node({self.lab}/{self.name})"

    def argv(self, command: Sequence[str]) -> list[str]:
        """`command`, as this machine starts it in the node."""
        return ["nsenter", "-t", str(self.pid), "-m", "-u", "-i", "-n", "-p", "--", *command]

    def environ(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """The node's own environment; of this machine's only what programs need to be found and to speak plainly."""
        base = {key: os.environ[key] for key in ("PATH", "HOME", "TERM") if key in os.environ}
        return {**base, "LC_ALL": "C.UTF-8", "HOSTNAME": self.name, **self.env, **(extra or {}), MARK: self.lab}

    def run(
        self, command: str | Sequence[str], *, check: bool = True, seconds: float = 60.0, stdin: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:  # fmt: skip
        """Run to the end; text out. Raises CommandFailed after `seconds`, and if `check` on any exit code but 0."""
        words = split(command)
        try:
            result = subprocess.run(
                self.argv(words), env=self.environ(env), capture_output=True, text=True, errors="replace",
                timeout=seconds, check=False, **({"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}),
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise CommandFailed(f"{self.name}: {shlex.join(words)}: no end after {seconds:g} s") from None
        if check and result.returncode != 0:
            output = (result.stderr.strip() or result.stdout.strip())[-2000:]
            raise CommandFailed(f"{self.name}: {shlex.join(words)}: exit code {result.returncode}: {output}")
        return result

    def out(self, command: str | Sequence[str], seconds: float = 60.0) -> str:
        """What a command prints. Raises CommandFailed."""
        return self.run(command, seconds=seconds).stdout

    def write(self, path: str, text: str) -> None:
        """Make a file in the node, readable by its root alone. Raises CommandFailed."""
        self.run(["sh", "-c", 'umask 077; cat > "$0"', path], stdin=text)

    def start(self, command: str | Sequence[str], name: str = "", env: Mapping[str, str] | None = None) -> Process:
        """Start and leave running; output goes to the lab's log NODE.NAME.log. It outlives this program."""
        words = split(command)
        name = name or Path(words[0]).name
        log = self.log(name)
        with open(log, "ab") as out:
            enter = subprocess.Popen(
                self.argv(words), env=self.environ(env), stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                start_new_session=True,
            )  # fmt: skip
        pid, fd = self._child_of(enter, words)
        return Process(pid, fd, log, name)

    def _child_of(self, enter: subprocess.Popen[bytes], words: Sequence[str]) -> tuple[int, int]:
        """nsenter forks, because a PID namespace is entered by a child only: that child is the process."""
        children = Path(f"/proc/{enter.pid}/task/{enter.pid}/children")
        deadline = time.monotonic() + 10
        while enter.poll() is None and time.monotonic() < deadline:
            if found := children.read_text().split():
                try:
                    return int(found[0]), os.pidfd_open(int(found[0]))
                except ProcessLookupError:
                    break
            os.sched_yield()
        raise CommandFailed(
            f"{self.name}: {shlex.join(words)}: did not start: {self.log(Path(words[0]).name).read_text()[-2000:]}"
        )

    def process(self, pid: int, name: str) -> Process:
        """The process that has `pid` inside the node. Raises ProcessLookupError."""
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and self._is(entry, pid):
                return Process(int(entry.name), os.pidfd_open(int(entry.name)), self.log(name), name)
        raise ProcessLookupError(f"{self.name} has no process {pid}")

    def _is(self, entry: Path, pid: int) -> bool:
        try:
            if os.stat(entry / "ns/pid").st_ino != os.stat(f"/proc/{self.pid}/ns/pid").st_ino:
                return False
            status = (entry / "status").read_text()
        except OSError:
            return False
        inner = re.search(r"^NSpid:.*\s(\d+)$", status, re.M)
        return inner is not None and int(inner[1]) == pid and "State:\tZ" not in status

    def log(self, name: str) -> Path:
        return self.state / "logs" / f"{self.name}.{name}.log"

    def reaches(self, address: str, count: int = 2, seconds: float = 2.0) -> bool:
        """Does `address` answer at least one of `count` pings, the last within `seconds`?"""
        command = ["ping", "-n", "-q", "-c", str(count), "-i", "0.2", "-W", f"{seconds:g}", address]
        return self.run(command, check=False).returncode == 0

    def pings(self, address: str, name: str = "", source: str = "") -> Flow:
        """A flow for a PingTrain; `source`: an address of this node, if not the usual one."""
        return Flow(name or f"{self.name} to {address}", self.netns, address, source)

    def traceroute(self, address: str, most: int = 8) -> list[str]:
        """The hops towards `address`, by UDP probes; "*" where none of three was answered."""
        text = self.out(["traceroute", "-n", "-q", "3", "-w", "1", "-m", str(most), address])
        hops = [line.split()[1:] for line in text.splitlines()[1:] if line.strip()]
        return [next((word for word in hop if "." in word or ":" in word), "*") for hop in hops]


def split(command: str | Sequence[str]) -> list[str]:
    return shlex.split(command) if isinstance(command, str) else [str(word) for word in command]
