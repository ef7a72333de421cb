"""How the ZeroTier service behind each uplink does, as gateways report it."""

from __future__ import annotations

from collections.abc import Iterator

from controller.client.examine.facts import Facts, Found, reports


def check(facts: Facts) -> Iterator[Found]:
    for gateway, report in reports(facts):
        for service in report.get("zerotier", ()):
            where = f"{gateway}/{service['uplink']}"
            if service["problem"]:
                fix = f"leyline doctor --gateway {gateway} looks closer"
                yield Found("error", where, service["problem"], fix)
            elif not service["online"]:
                what = "ZeroTier is offline there: no root answers"
                yield Found("error", where, what, "let UDP 9993 out, and its answers in, at the provider's firewall")
