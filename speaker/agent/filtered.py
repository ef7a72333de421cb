"""The answer to the ask `filtered`: what import policy refuses, from whom and why, as a looking glass shows it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from speaker.agent.asks import PART_PATHS, BadAsk, Rows, limit_of, overruled, path_fields
from speaker.rib.path import Path, Source
from speaker.rib.prefix import Family, Key, network_of
from speaker.rib.reasons import REASONS
from speaker.rib.rib import SLICE_ROWS, Rib


async def filtered(arguments: Mapping[str, str], rib: Rib) -> dict[str, Any]:
    """Refused paths of all peers, or of the one named `peer`, or for one `reason`; at most `limit`, and as many as fit.

    `counts` are exact; `unkept` are refused announcements of which nothing but their number is kept. Raises BadAsk.
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
    beside = {
        "counts": [
            {"from": source.name, "rejected": code, "reason": REASONS[code], "paths": count}
            for source, code, count in sorted(counts, key=lambda each: (each[0].name, each[1]))
        ],
        "unkept": {source.name: state.unkept for source in wanted if (state := rib.limit_state(source)).unkept},
    }
    rows = Rows(min(limit, total), beside)
    await _find(rib, wanted, rows)
    return {"filtered": rows.told, "total": total, "truncated": total > len(rows.told), **beside}


async def _find(rib: Rib, wanted: Mapping[Source, Mapping[str, int]], rows: Rows) -> None:
    """Fill `rows` with refused paths. No more of the table is looked at than it takes, and that in parts."""
    if not any(wanted.values()):
        return
    for family in Family:
        for looked_at, (key, pathset) in enumerate(rib.walk(family), start=1):
            if not looked_at % SLICE_ROWS:
                await asyncio.sleep(0)
            for path in pathset:
                if path.rejected and path.rejected in wanted.get(path.source, ()):
                    if not rows.add(_row(family, key, path, rib.router.asn)):
                        return
                    if not len(rows.told) % PART_PATHS:
                        await asyncio.sleep(0)


def _row(family: Family, key: Key, path: Path, asn: int) -> dict[str, Any]:
    named = {"prefix": str(network_of(family, key)), "family": family.value}
    return {**named, **path_fields(path, asn), "overruled": overruled(path, asn)}
