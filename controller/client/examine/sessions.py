"""Are the BGP sessions up, as both ends see them?"""

from __future__ import annotations

from collections.abc import Iterator

from controller.client.examine.facts import Facts, Found, reports


def check(facts: Facts) -> Iterator[Found]:
    for gateway, report in reports(facts):
        for session in report["sessions"]:
            where = f"{gateway} with {session['peer']}"
            if session["state"] == "down":
                fix = "ping the address over the segment, then see TCP 179 at the hub's firewall and its agent"
                yield Found("error", where, f"down: {session['reason'] or 'it was never up'}", fix)
            if session.get("warning"):
                fix = "raise the site's max_prefixes, or find what announces so many"
                yield Found("warning", where, session["warning"], fix)
