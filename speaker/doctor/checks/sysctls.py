"""Are the kernel's knobs as a gateway needs them? `rp_filter` has a check of its own."""

from __future__ import annotations

from collections.abc import Iterator

from speaker.doctor.facts import Facts
from speaker.doctor.finding import Found, Level
from speaker.kernel.sysctls import knobs, listened_keys

FORWARDING = ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding")


def check(facts: Facts) -> Iterator[Found]:
    if facts.plan is None or facts.sysctls is None:
        return
    uplinks = facts.plan.interfaces
    for knob in knobs(uplinks, (), listened_keys(facts.plan)):
        value = facts.sysctls.get(knob.name)
        if value is None or knob.name.endswith(".rp_filter"):
            continue  # A kernel without the knob has nothing to set.
        enough = knob.at_least and value.isdigit() and int(value) >= knob.value
        if value != str(knob.value) and not enough:
            fix = f"sysctl -w {knob.name}={knob.value}, and find in /etc/sysctl.d what sets it otherwise"
            level: Level = "error" if knob.name in FORWARDING else "warning"
            yield Found(level, knob.name, f"is {value}, should be {knob.value}", fix)
