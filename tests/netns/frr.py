"""FRR's zebra and staticd in a namespace, with routes and next-hop objects of their own."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from subprocess import Popen

from tests.netns.namespaces import Namespace, wait_until

ZEBRA, STATICD = "/usr/lib/frr/zebra", "/usr/lib/frr/staticd"
STATIC = ["172.16.1.0/24 10.42.0.2", "172.16.2.0/24 10.42.0.2", "172.16.2.0/24 10.42.0.3"]
STATIC_PREFIXES = {"172.16.1.0/24", "172.16.2.0/24", "2001:db8:77::/48"}


class Frr:
    """zebra and staticd in the namespace, their sockets and files in `directory`."""

    def __init__(self, namespace: Namespace, directory: Path) -> None:
        self.namespace = namespace
        self.directory = directory
        directory.chmod(0o777)  # They run as user frr, who may not enter pytest's own directories.
        config = "".join(f"ip route {route}\n" for route in STATIC) + "ipv6 route 2001:db8:77::/48 fd42:42::2\n"
        (directory / "zebra.conf").write_text("hostname zebra\n")
        (directory / "staticd.conf").write_text(config)
        # A former zebra's socket: staticd would try it, and then wait ten seconds.
        (directory / "zserv.api").unlink(missing_ok=True)
        self.processes = [self._start(ZEBRA, "zebra")]
        wait_until((directory / "zserv.api").exists, 20, self.log)
        self.processes.append(self._start(STATICD, "staticd"))

    def _start(self, binary: str, name: str) -> Popen[bytes]:
        d = self.directory
        with (d / f"{name}.log").open("wb") as log:
            return self.namespace.start(
                binary,
                *("-z", str(d / "zserv.api"), "-i", str(d / f"{name}.pid")),
                *("--vty_socket", str(d), "-f", str(d / f"{name}.conf"), "-A", "127.0.0.1", "-P", "0"),
                *("--log", "stdout", "--log-level", "debugging"),
                output=log,
            )

    def stop(self) -> None:
        for process in reversed(self.processes):
            self.namespace.stop(process, signal.SIGTERM)

    def routes(self) -> set[str]:
        """Of protocol static (196 in the kernel) and their prefixes."""
        shown = [self.namespace.run("ip", "-j", "-N", *six, "route", "show", "proto", "196") for six in ((), ("-6",))]
        return {str(route["dst"]) for text in shown for route in json.loads(text or "[]")}

    def log(self) -> str:
        logs = [path.read_text(errors="replace")[-3000:] for path in sorted(self.directory.glob("*.log"))]
        return "\n".join([*logs, str(self.routes()), self.namespace.run("ip", "route")])
