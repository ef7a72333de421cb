"""Adj-RIB-Out: what neighbours are told, as a pure function of a path set (RFC 4456, RFC 7911).

Neighbours to whom the same is told form a group; an UPDATE is encoded once per group. So a
client gets its own routes back, and drops them by ORIGINATOR_ID (RFC 4456 8), as any
client of a route reflector has to.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from speaker.rib.attributes import NO_ADVERTISE, Attributes
from speaker.rib.decision import decide, equally_good, local_pref
from speaker.rib.facts import RouterFacts
from speaker.rib.path import Path, PathSet, SourceKind
from speaker.rib.pathset import MEMO_LIMIT
from speaker.rib.prefix import Family, Key
from speaker.rib.table import Change

_TOLD = {
    # Whom we tell, and what: RFC 4456 6. In order: an uplink's path is told from the first kind that has it.
    SourceKind.CLIENT: (SourceKind.LOCAL, SourceKind.CLIENT, SourceKind.PEER),
    SourceKind.PEER: (SourceKind.LOCAL, SourceKind.CLIENT),
    SourceKind.HUB: (SourceKind.LOCAL,),
}

Exports = tuple[tuple[int, Attributes], ...]
"""(path id, attributes) of one prefix, by path id. Without ADD-PATH at most one, with path id 0."""

Delta = tuple[tuple[int, ...], Exports]
"""(path ids withdrawn, what is announced)."""


@dataclass(frozen=True, slots=True)
class ExportGroup:
    """Neighbours that are told the same. `kind` is what such a neighbour is to us."""

    kind: SourceKind
    add_path: bool = True


@dataclass(slots=True)
class Batch:
    """What to encode for one family. A key stands in it at most once per path id, so the order is irrelevant."""

    family: Family
    withdrawn: list[tuple[int, list[Key]]]
    announced: list[tuple[int, Attributes, list[Key]]]


class Exporter:
    """What one group is told, remembered per path set and per transition."""

    def __init__(self, group: ExportGroup, facts: RouterFacts) -> None:
        self.group = group
        self._facts = facts
        self._attributes: dict[int, tuple[Path, Attributes]] = {}
        self._interned: dict[Attributes, Attributes] = {}
        self._exports: dict[int, tuple[PathSet, Exports]] = {}
        self._deltas: dict[tuple[int, int], tuple[PathSet, PathSet, Delta]] = {}

    def exports(self, pathset: PathSet) -> Exports:
        """All that the group is told about a prefix with these paths."""
        memo = self._exports.get(id(pathset))
        if memo is None:
            told = self._told_each(pathset) if self.group.add_path else self._told_best(pathset)
            exports = tuple((path_id, self._sent(path)) for path_id, path in sorted(told.items()))
            if len(self._exports) >= MEMO_LIMIT:
                self._exports.clear()
            self._exports[id(pathset)] = memo = pathset, exports
        return memo[1]

    def delta(self, old: PathSet, new: PathSet) -> Delta:
        """What to say to a group that was told about `old`, so that it knows `new`."""
        memo = self._deltas.get((id(old), id(new)))
        if memo is None:
            before, after = dict(self.exports(old)), dict(self.exports(new))
            gone = tuple(path_id for path_id in before if path_id not in after)
            told = tuple((path_id, sent) for path_id, sent in after.items() if before.get(path_id) != sent)
            if len(self._deltas) >= MEMO_LIMIT:
                self._deltas.clear()
            self._deltas[id(old), id(new)] = memo = old, new, (gone, told)
        return memo[2]

    def batches(self, changes: Iterable[Change]) -> list[Batch]:
        """What to say about `changes`, which must be of one `take`: each key at most once. One batch per family."""
        withdrawn: dict[tuple[Family, int], list[Key]] = {}
        announced: dict[tuple[Family, int, int], tuple[Attributes, list[Key]]] = {}
        for family, old, new, keys in changes:
            gone, told = self.delta(old, new)
            for path_id in gone:
                withdrawn.setdefault((family, path_id), []).extend(keys)
            for path_id, attributes in told:
                announced.setdefault((family, path_id, id(attributes)), (attributes, []))[1].extend(keys)
        batches: dict[Family, Batch] = {}
        for (family, path_id), keys in withdrawn.items():
            batches.setdefault(family, Batch(family, [], [])).withdrawn.append((path_id, keys))
        for (family, path_id, _), (attributes, keys) in announced.items():
            batches.setdefault(family, Batch(family, [], [])).announced.append((path_id, attributes, keys))
        return list(batches.values())

    def _told_each(self, pathset: PathSet) -> dict[int, Path]:
        """One path per uplink: our own or a client's before another hub's copy, the better one of two alike."""
        told: dict[int, Path] = {}
        for kind in _TOLD[self.group.kind]:
            by_uplink: dict[int, list[Path]] = {}
            for path in pathset:
                if path.source.kind is kind and path.uplink not in told and _may_be_told(path):
                    by_uplink.setdefault(path.uplink, []).append(path)
            told |= {uplink: equally_good(paths)[0] for uplink, paths in by_uplink.items()}
        return told

    def _told_best(self, pathset: PathSet) -> dict[int, Path]:
        """Without ADD-PATH: the path that we ourselves prefer, if it is one for this group, else none."""
        best = decide(pathset, 1).best
        if best is None or best.source.kind not in _TOLD[self.group.kind] or not _may_be_told(best):
            return {}
        return {0: best}

    def _sent(self, path: Path) -> Attributes:
        memo = self._attributes.get(id(path))
        if memo is None:
            attributes = self._reflected(path)
            if len(self._interned) >= MEMO_LIMIT:
                self._interned.clear()
            attributes = self._interned.setdefault(attributes, attributes)
            if len(self._attributes) >= MEMO_LIMIT:
                self._attributes.clear()
            self._attributes[id(path)] = memo = path, attributes
        return memo[1]

    def _reflected(self, path: Path) -> Attributes:
        """The attributes on the wire. The next hop is never touched."""
        attributes = replace(path.attributes, local_pref=local_pref(path.attributes))
        if self.group.kind is SourceKind.HUB:
            return attributes
        originator = attributes.originator_id
        if path.source.kind is SourceKind.LOCAL:
            # Ours, not reflected: no CLUSTER_LIST. The name on it lets every copy, direct or through a hub, rank alike.
            return replace(attributes, originator_id=originator or self._facts.router_id)
        return replace(
            attributes,
            originator_id=path.source.router_id if originator is None else originator,
            cluster_list=(self._facts.cluster_id, *attributes.cluster_list),
        )


def _may_be_told(path: Path) -> bool:
    """NO_EXPORT passes, as these are iBGP sessions (RFC 1997)."""
    return not path.rejected and NO_ADVERTISE not in path.attributes.communities
