"""Does ZeroTier tell its members what its API says is stored?"""

from __future__ import annotations

from collections.abc import Iterator

from controller.client.examine.facts import Facts, Found, Json, reports, stored


def check(facts: Facts) -> Iterator[Found]:
    """Once the last pass had nothing to write: a change is delivered within milliseconds."""
    if not stored(facts.segment):
        return
    keeper = f"{facts.segment['network'][:10]}, which keeps the network,"
    in_force = {each["gateway"] for each in facts.statuses if each["in_force"]}
    for gateway, report in reports(facts):
        for service in report.get("zerotier", ()):
            found = _contradictions(service, facts.segment.get("mtu"), plan_in_force=gateway in in_force)
            for there, here in found:
                what = f"ZeroTier's API {there}, and the service there says {here}: stored, and not delivered"
                fix = (
                    f"see that node {keeper} is the one whose API this is (leyline segment show), and that it is"
                    " reached by UDP; then restart zerotier-one there"
                )
                yield Found("error", f"{gateway}/{service['uplink']}", what, fix)


def _contradictions(service: Json, mtu: int | None, *, plan_in_force: bool) -> Iterator[tuple[str, str]]:
    """(what the API says, what the gateway's service says). The addresses that a gateway misses are its plan's."""
    if service["status"] == "ACCESS_DENIED":
        yield "has let it in", service["status"]
    elif service["status"] == "NOT_FOUND":
        yield "has the network", service["status"]
    elif mtu and service["mtu"] and service["mtu"] != mtu:
        yield f"has an MTU of {mtu} for it", str(service["mtu"])
    if plan_in_force and (lacks := service.get("lacks")):
        yield f"has {' and '.join(lacks)} for it", "that it has no such address"
