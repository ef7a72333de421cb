"""What the tests of the UPDATE codec tell tshark, BIRD and FRR, and how they say what those answered."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

from speaker.bgp.encode import Announced
from speaker.rib.attributes import AS_SEQUENCE, AS_SET, Attributes
from speaker.rib.path import Update
from speaker.rib.prefix import Family, Key, key_of, network_of
from tests.interop.tinybgp import Speaker
from tests.speaker.bgp_codec.describe import describe_attributes

OWN, PEER = "10.9.0.1", "10.9.0.2"
LINK = ["10.9.0.1/24", "fd09::1/64"], ["10.9.0.2/24", "fd09::2/64"]
BOTH = (Family.IPV4, Family.IPV6)

RICH = Attributes(
    next_hop=ip_address("10.9.0.3").packed,
    origin=1,
    as_path=((AS_SEQUENCE, (65010, 4200000001)), (AS_SET, (7, 8))),
    med=9,
    local_pref=210,
    atomic_aggregate=True,
    aggregator=(4200000001, ip_address("10.9.0.8").packed),
    communities=(64512 << 16 | 5, 64512 << 16 | 6),
    originator_id=ip_address("10.9.0.9").packed,
    cluster_list=(ip_address("10.9.1.1").packed, ip_address("10.9.1.2").packed),
    extended_communities=(bytes.fromhex("0002fc0000000009"), bytes.fromhex("4004fc004cee6b28")),
    large_communities=((64512, 1, 3), (64512, 4, 4294967295)),
    unknown=((0xE0, 200, b"hello"),),
)
PLAIN = Attributes(next_hop=ip_address("10.9.0.4").packed, local_pref=100)


def of_family(family: Family, attributes: Attributes) -> Attributes:
    """The same route over IPv6: next hop fd09::N for 10.9.0.N."""
    if family is Family.IPV4:
        return attributes
    return replace(attributes, next_hop=ip_address(f"fd09::{attributes.next_hop[3]}").packed)


def keys(*prefixes: str) -> list[Key]:
    return [key_of(ip_network(prefix)) for prefix in prefixes]


PREFIXES = {
    Family.IPV4: ("10.1.0.0/16", "10.1.1.128/25", "10.1.1.1/32", "0.0.0.0/0"),
    Family.IPV6: ("fd42:1::/48", "fd42:1:2::/65", "fd42:1::1/128", "::/0"),
}


def announcement(family: Family) -> list[Announced]:
    """All prefixes with all attributes as path 3, and the first prefix once more, plainly, as path 4."""
    every = keys(*PREFIXES[family])
    return [(3, of_family(family, RICH), every), (4, of_family(family, PLAIN), every[:1])]


def said(updates: list[Update]) -> dict[str, list[str]]:
    """Attributes, as text, by prefix; nothing may be withdrawn or faulty."""
    assert [update for update in updates if update.withdrawn or update.faults] == []
    return {
        str(network_of(family, key)): list(describe_attributes(attributes))
        for update in updates
        for family, _, part, attributes in update.announced
        for key in part
    }


def speaker(add_path: bool, *, as4: bool = True, router_id: str = OWN) -> Speaker:
    return Speaker(64512, router_id, add_path=BOTH if add_path else (), as4=as4, restart_time=120)
