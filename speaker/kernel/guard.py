"""The last look before a route goes in: what must never stand in table main. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address, ip_network

from speaker.rib.prefix import Family, Key, family_of, key_of, network_of
from speaker.rib.underlay import covering

DEFAULT_ROUTE: Key = b"\0"


class Guard:
    """Import policy filters before; this holds when policy has a hole."""

    def __init__(self, segments: Sequence[str], underlay: Sequence[str] = ()) -> None:
        """Raises ValueError for what is no prefix."""
        networks = [ip_network(segment) for segment in segments]
        self._segments = [(family_of(network), network, key_of(network)) for network in networks]
        # `key.startswith(heads, 1)` is true of every key that could be refused, and cheap for the rest.
        self.heads = tuple(key[1 : 1 + key[0] // 8] for _, _, key in self._segments)
        wider = covering(map(ip_network, underlay))
        self.captors = {family: wider[family] | {DEFAULT_ROUTE} for family in Family}
        """Prefixes whose routes in table main would capture ZeroTier's own packets."""

    def inside(self, address: bytes) -> bool:
        """Whether it is an overlay address."""
        packed = ip_address(address)
        return any(packed in segment for _, segment, _ in self._segments)

    def refuses(self, family: Family, key: Key) -> str:
        """Why the prefix must not be installed; "" when it may."""
        for segment_family, segment, segment_key in self._segments:
            if family is segment_family and key[0] >= segment_key[0]:
                network = network_of(family, key)
                if network.network_address in segment:
                    return f"{network} is inside the segment {segment}"
        return ""
