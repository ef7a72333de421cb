"""What is told by eBGP, where the AS ends: to a client by a hub, as a route server does (RFC 7947), and in a LAN.

The next hop, and the AS_PATH of other eBGP clients, pass a hub untouched. What leaves the fabric itself gets the
fabric's AS (RFC 4271 5.1.2), also where it came in behind a gateway by eBGP. Preference, which does not cross the
border (5.1.5), becomes a MED: the higher the one, the lower the other.
"""

from __future__ import annotations

from dataclasses import replace

from speaker.rib.attributes import (
    AS_CONFED_SEQUENCE,
    AS_CONFED_SET,
    AS_SEQUENCE,
    NO_ADVERTISE,
    NO_EXPORT,
    NO_EXPORT_SUBCONFED,
    AsSegment,
    Attributes,
)
from speaker.rib.communities import without_hop_communities
from speaker.rib.decision import local_pref

HIGHEST_MED = 2**32 - 1
LONGEST_SEGMENT = 255

_STAY_HERE = frozenset({NO_EXPORT, NO_ADVERTISE, NO_EXPORT_SUBCONFED})
_NOT_TRANSITIVE = 0x40  # In the first octet of an extended community (RFC 4360 2).


def may_leave(attributes: Attributes) -> bool:
    """Whether a path with these may be told outside of the AS (RFC 1997)."""
    return _STAY_HERE.isdisjoint(attributes.communities)


def served(attributes: Attributes, asn: int, med: int | None, prepend: int, *, outside: bool = False) -> Attributes:
    """The attributes on the wire.

    `med` is what a rule says, None when none does. `prepend`: how often the fabric's AS is repeated, where it is the
    first one at all. `outside`: it is from another eBGP client.
    """
    # Confederation segments end at the border (RFC 5065 4.1).
    as_path = tuple(each for each in attributes.as_path if each[0] not in (AS_CONFED_SEQUENCE, AS_CONFED_SET))
    return replace(
        attributes,
        as_path=as_path if outside else _prepended(as_path, (asn,) * (1 + prepend)),
        med=HIGHEST_MED - local_pref(attributes) if med is None else med,
        local_pref=None,
        originator_id=None,
        cluster_list=(),
        extended_communities=tuple(c for c in attributes.extended_communities if not c[0] & _NOT_TRANSITIVE),
    )


def given(attributes: Attributes, asn: int, med: int | None, next_hop: bytes) -> Attributes:
    """The same for a router in our LAN: we ourselves are the next hop, and what our communities say stays with us."""
    large = tuple(each for each in attributes.large_communities if each[0] != asn)
    told = served(attributes, asn, med, 0)
    extended = without_hop_communities(told.extended_communities)
    return replace(told, next_hop=next_hop, large_communities=large, extended_communities=extended)


def _prepended(as_path: tuple[AsSegment, ...], asns: tuple[int, ...]) -> tuple[AsSegment, ...]:
    """RFC 4271 5.1.2: into the first segment, unless that is a set or full."""
    if as_path and as_path[0][0] == AS_SEQUENCE and len(asns) + len(as_path[0][1]) <= LONGEST_SEGMENT:
        return ((AS_SEQUENCE, (*asns, *as_path[0][1])), *as_path[1:])
    return ((AS_SEQUENCE, asns), *as_path)
