"""Our own announcements: a plan in, rows of the local source out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from zlib import crc32

from speaker.mac import mac_of
from speaker.plan import Plan, UplinkPlan
from speaker.rib.attributes import GRACEFUL_SHUTDOWN, Attributes
from speaker.rib.carried import carrying
from speaker.rib.communities import (
    CIRCUIT_CLASS,
    UPLINK,
    LargeCommunity,
    link_bandwidth,
    parse_large,
    routers_mac,
)
from speaker.rib.facts import network_of_macs
from speaker.rib.intent import intent_of
from speaker.rib.path import Path, Source, SourceKind
from speaker.rib.prefix import Family, Key, key_of_text
from speaker.rib.steps import CompiledPolicy, evaluate
from speaker.rib.table import Table

Own = dict[tuple[Family, int], dict[Key, Path]]
"""(family, uplink number) -> what is announced over that uplink."""


def local_source(router_id: bytes) -> Source:
    return Source("local", SourceKind.LOCAL, b"", router_id)


def own_paths(plan: Plan, source: Source, former: Mapping[Path, Path]) -> tuple[Own, dict[Path, Path]]:
    """Each own prefix once per uplink that has an address of its family; path id = uplink number.

    Equal paths are one object, that of `former` when it has one; the second result is this plan's `former`.
    """
    paths: dict[Path, Path] = {}
    own: Own = {}
    intent = intent_of(plan)
    for announcement in plan.announcements:
        keys: dict[Family, list[Key]] = {}
        for text in announcement.prefixes:
            family, key = key_of_text(text)
            keys.setdefault(family, []).append(key)
        for family, of_family in keys.items():
            for marks, marked in intent.viewed.split(family, of_family):
                for uplink in plan.uplinks:
                    attributes = own_attributes(plan, announcement.large_communities, uplink, family)
                    if attributes is not None:
                        path = Path(source, uplink.number, uplink.number, attributes, marks=marks)
                        path = ruled(path, intent.policies.get(uplink.policy), plan.asn)
                        path = paths.setdefault(path, former.get(path, path))
                        own.setdefault((family, uplink.number), {}).update(dict.fromkeys(marked, path))
    return own, paths


def ruled(path: Path, policy: CompiledPolicy | None, asn: int) -> Path:
    """`path`, which is our own, after the rules that act on it: a hub's own prefixes no other hub's import judges."""
    if policy is None:
        return path
    verdict = evaluate(policy, path.attributes, path.marks)
    attributes = carrying(verdict, asn)
    if attributes is None:
        return replace(path, rules=verdict.rules, kept=True)
    return replace(path, attributes=attributes, rules=verdict.rules)


def own_attributes(plan: Plan, communities: Iterable[str], uplink: UplinkPlan, family: Family) -> Attributes | None:
    """Of what is announced over `uplink`, with these large communities; None when it has no address of the family."""
    address = uplink.address if family is Family.IPV4 else uplink.address6
    if address is None:
        return None
    return Attributes(
        next_hop=ip_address(address).packed,
        local_pref=0 if plan.drained else uplink.preference,
        communities=(GRACEFUL_SHUTDOWN,) if plan.drained else (),  # RFC 8326
        large_communities=_large(plan, communities, uplink),
        extended_communities=tuple(_extended(plan, uplink)),
    )


def _extended(plan: Plan, uplink: UplinkPlan) -> Iterator[bytes]:
    """A hub says its own MAC, of which plans tell only its first uplink's. A spoke's is said by its hubs."""
    if uplink.bandwidth:
        yield link_bandwidth(plan.asn, uplink.bandwidth)
    network = network_of_macs(plan)
    if plan.role == "hub" and network and uplink.node_id:
        yield routers_mac(mac_of(uplink.node_id, network))


def _large(plan: Plan, communities: Iterable[str], uplink: UplinkPlan) -> tuple[LargeCommunity, ...]:
    """Rules find a hub's own paths as they find its clients': by uplink and class too. A spoke's hubs say it."""
    stated = parse_large(communities)
    if plan.role != "hub":
        return stated
    of_uplink = {UPLINK: uplink.number, CIRCUIT_CLASS: crc32(uplink.circuit_class.encode())}
    functions = {function for asn, function, _ in stated if asn == plan.asn}
    missing = ((plan.asn, function, value) for function, value in of_uplink.items() if function not in functions)
    return tuple(sorted((*stated, *missing)))


@dataclass(slots=True)
class Originator:
    """What is announced now, so that the next plan costs only its difference."""

    source: Source
    _now: Own = field(default_factory=dict)
    _paths: dict[Path, Path] = field(default_factory=dict)

    def originate(self, tables: Mapping[Family, Table], plan: Plan) -> None:
        """Announce what `plan` has anew or otherwise, then withdraw what it no longer has."""
        desired, self._paths = own_paths(plan, self.source, self._paths)
        for (family, path_id), paths in desired.items():
            now = self._now.get((family, path_id), {})
            changed: dict[int, tuple[Path, list[Key]]] = {}  # By identity: hashing a path walks all of it.
            for key, path in paths.items():
                if now.get(key) is not path:
                    changed.setdefault(id(path), (path, []))[1].append(key)
            for path, keys in changed.values():
                tables[family].announce(keys, path)
        for (family, path_id), paths in self._now.items():
            gone = paths.keys() - desired.get((family, path_id), {}).keys()
            tables[family].withdraw(gone, self.source, path_id)
        self._now = desired
