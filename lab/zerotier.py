"""ZeroTier One in the nodes of a lab: the program of this machine, a root of the lab's own, nobody outside asked.

The program is found by $LEYLINE_ZEROTIER_ONE (its path), or in PATH. Leyline brings none along.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from lab.labs import LabError
from lab.node import Node, Process
from lab.planet import Identity, planet
from lab.rest import Inside

VARIABLE = "LEYLINE_ZEROTIER_ONE"
HOME = "/run/zerotier-one"
"""In a node /run is its own; /var/lib is this machine's."""
TOOLS = "/run/zerotier-tools"
PORT = 9993
STOP_SECONDS = 20.0
LOCAL_CONF = {"settings": {"portMappingEnabled": False, "allowTcpFallbackRelay": False}}
"""What an operator has there already: Leyline adds to it, and leaves this alone."""


def program() -> Path | None:
    """The zerotier-one of this machine; None when it has none."""
    named = os.environ.get(VARIABLE, "")
    found = shutil.which(named or "zerotier-one")
    return Path(found).resolve() if found else None


def missing() -> str:
    """Why no ZeroTier can be started here, and the way out; empty when it can."""
    if program() is None:
        named = os.environ.get(VARIABLE, "")
        where = f"{VARIABLE}={named} is no program" if named else f"no zerotier-one in PATH, and {VARIABLE} is not set"
        return f"{where}: install ZeroTier One, or name the program of a build of your own"
    return "" if Path("/dev/net/tun").exists() else "this machine has no /dev/net/tun: modprobe tun"


def version() -> str:
    return _run("-v").strip()


def new_identity() -> Identity:
    """Takes up to a second of CPU: a node id has to be worked for."""
    return Identity(_run("-i", "generate").strip())


def _run(*words: str) -> str:
    there = program()
    if there is None:
        raise LabError(missing())
    result = subprocess.run([there, *words], capture_output=True, text=True, timeout=60, check=False)
    if result.returncode != 0:
        raise LabError(f"{there} {' '.join(words)}: {(result.stderr or result.stdout).strip()[-1000:]}")
    return result.stdout


@dataclass
class Service:
    """One zerotier-one in a node: its own home, port and identity. `world` is the content of its `planet` file."""

    node: Node
    world: bytes
    identity: Identity = field(default_factory=new_identity)
    home: str = HOME
    port: int = PORT
    conf: Mapping[str, Any] = field(default_factory=lambda: LOCAL_CONF)
    process: Process | None = None

    def path(self, name: str) -> Path:
        """A file of its home, as seen from outside of the node."""
        return Path(f"/proc/{self.node.pid}/root{self.home}", name)

    def furnish(self) -> None:
        """The home as it is before the first start."""
        self.path(".").mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path("identity.secret").touch(mode=0o600)
        self.path("identity.secret").write_text(self.identity.secret)
        self.path("identity.public").write_text(self.identity.public)
        self.path("planet").write_bytes(self.world)
        self.path("local.conf").write_text(json.dumps(self.conf))

    def start(self) -> None:
        there = program()
        if there is None:
            raise LabError(missing())
        name = "zerotier-one" if self.port == PORT else f"zerotier-one-{self.port}"
        self.process = self.node.start([str(there), f"-p{self.port}", self.home], name=name)

    def stop(self) -> None:
        """As `systemctl stop` does. Raises LabError when it does not end."""
        if self.process is None:
            return
        self.process.kill(signal.SIGTERM)
        if not self.process.wait(STOP_SECONDS):
            raise LabError(f"{self.node.name}: zerotier-one survives SIGTERM for {STOP_SECONDS:g} s")

    def alive(self) -> bool:
        return self.process is not None and self.process.alive()

    def get(self, path: str) -> Any:
        """The answer's JSON, {} while there is none to have (it starts, or is gone)."""
        return self._call("GET", path)

    def post(self, path: str, body: Any) -> Any:
        return self._call("POST", path, body)

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        connection = Inside(self.node, "127.0.0.1", self.port)
        try:
            headers = {"X-ZT1-Auth": self.path("authtoken.secret").read_text().strip()}
            connection.request(method, path, json.dumps(body) if body is not None else None, headers)
            return json.loads(connection.getresponse().read() or "{}")
        except (OSError, ValueError):
            return {}
        finally:
            connection.close()

    def answers(self) -> bool:
        return bool(self.get("/status").get("address") == self.identity.node_id)

    def network(self, network: str) -> dict[str, Any]:
        """What it says of a network that it has joined; {} when it has not."""
        found = self.get(f"/network/{network}")
        return found if found.get("id") == network else {}

    def direct(self) -> frozenset[str]:
        """Node ids of the peers that it has a direct path to."""
        peers = self.get("/peer") or []
        return frozenset(peer["address"] for peer in peers if peer["paths"] and peer["latency"] >= 0)


def tools(node: Node) -> str:
    """A directory in the node for its PATH, in which the program has the name that makes it `zerotier-idtool`."""
    there = program()
    if there is None:
        raise LabError(missing())
    node.run(["mkdir", "-p", TOOLS])
    node.run(["ln", "-sf", str(there), f"{TOOLS}/zerotier-idtool"])
    return TOOLS


def private_root(node: Node, address: str) -> Service:
    """The service in `node` that is everybody's root at `address`; hand its `world` to the others."""
    identity = new_identity()
    return Service(node, planet(identity, IPv4Address(address), PORT), identity)
