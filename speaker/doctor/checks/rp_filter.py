"""Does the reverse path filter drop what comes in by one uplink and is answered by another?"""

from __future__ import annotations

from collections.abc import Iterator

from speaker.doctor.facts import Facts
from speaker.doctor.finding import Found

STRICT = "1"


def check(facts: Facts) -> Iterator[Found]:
    """The higher value of `all` and of the interface counts, and 1 is the strict one (RFC 3704)."""
    if facts.plan is None or facts.sysctls is None:
        return
    everywhere = facts.sysctls.get("net.ipv4.conf.all.rp_filter", "0")
    for name in sorted(facts.plan.interfaces):
        knob = f"net.ipv4.conf.{name.replace('.', '/')}.rp_filter"
        own = facts.sysctls.get(knob)
        if own is not None and max(own, everywhere) == STRICT:
            what = "strict reverse path filter: packets that are answered by another way are dropped"
            yield Found("error", name, what, f"sysctl -w {knob}=2, and find in /etc/sysctl.d what sets it otherwise")
