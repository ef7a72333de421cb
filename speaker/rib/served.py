"""What an eBGP client is told: a hub serves it as a route server does (RFC 7947), and maps what stays inside an AS.

Next hop and the AS_PATH of others pass untouched. What begins in the fabric gets the fabric's AS (RFC 4271 5.1.2);
preference, which does not cross the border (5.1.5), becomes a MED: the higher the one, the lower the other.
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
    Attributes,
)
from speaker.rib.decision import local_pref

HIGHEST_MED = 2**32 - 1

_STAY_HERE = frozenset({NO_EXPORT, NO_ADVERTISE, NO_EXPORT_SUBCONFED})
_NOT_TRANSITIVE = 0x40  # In the first octet of an extended community (RFC 4360 2).


def may_leave(attributes: Attributes) -> bool:
    """Whether a path with these may be told outside of the AS (RFC 1997)."""
    return _STAY_HERE.isdisjoint(attributes.communities)


def served(attributes: Attributes, asn: int, med: int | None, prepend: int) -> Attributes:
    """The attributes on the wire.

    `med` is what a rule says, None when none does. `prepend`: how often the fabric's AS is repeated, where it is the
    first one at all.
    """
    # Confederation segments end at the border (RFC 5065 4.1).
    as_path = tuple(each for each in attributes.as_path if each[0] not in (AS_CONFED_SEQUENCE, AS_CONFED_SET))
    return replace(
        attributes,
        as_path=as_path or ((AS_SEQUENCE, (asn,) * (1 + prepend)),),
        med=HIGHEST_MED - local_pref(attributes) if med is None else med,
        local_pref=None,
        originator_id=None,
        cluster_list=(),
        extended_communities=tuple(c for c in attributes.extended_communities if not c[0] & _NOT_TRANSITIVE),
    )
