"""What rules at import say to eBGP clients, carried by large communities: MED and prepending.

The hub that tells such a client may be another one than the hub that heard the origin, and neither attribute says by
itself that a rule was it. Like all communities of the fabric's AS they are the hubs' word, and stripped from clients'.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from speaker.plan import MOST_PREPENDED
from speaker.rib.attributes import Attributes
from speaker.rib.communities import RULED_MED, RULED_PREPEND
from speaker.rib.steps import Verdict


class Carried(NamedTuple):
    med: int | None  # None: no rule says one.
    prepend: int  # How often the fabric's AS is prepended, beyond the usual.


def carrying(verdict: Verdict, asn: int) -> Attributes | None:
    """The attributes of `verdict`, with what eBGP clients are to be told; None when it denies the path."""
    attributes = verdict.attributes
    if attributes is None or (verdict.med is None and not verdict.prepend):
        return attributes
    said = [(asn, RULED_MED, verdict.med)] if verdict.med is not None else []
    said += [(asn, RULED_PREPEND, verdict.prepend)] if verdict.prepend else []
    return replace(attributes, large_communities=tuple(sorted({*attributes.large_communities, *said})))


def carried(attributes: Attributes, asn: int) -> Carried:
    """What a path says by its communities. Of several the least counts."""
    ours = [(function, value) for whose, function, value in attributes.large_communities if whose == asn]
    med = min((value for function, value in ours if function == RULED_MED), default=None)
    prepend = min((value for function, value in ours if function == RULED_PREPEND), default=0)
    return Carried(med, min(prepend, MOST_PREPENDED))
