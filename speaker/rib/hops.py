"""What the routing table knows about next hops beside their prefixes: whose uplink each is, and which hubs relay to it.

Fed per UPDATE, never per prefix. For each (source, uplink, family) the last UPDATE counts: prefixes of one
uplink differ in nothing that stands here, but for the moments in which their source announces them anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from speaker.rib.communities import mac_of_hop
from speaker.rib.path import Path, Source
from speaker.rib.prefix import Family

RELAY, LABEL_RELAY = 6, 7
"""Functions of large communities `AS:function:hub`: the hub with this IPv4 overlay address relays to the next hop."""

MAX_HOPS = 1 << 16
"""Entries at most. A fabric has some thousand uplinks; beyond the bound nothing new is learnt of further ones,
which costs their detours and nothing else."""


class Hop(NamedTuple):
    """One next hop, as one source tells of it."""

    next_hop: bytes
    uplink: int  # Number of the far uplink; 0 = unknown.
    relays: frozenset[bytes] = frozenset()  # IPv4 overlay addresses of hubs that have BFD up to it.
    label_relays: frozenset[bytes] = frozenset()  # The same by relay label.
    mac: bytes = b""  # Its Ethernet address, as the hub says (RFC 9135); b"" when it says none.


@dataclass(slots=True)
class _Entry:
    hop: Hop
    stale: bool = False


@dataclass(slots=True)
class Hops:
    """The registry. An entry goes with its source, or at the end of a refresh that did not repeat it.

    An uplink whose last prefix was withdrawn stays until then. That keeps a session that is dead wanted for
    longer, and never makes a dead next hop alive.
    """

    asn: int
    version: int = 0  # Moves with every change, so that users look only then.
    limit: int = MAX_HOPS
    _entries: dict[tuple[Source, int, Family], _Entry] = field(default_factory=dict)
    _last: dict[tuple[Source, Family], Path] = field(default_factory=dict)

    def note(self, family: Family, path: Path) -> None:
        """`path` was announced. The usual call, the same path again, costs one look-up."""
        source = path.source
        if self._last.get((source, family)) is path:
            return
        self._last[source, family] = path
        if path.rejected:
            return
        name = source, path.uplink, family
        hop = self._hop(path)
        entry = self._entries.get(name)
        if entry is not None and entry.hop == hop:
            entry.stale = False
        elif entry is not None or len(self._entries) < self.limit:
            self._entries[name] = _Entry(hop)
            self.version += 1

    def mark_stale(self, source: Source, family: Family) -> None:
        """A refresh begins, or the session was lost."""
        self._last.pop((source, family), None)
        for name, entry in self._entries.items():
            if name[0] == source and name[2] is family:
                entry.stale = True

    def drop_stale(self, source: Source, family: Family) -> None:
        """What `source` did not repeat is gone."""
        self._drop([n for n, e in self._entries.items() if e.stale and n[0] == source and n[2] is family])

    def forget(self, source: Source) -> None:
        for family in Family:
            self._last.pop((source, family), None)
        self._drop([name for name in self._entries if name[0] == source])

    def __iter__(self) -> Iterator[Hop]:
        return (entry.hop for entry in self._entries.values())

    def _drop(self, names: list[tuple[Source, int, Family]]) -> None:
        for name in names:
            del self._entries[name]
            self.version += 1

    def _hop(self, path: Path) -> Hop:
        relays: dict[int, list[bytes]] = {RELAY: [], LABEL_RELAY: []}
        for asn, function, value in path.attributes.large_communities:
            if asn == self.asn and function in relays:
                relays[function].append(value.to_bytes(4, "big"))
        plain, labelled = frozenset(relays[RELAY]), frozenset(relays[LABEL_RELAY])
        mac = mac_of_hop(path.attributes.extended_communities)
        return Hop(path.attributes.next_hop, path.uplink, plain, labelled, mac)
