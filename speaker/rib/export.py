"""Adj-RIB-Out: what neighbours are told, as a pure function of a path set (RFC 4456, RFC 7911, RFC 7947).

Neighbours to whom the same is told form a group; an UPDATE is encoded once per group. So an
iBGP client gets its own routes back, and drops them by ORIGINATOR_ID (RFC 4456 8), as any
client of a route reflector has to. An eBGP client is a group of its own, for it does not; so is a router in our LAN.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from speaker.plan import MOST_PREPENDED
from speaker.rib.attributes import NO_ADVERTISE, Attributes
from speaker.rib.carried import Carried, carried
from speaker.rib.communities import LargeCommunity
from speaker.rib.decision import Decider, decide, equally_good, local_pref
from speaker.rib.facts import RouterFacts
from speaker.rib.hops import RELAY
from speaker.rib.lan import Adoption
from speaker.rib.path import Path, PathSet, SourceKind
from speaker.rib.pathset import MEMO_LIMIT
from speaker.rib.prefix import Family, Key
from speaker.rib.served import given, may_leave, served
from speaker.rib.steps import CompiledPolicy, evaluate
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


@dataclass(frozen=True, eq=False)
class View:
    """What a viewer's paths go through. Compared by identity, as it stands in every group: see `agent.sessions`."""

    policy: CompiledPolicy


@dataclass(frozen=True, slots=True)
class LanRouter:
    """A neighbour in our LAN."""

    name: str  # As `Source.name`.
    next_hop: bytes  # Our address there.


@dataclass(frozen=True, slots=True)
class ExportGroup:
    """Neighbours that are told the same. `kind` is what such a neighbour is to us."""

    kind: SourceKind
    add_path: bool = True
    view: View | None = None
    ebgp: bool = False
    own: frozenset[int] = frozenset()  # Over eBGP: numbers of its uplinks, whose paths it is not told.
    outside: frozenset[int] = frozenset()  # Over eBGP: numbers of all eBGP clients' uplinks.
    adoption: Adoption | None = None  # How paths of routers in our LANs become ours.
    lan: LanRouter | None = None  # Of the kind LAN: who it is.
    sees_otherwise: bool = False  # Its view is not our own: by our routes its packets might go elsewhere, or nowhere.


@dataclass(slots=True)
class Batch:
    """What to encode for one family. A key stands in it at most once per path id, so the order is irrelevant."""

    family: Family
    withdrawn: list[tuple[int, list[Key]]]
    announced: list[tuple[int, Attributes, list[Key]]]


class _Seen(NamedTuple):
    """A path as the group sees it."""

    path: Path
    med: int | None  # What a rule says.
    prepend: int


class Exporter:
    """What one group is told, remembered per path set and per transition."""

    def __init__(self, group: ExportGroup, facts: RouterFacts) -> None:
        self.group = group
        self._facts = facts
        self._used = Decider(1, view=None if group.view is None else _looks(group.view.policy))
        self._seen: dict[int, tuple[Path, _Seen | None]] = {}
        self._attributes: dict[int, tuple[_Seen, Attributes]] = {}
        self._interned: dict[Attributes, Attributes] = {}
        self._exports: dict[int, tuple[PathSet, Exports]] = {}
        self._deltas: dict[tuple[int, int], tuple[PathSet, PathSet, Delta]] = {}

    def exports(self, pathset: PathSet) -> Exports:
        """All that the group is told about a prefix with these paths."""
        memo = self._exports.get(id(pathset))
        if memo is None:
            told = self._told(pathset)
            exports = tuple((path_id, self._sent(seen)) for path_id, seen in sorted(told.items()))
            if len(self._exports) >= MEMO_LIMIT:
                self._exports.clear()
            self._exports[id(pathset)] = memo = pathset, exports
        return memo[1]

    def delta(self, old: PathSet, new: PathSet) -> Delta:
        """What to say to a group that was told about `old`, so that it knows `new`."""
        memo = self._deltas.get((id(old), id(new)))
        if memo is None:
            if len(self._deltas) >= MEMO_LIMIT:
                self._deltas.clear()
            self._deltas[id(old), id(new)] = memo = old, new, _delta((self.exports(old),), self.exports(new))
        return memo[2]

    def batches(self, changes: Iterable[Change], formers: Sequence[Exporter] = ()) -> list[Batch]:
        """What to say about `changes`, which must be of one `take`: each key at most once. One batch per family.

        With `formers` to those who know of each key what we, or any of these, said of its old path set. So whose
        view changes is led from one exporter to the next, by changes from a path set to the same one.
        """
        withdrawn: dict[tuple[Family, int], list[Key]] = {}
        announced: dict[tuple[Family, int, int], tuple[Attributes, list[Key]]] = {}
        for family, old, new, keys in changes:
            if formers:
                gone, told = _delta([each.exports(old) for each in (*formers, self)], self.exports(new))
            else:
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

    def _told(self, pathset: PathSet) -> dict[int, _Seen]:
        if self.group.lan is not None:
            return self._told_in_lan(pathset, self.group.lan)
        paths = self._with_adopted(pathset)
        return self._told_each(paths) if self.group.add_path else self._told_best(paths)

    def _told_in_lan(self, pathset: PathSet, router: LanRouter) -> dict[int, _Seen]:
        """What we use ourselves, by our own view (RFC 4271 9.1.3): packets for it come to us. Never its own."""
        best = self._used(pathset).best
        if best is None or (best.source.kind is SourceKind.LAN and best.source.name == router.name):
            return {}
        seen = self._see(best)
        return {} if seen is None else {0: seen}

    def _with_adopted(self, pathset: PathSet) -> PathSet:
        """`pathset` with what a LAN's router announces as our own, unless we announce the prefix anyhow."""
        if self.group.adoption is None:
            return pathset
        learnt = [path for path in pathset if path.source.kind is SourceKind.LAN and not path.rejected]
        if not learnt or any(path.source.kind is SourceKind.LOCAL for path in pathset):
            return pathset
        return *pathset, *self.group.adoption.adopted(equally_good(learnt)[0])

    def _told_each(self, pathset: PathSet) -> dict[int, _Seen]:
        """One path per uplink: our own or a client's before another hub's copy, the better one of two alike."""
        told: dict[int, _Seen] = {}
        for kind in _TOLD[self.group.kind]:
            by_uplink: dict[int, list[_Seen]] = {}
            for path in pathset:
                if path.source.kind is kind and path.uplink not in told and (seen := self._see(path)) is not None:
                    by_uplink.setdefault(path.uplink, []).append(seen)
            told |= {uplink: _best(seen) for uplink, seen in by_uplink.items()}
        return told

    def _told_best(self, pathset: PathSet) -> dict[int, _Seen]:
        """Without ADD-PATH: a client's is the best of what it may see, our own prefixes among it (RFC 7947 2.3.2).

        For others it is the path that we ourselves prefer, if it is one for this group, else none.
        """
        kinds = _TOLD[self.group.kind]
        if self.group.kind is SourceKind.CLIENT:
            visible = [seen for path in pathset if path.source.kind in kinds and (seen := self._see(path)) is not None]
            return {0: _best(visible)} if visible else {}
        best = decide(pathset, 1).best
        if best is None or best.source.kind not in kinds:
            return {}
        seen = self._see(best)
        return {} if seen is None else {0: seen}

    def _see(self, path: Path) -> _Seen | None:
        """`path` in the eyes of the group; None when it is not told."""
        memo = self._seen.get(id(path))
        if memo is None:
            if len(self._seen) >= MEMO_LIMIT:
                self._seen.clear()
            self._seen[id(path)] = memo = path, self._look(path)
        return memo[1]

    def _look(self, path: Path) -> _Seen | None:
        group = self.group
        if path.rejected or (path.kept and group.lan is None) or (group.ebgp and path.uplink in group.own):
            return None
        at_import = carried(path.attributes, self._facts.asn)
        seen = _Seen(path, *at_import) if group.view is None else _through(group.view.policy, path, at_import)
        if seen is None:
            return None
        if not group.ebgp:
            # NO_EXPORT passes, as this is an iBGP session (RFC 1997).
            return None if NO_ADVERTISE in seen.path.attributes.communities else seen
        return seen if may_leave(seen.path.attributes) else None

    def _sent(self, seen: _Seen) -> Attributes:
        memo = self._attributes.get(id(seen))
        if memo is None:
            attributes = self._served(seen) if self.group.ebgp else self._reflected(seen.path)
            if len(self._interned) >= MEMO_LIMIT:
                self._interned.clear()
            attributes = self._interned.setdefault(attributes, attributes)
            if len(self._attributes) >= MEMO_LIMIT:
                self._attributes.clear()
            self._attributes[id(seen)] = memo = seen, attributes
        return memo[1]

    def _served(self, seen: _Seen) -> Attributes:
        path, asn = seen.path, self._facts.asn
        if self.group.lan is not None:
            return given(path.attributes, asn, seen.med, self.group.lan.next_hop)
        return served(path.attributes, asn, seen.med, seen.prepend, outside=path.uplink in self.group.outside)

    def _reflected(self, path: Path) -> Attributes:
        """The attributes on the wire. The next hop is never touched."""
        attributes = replace(
            path.attributes, local_pref=local_pref(path.attributes), large_communities=self._large(path)
        )
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

    def _large(self, path: Path) -> tuple[LargeCommunity, ...]:
        """Without offers of detours by plain IP through a hub that does not rank as those who are told.

        We ourselves put them on a client's path. Another hub says such a thing only if it has no view of its own.
        By view and not by path, for what is said of a next hop is believed for all its prefixes (`hops`).
        """
        others_offer = path.source.kind is SourceKind.PEER
        large = path.attributes.large_communities
        if not (self.group.view is not None if others_offer else self.group.sees_otherwise):
            return large
        return tuple(each for each in large if each[:2] != (self._facts.asn, RELAY))


def _delta(known: Iterable[Exports], told: Exports) -> Delta:
    """What to say to one who knows one of `known`, whichever, so that it knows `told` and nothing else."""
    possible, after = [dict(each) for each in known], dict(told)
    gone = dict.fromkeys(path_id for before in possible for path_id in before if path_id not in after)
    new = tuple((path_id, sent) for path_id, sent in told if any(each.get(path_id) != sent for each in possible))
    return tuple(gone), new


def _best(candidates: list[_Seen]) -> _Seen:
    best = equally_good([seen.path for seen in candidates])[0]
    return next(seen for seen in candidates if seen.path is best)


def _looks(policy: CompiledPolicy) -> Callable[[Path], Attributes | None]:
    return lambda path: evaluate(policy, path.attributes, path.marks).attributes


def _through(policy: CompiledPolicy, path: Path, at_import: Carried) -> _Seen | None:
    """`path` as `policy` leaves it; None when it denies it."""
    verdict = evaluate(policy, path.attributes, path.marks)
    if verdict.attributes is None:
        return None
    med = at_import.med if verdict.med is None else verdict.med
    prepend = min(at_import.prepend + verdict.prepend, MOST_PREPENDED)
    return _Seen(replace(path, attributes=verdict.attributes), med, prepend)
