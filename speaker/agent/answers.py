"""Answers to asks: what is in the tables now, bounded, for people who wonder where a packet goes."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Iterator
from ipaddress import ip_network
from typing import Any, Protocol

from speaker.agent.asks import PART_PATHS, BadAsk, Rows, limit_of, overruled, path_fields
from speaker.agent.explain import ForwardingView, explain
from speaker.agent.filtered import filtered
from speaker.report import Answer, Ask
from speaker.rib.path import Path, PathSet, SourceKind
from speaker.rib.prefix import Family, Key, family_of, key_of, network_of
from speaker.rib.rib import Rib

WHOLE_TABLE = frozenset({"routes", "filtered"})
"""Asks that may look at every row."""


class InstalledView(Protocol):
    """The part of the FIB that says whether a route stands in the kernel."""

    def installed(self, family: Family, key: Key) -> bool: ...


async def answer(ask: Ask, rib: Rib, fib: ForwardingView, own: Collection[bytes] = frozenset()) -> Answer:
    """The answer to `ask`; one with ok=False when it cannot be answered. Raises nothing; lets others have the loop.

    `own`: addresses of this box, in 4 or 16 octets, whatever interface has them.
    """
    try:
        if ask.kind == "routes":
            return Answer(ask.id, ok=True, body=await routes(ask.arguments, rib, fib))
        if ask.kind == "filtered":
            return Answer(ask.id, ok=True, body=await filtered(ask.arguments, rib))
        if ask.kind == "explain":
            return Answer(ask.id, ok=True, body=explain(ask.arguments, rib, fib, own))
        raise BadAsk(
            f"this speaker does not answer {ask.kind!r}; it answers: report, doctor, routes, filtered, explain"
        )
    except BadAsk as error:
        return Answer(ask.id, ok=False, body={"error": str(error)})


async def routes(arguments: dict[str, str], rib: Rib, fib: InstalledView) -> dict[str, Any]:
    """Every path of the prefixes asked for, at most `limit` paths, and as many as fit. Raises BadAsk."""
    found = Rows(limit_of(arguments))
    total, rows = _rows(arguments, rib)
    for route in (route for row in rows for route in _paths(*row, rib, fib)):
        if not found.add(route):
            break
        if not len(found.told) % PART_PATHS:
            await asyncio.sleep(0)
    return {"routes": found.told, "total": total, "truncated": total > len(found.told)}


def _rows(arguments: dict[str, str], rib: Rib) -> tuple[int, Iterable[tuple[Family, Key, PathSet]]]:
    """How many paths there are, and the rows that they stand in. Raises BadAsk."""
    if text := arguments.get("prefix", ""):
        try:
            network = ip_network(text)
        except ValueError as error:
            raise BadAsk(f"{error}; write it like 10.1.0.0/24") from None
        family, key = family_of(network), key_of(network)
        pathset = rib.lookup(family, key)
        return len(pathset), [(family, key, pathset)]
    wanted = arguments.get("family", "")
    if wanted not in ("", *(family.value for family in Family)):
        raise BadAsk(f"{wanted!r} is no family; ipv4 and ipv6 are")
    families = [family for family in Family if wanted in ("", family.value)]
    rows = ((family, key, pathset) for family in families for key, pathset in rib.walk(family))
    return sum(map(rib.paths, families)), rows


def _paths(family: Family, key: Key, pathset: PathSet, rib: Rib, fib: InstalledView) -> Iterator[dict[str, Any]]:
    decision = rib.decide(pathset)
    prefix = str(network_of(family, key))
    for path in pathset:
        used = path in decision.multipath
        yield {
            "prefix": prefix,
            "family": family.value,
            "best": used,
            **path_fields(path, rib.router.asn),
            "overruled": overruled(path, rib.router.asn),
            "installed": used and _from_others(path) and fib.installed(family, key),
        }


def _from_others(path: Path) -> bool:
    return path.source.kind is not SourceKind.LOCAL
