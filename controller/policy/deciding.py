"""The decision that speakers make (RFC 4271 9.1.2.2 and multipath), with words for every path that it leaves out.

All next hops lie on one segment, so the IGP cost is equal everywhere and never decides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from controller.inventory.matching import Origin
from controller.inventory.model import Address
from controller.policy.judging import Judged

MAX_TIERS = 4
"""As the speakers have it: the best set, and three to fall back to without a decision."""


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


@dataclass(frozen=True, slots=True)
class Decision:
    """`candidates` from the best to the worst, then the denied ones; `tiers` as the kernel may use them, in order."""

    candidates: tuple[Candidate, ...]
    tiers: tuple[tuple[Source, ...], ...]

    @property
    def allowed(self) -> tuple[Candidate, ...]:
        """All that may ever carry traffic."""
        return tuple(each for each in self.candidates if not each.judged.denied)


_Path = tuple[Source, Judged]


def decide(paths: Sequence[_Path], max_paths: int) -> Decision:
    """Their order is irrelevant. A later tier is the decision without the next hops of those before it."""
    rest = sorted((path for path in paths if not path[1].denied), key=_tie_break)
    tiers: list[tuple[Source, ...]] = []
    placed: list[Candidate] = []
    why: dict[str, str] = {}
    while rest and len(tiers) < MAX_TIERS:
        best, lost = _best(rest)
        limit, said = _limit(best, max_paths)
        lost.update((source.key, f"only {limit} equal paths are used ({said})") for source, _ in best[limit:])
        why = why or lost  # What keeps a path out of use is what beat it the first time.
        used = best[:limit]
        tiers.append(tuple(source for source, _ in used))
        placed += [Candidate(source, judged, len(tiers), why.get(source.key, "")) for source, judged in used]
        chosen = {source.key for source, _ in used}
        rest = [path for path in rest if path[0].key not in chosen]
    placed += [Candidate(source, judged, 0, why[source.key]) for source, judged in rest]
    denied = sorted((path for path in paths if path[1].denied), key=_tie_break)
    placed += [Candidate(source, judged, 0, judged.denied) for source, judged in denied]
    return Decision(tuple(placed), tuple(tiers))


def _best(paths: Sequence[_Path]) -> tuple[list[_Path], dict[str, str]]:
    """Those that tie up to the IGP step, in the order of the tie-breaks after it; and what beat each of the others."""
    lost: dict[str, str] = {}
    left = _lowest(paths, lambda path: -path[1].preference, _by_preference, lost)
    left = _lowest(left, lambda path: _as_path_length(path[0]), _by_as_path, lost)
    lowest: dict[int, int] = {}
    for source, judged in left:
        lowest[source.asn] = min(judged.med or 0, lowest.get(source.asn, judged.med or 0))
    kept = []
    for source, judged in left:
        if (judged.med or 0) > lowest[source.asn]:
            lost[source.key] = f"MED {judged.med} is higher than {lowest[source.asn]} of another path from its AS"
        else:
            kept.append((source, judged))
    return kept, lost


def _lowest(
    paths: Sequence[_Path],
    rank: Callable[[_Path], int],
    words: Callable[[_Path, _Path], str],
    lost: dict[str, str],
) -> Sequence[_Path]:
    winner = min(paths, key=rank)
    best = rank(winner)
    lost.update((path[0].key, words(path, winner)) for path in paths if rank(path) > best)
    return [path for path in paths if rank(path) == best]


def _by_preference(loser: _Path, winner: _Path) -> str:
    (source, judged), (better, its) = loser, winner
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


def _by_as_path(_: _Path, winner: _Path) -> str:
    return f"AS_PATH is longer than that of {winner[0].key}, which is of the fabric's own AS"


def _as_path_length(source: Source) -> int:
    return 1 if source.asn else 0


def _limit(best: Sequence[_Path], max_paths: int) -> tuple[int, str]:
    """(How many may be used, what says so)."""
    limits = [(judged.max_paths, judged.limited_by) for _, judged in best if judged.max_paths]
    least, by = min(limits, default=(max_paths, ""))
    return (least, f"max_paths of rule {by}") if least < max_paths else (max_paths, "max_paths of the fabric")


def _tie_break(path: _Path) -> tuple[int, int]:
    """RFC 4271 9.1.2.2 f: ORIGINATOR_ID; then the path id, which is the uplink's number."""
    return path[0].router_id, path[0].number
