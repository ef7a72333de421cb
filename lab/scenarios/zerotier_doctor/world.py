"""A small fabric on real ZeroTier whose network's controller is not its root, and a guest that is no gateway."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from subprocess import CompletedProcess
from typing import Any

from lab.expect import Run
from lab.node import Process
from lab.planet import interface_name
from lab.scenarios.zerotier.world import INVENTORY, World
from lab.speakers import leyline
from lab.stack import CERTIFICATE, Stack
from lab.zerotier import HOME, PORT, Service, new_identity, private_root

ROOT = "192.0.2.1"
CONTROLLER = "192.0.2.2"
SEGMENT = "10.42.0.0/16"
MTU, WRONG_MTU = 1280, 1400
HUBS = {"hub-1": "core"}
SPOKES = {"berlin-1": "berlin", "paris-1": "paris"}
GATEWAYS = (*HUBS, *SPOKES)
SITES = {"berlin": 1, "paris": 2}
GUEST = "guest"
PHYSICAL = {"hub-1": "192.0.2.11", "berlin-1": "198.51.100.2", "paris-1": "192.0.2.22"}


def document(network: str) -> dict[str, Any]:
    return {
        "fabric": {"name": "doctor", "asn": 64512, "segment": SEGMENT, "network": network, "mtu": MTU},
        "circuit_classes": [{"name": "fiber", "preference": 200, "bfd": "fast"}],
        "regions": [{"name": "eu"}],
        "sites": [{"name": site, "number": number, "region": "eu"} for site, number in {**SITES, "core": 11}.items()],
        "allocations": [{"site": site, "prefix": f"10.{number}.0.0/16"} for site, number in SITES.items()],
        "prefixes": [{"site": site, "prefix": f"10.{number}.0.0/24"} for site, number in SITES.items()],
    }


class DoctorWorld(World):
    """`services`: of the controller's node and the guest, too. `document`: what is declared now, changed in place."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.root = private_root(run.lab.node("root"), ROOT)
        names = ("controller", *GATEWAYS, GUEST)
        with ThreadPoolExecutor(2) as pool:
            identities = dict(zip(names, pool.map(lambda _: new_identity(), names), strict=True))
        self.services = {
            name: Service(run.lab.node(name), self.root.world, identity) for name, identity in identities.items()
        }
        self.keeper = self.services["controller"]
        self.network = f"{self.keeper.identity.node_id}000001"
        self.interface = interface_name(self.network)
        options = ["--zerotier-url", f"http://127.0.0.1:{PORT}", "--zerotier-token-file", f"{HOME}/authtoken.secret"]
        self.stack = Stack(run, CONTROLLER, tls=True, options=options)
        self.overlay: dict[str, str] = {}
        self.document = document(self.network)
        self.stand_in: Process | None = None

    @property
    def gateways(self) -> list[str]:
        return list(GATEWAYS)

    def declare(self) -> None:
        self.node("controller").write(INVENTORY, json.dumps(self.document))
        self.stack.leyline("apply", INVENTORY)

    def leyline(self, *words: str) -> CompletedProcess[str]:
        """As the operator gives it on the controller's node, whatever its exit code."""
        env = {"LEYLINE_URL": self.stack.url.replace(CONTROLLER, "127.0.0.1"), "LEYLINE_CACERT": CERTIFICATE}
        env["LEYLINE_TOKEN"] = self.stack.rest.token
        return self.node("controller").run([*leyline(), *words], env=env, check=False)

    def node_id(self, name: str) -> str:
        return self.services[name].identity.node_id

    def member(self, name: str) -> str:
        """Path of a member in the API of the network's controller."""
        return f"/controller/network/{self.network}/member/{self.node_id(name)}"
