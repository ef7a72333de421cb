"""What the gateway says of itself."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from importlib.metadata import version
from ipaddress import ip_address

from speaker.agent.gateway import Gateway
from speaker.agent.health import Health
from speaker.agent.limits import warning_of
from speaker.agent.liveness import Liveness
from speaker.agent.plans import PlanState
from speaker.agent.sessions import Session
from speaker.kernel.fib import Fib
from speaker.liveness.bfd.control import Status
from speaker.liveness.damping import Pair, Verdict
from speaker.plan import READABLE_VERSIONS, Plan
from speaker.report import (
    MAX_NEXT_HOPS,
    REPORT_VERSION,
    KernelReport,
    NextHopReport,
    Report,
    SessionReport,
    UplinkReport,
)
from speaker.rib.limits import NO_LIMIT
from speaker.rib.prefix import Family
from speaker.rib.rib import Rib

NO_KERNEL = KernelReport(routes={}, groups=0, failed=0, repaired=0, last_error="", sysctls={})


def build_report(
    gateway_name: str,
    plans: PlanState,
    plan_error: str,
    gateway: Gateway | None,
    started_at: float,
    health: Health,
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
        drained=gateway is not None and gateway.plan.drained,
        next_hops=next_hops(gateway.liveness, gateway.fib, gateway.plan) if gateway else (),
        lans=gateway.lan.reports() if gateway else (),
        forwarded=health.forwarded,
        forwarded_pps=health.forwarded_pps,
        loop_lag_ms=health.lag.p999_ms,
        peers=gateway.paths.peers if gateway else (),
        paths=gateway.paths.measured if gateway else (),
        zerotier=gateway.segment.reports if gateway else (),
        moon_world=gateway.segment.moon_world if gateway else "",
    )


STATES = ("down", "held", "unknown", "up")
"""Those that are not well first."""


def next_hops(liveness: Liveness, fib: Fib, plan: Plan) -> tuple[NextHopReport, ...]:
    """Every pair with a session, and every dead one; at most MAX_NEXT_HOPS."""
    hubs = {session.peer_address: session.peer for session in plan.sessions}
    hubs |= {session.peer_address6: session.peer for session in plan.sessions if session.peer_address6}
    found = sorted(liveness.pairs().items(), key=lambda item: (STATES.index(item[1][0].state), item[0]))
    behind = time.time() - time.monotonic()
    return tuple(
        _next_hop(pair, verdict, status, fib, hubs, behind) for pair, (verdict, status) in found[:MAX_NEXT_HOPS]
    )


def _next_hop(
    pair: Pair, verdict: Verdict, status: Status | None, fib: Fib, hubs: dict[str, str], behind: float
) -> NextHopReport:
    device, remote = pair
    hop = ip_address(remote).packed
    detours = [str(ip_address(way.address)) for way in fib.active(hop) if way.address != hop] if verdict.dead else []
    return NextHopReport(
        address=remote,
        interface=device,
        state=verdict.state,
        since=verdict.since + behind,
        reason=verdict.reason,
        flaps=verdict.flaps,
        bfd="" if status is None else status.state,
        detection_ms=0.0 if status is None else status.detection_us / 1000,
        detour=", ".join(hubs.get(address, address) for address in detours),
    )


def _sessions(sessions: Iterable[Session], rib: Rib) -> Iterable[SessionReport]:
    for session in sessions:
        counts = {family.value: rib.counts(session.source, family) for family in Family if session.source is not None}
        limit = NO_LIMIT if session.source is None else rib.limit_state(session.source)
        yield SessionReport(
            peer=session.plan.peer,
            peer_address=session.address,
            state="up" if session.up else "standby" if session.plan.standby else "down",
            since=session.since,
            reason=session.reason,
            add_path=session.negotiated is not None and bool(session.negotiated.add_path_receive),
            received={name: count.received for name, count in counts.items()},
            rejected={name: count.rejected for name, count in counts.items()},
            stale={name: count.stale for name, count in counts.items()},
            limit=limit.limit,
            prefixes=limit.prefixes,
            unkept=limit.unkept,
            warning=warning_of(limit),
            reasons=dict(sorted(sum((Counter(count.reasons) for count in counts.values()), Counter()).items())),
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
        neighbours=gateway.neighbours.outcome.standing,
    )
