"""Do ExaBGP and leyline-bfd run, and is ExaBGP the release that our launcher knows?"""

from __future__ import annotations

from collections.abc import Iterator

from speaker.doctor.facts import Facts
from speaker.doctor.finding import Found

UNITS = {"exabgp": "leyline-exabgp", "bfd": "leyline-bfd"}


def check(facts: Facts) -> Iterator[Found]:
    for process, unit in UNITS.items():
        if facts.processes.get(process) is False:
            yield Found("error", process, "does not run", f"systemctl start {unit}; its log says why it ended")
    if facts.exabgp_pinned and facts.exabgp_version != facts.exabgp_pinned:
        found = facts.exabgp_version or "no ExaBGP"
        fix = f"pip install 'exabgp=={facts.exabgp_pinned}' into Leyline's own environment"
        yield Found("error", "exabgp", f"{found} is installed, and {facts.exabgp_pinned} is needed", fix)
