"""The fabric of this scenario: what is declared, and who runs where. Gateways are not declared: they come by keys."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any

from lab.compare import difference, installed
from lab.expect import Run
from lab.node import Node
from lab.planet import interface_name
from lab.stack import Stack
from lab.zerotier import HOME, PORT, Service, new_identity, private_root

CONTROLLER = "192.0.2.2"
UNDERLAY = "192.0.2.0/24"
SEGMENT, SEGMENT6 = "10.42.0.0/16", "fd42:42::/64"
MTU = 1280
HUBS = {"hub-1": "core-a", "hub-2": "core-b"}
SPOKES = {"berlin-1": "berlin", "paris-1": "paris", "oslo-1": "oslo", "lima-1": "lima"}
SITES = {"berlin": 1, "paris": 2, "oslo": 4, "lima": 5}
"""Site -> its number: it owns 10.NUMBER.0.0/16 and fd10:NUMBER::/48, and its host is 10 in the first networks."""
PREFIXES, PREFIXES6 = 334, 20
"""Of each site, its LAN's among them: three sites have 1,002 of IPv4, and so has every spoke's kernel. A hub's has
1,336."""
SETTLED_SECONDS = 60.0
INVENTORY = "/run/inventory.yml"


def document(network: str) -> dict[str, Any]:
    """What the operator declares: the segment, sites, what they own and announce."""
    return {
        "fabric": {
            "name": "zerotier",
            "asn": 64512,
            "segment": SEGMENT,
            "segment6": SEGMENT6,
            "network": network,
            "mtu": MTU,
            "underlay": [UNDERLAY],
        },
        "circuit_classes": [{"name": "fiber", "preference": 200, "bfd": "fast"}],
        "regions": [{"name": "eu"}],
        "sites": [
            {"name": site, "number": number, "region": "eu"}
            for site, number in {**SITES, "core-a": 11, "core-b": 12}.items()
        ],
        "allocations": [
            allocation
            for site, number in SITES.items()
            for allocation in (
                {"site": site, "prefix": f"10.{number}.0.0/16", "longest": 28},
                {"site": site, "prefix": f"fd10:{number}::/48", "longest": 64},
            )
        ],
        "prefixes": [{"site": site, "prefix": each} for site in SITES for each in prefixes(site) + prefixes6(site)],
    }


def prefixes(site: str) -> list[str]:
    """Its LAN, and /27 in the upper half of its space."""
    number = SITES[site]
    base = int(IPv4Network(f"10.{number}.128.0/17").network_address)
    return [f"10.{number}.0.0/24", *(str(IPv4Network((base + each * 32, 27))) for each in range(PREFIXES - 1))]


def prefixes6(site: str) -> list[str]:
    """Its LAN, and /64 from :100: on."""
    number = SITES[site]
    base = int(IPv6Network(f"fd10:{number}:0:100::/64").network_address)
    return [f"fd10:{number}::/64", *(str(IPv6Network((base + (each << 64), 64))) for each in range(PREFIXES6 - 1))]


def host_address(site: str, version: int = 4) -> str:
    return f"10.{SITES[site]}.0.10" if version == 4 else f"fd10:{SITES[site]}::10"


def gateway_address(site: str, version: int = 4) -> str:
    return f"10.{SITES[site]}.0.1" if version == 4 else f"fd10:{SITES[site]}::1"


class World:
    """The controller's node is everybody's root, too, and the network's controller."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.root = private_root(run.lab.node("controller"), CONTROLLER)
        self.network = f"{self.root.identity.node_id}000001"
        self.interface = interface_name(self.network)
        with ThreadPoolExecutor(2) as pool:
            identities = dict(zip(self.gateways, pool.map(lambda _: new_identity(), self.gateways), strict=True))
        self.services = {
            name: Service(run.lab.node(name), self.root.world, identity) for name, identity in identities.items()
        }
        options = ["--zerotier-url", f"http://127.0.0.1:{PORT}", "--zerotier-token-file", f"{HOME}/authtoken.secret"]
        self.stack = Stack(run, CONTROLLER, tls=True, options=options)
        self.overlay: dict[str, str] = {}
        self.overlay6: dict[str, str] = {}
        """Gateway -> the address in the segment that it was given when it came, of each family."""

    @property
    def gateways(self) -> list[str]:
        return [*HUBS, *SPOKES]

    def node(self, name: str) -> Node:
        return self.run.lab.node(name)

    def host(self, site: str) -> Node:
        return self.node(f"host-{site}")

    def start_services(self) -> None:
        """ZeroTier everywhere, as its package leaves it: running, and in no network."""
        for service in (self.root, *self.services.values()):
            service.furnish()
            service.start()
        self.run.wait_until("the root answers", self.root.answers, 20)
        self.run.wait_until("every other ZeroTier has found it", lambda: not self.unseen(), 60, self.unseen)

    def unseen(self) -> list[str]:
        """Gateways whose ZeroTier the root has not heard of. `online` at the members comes seconds later."""
        seen = self.root.direct()
        return [name for name, service in self.services.items() if service.identity.node_id not in seen]

    def declare(self) -> None:
        self.node("controller").write(INVENTORY, json.dumps(document(self.network)))
        self.stack.apply(Path(INVENTORY))

    # What is in the nodes

    def addresses(self, gateway: str) -> list[str]:
        """Those of its interface in the segment, as its kernel has them, IPv4 first; none while it has no interface."""
        result = self.node(gateway).run(["ip", "-j", "address", "show", "dev", self.interface], check=False)
        rows = json.loads(result.stdout or "[]") if result.returncode == 0 else []
        found = [one for row in rows for one in row.get("addr_info", ()) if one.get("scope") == "global"]
        return [one["local"] for one in sorted(found, key=lambda one: str(one["family"]))]

    def address(self, gateway: str, version: int = 4) -> str:
        """Its one overlay address of a family; "" when it has none, or several."""
        found = [each for each in self.addresses(gateway) if (":" in each) == (version == 6)]
        return found[0] if len(found) == 1 else ""

    def enrolled(self, gateway: str, said: str) -> bool:
        """Whether its kernel has the addresses that its enrolment has told of last."""
        there = self.addresses(gateway)
        return bool(there) and f", {' and '.join(there)} in the segment: leyline speaker run starts it" in said

    def mac(self, gateway: str) -> str:
        path = Path(f"/proc/{self.node(gateway).pid}/root/sys/class/net/{self.interface}/address")
        return path.read_text().strip() if path.exists() else ""

    def permanent(self, gateway: str) -> dict[str, str]:
        """Its permanent neighbour entries in the segment, both families: address -> MAC address."""
        command = ["ip", "-j", "neighbour", "show", "nud", "permanent", "dev", self.interface]
        result = self.node(gateway).run(command, check=False)
        rows = json.loads(result.stdout or "[]") if result.returncode == 0 else []
        return {row["dst"]: row["lladdr"] for row in rows if "lladdr" in row}

    def expected(self, gateway: str, without: tuple[str, ...] = ()) -> dict[str, frozenset[str]]:
        """prefix -> next hop in its kernel: the far site's uplink. `without`: gateways that are gone."""
        own = SPOKES.get(gateway)
        return {
            prefix: frozenset({hops[name]})
            for name, site in SPOKES.items()
            if site != own and name not in without
            for hops, those in ((self.overlay, prefixes(site)), (self.overlay6, prefixes6(site)))
            for prefix in those
        }

    def wrong(self, gateway: str, without: tuple[str, ...] = ()) -> str:
        """How its kernel differs from `expected`; empty when it does not."""
        return difference(self.expected(gateway, without), installed(self.node(gateway)))

    def neighbours_missing(self, gateway: str) -> list[str]:
        """Next hops that it has no permanent entry for, or one with a MAC address that is not the far interface's."""
        there = self.permanent(gateway)
        hops = {hop for hops in self.expected(gateway).values() for hop in hops}
        macs = {over[name]: self.mac(name) for name in self.gateways for over in (self.overlay, self.overlay6)}
        return [
            f"{hop}: {there.get(hop)}, is {macs.get(hop)}" for hop in sorted(hops) if there.get(hop) != macs.get(hop)
        ]

    def silent(self) -> list[str]:
        """Pairs of hosts that do not reach each other."""
        return [
            f"{a} to {b}, IPv{version}"
            for a in SITES
            for b in SITES
            for version in (4, 6)
            if a != b and not self.host(a).reaches(host_address(b, version), count=1, seconds=1)
        ]

    def keep_evidence(self) -> None:
        """What every ZeroTier says at the end, beside the logs."""
        for name, service in {"controller": self.root, **self.services}.items():
            more = [f"/controller/network/{self.network}"] if service is self.root else []
            said = {path: service.get(path) for path in ("/status", "/network", "/peer", *more)}
            (self.run.lab.state / "logs" / f"{name}.zerotier.json").write_text(json.dumps(said, indent=1))
