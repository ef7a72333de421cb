"""The gateway's state directory: where its processes find each other, and the last good plan."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class StateDir:
    """All paths below one directory, 0700. One speaker, one directory."""

    root: Path

    def prepare(self) -> None:
        """Raises OSError when the directory cannot be made or is not ours."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.bridge.mkdir(mode=0o700, exist_ok=True)

    @property
    def plan(self) -> Path:
        return self.root / "plan.json"

    @property
    def access(self) -> Path:
        """How the controller is reached, with the gateway's token: see speaker.enroll.access."""
        return self.root / "access.json"

    @property
    def exabgp_config(self) -> Path:
        return self.root / "exabgp.conf"

    @property
    def bridge(self) -> Path:
        """Directory of the bridge's socket."""
        return self.root / "bridge"

    @property
    def control(self) -> Path:
        """The agent's own socket, for `leyline speaker show`."""
        return self.root / "agent.sock"

    @property
    def bfd(self) -> Path:
        """The socket of leyline-bfd, for the agent."""
        return self.root / "bfd.sock"

    @property
    def keepalived_config(self) -> Path:
        """Ours alone; there only while the plan has first hops."""
        return self.root / "keepalived.conf"

    @property
    def vrrp_weight(self) -> Path:
        """One number, added to the priority of every VRRP instance of ours."""
        return self.root / "vrrp-weight"

    @property
    def hubless(self) -> Path:
        """Since when no hub is heard; there only while that is so."""
        return self.root / "hubless.json"

    @property
    def nat(self) -> Path:
        """How the NAT in front of each uplink behaves, and how it did before."""
        return self.root / "nat.json"

    def pid_file(self, process: str) -> Path:
        return self.root / f"{process}.pid"


def write_atomically(path: Path, data: bytes, mode: int = 0o600) -> None:
    """The file holds the old bytes or the new ones, never a part, also over a power cut.

    Raises OSError (a full disk, for one), and then the old file stands as it was.
    """
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except OSError:
        with suppress(OSError):
            os.unlink(name)
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def write_pid(state: StateDir, process: str, pid: int) -> None:
    """For people and tests to find the process. A full disk must not keep a router from starting."""
    with suppress(OSError):
        write_atomically(state.pid_file(process), f"{pid}\n".encode())
