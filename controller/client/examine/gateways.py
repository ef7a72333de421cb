"""Is every gateway heard, does it carry out its newest plan, and does its kernel take it?"""

from __future__ import annotations

from collections.abc import Iterator

from controller.client.examine.facts import NEW_TOKEN, Facts, Found, Json
from controller.client.reports import silent


def check(facts: Facts) -> Iterator[Found]:
    for status in facts.statuses:
        where, report = status["gateway"], status["report"]
        if report is None:
            yield _never_heard(status)
        elif silent(status, facts.now):
            what = "has been silent for more than 30 s; it forwards on all the same, if it is there"
            yield Found("warning", where, what, "run leyline speaker doctor on it")
        else:
            yield from _says(where, status, report)


def _never_heard(status: Json) -> Found:
    name = status["gateway"]
    if status["token"]["state"] != "usable":
        fix = NEW_TOKEN.format(name)
        return Found("error", name, "was never heard, and no token lets it in", fix)
    return Found("error", name, "was never heard", "start the speaker on it; leyline speaker doctor there says more")


def _says(where: str, status: Json, report: Json) -> Iterator[Found]:
    if report["plan_error"]:
        yield Found("error", where, report["plan_error"], "correct what it names; the plan before stays in force")
    elif not status["in_force"]:
        yield Found("warning", where, "its newest plan is not in force yet", "wait some seconds, then ask again")
    if report["kernel"]["last_error"]:
        what = f"its kernel refuses routes: {report['kernel']['last_error']}"
        yield Found("error", where, what, f"leyline doctor --gateway {where} says more")
    for uplink in report["uplinks"]:
        if not uplink["up"]:
            fix = "see that ZeroTier runs there and has joined the network"
            yield Found("error", f"{where}/{uplink['name']}", uplink["detail"] or "is down", fix)
