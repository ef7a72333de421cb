"""The network as it was before Leyline: who runs ZeroTier where, which managed routes there are, what kernels hold."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.expect import Run
from lab.loss import Tally
from lab.node import Node
from lab.pings import Flow, PingTrain
from lab.planet import interface_name
from lab.routes import LEYLINE
from lab.speakers import leyline
from lab.stack import Stack
from lab.zerotier import HOME, PORT, Service, new_identity, private_root

CONTROLLER = "192.0.2.2"
UNDERLAY = "192.0.2.0/24"
SEGMENT = "10.42.0.0/16"
MEMBERS = {
    "berlin-1": "10.42.0.1", "berlin-2": "10.42.0.2", "paris-1": "10.42.0.3", "oslo-1": "10.42.0.4",
    "laptop": "10.42.0.5",
}  # fmt: skip
GATEWAYS = ("berlin-1", "berlin-2", "paris-1", "oslo-1")
HOSTS = {"host-berlin": "10.1.0.10", "host-paris": "10.2.0.10", "host-oslo": "10.4.0.10"}
ROUTES = [
    ("10.1.0.0/24", "10.42.0.1"),
    ("10.1.0.0/23", "10.42.0.2"),  # How a spare is made of managed routes; but nobody takes the first one away.
    *((f"10.2.{target}", "10.42.0.3") for target in ("0.0/16", "0.0/24", "1.0/24")),
    *((f"10.4.{target}", "10.42.0.4") for target in ("0.0/16", "0.0/24", "1.0/24")),
    ("10.9.0.0/24", "10.42.0.99"),  # Nobody has it any more.
]
OPTIONS = ["--zerotier-url", f"http://127.0.0.1:{PORT}", "--zerotier-token-file", f"{HOME}/authtoken.secret"]
MANAGED, BGP = 5000, 1000
"""Metrics of ZeroTier's routes and of ours."""
INTERVAL_SECONDS = 0.01
JOINED_SECONDS = 60.0


@dataclass(frozen=True)
class Way:
    """How a kernel forwards to an address."""

    protocol: str
    metric: int
    kind: str = "unicast"


class World:
    """The controller's node is everybody's root, too, and the network's controller."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.root = private_root(run.lab.node("controller"), CONTROLLER)
        self.network = f"{self.root.identity.node_id}000001"
        self.interface = interface_name(self.network)
        with ThreadPoolExecutor(2) as pool:
            identities = dict(zip(MEMBERS, pool.map(lambda _: new_identity(), MEMBERS), strict=True))
        self.services = {name: Service(run.lab.node(name), self.root.world, identities[name]) for name in MEMBERS}
        self.stack = Stack(run, CONTROLLER, options=OPTIONS)
        self.began = time.monotonic()
        self.stages: list[tuple[float, str]] = []
        self.left: list[tuple[object, ...]] = []
        """What the check said, stage by stage."""

    def node(self, name: str) -> Node:
        return self.run.lab.node(name)

    def step(self, text: str) -> None:
        self.stages.append((time.monotonic(), text))
        self.run.step(text)

    # The network of today

    def start_services(self) -> None:
        for service in (self.root, *self.services.values()):
            service.furnish()
            service.start()
        self.run.wait_until("the root answers", self.root.answers, 20)
        for name in MEMBERS:
            self.node(name).start("ip -4 -ts monitor route", name="monitor")  # For whoever reads the evidence.
        path = f"/controller/network/{self.network}"
        routes = [{"target": SEGMENT, "via": None}, *({"target": target, "via": via} for target, via in ROUTES)]
        pool = [{"ipRangeStart": "10.42.200.1", "ipRangeEnd": "10.42.200.250"}]
        accept = [{"type": "ACTION_ACCEPT"}]
        network = {
            "name": "office", "private": True, "v4AssignMode": {"zt": True}, "ipAssignmentPools": pool,
            "routes": routes, "rules": accept,
        }  # fmt: skip
        self.root.post(path, network)
        for name, service in self.services.items():
            member = {"authorized": True, "name": name, "ipAssignments": [MEMBERS[name]]}
            self.root.post(f"{path}/member/{service.identity.node_id}", member)
        self.run.wait_until("every ZeroTier answers", lambda: not self.mute(), 30, self.mute)
        for service in self.services.values():
            service.post(f"/network/{self.network}", {})

    def mute(self) -> list[str]:
        return [name for name, service in self.services.items() if not service.answers()]

    def managed(self) -> set[tuple[str, str]]:
        """Managed routes with a `via`, as ZeroTier's controller has them."""
        found = self.root.get(f"/controller/network/{self.network}").get("routes", ())
        return {(each["target"], each["via"]) for each in found if each["via"]}

    def in_kernel(self, name: str) -> set[tuple[str, str]]:
        """Managed routes as the node's kernel has them."""
        return {
            (row["dst"], row["gateway"])
            for row in self.table(name)
            if row.get("metric") == MANAGED and "gateway" in row
        }

    def table(self, name: str, protocol: str = "") -> list[dict[str, Any]]:
        command = ["ip", "-4", "-N", "-j", "-d", "route", "show", "table", "main"]
        text = self.node(name).out([*command, *(["proto", protocol] if protocol else [])])
        rows: list[dict[str, Any]] = json.loads(text or "[]")
        return rows

    def ways(self, name: str) -> dict[str, Way]:
        """prefix -> how this kernel forwards there: the best metric of all that stand side by side."""
        found: dict[str, Way] = {}
        for row in self.table(name):
            way = Way(row["protocol"], row.get("metric", 0), row.get("type", "unicast"))
            if row["dst"] not in found or found[row["dst"]].metric > way.metric:
                found[row["dst"]] = way
        return found

    def not_by_bgp(self) -> list[str]:
        """Declared prefixes of other sites that a gateway forwards otherwise than by BGP."""
        own = {target: via for target, via in ROUTES if via in MEMBERS.values()}
        found = []
        for gateway in GATEWAYS:
            site, there = gateway.partition("-")[0], self.ways(gateway)
            for target, via in own.items():
                owner = next(name for name, address in MEMBERS.items() if address == via)
                if owner.startswith(site):
                    continue
                if (way := there.get(target)) is None or (way.protocol, way.metric) != (LEYLINE, BGP):
                    found.append(f"{gateway}: {target} {way}")
        return found

    # Traffic

    def flows(self, pairs: Sequence[tuple[str, str]]) -> list[Flow]:
        return [self.node(source).pings(HOSTS[target], f"{source} to {target}") for source, target in pairs]

    def train(self, *pairs: tuple[str, str]) -> PingTrain:
        return PingTrain(self.flows(pairs), INTERVAL_SECONDS)

    def silent(self) -> list[str]:
        """Pairs that do not reach each other; the laptop is a member without anything behind it."""
        sources = [*HOSTS, "laptop"]
        return [
            f"{source} to {target}" for source in sources for target, address in HOSTS.items()
            if source != target and not self.node(source).reaches(address, count=1, seconds=1)
        ]  # fmt: skip

    def tell(self, tallies: dict[str, Tally], key: str) -> int:
        """A table of what was lost, and when; how many pings that were."""
        rows = []
        for name, tally in tallies.items():
            for window in tally.windows:
                stage = next((text for at, text in reversed(self.stages) if at <= window.end), "before")
                rows.append((name, window.lost, f"{window.ms:.0f} ms", f"{window.start - self.began:.1f} s", stage))
        if rows:
            self.run.table(f"lost: {key}", ("flow", "lost", "gap", "at", "while"), rows[:40])
        lost = sum(tally.lost for tally in tallies.values())
        self.run.figure(f"{key}_lost", lost)
        self.run.figure(f"{key}_longest_gap_ms", max((tally.window_ms for tally in tallies.values()), default=0.0))
        self.run.figure(f"{key}_sent_least", min(tally.sent for tally in tallies.values()))
        return lost

    def expect_no_loop(self, tallies: dict[str, Tally], what: str) -> None:
        expired = {name: tally.expired for name, tally in tallies.items() if tally.expired}
        self.run.expect(f"{what}: no packet has gone in circles", not expired, expired)

    # Commands

    def shell(self, line: str, place: str, fails: bool = False) -> str:
        """A line of the cut-over plan, typed on the controller's machine; what it printed. Raises CommandFailed."""
        env = {"LEYLINE_URL": f"http://127.0.0.1:{self.stack.rest.port}", "LEYLINE_TOKEN": self.stack.rest.token}
        script = f'cd {place}; leyline() {{ {" ".join(leyline())} "$@"; }}; {line}'
        return self.stack.controller.run(["sh", "-c", script], env=env, seconds=120, check=not fails).stdout

    def check(self) -> dict[str, Any]:
        """`leyline import zerotier --check`."""
        line = " ".join(["leyline import zerotier", self.network, *OPTIONS, "--check --json"])
        answer: dict[str, Any] = json.loads(self.shell(line, "/run", fails=True))
        return answer

    def segment(self) -> dict[str, Any]:
        answer: dict[str, Any] = self.stack.rest.get("/segment")
        return answer

    def keep_evidence(self) -> None:
        for name, service in {"controller": self.root, **self.services}.items():
            more = [f"/controller/network/{self.network}"] if service is self.root else []
            said = {path: service.get(path) for path in ("/status", "/network", "/peer", *more)}
            (Path(self.run.lab.state) / "logs" / f"{name}.zerotier.json").write_text(json.dumps(said, indent=1))
