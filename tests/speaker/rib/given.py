"""Small worlds for the tests of the routing table: few peers, few prefixes, every attribute that matters."""

from __future__ import annotations

import struct
from ipaddress import ip_address, ip_network
from typing import Any

from hypothesis import strategies as st

from speaker.rib.attributes import AS_CONFED_SEQUENCE, AS_SEQUENCE, AS_SET, Attributes
from speaker.rib.facts import RouterFacts
from speaker.rib.path import Path, Source, SourceKind
from speaker.rib.prefix import Family, Key, key_of

ASN = 64512
OWN_ID = ip_address("10.42.0.1").packed
LOCAL = Source("local", SourceKind.LOCAL, b"", OWN_ID)

FACTS = RouterFacts(
    router_id=OWN_ID,
    asn=ASN,
    max_paths=8,
    cluster_id=OWN_ID,
    own_next_hops=frozenset({OWN_ID, ip_address("fd42:42::1").packed}),
    segments=frozenset({ip_network("10.42.0.0/16"), ip_network("fd42:42::/64")}),
    connected=frozenset({ip_network("10.9.8.0/24"), ip_network("2001:db8:9::/48")}),
)


def hop(number: int) -> bytes:
    """The overlay address of uplink `number`."""
    return ip_address(f"10.42.0.{number}").packed


def peer(name: str, kind: SourceKind, number: int) -> Source:
    return Source(name, kind, hop(number), hop(number))


def key(text: str) -> Key:
    return key_of(ip_network(text))


def path(source: Source, number: int, **attributes: Any) -> Path:
    """The path over uplink `number` that `source` announced, as import policy left it."""
    return Path(source, number, number, Attributes(**{"next_hop": hop(number)} | attributes))


def bandwidth(octets: float) -> bytes:
    return struct.pack("!BBHf", 0x40, 4, ASN, octets)


PEERS = (
    peer("client-a", SourceKind.CLIENT, 11),
    peer("client-b", SourceKind.CLIENT, 12),
    peer("peer-a", SourceKind.PEER, 21),
    peer("peer-b", SourceKind.PEER, 22),
)
HUBS = (peer("hub-a", SourceKind.HUB, 31), peer("hub-b", SourceKind.HUB, 32))
KEYS = tuple(map(key, ("10.1.0.0/24", "10.1.1.0/24", "10.2.0.0/16", "192.168.7.0/26")))
KEYS6 = tuple(map(key, ("2001:db8:1::/64", "2001:db8:2::/64")))

as_paths = st.sampled_from(
    (
        (),
        ((AS_SEQUENCE, (65001,)),),
        ((AS_SEQUENCE, (65002,)),),
        ((AS_SEQUENCE, (65001, 65003)),),
        ((AS_SET, (65001, 65003)),),
        ((AS_CONFED_SEQUENCE, (65100,)), (AS_SEQUENCE, (65001,))),
    )
)
attributes = st.builds(
    Attributes,
    next_hop=st.sampled_from([hop(n) for n in (3, 4, 5, 6)]),
    origin=st.sampled_from((0, 0, 2)),
    as_path=as_paths,
    med=st.sampled_from((None, 0, 5, 10)),
    local_pref=st.sampled_from((None, 100, 100, 200)),
    communities=st.sampled_from(((), (), (0xFFFFFF01,), (0xFFFFFF02,))),
    originator_id=st.sampled_from((None, hop(3), hop(4))),
    cluster_list=st.sampled_from(((), (hop(21),), (hop(21), hop(22)))),
    extended_communities=st.sampled_from(
        ((), (bandwidth(1e6),), (bandwidth(1e6),), (bandwidth(3e6),), (bandwidth(0),), (b"\0\2ABCDEF",))
    ),
)


def paths_of(sources: tuple[Source, ...]) -> st.SearchStrategy[list[Path]]:
    """Path lists without two of one (source, path id), in any order."""
    one = st.builds(
        Path,
        source=st.sampled_from(sources),
        path_id=st.integers(1, 3),
        uplink=st.integers(3, 5),
        attributes=attributes,
        stale=st.booleans(),
        rejected=st.sampled_from(("", "", "", "prefix-not-allocated")),
        withheld=st.sampled_from(("", "", "", "connected")),
    )
    return st.lists(one, max_size=7, unique_by=lambda p: (p.source, p.path_id))


families = st.sampled_from(Family)
