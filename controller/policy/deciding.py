"""The decision that speakers make (RFC 4271 9.1.2.2 and multipath), with words for every path that it leaves out.

All next hops lie on one segment, so the IGP cost is equal everywhere and never decides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from controller.inventory.matching import Origin
from controller.inventory.model import Address
from controller.policy.judging import BLACKHOLE, MAX_PREFERENCE, Judged
from speaker.plan import MAX_TIERS, MOST_PREPENDED


@dataclass(frozen=True, slots=True)
class Source:
    """A next hop: an uplink of a gateway (GATEWAY/UPLINK), or a client."""

    key: str
    origin: Origin
    provider: str
    number: int
    router_id: int  # The address of the member's first uplink, as a number.
    address: Address | None
    address6: Address | None
    preference: int
    class_preference: int  # Of the circuit class alone: how good a line it is.
    bandwidth: int
    asn: int  # Of an eBGP client; 0: the fabric's own.
    drained: bool

    def reaches(self, version: int) -> bool:
        """Whether prefixes of this IP version can have it as their next hop."""
        return version == 4 or self.address6 is not None

    def __hash__(self) -> int:  # Of the one field that tells them apart: they are keys of large tables.
        return hash(self.key)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A path and its fate. `tier` 1 is in use, 2 and more wait, 0 is out; `beaten` says why it is not in the first."""

    source: Source
    judged: Judged
    tier: int
    beaten: str
    med: int | None = None  # As the decision sees it: to an eBGP client it says what LOCAL_PREF says inside.


@dataclass(frozen=True, slots=True)
class Decision:
    """`candidates` from the best to the worst, then the denied ones; `tiers` as the kernel may use them, in order."""

    candidates: tuple[Candidate, ...]
    tiers: tuple[tuple[Source, ...], ...]
    discard: bool = False  # Packets to it are refused (RFC 7999): there are no tiers.

    @property
    def allowed(self) -> tuple[Candidate, ...]:
        """All that may ever carry traffic."""
        return () if self.discard else tuple(each for each in self.candidates if not each.judged.denied)


@dataclass(frozen=True, slots=True)
class Decider:
    """How one kind of viewer decides."""

    max_paths: int
    served: bool = False  # By eBGP, from what a route server tells it (RFC 7947): LOCAL_PREF does not get there.
    ours: bool = True  # It knows what our own communities say: BLACKHOLE, where that is honoured, and max_paths.
    blackhole: bool = False


class _Path(NamedTuple):
    """A path as it looks to who decides."""

    source: Source
    judged: Judged
    preference: int
    as_path: int  # Length.
    neighbour: int  # The AS that it comes from, for MED; 0: the fabric's.
    med: int | None
    served: bool

    @classmethod
    def of(cls, source: Source, judged: Judged, by: Decider) -> _Path:
        if not by.served:
            return cls(source, judged, judged.preference, 1 if source.asn else 0, source.asn, judged.med, False)
        # A route server leaves AS_PATH of other clients alone, and adds the fabric's AS to what is the fabric's.
        as_path = 1 if source.asn else 1 + min(judged.prepend, MOST_PREPENDED)
        med = MAX_PREFERENCE - judged.preference if judged.med is None else judged.med
        return cls(source, judged, 0, as_path, source.asn, med, True)

    @property
    def its_med(self) -> int:
        return self.med or 0


def decide(judged: Sequence[tuple[Source, Judged]], by: Decider) -> Decision:
    """Their order is irrelevant. A later tier is the decision without the next hops of those before it."""
    paths = [_Path.of(source, its, by) for source, its in judged]
    rest = sorted((path for path in paths if not path.judged.denied), key=_tie_break)
    denied = sorted((path for path in paths if path.judged.denied), key=_tie_break)
    out = [_candidate(path, 0, path.judged.denied) for path in denied]
    if rest and by.ours and by.blackhole:
        best, lost = _best(rest)
        if any(BLACKHOLE in path.judged.communities for path in best):
            lost.update((path.source.key, "it or its equal has BLACKHOLE (RFC 7999)") for path in best)
            refused = [_candidate(path, 0, lost[path.source.key]) for path in rest]
            return Decision((*refused, *out), (), discard=True)
    tiers: list[tuple[Source, ...]] = []
    placed: list[Candidate] = []
    why: dict[str, str] = {}
    while rest and len(tiers) < MAX_TIERS:
        best, lost = _best(rest)
        limit, said = _limit(best, by)
        lost.update((path.source.key, f"only {limit} equal paths are used ({said})") for path in best[limit:])
        why = why or lost  # What keeps a path out of use is what beat it the first time.
        used = best[:limit]
        tiers.append(tuple(path.source for path in used))
        placed += [_candidate(path, len(tiers), why.get(path.source.key, "")) for path in used]
        chosen = {path.source.key for path in used}
        rest = [path for path in rest if path.source.key not in chosen]
    placed += [_candidate(path, 0, why[path.source.key]) for path in rest]
    return Decision((*placed, *out), tuple(tiers))


def _candidate(path: _Path, tier: int, beaten: str) -> Candidate:
    return Candidate(path.source, path.judged, tier, beaten, path.med)


def _best(paths: Sequence[_Path]) -> tuple[list[_Path], dict[str, str]]:
    """Those that tie up to the IGP step, in the order of the tie-breaks after it; and what beat each of the others."""
    lost: dict[str, str] = {}
    left = _lowest(paths, lambda path: -path.preference, _by_preference, lost)
    left = _lowest(left, lambda path: path.as_path, _by_as_path, lost)
    lowest: dict[int, _Path] = {}
    for path in sorted(left, key=lambda path: path.its_med):  # Stable: the first of equal ones.
        lowest.setdefault(path.neighbour, path)
    kept = []
    for path in left:
        winner = lowest[path.neighbour]
        if path.its_med > winner.its_med:
            lost[path.source.key] = _by_med(path, winner)
        else:
            kept.append(path)
    return kept, lost


def _lowest(
    paths: Sequence[_Path],
    rank: Callable[[_Path], int],
    words: Callable[[_Path, _Path], str],
    lost: dict[str, str],
) -> Sequence[_Path]:
    winner = min(paths, key=rank)
    best = rank(winner)
    lost.update((path.source.key, words(path, winner)) for path in paths if rank(path) > best)
    return [path for path in paths if rank(path) == best]


def _by_preference(loser: _Path, winner: _Path) -> str:
    source, judged = loser.source, loser.judged
    better, its = winner.source, winner.judged
    if judged.drained and not its.drained:
        why = (
            f"rule {judged.drained_by} gives it GRACEFUL_SHUTDOWN"
            if judged.drained_by
            else f"{source.origin.member} is drained"
        )
        return f"{why}: LOCAL_PREF 0, whatever rules say"
    said = f"LOCAL_PREF {judged.preference} is lower than {its.preference} of {better.key}"
    moved = [
        f"{key} by {' and '.join(rules)}"
        for key, rules in ((better.key, its.preferred), (source.key, judged.preferred))
        if rules
    ]
    return f"{said} ({'; '.join(moved)})" if moved else said


def _by_as_path(loser: _Path, winner: _Path) -> str:
    if not loser.served:
        return f"AS_PATH is longer than that of {winner.source.key}, which is of the fabric's own AS"
    prepends = ": rules prepend the fabric's AS" if loser.judged.prepend else ""
    return f"AS_PATH of {loser.as_path} is longer than {winner.as_path} of {winner.source.key}{prepends}"


def _by_med(loser: _Path, winner: _Path) -> str:
    said = f"MED {loser.its_med} is higher than {winner.its_med} of another path from its AS"
    if not loser.served or loser.judged.med is not None or winner.judged.med is not None:
        return said
    return f"{said}: {_by_preference(loser, winner)}, told as MED"


def _limit(best: Sequence[_Path], by: Decider) -> tuple[int, str]:
    """(How many may be used, what says so)."""
    said = [(path.judged.max_paths, path.judged.limited_by) for path in best if path.judged.max_paths and by.ours]
    least, rule = min(said, default=(by.max_paths, ""))
    return (least, f"max_paths of rule {rule}") if least < by.max_paths else (by.max_paths, "max_paths of the fabric")


def _tie_break(path: _Path) -> tuple[int, int]:
    """RFC 4271 9.1.2.2 f: ORIGINATOR_ID; then the path id, which is the uplink's number."""
    return path.source.router_id, path.source.number
