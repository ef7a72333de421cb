"""An Update as text, one line per fact: what expected results of vectors are written in."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

from speaker.rib.attributes import Attributes
from speaker.rib.communities import community_text, large_text
from speaker.rib.path import Update
from speaker.rib.prefix import network_of

_BRACKETS = {1: "{%s}", 2: "%s", 3: "(%s)", 4: "[%s]"}


def describe(update: Update) -> list[str]:
    return list(_lines(update))


def _lines(update: Update) -> Iterator[str]:
    for family, path_id, keys in update.withdrawn:
        yield f"withdrawn {path_id} {' '.join(str(network_of(family, key)) for key in keys)}"
    for family, path_id, keys, attributes in update.announced:
        yield f"announced {path_id} {' '.join(str(network_of(family, key)) for key in keys)}"
        yield from (f"    {line}" for line in describe_attributes(attributes))
    if update.end_of_rib:
        yield f"end-of-rib {update.end_of_rib.value}"
    for fault in update.faults:
        yield f"fault {fault}"


def describe_attributes(attributes: Attributes) -> Iterator[str]:
    """Those that are there; the next hop and the origin always are."""
    yield f"next-hop {ip_address(attributes.next_hop)}"
    yield f"origin {attributes.origin}"
    if attributes.as_path:
        yield f"as-path {' '.join(_BRACKETS[kind] % ' '.join(map(str, asns)) for kind, asns in attributes.as_path)}"
    if attributes.med is not None:
        yield f"med {attributes.med}"
    if attributes.local_pref is not None:
        yield f"local-pref {attributes.local_pref}"
    if attributes.atomic_aggregate:
        yield "atomic-aggregate"
    if attributes.aggregator:
        yield f"aggregator {attributes.aggregator[0]} {ip_address(attributes.aggregator[1])}"
    if attributes.communities:
        yield f"communities {' '.join(map(community_text, attributes.communities))}"
    if attributes.originator_id:
        yield f"originator-id {ip_address(attributes.originator_id)}"
    if attributes.cluster_list:
        yield f"cluster-list {' '.join(str(ip_address(cluster)) for cluster in attributes.cluster_list)}"
    if attributes.extended_communities:
        yield f"extended-communities {' '.join(each.hex() for each in attributes.extended_communities)}"
    if attributes.large_communities:
        yield f"large-communities {' '.join(map(large_text, attributes.large_communities))}"
    for flags, code, value in attributes.unknown:
        yield f"unknown {flags:02x} {code} {value.hex()}".rstrip()
