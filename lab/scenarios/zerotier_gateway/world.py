"""The fabric of this scenario, its ZeroTier services, and what they and the kernels say."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Network, ip_address
from pathlib import Path
from typing import Any, NamedTuple

from lab.expect import Run
from lab.node import Node
from lab.planet import interface_name
from lab.stack import Stack
from lab.zerotier import HOME, LOCAL_CONF, PORT, Service, new_identity, private_root, tools

CONTROLLER = "192.0.2.2"
SEGMENT = "10.42.0.0/16"
OVERLAID = (IPv4Network("10.0.0.0/8"),)
"""LANs and the segment: no packet of ZeroTier's has any business there."""
INVENTORY = "/run/inventory.yml"
LTE_HOME = "/run/zerotier-lte"
RELAYED_SECONDS, RELAYED_PREFERENCE = 20, -50
FRESH_SECONDS = 19.0
"""An older path is dead to ZeroTier itself."""


class Member(NamedTuple):
    """One uplink, and the service behind it."""

    gateway: str
    uplink: str
    site: str
    address: str
    preference: int
    circuit_class: str = "fiber"

    @property
    def key(self) -> str:
        return f"{self.gateway}/{self.uplink}"


MEMBERS = (
    Member("hub-1", "main", "core", "10.42.0.11", 200),
    Member("berlin-1", "main", "berlin", "10.42.0.21", 190),
    Member("berlin-2", "main", "berlin", "10.42.0.22", 200),
    Member("paris-1", "main", "paris", "10.42.0.23", 190),
    Member("paris-2", "main", "paris", "10.42.0.24", 200),
    Member("oslo-1", "fiber", "oslo", "10.42.0.25", 200),
    Member("oslo-1", "lte", "oslo", "10.42.0.26", 100, "lte"),
)
GATEWAYS = tuple(dict.fromkeys(member.gateway for member in MEMBERS))
SITES = {"core": 9, "berlin": 1, "paris": 2, "oslo": 4}
LANS = {site: f"10.{SITES[site]}.0.0/24" for site in ("berlin", "paris", "oslo")}
KEYS = tuple(member.key for member in MEMBERS)
FIBER, LTE = "oslo-1/fiber", "oslo-1/lte"
PORTS = {FIBER: PORT, LTE: PORT + 1}
STUBBORN = "berlin-1/main"
"""Its operator has bound its service to the LAN as well."""
INTERFACES = {FIBER: "ztfiber", LTE: "ztlte"}
"""Two services would take two names of one network in the order of their starts; these are in their `devicemap`."""
BOUND = {FIBER: ["192.0.2.25"], LTE: ["198.51.100.25"], STUBBORN: ["192.0.2.21", "10.1.0.1"]}
"""As operators keep a service to its uplink: by `bind`, so its packets go wherever the main table says."""
MOON = {"name": "core", "gateway": "hub-1"}
HERE, MOVED = (f"192.0.2.11/{PORT}",), (f"192.0.2.11/{PORT}", f"192.0.2.11/{PORT + 2}")
"""Where it answers."""
SEED = "hub-1/main"
ALLOWED = "10.42.0.0/16,fd42:42::/64"
"""What the operator of the LTE service lets the network manage."""


def document(world: World, endpoints: Sequence[str]) -> dict[str, Any]:
    """`endpoints`: where the moon answers; () declares none."""
    gateways: dict[str, dict[str, Any]] = {}
    for member in MEMBERS:
        role = "hub" if member.site == "core" else "spoke"
        gateway = gateways.setdefault(
            member.gateway, {"name": member.gateway, "site": member.site, "role": role, "uplinks": []}
        )
        gateway["uplinks"].append(
            {
                "name": member.uplink,
                "node_id": world.node_id(member.key),
                "interface": world.interface(member.key),
                "circuit_class": member.circuit_class,
                "preference": member.preference,
                "address": member.address,
            }
        )
    return {
        "fabric": {
            "name": "zerotier-gateway",
            "asn": 64512,
            "segment": SEGMENT,
            "network": world.network,
            "mtu": 1280,
            "underlay": ["192.0.2.0/24", "198.51.100.0/24"],
            "relayed_seconds": RELAYED_SECONDS,
            "relayed_preference": RELAYED_PREFERENCE,
        },
        "circuit_classes": [{"name": name, "preference": 200, "bfd": "fast"} for name in ("fiber", "lte")],
        "regions": [{"name": "eu"}],
        "sites": [{"name": site, "number": number, "region": "eu"} for site, number in SITES.items()],
        "allocations": [{"site": site, "prefix": f"10.{SITES[site]}.0.0/16"} for site in LANS],
        "prefixes": [{"site": site, "prefix": prefix} for site, prefix in LANS.items()],
        "gateways": list(gateways.values()),
        "moons": [{**MOON, "endpoints": list(endpoints)}] if endpoints else [],
    }


class PhysicalPath(NamedTuple):
    """Of one service: which other one it leads to, "ADDRESS/PORT"."""

    peer: str
    address: str


class World:
    """The controller's node is everybody's root, too, the network's controller, and routes between the providers."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.root = private_root(run.lab.node("controller"), CONTROLLER)
        self.network = f"{self.root.identity.node_id}000001"
        with ThreadPoolExecutor(2) as pool:
            identities = list(pool.map(lambda _: new_identity(), MEMBERS))
        self.services: dict[str, Service] = {}
        for member, identity in zip(MEMBERS, identities, strict=True):
            home, port = LTE_HOME if member.key == LTE else HOME, PORTS.get(member.key, PORT)
            conf = {**LOCAL_CONF, "settings": {**LOCAL_CONF["settings"], **_bound(member.key)}}
            self.services[member.key] = Service(self.node(member.gateway), self.root.world, identity, home, port, conf)
        options = ["--zerotier-url", f"http://127.0.0.1:{PORT}", "--zerotier-token-file", f"{HOME}/authtoken.secret"]
        self.stack = Stack(run, CONTROLLER, options=options)

    def node(self, name: str) -> Node:
        return self.run.lab.node(name)

    def node_id(self, key: str) -> str:
        return self.services[key].identity.node_id

    def interface(self, key: str) -> str:
        return INTERFACES.get(key) or interface_name(self.network)

    def start_services(self) -> None:
        """ZeroTier everywhere; only the LTE service has been told of the network before, by its files."""
        self.root.furnish()
        self.root.start()
        for key, service in self.services.items():
            service.furnish()
            if key in INTERFACES:
                service.path("devicemap").write_text(f"{self.network}={INTERFACES[key]}\n")
            if key == LTE:
                service.path("networks.d").mkdir()
                service.path(f"networks.d/{self.network}.conf").touch()
                self.settings_file(key).write_text(f"allowManaged={ALLOWED}\n")
            service.start()
        self.run.wait_until("the root answers", self.root.answers, 20)
        self.run.wait_until("every other ZeroTier has found it", lambda: not self.unseen(), 60, self.unseen)

    def settings_file(self, key: str) -> Path:
        """Where a service keeps what it may take from the network."""
        return self.services[key].path(f"networks.d/{self.network}.local.conf")

    def restart(self, *keys: str) -> float:
        """As `systemctl restart` does. When they were started again (time.monotonic)."""
        for key in keys:
            self.services[key].stop()
        at = time.monotonic()
        for key in keys:
            self.services[key].start()
        return at

    def unseen(self) -> list[str]:
        seen = self.root.direct()
        return [key for key in self.services if self.node_id(key) not in seen]

    def declare(self, endpoints: Sequence[str] = HERE) -> None:
        self.node("controller").write(INVENTORY, json.dumps(document(self, endpoints)))
        self.stack.leyline("apply", "--prune", "--yes", INVENTORY)

    def start_speakers(self) -> None:
        for gateway in GATEWAYS:
            path = f"{tools(self.node(gateway))}:/usr/sbin:/usr/bin:/sbin:/bin"
            self.stack.environments[gateway] = {"PATH": path}
            homes = [
                word
                for member in MEMBERS
                if member.gateway == gateway
                for word in ("--zerotier-home", f"{member.uplink}={self.services[member.key].home}")
            ]
            self.stack.start_speaker(gateway, *homes)

    # What the services say

    def local_conf(self, key: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.services[key].path("local.conf").read_text())
        return found

    def peers(self, key: str) -> list[dict[str, Any]]:
        return list(self.services[key].get("/peer") or [])

    def paths(self, key: str) -> Iterator[PhysicalPath]:
        """By which a packet came lately."""
        service = self.services[key]
        now = service.get("/status").get("clock", 0)
        names = {self.node_id(each): each for each in self.services}
        for peer in self.peers(key):
            for path in peer["paths"]:
                if now - path["lastReceive"] < FRESH_SECONDS * 1000:
                    yield PhysicalPath(names.get(peer["address"], "root"), path["address"])

    def astray(self, key: str) -> list[PhysicalPath]:
        """Paths over a LAN or the overlay."""
        return [path for path in self.paths(key) if inside(path.address)]

    def listening_astray(self, key: str) -> list[str]:
        settings = self.services[key].get("/status").get("config", {}).get("settings", {})
        return [each for each in settings.get("listeningOn", ()) if inside(each)]

    def moons(self, key: str) -> dict[str, dict[str, Any]]:
        return {moon["id"]: moon for moon in self.services[key].get("/moon") or []}

    def report_of(self, key: str) -> dict[str, Any]:
        """What the speaker reports of the service behind the uplink; {} while nothing."""
        gateway, _, uplink = key.partition("/")
        found = [each for each in self.stack.report(gateway).get("zerotier", ()) if each["uplink"] == uplink]
        return found[0] if found else {}

    def problem(self, key: str) -> str:
        """What its speaker says is wrong with it."""
        return str(self.report_of(key).get("problem", "no report"))

    def unwell(self, *but: str) -> list[str]:
        return [f"{key}: {said}" for key in KEYS if key not in but and (said := self.problem(key))]

    def joined(self, key: str) -> dict[str, Any]:
        return self.services[key].network(self.network)

    def addresses(self, key: str) -> list[str]:
        """IPv4, of the interface in the segment, as the kernel has them."""
        command = ["ip", "-4", "-j", "address", "show", "dev", self.interface(key)]
        result = self.services[key].node.run(command, check=False)
        rows = json.loads(result.stdout or "[]") if result.returncode == 0 else []
        return [one["local"] for row in rows for one in row.get("addr_info", ()) if "local" in one]

    def keep_evidence(self) -> None:
        for key, service in {"controller": self.root, **self.services}.items():
            said = {path: service.get(path) for path in ("/status", "/network", "/peer", "/moon")}
            place = self.run.lab.state / "logs" / f"{key.replace('/', '.')}.zerotier.json"
            place.write_text(json.dumps(said, indent=1))


def inside(text: str) -> bool:
    """ "ADDRESS/PORT" of a LAN or the segment."""
    address = ip_address(text.partition("/")[0])
    return address.version == 4 and any(address in each for each in OVERLAID)


def _bound(key: str) -> dict[str, Any]:
    return {"bind": BOUND[key]} if key in BOUND else {}
