"""What a router in a LAN of ours announces goes on as our own: once per uplink, as a prefix of the plan does.

AS_PATH, ORIGIN, MED and the router's own communities stay as learnt, so its AS finds a loop that leads back to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from speaker.plan import Plan
from speaker.rib.attributes import GRACEFUL_SHUTDOWN, Attributes
from speaker.rib.local import own_attributes
from speaker.rib.path import Path, Source
from speaker.rib.prefix import Family


@dataclass(frozen=True, slots=True)
class OwnUplink:
    """An uplink in one family."""

    number: int
    attributes: Attributes  # Of what the plan announces over it.


@dataclass(frozen=True, eq=False)
class Adoption:
    """How such paths become ours. Compared by identity, as it stands in every export group: see `agent.sessions`."""

    source: Source  # Our own.
    uplinks: tuple[OwnUplink, ...]

    def adopted(self, path: Path) -> Iterator[Path]:
        """`path`, of a router in a LAN, as we announce it. Path id = uplink number."""
        learnt = path.attributes
        for uplink in self.uplinks:
            ours = uplink.attributes
            if len(ours.next_hop) != len(learnt.next_hop):
                continue
            attributes = replace(
                learnt,
                next_hop=ours.next_hop,
                local_pref=0 if GRACEFUL_SHUTDOWN in learnt.communities else ours.local_pref,
                communities=tuple(sorted({*learnt.communities, *ours.communities})),
                extended_communities=(*learnt.extended_communities, *ours.extended_communities),
                large_communities=tuple(sorted({*learnt.large_communities, *ours.large_communities})),
            )
            yield Path(self.source, uplink.number, uplink.number, attributes, stale=path.stale, marks=path.marks)


def adoption_of(plan: Plan, source: Source) -> Adoption | None:
    """None for a gateway without routers in its LANs. `source`: our own."""
    if all(session.peer_role != "lan" for session in plan.sessions):
        return None
    found = ((uplink, own_attributes(plan, (), uplink, family)) for uplink in plan.uplinks for family in Family)
    return Adoption(source, tuple(OwnUplink(uplink.number, ours) for uplink, ours in found if ours is not None))
