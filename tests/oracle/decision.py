"""Which paths are used (RFC 4271 9.1.2.2, RFC 4456 9)."""

from __future__ import annotations

from tests.oracle.rules import BLACKHOLE, Path
from tests.oracle.words import Tiers

MOST_TIERS = 4


def tied(paths: list[Path]) -> list[Path]:
    """Those of `paths`, at least one, that nothing tells apart up to the IGP cost (steps a to e).

    Step d is left out: hub and spoke must rank alike, and a spoke cannot see by which kind of session a hub learnt a
    path. Step e decides nothing: all next hops are on one segment.
    """
    most = max(path.local_pref for path in paths)
    paths = [path for path in paths if path.local_pref == most]
    shortest = min(len(path.as_path) for path in paths)
    paths = [path for path in paths if len(path.as_path) == shortest]
    lowest = min(path.origin for path in paths)
    paths = [path for path in paths if path.origin == lowest]
    return [path for path in paths if not any(better_med(other, path) for other in paths)]


def better_med(a: Path, b: Path) -> bool:
    """Only of one neighbouring AS; none at all is 0. Our own routes are as of one AS, too."""
    return a.as_path[:1] == b.as_path[:1] and (a.med or 0) < (b.med or 0)


def in_order(paths: list[Path]) -> list[Path]:
    """Steps f (with ORIGINATOR_ID), then CLUSTER_LIST's length (RFC 4456 9), then g; path ids make it total."""
    return sorted(paths, key=lambda path: (path.member.router_id, path.clusters, path.teller, path.path_id))


def best(paths: list[Path]) -> Path:
    """Of at least one."""
    return in_order(tied(paths))[0]


def kernel(paths: list[Path], asn: int, max_paths: int, blackhole: bool) -> Tiers:
    """What the kernel of somebody with these paths, at least one, must do.

    A later tier is what the decision would be without the next hops of those before.
    """
    if blackhole and any(BLACKHOLE in path.communities for path in tied(paths)):
        return ()
    tiers: list[frozenset[str]] = []
    while paths and len(tiers) < MOST_TIERS:
        together = in_order(tied(paths))
        hops: list[str] = []
        for path in together:
            if path.next_hop not in hops:
                hops.append(path.next_hop)
        widest = min([max_paths, *(limit for path in together for limit in limits(asn, path))])
        tiers.append(frozenset(hops[:widest]))
        paths = [path for path in paths if path.next_hop not in tiers[-1]]
    return tuple(tiers)


def limits(asn: int, path: Path) -> list[int]:
    """Of ECMP, by community ASN:10:N."""
    return [int(text.split(":")[2]) for text in path.communities if text.startswith(f"{asn}:10:")]
