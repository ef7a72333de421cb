"""What answers to asks share: how a path reads, and how an ask is refused."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from speaker.rib.attributes import Attributes
from speaker.rib.communities import REASON, community_text, large_text
from speaker.rib.path import Path
from speaker.rib.reasons import REASON_NUMBERS, REASONS


class BadAsk(ValueError):
    """The ask makes no sense; the text says what would."""


def path_fields(path: Path, asn: int) -> dict[str, Any]:
    """A path as JSON. `asn`: the fabric's."""
    attributes = path.attributes
    return {
        "next_hop": str(ip_address(attributes.next_hop)),
        "from": path.source.name,
        "path_id": path.path_id,
        "local_pref": attributes.local_pref,
        "as_path": _as_path_text(attributes),
        "med": attributes.med,
        "communities": _communities(path, asn),
        "stale": path.stale,
        "rejected": path.rejected or path.withheld,
        "reason": REASONS.get(path.rejected or path.withheld, ""),
        "rules": list(path.rules),
    }


def _communities(path: Path, asn: int) -> list[str]:
    """Of both kinds. A path that is kept as filtered says why, as a looking glass does."""
    large = path.attributes.large_communities
    if path.rejected:
        large += ((asn, REASON, REASON_NUMBERS[path.rejected]),)
    return [*map(large_text, large), *map(community_text, path.attributes.communities)]


def _as_path_text(attributes: Attributes) -> str:
    return " ".join(str(asn) for _, asns in attributes.as_path for asn in asns)
