"""Why each path of a prefix is used, or is not: the decision once more, slowly, with words. Nothing here is memoised.

`decision.decide` says what is done; people ask `why`. The two agree: a property test holds them together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import NamedTuple

from speaker.plan import MAX_TIERS
from speaker.rib.attributes import Attributes, as_path_length
from speaker.rib.communities import BLACKHOLE, MAX_PATHS
from speaker.rib.decision import equally_good, local_pref, neighbour_as, tie_break, widest
from speaker.rib.path import OWN as OURS
from speaker.rib.path import Path, SourceKind
from speaker.rib.reasons import REASONS
from speaker.rib.steps import Verdict

View = Callable[[Path], Verdict]
ORIGINS = ("IGP", "EGP", "incomplete")

REFUSED, BY_RULE, WITHHELD, OWN, LIMIT = "refused", "rule", "withheld", "own", "max_paths"
"""What keeps a path out beside the steps of the decision."""
_OUT = (WITHHELD, REFUSED)
"""Never to be used, whatever becomes of the others."""


@dataclass(frozen=True, slots=True)
class Why:
    """A path and its fate. Without a `step` it is used: it is in `Decision.multipath`."""

    path: Path
    looks: Attributes  # As this gateway's own view has it.
    step: str = ""  # LOCAL_PREF, AS_PATH, ORIGIN or MED (RFC 4271 9.1.1, 9.1.2.2 a-c), or a constant above.
    words: str = ""
    by: Path | None = None  # What beat it.
    tier: int = 0  # 1 is used; the next ones wait until nobody before them is alive; 0: none.
    copy_of: Path | None = None  # The better path with the same next hop: the two are one member.
    rules: tuple[str, ...] = ()  # Of the own view, that acted on it.


@dataclass(frozen=True, slots=True)
class _Loss:
    step: str = ""
    words: str = ""
    by: Path | None = None


_NO_LOSS = _Loss()


class _Seen(NamedTuple):
    path: Path
    looks: Path  # As the view has it; the very path when it changes nothing.
    rules: tuple[str, ...]


def why(
    paths: Iterable[Path], max_paths: int, asn: int = 0, *, blackhole: bool = False, view: View | None = None
) -> list[Why]:
    """Every path once: the used ones as in `Decision.multipath`, those that wait, then those that are out.

    Arguments as of `decide`; `view`: how this gateway sees paths that are not its own.
    """
    seen, hidden = _seen(paths, view)
    candidates = [each.looks for each in seen if not each.looks.rejected]
    if any(path.source.kind is SourceKind.LOCAL for path in candidates):
        lost, tiers = _own_first(candidates)
    elif any(path.source.kind is SourceKind.LAN for path in candidates):
        lost, tiers = _lan_first(candidates, max_paths, asn, blackhole)
    else:
        lost, tiers = _tiers(candidates, max_paths, asn, blackhole)
    lost.update((id(each.looks), _refused(each.looks)) for each in seen if each.looks.rejected)
    placed = {id(path): number for number, tier in enumerate(tiers, 1) for path in tier}
    real = {id(each.looks): each.path for each in seen}
    leaders: dict[bytes, Path] = {}
    found: list[Why] = []
    for path, looks, rules in sorted(seen, key=lambda each: _order(each.looks, lost, placed)):
        loss = lost.get(id(looks), _NO_LOSS)
        if id(looks) in placed:
            leaders.setdefault(looks.attributes.next_hop, path)
        leader = None if loss.step in _OUT else leaders.get(looks.attributes.next_hop)
        found.append(
            Why(
                path,
                looks.attributes,
                step=loss.step,
                words=loss.words,
                by=None if loss.by is None else real[id(loss.by)],
                tier=placed.get(id(looks), 0),
                copy_of=None if leader is path else leader,
                rules=rules,
            )
        )
    return found + hidden


def _order(path: Path, lost: dict[int, _Loss], placed: dict[int, int]) -> tuple[object, ...]:
    """The used ones, those that wait, by tier; then those that are out, the better first, the refused ones last."""
    loss = lost.get(id(path), _NO_LOSS)
    out = _OUT.index(loss.step) + 1 if loss.step in _OUT else 0
    tier = placed.get(id(path), MAX_TIERS + 1)
    return bool(loss.step), out, tier, -local_pref(path.attributes) if loss.step else 0, tie_break(path)


def _seen(paths: Iterable[Path], view: View | None) -> tuple[list[_Seen], list[Why]]:
    """(those that the view shows, those that it denies)."""
    seen: list[_Seen] = []
    hidden: list[Why] = []
    for path in paths:
        verdict = None if view is None or path.rejected or _is_own(path) else view(path)
        if verdict is None or verdict.attributes is path.attributes:
            seen.append(_Seen(path, path, () if verdict is None else verdict.rules))
        elif verdict.attributes is None:
            words = f"rule {verdict.rules[-1]} denies it here"
            hidden.append(Why(path, path.attributes, BY_RULE, words, rules=verdict.rules))
        else:
            seen.append(_Seen(path, replace(path, attributes=verdict.attributes), verdict.rules))
    return seen, hidden


def _own_first(candidates: Sequence[Path]) -> tuple[dict[int, _Loss], list[list[Path]]]:
    own = [path for path in candidates if path.source.kind is SourceKind.LOCAL]
    lost = dict(_losses(own))
    words = "this gateway announces the prefix itself, and its own comes first"
    lost.update((id(path), _Loss(OWN, words)) for path in candidates if path.source.kind is not SourceKind.LOCAL)
    return lost, []


def _lan_first(
    candidates: Sequence[Path], max_paths: int, asn: int, blackhole: bool
) -> tuple[dict[int, _Loss], list[list[Path]]]:
    lan = [path for path in candidates if path.source.kind is SourceKind.LAN]
    lost, tiers = _tiers(lan, max_paths, asn, blackhole)
    words = "a router in this gateway's own LAN announces the prefix, and that comes first"
    lost.update((id(path), _Loss(OWN, words)) for path in candidates if path.source.kind is not SourceKind.LAN)
    return lost, tiers


def _tiers(
    candidates: Sequence[Path], max_paths: int, asn: int, blackhole: bool
) -> tuple[dict[int, _Loss], list[list[Path]]]:
    """(what beat each that is not used, the paths of the tiers). What keeps a path out beat it in the first round."""
    rest = [path for path in candidates if not path.withheld]
    lost = {id(path): _Loss(WITHHELD, REASONS[path.withheld]) for path in candidates if path.withheld}
    if not rest:
        return lost, []
    lost.update(_losses(rest))
    tied = equally_good(rest)
    if blackhole and any(BLACKHOLE in path.attributes.communities for path in tied):
        return lost, []
    lost.update(_beyond(tied, max_paths, asn))
    tiers: list[list[Path]] = []
    while rest and len(tiers) < MAX_TIERS:
        tied = equally_good(rest)
        hops = _hops(tied)[: widest(tied, max_paths, asn)]
        tiers.append([path for path in tied if path.attributes.next_hop in hops])
        rest = [path for path in rest if path.attributes.next_hop not in hops]
    return lost, tiers


def _hops(tied: Sequence[Path]) -> list[bytes]:
    return list(dict.fromkeys(path.attributes.next_hop for path in tied))


def _beyond(tied: Sequence[Path], max_paths: int, asn: int) -> Iterator[tuple[int, _Loss]]:
    """Those that are as good as the used ones, but too many."""
    number = widest(tied, max_paths, asn)
    hops = _hops(tied)[:number]
    last = next((path for path in tied if path.attributes.next_hop == hops[-1]), None)
    used = "1 equal path is used" if number == 1 else f"{number} equal paths are used"
    said = f" (community {asn}:{MAX_PATHS}:{number})" if number < max_paths else ""
    for path in tied:
        if path.attributes.next_hop not in hops and last is not None:
            yield id(path), _Loss(LIMIT, f"only {used}{said}, and {_tie_broken(path, last)}", last)


# The steps (RFC 4271 9.1.1, 9.1.2.2)


def _losses(paths: Sequence[Path]) -> Iterator[tuple[int, _Loss]]:
    """What beat each that does not tie for the best: the first step at which it is worse than another."""
    left = list(paths)
    for step, rank, words in _STEPS:
        winner = min(left, key=lambda path: (rank(path), tie_break(path)))
        for path in left:
            if rank(path) > rank(winner):
                yield id(path), _Loss(step, words(path.attributes, winner.attributes), winner)
        left = [path for path in left if rank(path) == rank(winner)]
    lowest: dict[int, Path] = {}
    for path in sorted(left, key=lambda each: (each.attributes.med or 0, tie_break(each))):
        winner = lowest.setdefault(neighbour_as(path.attributes), path)
        mine, its = path.attributes.med or 0, winner.attributes.med or 0
        if mine > its:
            yield id(path), _Loss("MED", f"MED {mine} is higher than {its} of the same neighbour AS (step c)", winner)


def _local_pref_words(loser: Attributes, winner: Attributes) -> str:
    return f"LOCAL_PREF {local_pref(loser)} is lower than {local_pref(winner)}"


def _as_path_words(loser: Attributes, winner: Attributes) -> str:
    return f"AS_PATH of {as_path_length(loser)} is longer than that of {as_path_length(winner)} (step a)"


def _origin_words(loser: Attributes, winner: Attributes) -> str:
    return f"ORIGIN {ORIGINS[loser.origin]} comes after {ORIGINS[winner.origin]} (step b)"


_STEPS: tuple[tuple[str, Callable[[Path], int], Callable[[Attributes, Attributes], str]], ...] = (
    ("LOCAL_PREF", lambda path: -local_pref(path.attributes), _local_pref_words),
    ("AS_PATH", lambda path: as_path_length(path.attributes), _as_path_words),
    ("ORIGIN", lambda path: path.attributes.origin, _origin_words),
)
"""Steps d and e decide nothing: all sessions behave like iBGP ones, and all next hops lie on one segment."""


def _tie_broken(loser: Path, winner: Path) -> str:
    """By which of the tie-breaks f and g, and those of RFC 4456 9, the one comes after the other."""
    mine, its = tie_break(loser), tie_break(winner)
    if mine[0] != its[0]:
        return f"router id {ip_address(mine[0])} comes after {ip_address(its[0])} (step f)"
    if mine[1] != its[1]:
        return f"CLUSTER_LIST of {mine[1]} is longer than that of {its[1]} (RFC 4456 9)"
    if mine[2] != its[2] and mine[2] and its[2]:
        return f"peer address {ip_address(mine[2])} comes after {ip_address(its[2])} (step g)"
    if mine[2:4] != its[2:4]:
        return f"peer {mine[3]} comes after {its[3]}"
    return f"path id {mine[4]} comes after {its[4]}"


def _refused(path: Path) -> _Loss:
    return _Loss(REFUSED, REASONS.get(path.rejected, path.rejected))


def _is_own(path: Path) -> bool:
    return path.source.kind in OURS
