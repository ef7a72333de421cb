"""The ZeroTier services of this gateway: members of the segment, off their own overlay, moons made and orbited.

Beside the failover path: nothing waits for it, and a service that fails costs a line in the report.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import msgspec
import structlog
from msgspec.structs import replace
from pyroute2 import NetlinkError

from speaker.agent.local_conf import Box, LocalConf
from speaker.plan import Plan, UplinkPlan
from speaker.report import ServiceReport
from speaker.state import write_atomically
from speaker.zerotier import moons
from speaker.zerotier.local import LocalError, LocalService
from speaker.zerotier.placed import node_behind
from speaker.zerotier.service import Managed, Membership, assigned, attend, not_answering

log = structlog.get_logger()

LOOK_SECONDS, AGAIN_SECONDS = 30.0, 5.0
"""Between two looks while all is well, and while something is not."""

Homes = Sequence[tuple[str, Path]]
"""(name of the uplink, or "" to find it by its node id; home of its service)."""


class SegmentSide:
    """`moved` is called when a report should tell soon. Nothing is done while the network is not the fabric's own."""

    def __init__(
        self, homes: Homes, orbits: Path, moved: Callable[[], None], box: Box | None = None, idtool: str = moons.IDTOOL
    ) -> None:
        self.reports: tuple[ServiceReport, ...] = ()
        self.moon_world = ""
        self._orbits = orbits
        self._moved = moved
        self._box = box or Box()
        self._local_conf = LocalConf(self._box)
        self._idtool = idtool
        self._all = [(name, LocalService(home)) for name, home in homes]
        self._managed = [Managed(service) for _, service in self._all]
        self._found: dict[str, int] = {}
        self._plan: Plan | None = None
        self._due = asyncio.Event()
        self._said: dict[str, str] = {}

    def services(self) -> Mapping[str, LocalService]:
        """Name of an uplink -> the service behind it."""
        return {uplink: self._all[index][1] for uplink, index in self._found.items()}

    def configure(self, plan: Plan) -> None:
        self._plan = plan
        self._due.set()

    @property
    def _unwell(self) -> bool:
        return any(report.problem for report in self.reports)

    def close(self) -> None:
        for _, service in self._all:
            service.close()

    async def run(self) -> None:
        """For ever."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._due.wait(), AGAIN_SECONDS if self._unwell else LOOK_SECONDS)
            self._due.clear()
            plan = self._plan
            if plan is None or not plan.network:
                self.reports, self.moon_world, self._found = (), "", {}
                continue
            reports = await asyncio.to_thread(self.look, plan)
            if reports != self.reports:
                self.reports = reports
                self._moved()

    def look(self, plan: Plan) -> tuple[ServiceReport, ...]:
        """One pass over all uplinks. Blocks; one at a time."""
        self._found = assigned(plan.uplinks, [(name, node_behind(service)) for name, service in self._all])
        self.moon_world = ""
        reports = tuple(self._attended(plan, uplink) for uplink in plan.uplinks)
        for report in reports:
            if report.problem != self._said.get(report.uplink, ""):
                self._said[report.uplink] = report.problem
                log.warning("ZeroTier", uplink=report.uplink, problem=report.problem or "solved")
        return reports

    def _attended(self, plan: Plan, uplink: UplinkPlan) -> ServiceReport:
        if uplink.name not in self._found:
            return not_answering(uplink.name, self._missing(uplink))
        index = self._found[uplink.name]
        service = self._all[index][1]
        try:
            wanted = Membership(plan.network, plan.segments, plan.mtu, uplink)
            report = attend(service, self._managed[index], wanted, self._held)
            problems = [report.problem] if report.problem else []
            problems += self._local_conf.look(service, service.status(), plan)
            problems += self._moons(service, uplink, plan)
        except LocalError as error:
            return not_answering(uplink.name, str(error))
        return replace(report, problem="; ".join(problems))

    def _missing(self, uplink: UplinkPlan) -> str:
        """Why no service is this uplink's."""
        for service in (service for name, service in self._all if name in ("", uplink.name)):
            try:
                node = service.status().node_id
            except LocalError as error:
                return str(error)
            if len(self._all) == 1:
                return f"{service} is node {node}; the inventory says {uplink.node_id or 'none'}: correct one of them"
        return f"no ZeroTier service here is node {uplink.node_id or '(none)'}: name its home by --zerotier-home"

    def _held(self, interface: str) -> frozenset[str] | None:
        try:
            addresses = self._box.interfaces().get(interface)
        except (OSError, NetlinkError):
            return None
        return None if addresses is None else frozenset(str(each.ip) for each in addresses)

    # Moons

    def _moons(self, service: LocalService, uplink: UplinkPlan, plan: Plan) -> list[str]:
        """What is wrong with them."""
        try:
            if plan.moon is not None and plan.moon.uplink == uplink.name:
                self.moon_world = moons.make(service, plan.moon.endpoints, self._idtool)
            else:
                moons.unmake(service)
            home = str(service.home)
            orbited = moons.orbit(service, plan.orbit, self._read_orbits().get(home, ()), partial(self._note, home))
            self._note(home, orbited.ours)
        except moons.MoonError as error:
            return [str(error)]
        except OSError as error:
            return [f"{error.filename or self._orbits}: {error.strerror or error}"]
        return orbited.problems

    def _note(self, home: str, worlds: frozenset[str]) -> None:
        """Raises OSError."""
        known = self._read_orbits()
        if worlds != frozenset(known.get(home, ())):
            write_atomically(self._orbits, msgspec.json.encode({**known, home: sorted(worlds)}))

    def _read_orbits(self) -> dict[str, list[str]]:
        """Home -> worlds that its service orbits because we said so. Unreadable: then none are ever let go."""
        try:
            return msgspec.json.decode(self._orbits.read_bytes(), type=dict[str, list[str]])
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
            return {}
