"""Which paths are used: RFC 4271 9.1.2.2 with the steps of RFC 4456 9, multipath, and what comes after them.

All next hops lie on one segment, so the IGP cost (step e) is equal everywhere, and all
sessions are iBGP or behave like it, so step d decides nothing either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from speaker.plan import MAX_TIERS
from speaker.rib.attributes import AS_CONFED_SEQUENCE, AS_CONFED_SET, AS_SEQUENCE, Attributes, as_path_length
from speaker.rib.communities import BLACKHOLE, MAX_PATHS, bandwidth_of
from speaker.rib.path import OWN, Member, Path, PathSet, SourceKind, Tier, Tiers
from speaker.rib.pathset import MEMO_LIMIT

DEFAULT_LOCAL_PREF = 100
MAX_WEIGHT = 255


View = Callable[[Path], Attributes | None]
"""How a path looks to us; None: as if it were not there."""


@dataclass(frozen=True, slots=True)
class Decision:
    best: Path | None  # The one path that a neighbour without ADD-PATH is told.
    multipath: tuple[Path, ...]  # All whose next hops make the first tier, the best one first.
    tiers: Tiers  # What the kernel may use; () when the route is our own, or not to be installed here.
    discard: bool = False  # Packets to it are to be refused (RFC 7999): a route of its own, without next hop.

    @property
    def route(self) -> Tiers | None:
        """What the kernel gets: () is an unreachable route, None is no route."""
        return () if self.discard else self.tiers or None


NOTHING = Decision(None, (), ())


class Decider:
    """`decide` for one router, remembered per path set. Equal tiers are one object, so users may go by identity.

    With a `view` it decides about paths as they look; the decision names them as they are. Our own prefixes are
    our own however they look.
    """

    def __init__(self, max_paths: int, *, asn: int = 0, blackhole: bool = False, view: View | None = None) -> None:
        self._decide = partial(decide, max_paths=max_paths, asn=asn, blackhole=blackhole)
        self._view = view
        self._memo: dict[int, tuple[PathSet, Decision]] = {}
        self._tiers: dict[Tiers, Tiers] = {}

    def __call__(self, pathset: PathSet) -> Decision:
        memo = self._memo.get(id(pathset))
        if memo is None:
            decision = self._decide(pathset) if self._view is None else self._as_seen(pathset, self._view)
            if len(self._tiers) >= MEMO_LIMIT:
                self._tiers.clear()
            tiers = self._tiers.setdefault(decision.tiers, decision.tiers)
            if len(self._memo) >= MEMO_LIMIT:
                self._memo.clear()
            self._memo[id(pathset)] = memo = pathset, replace(decision, tiers=tiers)
        return memo[1]

    def _as_seen(self, pathset: PathSet, view: View) -> Decision:
        real: dict[int, Path] = {}
        seen: list[Path] = []
        for path in pathset:
            own = path.source.kind in OWN
            attributes = path.attributes if own or path.rejected else view(path)
            if attributes is not None:
                looks = path if attributes is path.attributes else replace(path, attributes=attributes)
                real[id(looks)] = path
                seen.append(looks)
        decision = self._decide(seen)
        best = None if decision.best is None else real[id(decision.best)]
        return replace(decision, best=best, multipath=tuple(real[id(path)] for path in decision.multipath))


def decide(paths: Iterable[Path], max_paths: int, asn: int = 0, *, blackhole: bool = False) -> Decision:
    """The decision over `paths`. Their order is irrelevant. Rejected ones are out, stale ones are in.

    `asn`: whose large communities say how many paths may be used at once; `blackhole`: BLACKHOLE is honoured.

    Our own prefix beats all and has no tiers, one of a router in our LAN beats what is left. A later tier is what the
    decision would be if the next hops of the tiers before it did not exist; at most MAX_TIERS.
    """
    candidates = [path for path in paths if not path.rejected]
    if not candidates:
        return NOTHING
    own = [path for path in candidates if path.source.kind is SourceKind.LOCAL]
    if own:
        tied = equally_good(own)
        return Decision(tied[0], tuple(tied), ())
    candidates = [path for path in candidates if path.source.kind is SourceKind.LAN] or candidates
    best = equally_good(candidates)[0]
    tiers: list[Tier] = []
    multipath: tuple[Path, ...] = ()
    rest = [path for path in candidates if not path.withheld]
    while rest and len(tiers) < MAX_TIERS:
        tied = equally_good(rest)
        if blackhole and not tiers and any(BLACKHOLE in path.attributes.communities for path in tied):
            return Decision(best, tuple(tied), (), discard=True)
        # One next hop is one member, however many copies there are of its path (two hubs); the best copy speaks.
        chosen = dict.fromkeys(path.attributes.next_hop for path in tied)
        hops = set(list(chosen)[: widest(tied, max_paths, asn)])
        used = [path for path in tied if path.attributes.next_hop in hops]
        tiers.append(tier_of(used))
        multipath = multipath or tuple(used)
        rest = [path for path in rest if path.attributes.next_hop not in hops]
    return Decision(best, multipath, tuple(tiers))


def widest(tied: Iterable[Path], max_paths: int, asn: int) -> int:
    """How many of these equally good next hops may be used at once: the least that anybody says."""
    said = (
        number
        for path in tied
        for whose, function, number in path.attributes.large_communities
        if function == MAX_PATHS and whose == asn and number
    )
    return min(max_paths, min(said, default=max_paths))


def equally_good(candidates: Sequence[Path]) -> list[Path]:
    """All of `candidates` (at least one) that tie up to the IGP step, in the order of the tie-breaks after it."""
    left = _lowest(candidates, lambda path: -local_pref(path.attributes))
    left = _lowest(left, lambda path: as_path_length(path.attributes))
    left = _lowest(left, lambda path: path.attributes.origin)
    return sorted(_lowest_med(left), key=tie_break)


def local_pref(attributes: Attributes) -> int:
    return DEFAULT_LOCAL_PREF if attributes.local_pref is None else attributes.local_pref


def tie_break(path: Path) -> tuple[bytes, int, bytes, str, int]:
    """RFC 4271 9.1.2.2 f and g, with ORIGINATOR_ID and CLUSTER_LIST as RFC 4456 9 says; then, to be total, path id."""
    attributes, source = path.attributes, path.source
    router_id = source.router_id if attributes.originator_id is None else attributes.originator_id
    return router_id, len(attributes.cluster_list), source.address, source.name, path.path_id


def neighbour_as(attributes: Attributes) -> int:
    """The AS that the route was received from (RFC 4271 9.1.2.2 c); 0 stands for our own."""
    for kind, asns in attributes.as_path:
        if kind in (AS_CONFED_SEQUENCE, AS_CONFED_SET):  # Inside our AS, as others see it (RFC 5065 5.3).
            continue
        return asns[0] if kind == AS_SEQUENCE and asns else 0
    return 0


def tier_of(paths: Sequence[Path]) -> Tier:
    """The members of `paths`, by next hop. Weights only when every member says its bandwidth, and they differ."""
    bandwidths: dict[bytes, float | None] = {}
    for path in paths:
        bandwidths.setdefault(path.attributes.next_hop, bandwidth_of(path.attributes.extended_communities))
    known = [bandwidth for bandwidth in bandwidths.values() if bandwidth is not None]
    if len(known) < len(bandwidths) or len(set(known)) == 1:
        return tuple(Member(hop, 1) for hop in sorted(bandwidths))
    most = max(known)
    return tuple(
        Member(hop, max(1, round(MAX_WEIGHT * bandwidth / most)))
        for hop, bandwidth in sorted(bandwidths.items())
        if bandwidth is not None
    )


def _lowest(paths: Sequence[Path], rank: Callable[[Path], int]) -> Sequence[Path]:
    if len(paths) == 1:
        return paths
    ranks = list(map(rank, paths))
    best = min(ranks)
    return [path for path, its in zip(paths, ranks, strict=True) if its == best]


def _lowest_med(paths: Sequence[Path]) -> Sequence[Path]:
    """MED says something only among paths from one AS; absent is 0. Whoever is beaten in its AS goes, in one step."""
    lowest: dict[int, int] = {}
    for path in paths:
        asn, med = neighbour_as(path.attributes), path.attributes.med or 0
        lowest[asn] = min(med, lowest.get(asn, med))
    return [path for path in paths if (path.attributes.med or 0) == lowest[neighbour_as(path.attributes)]]
