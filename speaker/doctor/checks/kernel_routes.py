"""Are our routes in the kernel those that the agent has decided?"""

from __future__ import annotations

from collections.abc import Iterator

from speaker.doctor.facts import Facts
from speaker.doctor.finding import Found

FIX = "the agent puts it right within a minute; if it comes back, find the program that changes routes of protocol 76"


def check(facts: Facts) -> Iterator[Found]:
    if facts.routes is None:
        return
    for names, count, words in zip(
        (facts.routes.missing, facts.routes.extra, facts.routes.changed),
        facts.routes.counts,
        ("not in the kernel", "in the kernel, and nobody has decided so", "in the kernel otherwise than decided"),
        strict=True,
    ):
        if count:
            more = f" and {count - len(names)} more" if count > len(names) else ""
            yield Found("error", "kernel routes", f"{', '.join(names)}{more}: {words}", FIX)
    for each in facts.routes.shadowed:
        what = f"{each.prefix}: a route of protocol {each.protocol} with metric {each.metric} goes before ours"
        fix = (
            f"ip route del {each.prefix} proto {each.protocol} metric {each.metric}, and find the program that sets it"
        )
        yield Found("error", "kernel routes", what, fix)
    if facts.report is not None and facts.report.kernel.failed:
        what = f"{facts.report.kernel.failed} routes were refused in the last pass"
        yield Found("error", "kernel routes", what, "the agent's log names the first of them with the kernel's words")
