"""An ExaBGP with a configuration of its own, which says what it is told by a pipe.

Over the documented text API; only the flood goes as whole messages (`announce raw` of our launcher), because ExaBGP
needs minutes to read so many routes, and a flood that trickles is none.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from lab.node import Node
from speaker.bgp.encode import encode_updates
from speaker.bgp.negotiated import Negotiated
from speaker.rib.attributes import Attributes
from speaker.rib.prefix import Family, key_of

PIPE, HOOK, CONFIG = "/run/attacker.pipe", "/run/attacker.sh", "/run/attacker.conf"
PREFIXES_A_LINE = 100
RAW = Negotiated(families=frozenset(Family), add_path_send=frozenset(Family), as4=True)

# ExaBGP's answers are read, else it would wait. The pipe is opened for both ways, so that it never ends.
SCRIPT = f"""\
exec 3<&0
cat <&3 > /dev/null &
exec cat <> {PIPE}
"""
PROCESS = f"""
process attacker {{ run /bin/sh {HOOK}; encoder text; }}
"""
NEIGHBOR = """
neighbor {hub} {{
    router-id {address}; local-address {address}; local-as {asn}; peer-as {fabric}; hold-time 30;
    adj-rib-out false;
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


class Attacker:
    """Sits in `node`, where a client of the inventory should be: with its address, and so its sessions."""

    def __init__(self, node: Node, address: str, asn: int, fabric: int, hubs: Sequence[str]) -> None:
        self.node = node
        self._hubs = hubs
        self._config = PROCESS + "".join(
            NEIGHBOR.format(hub=hub, address=address, asn=asn, fabric=fabric) for hub in hubs
        )

    def start(self) -> None:
        self.node.run(["mkfifo", PIPE])
        self.node.write(HOOK, SCRIPT)
        self.node.write(CONFIG, self._config)
        self.node.start([sys.executable, "-m", "speaker.bgp.exabgp.launcher", CONFIG], name="exabgp")

    def announce(self, *routes: Route) -> None:
        """In the same breath, in this order. Returns when ExaBGP has read it."""
        self._say(line for route in routes for line in route.lines("announce"))

    def withdraw(self, *routes: Route) -> None:
        self._say(line for route in routes for line in route.lines("withdraw"))

    def flood(self, next_hop: str, path_id: int, prefixes: Sequence[str]) -> None:
        """As many in a message as go in, and all at once."""
        attributes = Attributes(next_hop=ip_address(next_hop).packed, local_pref=100)
        keys = [key_of(ip_network(prefix)) for prefix in prefixes]
        messages = encode_updates(Family.IPV4, RAW, [], [(path_id, attributes, keys)])
        self._say(f"announce raw {n} {'+'.join(self._hubs)} {each.hex()}\n" for n, each in enumerate(messages, 1))

    def _say(self, lines: Iterable[str]) -> None:
        self.node.run(["sh", "-c", f"cat > {PIPE}"], stdin="".join(lines), seconds=300)
