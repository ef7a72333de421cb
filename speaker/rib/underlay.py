"""Prefixes that would capture ZeroTier's own packets, had they a route in table main."""

from __future__ import annotations

from collections.abc import Iterable

from speaker.rib.prefix import Family, Key, family_of, key_of
from speaker.rib.spans import Network


def covering(underlay: Iterable[Network]) -> dict[Family, frozenset[Key]]:
    """All prefixes that contain one of `underlay` and more, the default routes left out: at most 127 for each."""
    found: dict[Family, set[Key]] = {family: set() for family in Family}
    for network in underlay:
        wider = (network.supernet(new_prefix=length) for length in range(1, network.prefixlen))
        found[family_of(network)].update(map(key_of, wider))
    return {family: frozenset(keys) for family, keys in found.items()}
