"""The path attributes of one route, decoded (RFC 4271 5, RFC 4456, RFC 1997, RFC 4360, RFC 8092)."""

from __future__ import annotations

from dataclasses import dataclass

AS_SET, AS_SEQUENCE, AS_CONFED_SEQUENCE, AS_CONFED_SET = 1, 2, 3, 4
ORIGIN_IGP, ORIGIN_EGP, ORIGIN_INCOMPLETE = 0, 1, 2
GRACEFUL_SHUTDOWN = 0xFFFF0000
NO_EXPORT = 0xFFFFFF01
NO_ADVERTISE = 0xFFFFFF02
NO_EXPORT_SUBCONFED = 0xFFFFFF03

AsSegment = tuple[int, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Attributes:
    """Immutable and compared whole. The decoder hands out one object per distinct attribute bytes,
    so identity is the fast path of equality."""

    next_hop: bytes  # 4 octets, or 16 for IPv6 (the global one; a link-local half is dropped)
    origin: int = ORIGIN_IGP
    as_path: tuple[AsSegment, ...] = ()
    med: int | None = None
    local_pref: int | None = None
    atomic_aggregate: bool = False
    aggregator: tuple[int, bytes] | None = None
    communities: tuple[int, ...] = ()
    originator_id: bytes | None = None
    cluster_list: tuple[bytes, ...] = ()
    extended_communities: tuple[bytes, ...] = ()  # 8 octets each
    large_communities: tuple[tuple[int, int, int], ...] = ()
    unknown: tuple[tuple[int, int, bytes], ...] = ()  # (flags, type, value): transitive ones are passed on


def as_path_length(attributes: Attributes) -> int:
    """RFC 4271 9.1.2.2 a: an AS_SET counts as one; confederation segments count nothing (RFC 5065)."""
    return sum(len(asns) if kind == AS_SEQUENCE else 1 if kind == AS_SET else 0 for kind, asns in attributes.as_path)
