"""Leyline itself in a lab: the controller, an inventory, a speaker on every gateway; started as an operator would."""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from lab.expect import Run
from lab.labs import LabError
from lab.node import Node, Process
from lab.rest import Refused, Rest
from lab.speakers import Speakers, leyline

PORT = 8642
TOKEN_FILE = "/run/leyline-token"
TOKEN = re.compile(r"leyline_[0-9a-z]{12}_[0-9A-Za-z]{43}")
DATABASE = "sqlite:////run/leyline-controller/controller.sqlite"
CERTIFICATE = "/run/leyline-controller/certificate.pem"
CERTIFICATE_KEY = "/run/leyline-controller/certificate-key.pem"
START_SECONDS = 30.0


class Stack(Speakers):
    """What runs in the lab beside the kernel. `address`: the controller's, as gateways dial it.

    `tls`: with a certificate of its own making. `options`: more of `leyline controller serve`.
    """

    def __init__(
        self, run: Run, address: str, controller: str = "controller", tls: bool = False, options: Sequence[str] = ()
    ) -> None:
        super().__init__(run)
        self.address = address
        self.tls = tls
        self.options = list(options)
        self.controller: Node = run.lab.node(controller)
        self.rest = Rest(self.controller, PORT)
        self.controller_process: Process | None = None

    def start_controller(self) -> None:
        """Start it, and take the admin token that it prints at its first start."""
        node = self.controller
        node.run(f"mkdir -p -m 700 {Path(DATABASE.removeprefix('sqlite:///')).parent}")
        command = ["controller", "serve", "--host", "0.0.0.0", "--port", str(PORT), *self._tls_options()]
        process = node.start([*leyline(), *command, "--database", DATABASE, *self.options], name="controller")
        self.controller_process = process
        self.run.wait_until(
            "the controller answers", lambda: self._healthy(process), START_SECONDS, process.log.read_text
        )
        if not self.rest.token:
            found = TOKEN.search(process.log.read_text())
            self.run.require("the controller shows an admin token at its first start", found, process.log.read_text)
            assert found is not None
            self.rest.token = found[0]

    @property
    def url(self) -> str:
        """The controller's, as gateways dial it."""
        return f"http{'s' if self.tls else ''}://{self.address}:{PORT}"

    def _tls_options(self) -> list[str]:
        if not self.tls:
            return ["--insecure-behind-proxy"]
        certificate = Path(f"/proc/{self.controller.pid}/root{CERTIFICATE}")
        if not certificate.exists():
            self.controller.run(
                ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                 "-days", "2", "-subj", "/CN=leyline", "-addext", f"subjectAltName=IP:127.0.0.1,IP:{self.address}",
                 "-keyout", CERTIFICATE_KEY, "-out", CERTIFICATE]
            )  # fmt: skip
        self.rest.trust = ssl.create_default_context(cafile=certificate)
        return ["--tls-certificate", CERTIFICATE, "--tls-key", CERTIFICATE_KEY]

    def _healthy(self, process: Process) -> bool:
        if not process.alive():
            raise LabError(f"the controller ended: {process.log.read_text()[-3000:]}")
        try:
            self.rest.get("/healthz")
        except (OSError, Refused):
            return False
        return True

    def apply(self, *paths: Path) -> str:
        """`leyline apply`, of paths as seen on the controller's node; what it printed. Raises CommandFailed."""
        return self.leyline("apply", *map(str, paths))

    def leyline(self, *words: str, seconds: float = 120) -> str:
        """A command as the operator gives it on the controller's node; what it printed. Raises CommandFailed."""
        env = {"LEYLINE_URL": self.url.replace(self.address, "127.0.0.1"), "LEYLINE_TOKEN": self.rest.token}
        if self.tls:
            env["LEYLINE_CACERT"] = CERTIFICATE
        return self.controller.run([*leyline(), *words], env=env, seconds=seconds).stdout

    def start_speaker(self, gateway: str, *more: str) -> Process:
        """Ask for the gateway's token, and start `leyline speaker run` there, with `more` options."""
        node = self.run.lab.node(gateway)
        answer = self.rest.post(f"/gateways/{gateway}/token")
        node.write(TOKEN_FILE, str(answer["token"]))
        options = ["--controller", self.url, "--token-file", TOKEN_FILE, *more]
        return self.launch(gateway, options)

    def start_speakers(self, gateways: Iterable[str]) -> None:
        for gateway in gateways:
            self.start_speaker(gateway)

    def kill(self, gateway: str, name: str) -> float:
        """`kill -9` of the gateway's `agent`, `exabgp` or the like. When (time.monotonic)."""
        at = time.monotonic()
        self.stop(gateway, name)
        return at
