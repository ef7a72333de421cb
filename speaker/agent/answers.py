"""Answers to asks: what is in the tables now, bounded, for people who wonder where a packet goes."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from ipaddress import ip_network
from typing import Any, Protocol

from speaker.agent.asks import BadAsk, limit_of, overruled, path_fields
from speaker.agent.explain import ForwardingView, explain
from speaker.agent.filtered import filtered
from speaker.report import Answer, Ask
from speaker.rib.path import Path, PathSet, SourceKind
from speaker.rib.prefix import Family, Key, family_of, key_of, network_of
from speaker.rib.rib import Rib


class InstalledView(Protocol):
    """The part of the FIB that says whether a route stands in the kernel."""

    def installed(self, family: Family, key: Key) -> bool: ...


def answer(ask: Ask, rib: Rib, fib: ForwardingView, own: Collection[bytes] = frozenset()) -> Answer:
    """The answer to `ask`; one with ok=False when it cannot be answered. Raises nothing.

    `own`: addresses of this box, in 4 or 16 octets, whatever interface has them.
    """
    try:
        if ask.kind == "routes":
            return Answer(ask.id, ok=True, body=routes(ask.arguments, rib, fib))
        if ask.kind == "filtered":
            return Answer(ask.id, ok=True, body=filtered(ask.arguments, rib))
        if ask.kind == "explain":
            return Answer(ask.id, ok=True, body=explain(ask.arguments, rib, fib, own))
        raise BadAsk(
            f"this speaker does not answer {ask.kind!r}; it answers: report, doctor, routes, filtered, explain"
        )
    except BadAsk as error:
        return Answer(ask.id, ok=False, body={"error": str(error)})


def routes(arguments: dict[str, str], rib: Rib, fib: InstalledView) -> dict[str, Any]:
    """Every path of the prefixes asked for, at most `limit` paths. Raises BadAsk."""
    limit = limit_of(arguments)
    found: list[dict[str, Any]] = []
    total = 0
    for family, key, pathset in _rows(arguments, rib):
        total += len(pathset)
        if len(found) < limit:
            found += _paths(family, key, pathset, rib, fib)
    return {"routes": found[:limit], "total": total, "truncated": total > limit}


def _rows(arguments: dict[str, str], rib: Rib) -> Iterator[tuple[Family, Key, PathSet]]:
    if text := arguments.get("prefix", ""):
        try:
            network = ip_network(text)
        except ValueError as error:
            raise BadAsk(f"{error}; write it like 10.1.0.0/24") from None
        family, key = family_of(network), key_of(network)
        if pathset := rib.lookup(family, key):
            yield family, key, pathset
        return
    wanted = arguments.get("family", "")
    if wanted not in ("", *(family.value for family in Family)):
        raise BadAsk(f"{wanted!r} is no family; ipv4 and ipv6 are")
    for family in Family:
        if wanted in ("", family.value):
            for key, pathset in rib.walk(family):
                yield family, key, pathset


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
