"""From which uplink a spoke dials each hub: the first one, until that is dead, and then one that is not.

A session that works is never moved back: that would cost a reset. Pure but for `in_force`, which reads
where ExaBGP dials from, so that a restarted agent leaves the sessions where they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from speaker.plan import Plan, SessionPlan

Dead = Callable[[str, str], bool]
"""(own overlay address, the hub's): has BFD, or the interface, been down between them for a while?"""

NEIGHBOR = re.compile(r"^neighbor (\S+) \{\n(?:    .*\n)*?    local-address (\S+);$", re.MULTILINE)


def dialled(plan: Plan, now: Mapping[str, str], dead: Dead) -> Plan:
    """`plan`, each session with the local address to use. `now`: the peer's address -> the local one in use."""
    sessions = tuple(
        msgspec.structs.replace(each, local_address=_local(each, now, dead)) if each.local_fallbacks else each
        for each in plan.sessions
    )
    return msgspec.structs.replace(plan, sessions=sessions)


def _local(session: SessionPlan, now: Mapping[str, str], dead: Dead) -> str:
    ends = (session.local_address, *session.local_fallbacks)
    current = now.get(session.peer_address, ends[0])
    if current not in ends:  # An address that the uplink no longer has.
        current = ends[0]
    if not dead(current, session.peer_address):
        return current
    return next((end for end in ends if not dead(end, session.peer_address)), current)


def addresses(plan: Plan) -> dict[str, str]:
    """The peer's address -> the local one, as `dialled` takes it."""
    return {session.peer_address: session.local_address for session in plan.sessions}


def in_force(config: Path) -> dict[str, str]:
    """The same, of the configuration that ExaBGP runs with; {} when there is none, or none that can be read."""
    try:
        return dict(NEIGHBOR.findall(config.read_text("ascii")))
    except (OSError, UnicodeDecodeError):
        return {}
