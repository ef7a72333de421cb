"""What the gateway says of itself."""

from __future__ import annotations

import time
from collections.abc import Iterable
from importlib.metadata import version

from speaker.agent.gateway import Gateway
from speaker.agent.plans import PlanState
from speaker.agent.sessions import Session
from speaker.plan import READABLE_VERSIONS
from speaker.report import REPORT_VERSION, KernelReport, Report, SessionReport, UplinkReport
from speaker.rib.prefix import Family
from speaker.rib.rib import Rib

NO_KERNEL = KernelReport(routes={}, groups=0, failed=0, repaired=0, last_error="", sysctls={})


def build_report(
    gateway_name: str, plans: PlanState, plan_error: str, gateway: Gateway | None, started_at: float
) -> Report:
    """The report as things stand now; before the first plan it says little more than that."""
    return Report(
        version=REPORT_VERSION,
        gateway=gateway_name,
        speaker_version=version("leyline-sdwan"),
        plan_versions=READABLE_VERSIONS,
        plan_digest=plans.digest,
        plan_error=plan_error,
        started_at=started_at,
        reported_at=time.time(),
        converged=gateway is not None and gateway.converged,
        sessions=tuple(_sessions(gateway.router.sessions, gateway.router.rib)) if gateway else (),
        uplinks=tuple(_uplinks(gateway)) if gateway else (),
        kernel=_kernel(gateway) if gateway else NO_KERNEL,
    )


def _sessions(sessions: Iterable[Session], rib: Rib) -> Iterable[SessionReport]:
    for session in sessions:
        counts = {family.value: rib.counts(session.source, family) for family in Family if session.source is not None}
        yield SessionReport(
            peer=session.plan.peer,
            peer_address=session.address,
            state="up" if session.up else "down",
            since=session.since,
            reason=session.reason,
            add_path=session.negotiated is not None and bool(session.negotiated.add_path_receive),
            received={name: count.received for name, count in counts.items()},
            rejected={name: count.rejected for name, count in counts.items()},
            stale={name: count.stale for name, count in counts.items()},
        )


def _uplinks(gateway: Gateway) -> Iterable[UplinkReport]:
    for uplink in gateway.plan.uplinks:
        up = uplink.interface in gateway.links_up
        detail = "" if up else f"interface {uplink.interface} is missing, down or without carrier"
        yield UplinkReport(uplink.number, uplink.name, uplink.interface, up, detail)


def _kernel(gateway: Gateway) -> KernelReport:
    return KernelReport(
        routes=gateway.fib.counts(),
        groups=gateway.fib.groups,
        failed=gateway.fib.refused,
        repaired=gateway.fib.repaired,
        last_error=gateway.last_error,
        sysctls=gateway.sysctls,
    )
