"""Facts of this box, gathered at once from all readers. A reader that fails costs what it would have read."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from pyroute2 import NetlinkError

from speaker.agent.paths import read_nat
from speaker.agent.poll import ControllerAccess
from speaker.bgp.exabgp.symbols import VERSION
from speaker.doctor import agent_view, asked, here, wire
from speaker.doctor.facts import Facts, RoutedEcho, Service
from speaker.doctor.here import Unreadable
from speaker.doctor.services import read_service
from speaker.kernel.links import read_links
from speaker.kernel.ways_out import OUTSIDE, ways_to
from speaker.plan import Plan
from speaker.state import StateDir
from speaker.zerotier.local import DEFAULT_HOME, LocalError, LocalService
from speaker.zerotier.peers import Peer
from speaker.zerotier.placed import placed

MOST_HUBS = 4
READERS = 12

T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True)
class Patient:
    """Which gateway, and how to reach what it talks to. `homes`: (name of the uplink or "", home of its service).

    `plan_file`: what its agent carries out in place of the plan in the state directory.
    """

    state: StateDir
    access: ControllerAccess | None = None
    homes: Sequence[tuple[str, Path]] = (("", DEFAULT_HOME),)
    plan_file: Path | None = None


class Readings:
    """Readers that run side by side; `unread` says which failed, and why."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool
        self.unread: dict[str, str] = {}

    def start(self, read: Callable[..., T], *arguments: Any) -> Future[T]:
        return self._pool.submit(read, *arguments)

    def take(self, name: str, reading: Future[T], otherwise: U) -> T | U:
        try:
            return reading.result()
        except (Unreadable, OSError, LocalError, NetlinkError, msgspec.MsgspecError) as error:
            self.unread[name] = str(error) or type(error).__name__
            return otherwise


def gather(patient: Patient) -> Facts:
    """Blocks for some seconds. Raises nothing that a sick gateway could cause."""
    with ThreadPoolExecutor(READERS, thread_name_prefix="doctor") as pool:
        readings = Readings(pool)
        return _gather(patient, readings)


def _gather(patient: Patient, readings: Readings) -> Facts:
    state = patient.state
    told = readings.start(agent_view.agents_report, state.control)
    stored = readings.start(agent_view.stored_plan, patient.plan_file or state.plan)
    controller = readings.start(asked.ask_controller, patient.access) if patient.access is not None else None
    rules = readings.start(here.ruleset)
    links = readings.start(here.interfaces)
    ca_file = patient.access.ca_file if patient.access is not None else None
    expires = readings.start(here.ca_expires, ca_file) if ca_file else None
    plan, report = readings.take("plan", stored, None), readings.take("agent", told, None)
    facts = Facts(
        now=time.time(),
        plan=plan,
        report=report,
        agent_error=readings.unread.pop("agent", ""),
        processes=here.processes(state),
        exabgp_version=here.exabgp_version(),
        exabgp_pinned=VERSION,
        nft=readings.take("nftables", rules, None),
        nft_error=readings.unread.pop("nftables", ""),
        interfaces=readings.take("interfaces", links, None),
        nat=read_nat(state.nat),
        clock_synchronised=here.clock_synchronised(),
        controller=controller.result() if controller is not None else None,
        tls_expires=readings.take("CA file", expires, None) if expires is not None else None,
    )
    if plan is not None:
        facts = _of_plan(patient, readings, facts, plan)
    return replace(facts, unread=readings.unread)


def _of_plan(patient: Patient, readings: Readings, facts: Facts, plan: Plan) -> Facts:
    """What can be read only by somebody who knows the plan."""
    routes = None
    if facts.report is not None:
        devices = {index: name for index, (name, _) in read_links().items()}
        routes = readings.start(agent_view.route_differences, patient.state.control, devices)
    others = [(u.address, readings.start(wire.who_else_has, u.interface, u.address)) for u in plan.uplinks]
    source = _lan_address(plan, facts)
    echoes = [readings.start(_echo, plan, each.peer, each.peer_address, source) for each in _hubs(plan)[:MOST_HUBS]]
    services = tuple(_services(plan, patient.homes)) if plan.network else ()
    peers = [peer for each in services for peer in each.peers]
    toward = readings.start(here.devices_towards, _towards(peers))
    outward = readings.start(ways_to, [*OUTSIDE, *{_host(peer.physical) for peer in peers if peer.root and peer.heard}])
    underlay = readings.take("ways to the underlay", toward, dict[str, str]())
    return replace(
        facts,
        sysctls=here.sysctls(plan),
        md5_drops=here.md5_drops(),
        services=services,
        underlay_devices=underlay,
        ways_out=readings.take("ways out", outward, frozenset()),
        answering={text: macs for text, each in others if (macs := readings.take(f"ARP for {text}", each, ()))},
        echoes=tuple(echo for each in echoes if (echo := readings.take("echoes", each, None)) is not None),
        routes=readings.take("routes", routes, None) if routes is not None else None,
    )


def _towards(peers: Sequence[Peer]) -> set[str]:
    """Where they are reached, and those that are silent were."""
    return {_host(path) for peer in peers for path in (*peer.alive, peer.physical) if path}


def _host(physical: str) -> str:
    """Of "ADDRESS/PORT"."""
    return physical.partition("/")[0]


def _services(plan: Plan, homes: Sequence[tuple[str, Path]]) -> list[Service]:
    """Of each uplink the service behind it. One that nobody knows the home of does not answer."""
    found = [(name, LocalService(home)) for name, home in homes]
    try:
        place = placed(plan.uplinks, found)
        missing = "no --zerotier-home of its service is named"
        return [
            read_service(uplink.name, place[uplink.name], plan.network)
            if uplink.name in place
            else Service(uplink.name, error=missing)
            for uplink in plan.uplinks
        ]
    finally:
        for _, service in found:
            service.close()


def _lan_address(plan: Plan, facts: Facts) -> str:
    lans = [each.interface for each in facts.report.lans if each.up] if facts.report is not None else []
    return here.lan_address(plan, facts.interfaces or {}, lans)


def _hubs(plan: Plan) -> list[Any]:
    return [each for each in plan.sessions if each.peer_role in ("hub", "peer") and not each.standby]


def _echo(plan: Plan, hub: str, address: str, source: str) -> RoutedEcho:
    """From our overlay address, and, if that comes back, from an address in our LAN."""
    uplink = plan.uplinks[0]
    plain = wire.answers_from(uplink.address, address, uplink.interface)
    routed = wire.answers_from(source, address, uplink.interface) if plain and source else None
    return RoutedEcho(hub, address, plain, source, routed)
