"""Does the agent run, with the newest plan, and does the kernel take what it decides?"""

from __future__ import annotations

from collections.abc import Iterator

from speaker.doctor.facts import Facts
from speaker.doctor.finding import Found


def check(facts: Facts) -> Iterator[Found]:
    if facts.report is None:
        if facts.agent_error:
            yield Found(
                "error", "agent", facts.agent_error, "start it: systemctl start leyline-agent; its log says more"
            )
        return
    report = facts.report
    if report.plan_error:
        yield Found("error", "plan", report.plan_error, "correct what it names; the plan before stays in force")
    elif not report.plan_digest:
        yield Found("error", "plan", "there is none yet", "see that this gateway reaches the controller with its token")
    if report.kernel.last_error:
        what = f"the kernel refuses what the agent wants: {report.kernel.last_error}"
        yield Found("error", "kernel", what, "put right what it names; the agent tries again every second")
    for uplink in report.uplinks:
        if not uplink.up:
            fix = (
                "see that ZeroTier runs and has joined the network, or correct the uplink's interface in the inventory"
            )
            yield Found("error", f"uplink {uplink.name}", uplink.detail or "is down", fix)
