"""A stock ExaBGP with a plain configuration of its own, which says over the documented text API what a pipe tells it.

Only the flood needs more. By text, 100 prefixes a line and as fast as it answers, ExaBGP 5.0.15 takes in some 2,000
routes a second for two neighbours (4.5 s of CPU for 10,000; with `split`, one line for all, no less): 200,000 take
minutes, and a flood that trickles is none. So for the flood the rogue comes back with our launcher, which hands whole
messages to the same ExaBGP (`announce raw`).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from lab.node import Node, Process
from speaker.bgp.encode import encode_updates
from speaker.bgp.negotiated import Negotiated
from speaker.rib.attributes import Attributes
from speaker.rib.prefix import Family, key_of_text

PREFIXES_A_LINE = 100
BREATH_SECONDS = 0.3
"""ExaBGP may tell in another order what it is told about one prefix between two flushes."""
ENVIRONMENT = {
    "exabgp_daemon_drop": "false",
    "exabgp_daemon_user": "root",
    "exabgp_api_cli": "false",
    "exabgp_log_level": "ERROR",
    "exabgp_tcp_bind": "",
}
"""Of a stock ExaBGP: it runs in a namespace of its own, where it dials and never listens."""
RAW = Negotiated(families=frozenset(Family), add_path_send=frozenset(Family), as4=True)

# ExaBGP's answers are read, else it would wait. The pipe is opened for both ways, so that it never ends.
SCRIPT = """\
exec 3<&0
cat <&3 > /dev/null &
exec cat <> {pipe}
"""
PROCESS = """
process attacker {{ run /bin/sh {hook}; encoder text; }}
"""
NEIGHBOR = """
neighbor {hub} {{
    router-id {address}; local-address {address}; local-as {asn}; peer-as {fabric}; hold-time 30;
    capability {{ graceful-restart 120; add-path send/receive; route-refresh enable; }}
    family {{ ipv4 unicast; ipv6 unicast; }}
    api {{ processes [ attacker ]; }}
}}
"""


@dataclass(frozen=True)
class Route:
    """What is announced, or withdrawn. Its attributes are in ExaBGP's own words."""

    prefixes: tuple[str, ...]
    path_id: int
    attributes: str

    def lines(self, verb: str) -> Iterable[str]:
        for start in range(0, len(self.prefixes), PREFIXES_A_LINE):
            some = " ".join(self.prefixes[start : start + PREFIXES_A_LINE])
            yield f"{verb} attributes {self.attributes} path-information 0.0.0.{self.path_id} nlri {some}\n"


def configuration(hook: str, neighbors: str) -> str:
    """Of ExaBGP: what it says comes from the program `hook`."""
    return PROCESS.format(hook=hook) + neighbors


class Attacker:
    """Sits in `node`, where a client of the inventory should be: with its address, and so its sessions."""

    def __init__(self, node: Node, address: str, asn: int, fabric: int, hubs: Sequence[str]) -> None:
        self.node = node
        self._hubs = hubs
        self._neighbors = "".join(NEIGHBOR.format(hub=hub, address=address, asn=asn, fabric=fabric) for hub in hubs)
        self._pipe = ""
        self._process: Process | None = None

    def start(self) -> None:
        """The pinned release as it is."""
        self._start("stock", [str(Path(sys.executable).with_name("exabgp")), "server"], ENVIRONMENT)

    def come_back_to_flood(self) -> None:
        """The session ends, as with a crash, and comes again: what was announced must be said anew."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
        self._start("raw", [sys.executable, "-m", "speaker.bgp.exabgp.launcher"], {})

    def _start(self, name: str, command: list[str], environment: Mapping[str, str]) -> None:
        hook, config = f"/run/attacker-{name}.sh", f"/run/attacker-{name}.conf"
        self._pipe = f"/run/attacker-{name}.pipe"  # The hook of who was killed still reads its own.
        self.node.run(["mkfifo", self._pipe])
        self.node.write(hook, SCRIPT.format(pipe=self._pipe))
        self.node.write(config, configuration(hook, self._neighbors))
        self._process = self.node.start([*command, config], name=f"exabgp-{name}", env=environment)

    def announce(self, *routes: Route) -> None:
        """In the same breath. Returns when ExaBGP has read it, and a breath later."""
        self._say(line for route in routes for line in route.lines("announce"))

    def withdraw(self, *routes: Route) -> None:
        self._say(line for route in routes for line in route.lines("withdraw"))

    def wave(self, next_hop: str, path_id: int, prefixes: Iterable[str]) -> str:
        """What `flood` says: as many prefixes in a message as go in. It costs a second of CPU for 200,000."""
        attributes = Attributes(next_hop=ip_address(next_hop).packed, local_pref=100)
        keys = [key_of_text(prefix)[1] for prefix in prefixes]
        messages = encode_updates(Family.IPV4, RAW, [], [(path_id, attributes, keys)])
        to = "+".join(self._hubs)
        return "".join(f"announce raw {n} {to} {each.hex()}\n" for n, each in enumerate(messages, 1))

    def flood(self, wave: str) -> None:
        """All at once. Only after `come_back_to_flood`."""
        self._say([wave])

    def _say(self, lines: Iterable[str]) -> None:
        self.node.run(["sh", "-c", f"cat > {self._pipe}"], stdin="".join(lines), seconds=300)
        time.sleep(BREATH_SECONDS)
