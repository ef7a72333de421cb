"""Sets of address space, asked about prefixes by the thousand.

A prefix is looked up by its leading octets, so the cost does not grow with the number of
spans. A span whose length is no multiple of eight is stored as the up to 128 octet strings
that it covers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Network, IPv6Network
from operator import itemgetter
from typing import Any

from speaker.rib.prefix import Key

Network = IPv4Network | IPv6Network


def heads(network: Network) -> Iterator[bytes]:
    """The leading octets of every prefix inside `network`, as many octets as its length needs."""
    length, spare = (network.prefixlen + 7) // 8, -network.prefixlen % 8
    base = network.network_address.packed[:length]
    for low in range(1 << spare):
        yield base[:-1] + bytes((base[-1] + low,)) if base else b""


class Spans:
    """Address space of one family. Each span allows prefixes from its own length to its `longest`."""

    def __init__(self, spans: Iterable[tuple[Network, int]]) -> None:
        self._take((network, network.prefixlen, longest) for network, longest in spans)

    def _take(self, ranges: Iterable[tuple[Network, int, int]]) -> None:
        tables: dict[int, dict[bytes, int]] = {}
        for network, shortest, longest in ranges:
            lengths = (1 << (longest + 1)) - (1 << max(shortest, network.prefixlen))
            if lengths <= 0:
                continue
            table = tables.setdefault((network.prefixlen + 7) // 8, {})
            for head in heads(network):
                table[head] = table.get(head, 0) | lengths
        # Bit n of a value: prefixes of length n are inside. [octets + 1] is where the head ends in a key.
        self._tables = [(octets + 1, table) for octets, table in sorted(tables.items())]
        self._filters: list[tuple[itemgetter[Any], frozenset[bytes]]] | None = None  # Made when first asked for.

    @classmethod
    def between(cls, ranges: Iterable[tuple[Network, int, int]]) -> Spans:
        """Prefixes inside each network that are from so long to so long."""
        spans = cls(())
        spans._take(ranges)
        return spans

    @classmethod
    def covering(cls, networks: Iterable[Network]) -> Spans:
        """Every prefix that equals or is more specific than one of `networks`."""
        return cls((network, network.max_prefixlen) for network in networks)

    def __contains__(self, key: Key) -> bool:
        return any(table.get(key[1:end], 0) >> key[0] & 1 for end, table in self._tables)

    def split(self, keys: Sequence[Key]) -> tuple[Sequence[Key], Sequence[Key]]:
        """(inside, outside)."""
        tables = self._tables
        if len(tables) == 1:
            ((end, table),) = tables
            get = table.get
            inside = [key for key in keys if get(key[1:end], 0) >> key[0] & 1]
        else:
            inside = [key for key in keys if key in self]
        if len(inside) == len(keys):
            return keys, ()
        if not inside:
            return (), keys
        known = set(inside)
        return inside, [key for key in keys if key not in known]

    def touches(self, keys: Sequence[Key]) -> bool:
        """False: surely none of `keys` is inside. True: look closer. No Python code per key."""
        if self._filters is None:
            self._filters = [(itemgetter(slice(1, end)), found) for end, found in self._coarse().items()]
        return any(not found.isdisjoint(map(head, keys)) for head, found in self._filters)

    def _coarse(self) -> dict[int, frozenset[bytes]]:
        """Heads of two octets for the short spans, and of all octets for the long ones, by end of the slice."""
        short: set[bytes] = set()
        coarse: dict[int, frozenset[bytes]] = {}
        for end, table in self._tables:
            if end > 3:
                coarse[end] = frozenset(table)
                continue
            for head in table:
                # A key shorter than two octets shows a shorter head.
                for octets in range(len(head), 3):
                    short.update(_extensions(head, octets))
        return coarse | ({3: frozenset(short)} if short else {})


def _extensions(head: bytes, octets: int) -> Iterator[bytes]:
    missing = octets - len(head)
    for low in range(1 << (8 * missing)):
        yield head + low.to_bytes(missing, "big")
