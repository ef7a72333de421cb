"""What a router in a LAN of ours announces goes on as our own: once per uplink, as a prefix of the plan does.

AS_PATH, ORIGIN, MED and the router's own communities stay as learnt, so its AS finds a loop that leads back to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from speaker.plan import Plan
from speaker.rib.attributes import GRACEFUL_SHUTDOWN, Attributes
from speaker.rib.intent import intent_of
from speaker.rib.local import own_attributes, ruled
from speaker.rib.path import Path, Source
from speaker.rib.prefix import Family
from speaker.rib.steps import CompiledPolicy


@dataclass(frozen=True, slots=True)
class OwnUplink:
    """An uplink in one family."""

    number: int
    attributes: Attributes  # Of what the plan announces over it.
    policy: CompiledPolicy | None = None  # What a hub's rules make of what it announces over it.


@dataclass(frozen=True, eq=False)
class Adoption:
    """How such paths become ours. Compared by identity, as it stands in every export group: see `agent.sessions`."""

    source: Source  # Our own.
    uplinks: tuple[OwnUplink, ...]
    asn: int

    def adopted(self, path: Path) -> Iterator[Path]:
        """`path`, of a router in a LAN, as we announce it. Path id = uplink number."""
        learnt = path.attributes
        for uplink in self.uplinks:
            own = uplink.attributes
            if len(own.next_hop) != len(learnt.next_hop):
                continue
            attributes = replace(
                learnt,
                next_hop=own.next_hop,
                local_pref=0 if GRACEFUL_SHUTDOWN in learnt.communities else own.local_pref,
                communities=tuple(sorted({*learnt.communities, *own.communities})),
                extended_communities=(*learnt.extended_communities, *own.extended_communities),
                large_communities=tuple(sorted({*learnt.large_communities, *own.large_communities})),
            )
            ours = Path(self.source, uplink.number, uplink.number, attributes, stale=path.stale, marks=path.marks)
            yield ruled(ours, uplink.policy, self.asn)


def adoption_of(plan: Plan, source: Source) -> Adoption | None:
    """None for a gateway without routers in its LANs. `source`: our own."""
    if all(session.peer_role != "lan" for session in plan.sessions):
        return None
    policies = intent_of(plan).policies
    found = ((uplink, own_attributes(plan, (), uplink, family)) for uplink in plan.uplinks for family in Family)
    uplinks = (OwnUplink(up.number, own, policies.get(up.policy)) for up, own in found if own is not None)
    return Adoption(source, tuple(uplinks), plan.asn)
