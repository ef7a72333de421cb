"""What answers to asks share: how a path reads, and how an ask is refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, ip_address
from typing import Any

import msgspec

from speaker.report import MAX_ANSWER_BYTES
from speaker.rib.attributes import Attributes
from speaker.rib.communities import REASON, community_text, large_text
from speaker.rib.path import Path, SourceKind
from speaker.rib.reasons import REASON_NUMBERS, REASONS

DEFAULT_PATHS, MOST_PATHS = 1000, 20_000
"""That an answer has; less of long ones, see `Rows`."""
PART_PATHS = 100
"""Put into words before the loop looks at its sockets again: about 5 ms."""


BESIDE_OCTETS = 1024
"""Of an answer that is none of its rows, nor of what their number depends on."""


class Rows:
    """The rows of an answer: at most `limit`, and no more than a controller takes in one answer with `beside`."""

    def __init__(self, limit: int, beside: Any = None) -> None:
        self.told: list[dict[str, Any]] = []
        self._limit = limit
        self._room = MAX_ANSWER_BYTES - BESIDE_OCTETS - len(msgspec.json.encode(beside))

    def add(self, row: dict[str, Any]) -> bool:
        """Whether there may be room for another one."""
        self._room -= len(msgspec.json.encode(row)) + 1  # And a comma.
        if self._room >= 0 and len(self.told) < self._limit:
            self.told.append(row)
        return self._room > 0 and len(self.told) < self._limit


class BadAsk(ValueError):
    """The ask makes no sense; the text says what would."""


def limit_of(arguments: Mapping[str, str]) -> int:
    """At most how many paths are wanted. Raises BadAsk."""
    text = arguments.get("limit", "")
    if not text:
        return DEFAULT_PATHS
    if not (text.isascii() and text.isdigit() and 0 < int(text[:9]) <= MOST_PATHS):
        raise BadAsk(f"limit {text!r}: a number from 1 to {MOST_PATHS}")
    return int(text)


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


def overruled(path: Path, asn: int) -> list[str]:
    """What a client says of its path, in words, that a hub puts its own in the place of."""
    if path.source.kind is not SourceKind.CLIENT or path.received is None:
        return []
    return list(_overruled(path, path.received, asn))


def _overruled(path: Path, received: Attributes, asn: int) -> Iterator[str]:
    judged = path.attributes
    if (received.local_pref or 0) > (judged.local_pref or 0):  # Less is no claim: 100 is everybody's default.
        yield f"LOCAL_PREF {received.local_pref}"
    if path.path_id and path.uplink and path.path_id != path.uplink:
        yield f"path id {path.path_id}"
    if received.originator_id is not None and judged is not received:
        yield f"ORIGINATOR_ID {IPv4Address(received.originator_id)}"
    yield from (large_text(each) for each in received.large_communities if _taken(each, judged, asn))
    gone = set(received.extended_communities).difference(judged.extended_communities)
    yield from (f"extended 0x{each.hex()}" for each in sorted(gone))


def _taken(community: tuple[int, int, int], judged: Attributes, asn: int) -> bool:
    return community[0] == asn and community not in judged.large_communities
