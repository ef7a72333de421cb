"""The routing table, said as obviously as possible: the oracle of the tests.

Written from RFC 4271, 4456, 7911 and 10005, without a memo, an index or a slice, and
without a look at decision, export or policy: it imports only the words that all share.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from speaker.rib.attributes import AS_CONFED_SEQUENCE, AS_CONFED_SET, AS_SEQUENCE, AS_SET, Attributes
from speaker.rib.path import Path, Source, SourceKind
from speaker.rib.prefix import Family, Key

NO_ADVERTISE = 0xFFFFFF02


def pref(path: Path) -> int:
    return 100 if path.attributes.local_pref is None else path.attributes.local_pref


def length(path: Path) -> int:
    count = 0
    for kind, asns in path.attributes.as_path:
        if kind == AS_SET:
            count += 1
        if kind == AS_SEQUENCE:
            count += len(asns)
    return count


def neighbour(path: Path) -> int | None:
    outside = [s for s in path.attributes.as_path if s[0] not in (AS_CONFED_SEQUENCE, AS_CONFED_SET)]
    if not outside or outside[0][0] == AS_SET or not outside[0][1]:
        return None
    return outside[0][1][0]


def med(path: Path) -> int:
    return path.attributes.med or 0


def router_id(path: Path) -> bytes:
    return path.attributes.originator_id or path.source.router_id


# Each step: is `a` beaten by `b`? RFC 4271 9.1.2.2, a to c (d and e decide nothing here).
UP_TO_IGP: list[Callable[[Path, Path], bool]] = [
    lambda a, b: pref(a) < pref(b),
    lambda a, b: length(a) > length(b),
    lambda a, b: a.attributes.origin > b.attributes.origin,
    lambda a, b: neighbour(a) == neighbour(b) and med(a) > med(b),
]
# f, RFC 4456 9, g; the rest makes it total.
AFTER: list[Callable[[Path, Path], bool]] = [
    lambda a, b: router_id(a) > router_id(b),
    lambda a, b: len(a.attributes.cluster_list) > len(b.attributes.cluster_list),
    lambda a, b: a.source.address > b.source.address,
    lambda a, b: a.source.name > b.source.name,
    lambda a, b: a.path_id > b.path_id,
]


def survivors(paths: list[Path], steps: list[Callable[[Path, Path], bool]]) -> list[Path]:
    for beaten in steps:
        paths = [a for a in paths if not any(beaten(a, b) for b in paths)]
    return paths


def usable(paths: Iterable[Path]) -> list[Path]:
    fine = [path for path in paths if not path.rejected]
    own = [path for path in fine if path.source.kind is SourceKind.LOCAL]
    return own or fine


def best(paths: Iterable[Path]) -> Path | None:
    left = survivors(usable(paths), UP_TO_IGP + AFTER)
    assert len(left) <= 1
    return left[0] if left else None


def in_order(paths: list[Path]) -> list[Path]:
    """From the best to the worst by the steps after the tie."""
    ordered = []
    while paths:
        (first,) = survivors(paths, AFTER)
        ordered.append(first)
        paths = [path for path in paths if path is not first]
    return ordered


def bandwidth(path: Path) -> float | None:
    """RFC 10005: of several the lowest."""
    found = []
    for community in path.attributes.extended_communities:
        if community[1] == 4 and community[0] in (0x00, 0x40):
            value = struct.unpack("!f", community[4:8])[0]
            if not math.isnan(value) and not math.isinf(value) and value >= 0:
                found.append(value)
    return min(found) if found and min(found) > 0 else None


def tiers(paths: Iterable[Path], max_paths: int, most: int) -> list[dict[bytes, int]]:
    """Each tier as {next hop: weight}."""
    rest = [path for path in usable(paths) if not path.withheld]
    if any(path.source.kind is SourceKind.LOCAL for path in rest):
        return []
    found: list[dict[bytes, int]] = []
    while rest and len(found) < most:
        speakers: dict[bytes, Path] = {}
        for path in in_order(survivors(rest, UP_TO_IGP)):
            if path.attributes.next_hop not in speakers and len(speakers) < max_paths:
                speakers[path.attributes.next_hop] = path
        widths = {hop: bandwidth(path) for hop, path in speakers.items()}
        if None in widths.values() or len(set(widths.values())) == 1:
            found.append(dict.fromkeys(widths, 1))
        else:
            widest = max(width for width in widths.values() if width)
            found.append({hop: max(1, round(255 * (width or 0) / widest)) for hop, width in widths.items()})
        rest = [path for path in rest if path.attributes.next_hop not in speakers]
    return found


def told(paths: Iterable[Path], to: SourceKind, add_path: bool, own_id: bytes) -> dict[int, Attributes]:
    """path id -> attributes, for a neighbour that is `to` to us."""
    paths = list(paths)
    if add_path:
        chosen = {}
        for uplink in {path.uplink for path in paths}:
            ours = [p for p in paths if p.uplink == uplink and may_tell(p, to)]
            for kind in (SourceKind.LOCAL, SourceKind.CLIENT, SourceKind.PEER, SourceKind.HUB):
                of_kind = [p for p in ours if p.source.kind is kind]
                if of_kind:
                    chosen[uplink] = survivors(of_kind, UP_TO_IGP + AFTER)[0]
                    break
    elif to is SourceKind.CLIENT:
        chosen = dict(enumerate(survivors([p for p in paths if may_tell(p, to)], UP_TO_IGP + AFTER)))
    else:
        first = best(paths)
        chosen = {0: first} if first is not None and may_tell(first, to) else {}
    return {path_id: on_the_wire(path, to, own_id) for path_id, path in chosen.items()}


def may_tell(path: Path, to: SourceKind) -> bool:
    """RFC 4456 6: from a non-client to clients only; from a client to all. A spoke tells only its own."""
    if path.rejected or NO_ADVERTISE in path.attributes.communities:
        return False
    if path.source.kind is SourceKind.LOCAL:
        return True
    if path.source.kind is SourceKind.CLIENT:
        return to in (SourceKind.CLIENT, SourceKind.PEER)
    return path.source.kind is SourceKind.PEER and to is SourceKind.CLIENT


def on_the_wire(path: Path, to: SourceKind, own_id: bytes) -> Attributes:
    sent = replace(path.attributes, local_pref=pref(path))
    if to is SourceKind.HUB:
        return sent
    if sent.originator_id is None:
        sent = replace(sent, originator_id=path.source.router_id)
    if path.source.kind is not SourceKind.LOCAL:
        sent = replace(sent, cluster_list=(own_id, *sent.cluster_list))
    return sent


Place = tuple[Source, Family, Key, int]


@dataclass
class Model:
    """Adj-RIB-In as one flat dictionary; every order takes effect at once, on everything."""

    held: dict[Place, tuple[Attributes, bool]] = field(default_factory=dict)  # (as received, stale)

    def announce(self, place: Place, attributes: Attributes) -> None:
        self.held[place] = attributes, False

    def withdraw(self, place: Place) -> None:
        self.held.pop(place, None)

    def mark(self, source: Source, family: Family) -> None:
        for place, (attributes, _) in list(self.held.items()):
            if place[:2] == (source, family):
                self.held[place] = attributes, True

    def purge(self, source: Source, family: Family, only_stale: bool) -> None:
        for place, (_, stale) in list(self.held.items()):
            if place[:2] == (source, family) and (stale or not only_stale):
                del self.held[place]
