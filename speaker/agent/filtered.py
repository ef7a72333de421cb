"""The answer to the ask `filtered`: what import policy refuses, from whom and why, as a looking glass shows it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from speaker.agent.asks import BadAsk, limit_of, overruled, path_fields
from speaker.rib.path import Path, Source
from speaker.rib.prefix import Family, Key, network_of
from speaker.rib.reasons import REASONS
from speaker.rib.rib import Rib


def filtered(arguments: Mapping[str, str], rib: Rib) -> dict[str, Any]:
    """Refused paths of all peers, or of the one named `peer`, or for one `reason`; at most `limit`. Raises BadAsk.

    `counts` are exact; `unkept` are refused announcements of which nothing but their number is kept.
    """
    limit, peer, reason = limit_of(arguments), arguments.get("peer", ""), arguments.get("reason", "")
    if reason and reason not in REASONS:
        raise BadAsk(f"{reason!r} is no reason; there is {', '.join(REASONS)}")
    wanted = {
        source: {code: count for code, count in reasons.items() if reason in ("", code)}
        for source, reasons in rib.refused().items()
        if peer in ("", source.name)
    }
    counts = [(source, code, count) for source, reasons in wanted.items() for code, count in reasons.items()]
    total = sum(count for _, _, count in counts)
    rows = [
        {
            "prefix": str(network_of(family, key)),
            "family": family.value,
            **path_fields(path, rib.router.asn),
            "overruled": overruled(path, rib.router.asn),
        }
        for family, key, path in _paths(rib, wanted, min(limit, total))
    ]
    return {
        "filtered": rows,
        "total": total,
        "truncated": total > len(rows),
        "counts": [
            {"from": source.name, "rejected": code, "reason": REASONS[code], "paths": count}
            for source, code, count in sorted(counts, key=lambda each: (each[0].name, each[1]))
        ],
        "unkept": {source.name: state.unkept for source in wanted if (state := rib.limit_state(source)).unkept},
    }


def _paths(rib: Rib, wanted: Mapping[Source, Mapping[str, int]], number: int) -> Iterator[tuple[Family, Key, Path]]:
    """`number` refused paths. No more of the table is looked at than it takes to find them."""
    if not number:
        return
    for family in Family:
        for key, pathset in rib.walk(family):
            for path in pathset:
                if path.rejected and path.rejected in wanted.get(path.source, ()):
                    yield family, key, path
                    number -= 1
                    if not number:
                        return
