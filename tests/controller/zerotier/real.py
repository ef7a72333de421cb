"""A real zerotier-one as a controller: its own home, loopback only, no root, no network.

The program is the one that the lab uses: $LEYLINE_ZEROTIER_ONE, or zerotier-one in PATH.
"""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from controller.zerotier.port import NoController, Unauthorised, Unreachable
from controller.zerotier.selfhosted import SelfHosted
from lab.zerotier import missing, program

START_SECONDS = 20.0
SETTINGS = {
    "bind": ["127.0.0.1"],
    "portMappingEnabled": False,
    "allowTcpFallbackRelay": False,
    "allowSecondaryPort": False,
}


@dataclass(frozen=True)
class Real:
    url: str
    token: str
    address: str


def why_not() -> str:
    """Why there is no real one here; "" when there is. A controller needs no /dev/net/tun."""
    there = program()
    return missing() if there is None else _lacking(there)


@cache
def _lacking(there: Path) -> str:
    """Says so of a build without a controller, which only a run of it shows."""
    with TemporaryDirectory() as home:
        try:
            with running(Path(home)):
                return ""
        except NoController:
            return f"{there} has no controller (default builds from 1.16 on): name a build that has one"


@contextmanager
def running(home: Path) -> Iterator[Real]:
    """Raises NoController, and AssertionError with the end of its output when it does not come up."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (home / "local.conf").write_text(json.dumps({"settings": SETTINGS}))
    with (home / "output").open("wb") as output:
        process = subprocess.Popen(
            [str(program()), "-U", f"-p{port}", str(home)], stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield _ready(home, f"http://127.0.0.1:{port}", process)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)


def _ready(home: Path, url: str, process: subprocess.Popen[bytes]) -> Real:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        token, identity = home / "authtoken.secret", home / "identity.public"
        if token.exists() and identity.exists() and token.read_text():
            real = Real(url, token.read_text().strip(), identity.read_text()[:10])
            try:
                SelfHosted(url, real.token, f"{real.address}000001").describe()
                return real
            except (Unreachable, Unauthorised):
                pass  # It is starting.
        time.sleep(0.1)
    raise AssertionError(f"zerotier-one does not come up: {(home / 'output').read_text()[-1000:]}")
