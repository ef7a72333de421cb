"""A fabric to break: two hubs, four sites, no controller anywhere. What the scenarios of the failures share."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from controller.inventory.yaml import check_yaml
from controller.policy.compile import compile_plans
from lab.compare import difference, installed
from lab.cuts import Cuts
from lab.expect import Run
from lab.failover.fabric import SITES, UPLINKS, host_address, inventory, overlay, router_of_hosts, sites_of
from lab.labs import LabError
from lab.loss import Tally, told, worst_ms
from lab.nftables import counted
from lab.node import Node
from lab.pings import FLOOD_SECONDS, Flow, PingTrain
from lab.routes import LEYLINE, routes
from lab.speakers import PLAN_FILE, PlannedSpeakers

TOPOLOGY = str(Path(__file__).with_name("failover.clab.yml"))
SWITCHES = ("segment", "wan", "lan-berlin", "lan-paris", "lan-oslo", "lan-lima")
START_SECONDS = 60.0
LIVENESS_SECONDS = 20.0
"""How long sessions on demand may take to be up: they begin within 2 s of the first packet."""
COUNTERS = (("snmp", "Icmp", "OutTimeExcds"), ("snmp6", "", "Icmp6OutTimeExcds"))
"""A packet that a router let expire, because it went in circles: file, group and name of the kernel's counter."""

Pair = tuple[str, str]  # Sites.


class World:
    """The speakers, the cuts and the hosts of one scenario."""

    def __init__(
        self, run: Run, *, bfd: Any = "fast", gateways: Sequence[str] = tuple(UPLINKS), more: int = 0, **fabric: Any
    ) -> None:
        self.run = run
        self.gateways = tuple(gateways)
        self.hubs = [name for name in gateways if name.startswith("hub")]
        self.spokes = [name for name in gateways if name not in self.hubs]
        self.sites = sites_of(self.spokes)
        self._settings: dict[str, Any] = {"more": more, **fabric}
        self.document = inventory(self.gateways, bfd, **self._settings)
        self._file = run.lab.state / "inventory.yml"
        self._file.write_text(json.dumps(self.document))
        self.speakers = PlannedSpeakers(run, self._file)
        self.cuts = Cuts(run.lab, SWITCHES)
        self._macs: dict[str, str] = {}

    def node(self, name: str) -> Node:
        return self.run.lab.node(name)

    def host(self, site: str) -> Node:
        return self.node(f"host-{site}")

    def start(self) -> None:
        """Speakers on every gateway; until every kernel holds every route and the hosts reach each other."""
        self.run.step(f"start {len(self.gateways)} speakers; no controller is needed")
        for site in self.sites:
            self.host(site).run(f"ip route replace default via {router_of_hosts(site)}")
            self.host(site).run(f"ip -6 route replace default via {router_of_hosts(site, 6)}")
        self.speakers.start()
        self.speakers.wait_for_sessions(START_SECONDS)
        self.wait_for_routes()
        pairs = [(a, b, version) for a in self.sites for b in self.sites if a != b for version in (4, 6)]
        self.run.wait_until(
            f"all {len(pairs)} pairs of hosts reach each other", lambda: not self.silent(pairs), 20,
            lambda: self.silent(pairs),
        )  # fmt: skip

    def retime(self, bfd: Any, **fabric: Any) -> None:
        """The same fabric with other timers of BFD and other settings of the fabric, from now on."""
        self._settings |= fabric
        self.document = inventory(self.gateways, bfd, **self._settings)
        self._file.write_text(json.dumps(self.document))
        found, findings = check_yaml([self._file])
        if found is None:
            raise LabError("; ".join(map(str, findings)))
        for gateway, plan in compile_plans(found).items():
            self.speakers.give(gateway, plan)

    def silent(self, pairs: Iterable[tuple[str, str, int]]) -> list[str]:
        """Of (site, site, version) those whose hosts do not reach each other."""
        return [
            f"{a} to {b}, IPv{version}"
            for a, b, version in pairs
            if not self.host(a).reaches(host_address(b, version), count=1, seconds=1)
        ]

    # Routes

    def expected(self, gateway: str) -> dict[str, frozenset[str]]:
        """prefix -> next hops in its kernel when nothing is broken: the best uplink of the prefix's site."""
        own = UPLINKS[gateway][0]
        best = {}
        for name in reversed(self.spokes):  # The first gateway of a site, and its first uplink, are preferred.
            best[UPLINKS[name][0]] = name
        return {
            prefix["prefix"]: frozenset({overlay(best[prefix["site"]], version=6 if ":" in prefix["prefix"] else 4)})
            for prefix in self.document["prefixes"]
            if prefix["site"] != own
        }

    def wrong(self, gateway: str) -> str:
        """How its kernel differs from `expected`; empty when it does not."""
        return difference(self.expected(gateway), installed(self.node(gateway)))

    def next_hop_of(self, gateway: str, site: str, version: int = 4) -> frozenset[str]:
        """Where the gateway's kernel sends packets for the LAN of `site` now."""
        lan = f"10.{SITES[site]}.0.0/24" if version == 4 else f"fd10:{SITES[site]}::/64"
        return installed(self.node(gateway)).get(lan, frozenset())

    def has_route(self, gateway: str, site: str) -> bool:
        """Is there a route of ours for the LAN of `site`, even one that says unreachable?"""
        return f"10.{SITES[site]}.0.0/24" in routes(self.node(gateway), 4, LEYLINE)

    def wait_for_routes(self, gateways: Iterable[str] = (), seconds: float = START_SECONDS) -> None:
        for gateway in gateways or self.gateways:
            self.run.wait_until(
                f"{gateway} has every route by the best uplink", lambda name=gateway: not self.wrong(name), seconds,  # type: ignore[misc]
                lambda name=gateway: self.wrong(name),
            )  # fmt: skip

    # Liveness

    def live(self, gateway: str, *addresses: str) -> bool:
        """Does the gateway say that BFD to all of them is up?"""
        return all(self.speakers.next_hop(gateway, address).get("state") == "up" for address in addresses)

    def wait_live(self, *pairs: tuple[str, str], seconds: float = LIVENESS_SECONDS) -> None:
        """Until BFD is up between the gateways of each pair, on their first uplinks, as both ends see it."""
        ways = [(one, overlay(other)) for a, b in pairs for one, other in ((a, b), (b, a))]

        def missing() -> str:
            late = [(gateway, address) for gateway, address in ways if not self.live(gateway, address)]
            return "\n".join(f"{gateway}: {self.speakers.report(gateway).get('next_hops')}" for gateway, _ in late)

        what = ", ".join(f"{a} and {b}" for a, b in pairs)
        self.run.wait_until(f"BFD is up between {what}", lambda: not missing(), seconds, missing)

    def wait_hubs(self, gateway: str, uplinks: Sequence[str]) -> None:
        """Until it and every hub have heard each other over these uplinks: who was never heard is not missed later."""
        wanted = {(gateway, uplink, overlay(hub)) for uplink in uplinks for hub in self.hubs}
        wanted |= {(hub, "zt0", overlay(gateway, uplink)) for uplink in uplinks for hub in self.hubs}

        def missing() -> set[tuple[str, str, str]]:
            reports = {name: self.speakers.report(name).get("next_hops", ()) for name in (gateway, *self.hubs)}
            up = {(n, hop["interface"], hop["address"]) for n in reports for hop in reports[n] if hop["state"] == "up"}
            return wanted - up

        what = f"BFD is up between the hubs and {' and '.join(uplinks)} of {gateway}"
        self.run.wait_until(what, lambda: not missing(), LIVENESS_SECONDS, missing)

    # Traffic

    def flows(self, pairs: Iterable[Pair], versions: Sequence[int] = (4, 6)) -> list[Flow]:
        """Pings from the host of the first to the host of the second site of each pair."""
        return [
            self.host(a).pings(host_address(b, version), f"{a} to {b}, IPv{version}")
            for a, b in pairs
            for version in versions
        ]

    @contextmanager
    def flood(self, *pairs: Pair, versions: Sequence[int] = (4, 6)) -> Iterator[Flood]:
        """Pings every millisecond while the block runs; afterwards the flood has its tallies."""
        flood = Flood(self, PingTrain(self.flows(pairs, versions), FLOOD_SECONDS))
        try:
            yield flood
        finally:
            flood.finish()

    def mac(self, gateway: str, interface: str = "zt0") -> str:
        end = f"{gateway}:{interface}"
        if end not in self._macs:
            self._macs[end] = self.cuts.mac(end)
        return self._macs[end]

    def power_on(self, gateway: str) -> None:
        """A box that was off comes back as after a boot, with its speaker."""
        self.cuts.power_on(gateway)
        self.speakers.launch(gateway, ["--plan", PLAN_FILE])

    # Counters

    def counter(self, node: str, name: str) -> int:
        return counted(self.node(node), name)

    def expired(self) -> int:
        """Packets that any router let expire since the start, both families: 0 unless something went in circles."""
        return sum(expired_at(self.node(gateway)) for gateway in self.gateways)

    def expect_clean(self) -> None:
        """What must hold at the end of every scenario."""
        leaked, expired = self.counter("internet", "private"), self.expired()
        self.run.figure("leaked_packets", leaked)
        self.run.figure("expired_packets", expired)
        self.run.expect("no private packet left by a default route", leaked == 0, f"{leaked} packets")
        self.run.expect("no packet went in circles (none expired)", expired == 0, f"{expired} packets")


class Flood:
    """Pings between hosts, every millisecond."""

    def __init__(self, world: World, train: PingTrain) -> None:
        self.world = world
        self.train = train
        self.tallies: dict[str, Tally] = {}

    def go_on(self, answers: int = 500) -> None:
        """Until so many more pings are answered, of all flows together. Raises Unmet after 10 s."""
        before = self.train.answered()
        self.world.run.wait_until(
            f"{answers} more pings are answered", lambda: self.train.answered() >= before + answers, 10
        )

    def observe(self, seconds: float) -> None:
        """Let so much time go by, told by the train's own ticks."""
        ticks = self.train.ticks + round(seconds / FLOOD_SECONDS)
        self.world.run.wait_until(f"{seconds:g} s go by", lambda: self.train.ticks >= ticks, seconds * 3 + 5)

    def finish(self) -> None:
        self.tallies = self.tallies or self.train.finish()

    def worst_ms(self, since: float = 0.0) -> float:
        """The longest gap of all flows that ended after `since` (time.monotonic)."""
        return worst_ms(self.tallies, since)

    def expect_window(self, what: str, key: str, most_ms: float, since: float = 0.0) -> float:
        """The longest gap of all flows is at most `most_ms`, and all of them came back; a figure of that name."""
        run, worst = self.world.run, self.worst_ms(since)
        run.figure(key, worst)
        run.expect(f"{what}: the longest gap is {worst:.0f} ms, at most {most_ms:g}", 0 < worst <= most_ms, self.text)
        lasting = [name for name, tally in self.tallies.items() if not tally.recovered]
        run.expect(f"{what}: every flow came back", not lasting, ", ".join(lasting))
        return worst

    def expect_none_lost(self, what: str, key: str) -> None:
        lost = sum(tally.lost for tally in self.tallies.values())
        sent = sum(tally.sent for tally in self.tallies.values())
        self.world.run.figure(key, lost)
        self.world.run.expect(f"{what}: none of {sent} pings is lost", lost == 0 < sent, self.text)

    def text(self) -> str:
        stall = max((tally.stall_ms for tally in self.tallies.values()), default=0.0)
        return f"{told(self.tallies)}\nlongest pause of the sender itself: {stall:.0f} ms"


def expired_at(node: Node) -> int:
    total = 0
    for file, group, name in COUNTERS:
        lines = Path(f"/proc/{node.pid}/net/{file}").read_text().splitlines()
        if group:
            names, values = (line.split() for line in lines if line.startswith(f"{group}:"))
            total += int(values[names.index(name)])
        else:
            total += sum(int(line.split()[1]) for line in lines if line.split()[0] == name)
    return total
