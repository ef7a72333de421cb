"""Leyline itself in a lab: the controller, an inventory, a speaker on every gateway; started as an operator would."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from lab.expect import Run
from lab.labs import LabError
from lab.node import Node, Process
from lab.rest import Refused, Rest

PORT = 8642
STATE_DIR = "/run/leyline"
TOKEN_FILE = "/run/leyline-token"
TOKEN = re.compile(r"leyline_[0-9a-z]{12}_[0-9A-Za-z]{43}")
DATABASE = "sqlite:////run/leyline-controller/controller.sqlite"
START_SECONDS = 30.0


def leyline() -> list[str]:
    """The command `leyline` of this very installation."""
    script = Path(sys.executable).with_name("leyline")
    return [str(script)] if script.exists() else [sys.executable, "-m", "controller.cli"]


class Stack:
    """What runs in the lab beside the kernel. `address`: the controller's, as gateways dial it."""

    def __init__(self, run: Run, address: str, controller: str = "controller") -> None:
        self.run = run
        self.address = address
        self.controller: Node = run.lab.node(controller)
        self.rest = Rest(self.controller, PORT)
        self.controller_process: Process | None = None
        self.speakers: dict[str, Process] = {}

    def start_controller(self) -> None:
        """Start it, and take the admin token that it prints at its first start."""
        node = self.controller
        node.run(f"mkdir -p -m 700 {Path(DATABASE.removeprefix('sqlite:///')).parent}")
        command = ["controller", "serve", "--host", "0.0.0.0", "--port", str(PORT), "--insecure-behind-proxy"]
        process = node.start([*leyline(), *command, "--database", DATABASE], name="controller")
        self.controller_process = process
        self.run.wait_until(
            "the controller answers", lambda: self._healthy(process), START_SECONDS, process.log.read_text
        )
        if not self.rest.token:
            found = TOKEN.search(process.log.read_text())
            self.run.require("the controller shows an admin token at its first start", found, process.log.read_text)
            assert found is not None
            self.rest.token = found[0]

    def _healthy(self, process: Process) -> bool:
        if not process.alive():
            raise LabError(f"the controller ended: {process.log.read_text()[-3000:]}")
        try:
            self.rest.get("/healthz")
        except (OSError, Refused):
            return False
        return True

    def apply(self, *paths: Path) -> str:
        """`leyline apply` on the controller's node, of paths as seen there; what it printed. Raises CommandFailed."""
        env = {"LEYLINE_URL": f"http://127.0.0.1:{PORT}", "LEYLINE_TOKEN": self.rest.token}
        command = [*leyline(), "apply", *(str(path) for path in paths)]
        return self.controller.run(command, env=env, seconds=120).stdout

    def start_speaker(self, gateway: str) -> Process:
        """Ask for the gateway's token, and start `leyline speaker run` there."""
        node = self.run.lab.node(gateway)
        answer = self.rest.post(f"/gateways/{gateway}/token")
        node.write(TOKEN_FILE, str(answer["token"]))
        self.speakers[gateway] = node.start(
            [*leyline(), "speaker", "run", "--controller", f"http://{self.address}:{PORT}",
             "--token-file", TOKEN_FILE, "--state-dir", STATE_DIR, "--gateway", gateway],
            name="speaker",
        )  # fmt: skip
        return self.speakers[gateway]

    def start_speakers(self, gateways: Iterable[str]) -> None:
        for gateway in gateways:
            self.start_speaker(gateway)

    def process(self, gateway: str, name: str) -> Process:
        """The gateway's `agent` or `exabgp` as it runs now. Raises LabError when it does not."""
        node = self.run.lab.node(gateway)
        text = node.run(["cat", f"{STATE_DIR}/{name}.pid"], check=False).stdout.strip()
        try:
            return node.process(int(text), name)
        except (ValueError, ProcessLookupError):
            raise LabError(f"{gateway}: no {name} runs (its pid file says {text!r})") from None

    def runs(self, gateway: str, name: str) -> bool:
        try:
            return self.process(gateway, name).alive()
        except LabError:
            return False

    def kill(self, gateway: str, name: str) -> float:
        """`kill -9` of the gateway's `agent` or `exabgp`. When (time.monotonic)."""
        process = self.process(gateway, name)
        at = time.monotonic()
        process.kill()
        if not process.wait(5):
            raise LabError(f"{gateway}: {name} survives SIGKILL")
        return at
