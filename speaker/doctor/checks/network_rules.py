"""Do the ZeroTier network's rules drop routed traffic while BGP stays up?

`drop not chr ipauth` lets only packets pass whose source address ZeroTier itself has assigned, so sessions live and
LANs do not reach each other. A gateway cannot read the rules; it sees that one echo is answered and the other is not.
"""

from __future__ import annotations

from collections.abc import Iterator

from speaker.doctor.facts import Facts
from speaker.doctor.finding import Found


def check(facts: Facts) -> Iterator[Found]:
    for echo in facts.echoes:
        if echo.plain and echo.routed is False:
            what = f"{echo.address} answers our overlay address, and not {echo.source}, which is in our LAN"
            fix = (
                "look for `drop not chr ipauth` and the like in the network's flow rules: leyline segment show; if "
                "they are clean, see whether the hub has a route to this LAN"
            )
            yield Found("error", f"segment towards {echo.hub}", what, fix)
