"""Whole gateways as `leyline speaker run` starts them, in namespaces of one segment, and what to look at there."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

from speaker import plan as p
from speaker.bgp.decode import Decoder
from speaker.bgp.wire import UPDATE, message
from speaker.rib.attributes import Attributes
from speaker.rib.prefix import key_of, network_of
from speaker.show import NoAnswer, fetch
from speaker.state import StateDir
from tests.interop import tinybgp
from tests.netns.namespaces import Bird, Namespace, wait_until
from tests.speaker.bgp_codec.build import AS_PATH, LOCAL_PREF, ORIGIN, attribute, body

ASN = 64512
SEGMENT = "10.42.0.0/16"
SPACE = "20.0.0.0/8"
"""Everybody's. The client with number N may announce 20.N.0.0/16; what nobody announces is unreachable."""
ROOT = Path(__file__).parents[2]
PATIENCE = 90.0
"""Seconds to wait where speed is not the question."""


def within(seconds: float) -> float:
    """So long may take what takes at most `seconds` on an idle machine: more when others work here, too."""
    return seconds * max(1.0, 1.5 * os.getloadavg()[0] / (os.cpu_count() or 1))


# Plans


def address(number: int) -> str:
    return f"10.42.0.{number}"


def prefixes(number: int, count: int, first: int = 0) -> list[str]:
    """`count` of the /24 that the gateway or client with this number may announce."""
    return [f"20.{number}.{third}.0/24" for third in range(first, first + count)]


def to_hub(own: int, hub: int, hold_time: int = 9) -> p.SessionPlan:
    """A spoke's session."""
    return _session(own, hub, hold_time, "hub", passive=False, imports=None)


def to_client(own: int, client: int, hold_time: int = 9, longest: int = 24) -> p.SessionPlan:
    """A hub's session, which waits for the client and believes it its own /16."""
    hop = p.NextHopPlan(client, address(client), None, 200, (), 0)
    allocation = p.AllocationPlan(f"20.{client}.0.0/16", longest)
    return _session(own, client, hold_time, "client", passive=True, imports=p.ImportPlan((hop,), (allocation,)))


def _session(own: int, peer: int, hold_time: int, role: Any, *, passive: bool, imports: Any) -> p.SessionPlan:
    return p.SessionPlan(
        peer=f"n{peer}",
        peer_role=role,
        peer_asn=ASN,
        peer_address=address(peer),
        local_address=address(own),
        passive=passive,
        families=("ipv4",),
        add_path=True,
        hold_time=hold_time,
        restart_time=120,
        password="",
        imports=imports,
    )


def plan_of(
    name: str,
    number: int,
    sessions: Iterable[p.SessionPlan],
    announced: Sequence[str] = (),
    *,
    hub: bool = False,
    bfd: p.BfdPlan | None = None,
    liveness: p.LivenessPlan | None = None,
) -> p.Plan:
    """A gateway with one uplink, eth0."""
    return p.Plan(
        version=3,
        gateway=name,
        role="hub" if hub else "spoke",
        asn=ASN,
        router_id=address(number),
        segments=(SEGMENT,),
        uplinks=(p.UplinkPlan(number, "main", "eth0", address(number), None, "fiber", 200, 0, bfd),),
        announcements=(p.AnnouncementPlan(tuple(announced), ()),) if announced else (),
        sessions=tuple(sessions),
        rejects=(SPACE,),
        max_paths=8,
        liveness=liveness or p.LivenessPlan(),
    )


# Processes


class Speaker:
    """One gateway: its supervisor, agent and ExaBGP, their state directory and their log."""

    def __init__(self, namespace: Namespace, name: str, place: Path, *options: str) -> None:
        self.namespace = namespace
        self.name = name
        self.state = StateDir(place / name)
        self.plan_file = place / f"{name}.json"
        self.log_file = place / f"{name}.log"
        self.options = options
        self.supervisor: subprocess.Popen[bytes] | None = None

    def start(self, plan: p.Plan | None = None, source: Sequence[str] = ()) -> None:
        """With this plan in its plan file; without one, with what stands there, or with another `source` of plans."""
        if plan is not None:
            self.plan_file.write_bytes(p.encode(plan))
        command = (sys.executable, "-m", "controller.cli", "speaker", "run", "--gateway", self.name)
        paths = (*(source or ("--plan", str(self.plan_file))), "--state-dir", str(self.state.root))
        with self.log_file.open("ab") as log:
            self.supervisor = self.namespace.start(*command, *paths, *self.options, output=log, cwd=ROOT)

    def stop(self) -> int:
        """SIGTERM to the supervisor; its exit code."""
        assert self.supervisor is not None
        return self.namespace.stop(self.supervisor, timeout=30)

    def give(self, plan: p.Plan | bytes) -> None:
        """Another plan, as an operator gives it: the file, and SIGHUP to the agent."""
        self.plan_file.write_bytes(plan if isinstance(plan, bytes) else p.encode(plan))
        self._signal("agent", signal.SIGHUP)

    def pid(self, process: str) -> int:
        """Of "agent" or "exabgp"; 0 before its first start."""
        try:
            return int(self.state.pid_file(process).read_text())
        except (FileNotFoundError, ValueError):
            return 0

    def kill(self, process: str) -> int:
        """kill -9; returns the pid that it had."""
        return self._signal(process, signal.SIGKILL)

    def _signal(self, process: str, number: int) -> int:
        pid = self.pid(process)
        assert pid > 0, f"{process} has no pid\n{self.log()}"  # kill(0) would be ourselves.
        os.kill(pid, number)
        return pid

    def terminate(self, process: str) -> None:
        self._signal(process, signal.SIGTERM)

    @contextmanager
    def without_restarts(self) -> Iterator[None]:
        """Inside, what dies stays dead: the supervisor is stopped, in the sense of SIGSTOP."""
        assert self.supervisor is not None
        self.supervisor.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.supervisor.send_signal(signal.SIGCONT)

    def has_in_force(self, plan: p.Plan) -> bool:
        return f"digest={p.digest(plan)}" in self.log()

    def report(self) -> dict[str, Any]:
        """What `leyline speaker show --json` prints; {} while no agent answers."""
        with suppress(NoAnswer):
            report: dict[str, Any] = fetch(self.state.control, "report", {})
            return report
        return {}

    def is_up(self, *peers: int) -> bool:
        """Whether the sessions with these numbers are up, and nothing of theirs is stale."""
        sessions = {one["peer_address"]: one for one in self.report().get("sessions", ())}
        return all(
            (one := sessions.get(address(peer))) is not None and one["state"] == "up" and not any(one["stale"].values())
            for peer in peers
        )

    def settled(self, *peers: int) -> bool:
        """Up with these peers, and the kernel as it should be."""
        return self.is_up(*peers) and bool(self.report().get("converged"))

    def next_hop(self, number: int) -> dict[str, Any]:
        """What is reported of the next hop with this number; {} when there is no session with it."""
        hops = (hop for hop in self.report().get("next_hops", ()) if hop["address"] == address(number))
        return next(hops, {})

    def judges(self, number: int, state: str, detour: str = "") -> bool:
        hop = self.next_hop(number)
        return (hop.get("state"), hop.get("detour")) == (state, detour)

    def kernel(self) -> dict[str, str]:
        """Our IPv4 routes in the kernel but for rejects, as `ip` sees them: prefix -> next hop ("" for several)."""
        objects = re.findall(
            r"^id (\d+) (?:group (\S+)|via (\S+))", self.namespace.run("ip", "nexthop"), flags=re.MULTILINE
        )
        hops = {number: hop for number, _, hop in objects if hop}
        for number, members, _ in objects:
            if members:  # "12/14" or "12,5/14": weights stand behind a comma.
                hops[number] = hops.get(members.split(",")[0], "") if "/" not in members else ""
        shown = self.namespace.run("ip", "-4", "-N", "route", "show", "proto", "76", "metric", "1000")
        lines = re.findall(r"^(\S+) nhid (\d+)", shown, flags=re.MULTILINE)
        return {prefix: hops.get(number, "") for prefix, number in lines}

    def has(self, expected: Iterable[str]) -> bool:
        """Whether the kernel holds exactly these prefixes of ours."""
        return set(self.kernel()) == set(expected)

    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def evidence(self) -> str:
        return f"--- {self.name}\n{self.log()[-5000:]}\n{self.report()}\n{self.namespace.run('ip', 'route')[:3000]}"


def connections(namespace: Namespace) -> set[tuple[str, str]]:
    """Established BGP connections, by both ends. The same ones later = no session was reset meanwhile."""
    shown = namespace.run("ss", "-tnH", "state", "established", "( sport = :179 or dport = :179 )")
    return {(fields[-2], fields[-1]) for fields in map(str.split, shown.splitlines()) if len(fields) >= 4}


class RouteMonitor:
    """`ip monitor route` in a namespace: every change since it was made, lost ones included in the reckoning."""

    PROBE = "203.0.113.77"

    def __init__(self, namespace: Namespace, place: Path) -> None:
        self._namespace = namespace
        self._file = place / f"{namespace.name}.monitor"
        self._probes = 0
        with self._file.open("wb") as output:
            namespace.start("stdbuf", "-oL", "ip", "-4", "monitor", "route", output=output)
        self._probe()

    def deleted(self) -> list[str]:
        """Deletions so far, in the words of `ip`. Everything that has happened before the call is in."""
        self._probe()
        lines = self._file.read_text().splitlines()
        return [line for line in lines if line.startswith("Deleted") and self.PROBE not in line]

    def _probe(self) -> None:
        """The monitor says nothing when it is ready, or has seen everything: a route of our own tells."""
        self._probes += 1
        metric = str(7000 + self._probes)

        def seen() -> bool:
            self._namespace.run("ip", "route", "replace", "blackhole", self.PROBE, "metric", metric)
            self._namespace.run("ip", "route", "del", "blackhole", self.PROBE, "metric", metric)
            return f"Deleted blackhole {self.PROBE} metric {metric}" in self._file.read_text()

        wait_until(seen, PATIENCE, lambda: f"ip monitor said:\n{self._file.read_text()}")


# Clients of the hub


def held(session: tinybgp.Session, number: int) -> dict[str, Attributes]:
    """What the peer has given this client and not taken back, without path ids: prefix -> attributes.

    The client's own routes, which come back by reflection, are not counted (RFC 4456 8).
    """
    itself = ip_address(address(number)).packed
    decoder = Decoder(session.negotiated, session.ibgp)
    table: dict[str, Attributes] = {}
    for update in map(decoder.decode, session.bodies()):
        for family, _, keys in update.withdrawn:
            for key in keys:
                table.pop(str(network_of(family, key)), None)
        for family, _, keys, attributes in update.announced:
            for key in keys if attributes.originator_id != itself else ():
                table[str(network_of(family, key))] = attributes
    return table


def updates(number: int, announced: Iterable[str], per_message: int = 500) -> list[bytes]:
    """What a client without ADD-PATH says of its prefixes."""
    attributes = (ORIGIN, AS_PATH, attribute(0x40, 3, ip_address(address(number)).packed), LOCAL_PREF)
    keys = [key_of(ip_network(prefix)) for prefix in announced]
    chunks = [keys[start : start + per_message] for start in range(0, len(keys), per_message)]
    return [message(UPDATE, body(attributes, b"".join(chunk))) for chunk in chunks]


BIRD = """
router id {own};
log "{log}" all;
protocol device {{}}
protocol static own {{ ipv4; {routes} }}
protocol static extra {{ ipv4; {extra} }}
protocol bgp hub {{
    debug {{ states, routes }};
    local {own} as {asn}; neighbor {hub} as {asn}; direct;
    hold time 9; connect delay time 1; connect retry time 1; error wait time 1, 2;
    graceful restart on;
    ipv4 {{ import all; export where source = RTS_STATIC; next hop self; gateway direct; add paths on; }};
}}
"""


class Client:
    """BIRD with graceful restart and add paths. It announces `count` prefixes, and as many `extra` ones."""

    def __init__(self, namespace: Namespace, number: int, hub: int, place: Path, count: int, extra: int) -> None:
        self.messages = place / f"bird{number}.messages"
        config = BIRD.format(
            own=address(number),
            hub=address(hub),
            asn=ASN,
            log=self.messages,
            routes=_static(prefixes(number, count)),
            extra=_static(prefixes(number, extra, first=count)),
        )
        self.bird: Bird = namespace.bird(config, place / f"bird{number}")

    def up(self) -> bool:
        return self.bird.established("hub")

    def received(self) -> set[str]:
        """Prefixes that the hub gives it. Stale ones count."""
        return set(re.findall(r"^(20\.\S+)", self.bird.ask("show route protocol hub"), flags=re.MULTILINE))

    def removed(self) -> list[str]:
        """Prefixes of all routes that the hub has taken back from it since the start, in this order."""
        return re.findall(r"hub\.ipv4 > removed.*? (20\.\S+)", self.messages.read_text())

    def evidence(self) -> str:
        shown = self.bird.ask("show protocols all hub", check=False) + self.bird.ask("show route", check=False)[:3000]
        return f"--- BIRD\n{shown}\n{self.messages.read_text()[-3000:]}"


def _static(wanted: Iterable[str]) -> str:
    return " ".join(f"route {prefix} unreachable;" for prefix in wanted)
