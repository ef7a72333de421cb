"""Our own announcements: a plan in, rows of the local source out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

from speaker.plan import AnnouncementPlan, Plan, UplinkPlan
from speaker.rib.attributes import Attributes
from speaker.rib.communities import link_bandwidth, parse_large
from speaker.rib.path import Path, Source, SourceKind
from speaker.rib.prefix import Family, Key, family_of, key_of
from speaker.rib.table import Table

Own = dict[tuple[Family, int], dict[Key, Path]]
"""(family, uplink number) -> what is announced over that uplink."""


def local_source(router_id: bytes) -> Source:
    return Source("local", SourceKind.LOCAL, b"", router_id)


def own_paths(plan: Plan, source: Source) -> Own:
    """Each own prefix once per uplink that has an address of its family; path id = uplink number."""
    own: Own = {}
    for announcement in plan.announcements:
        keys: dict[Family, list[Key]] = {}
        for text in announcement.prefixes:
            network = ip_network(text)
            keys.setdefault(family_of(network), []).append(key_of(network))
        for family, of_family in keys.items():
            for uplink in plan.uplinks:
                path = _path(plan, announcement, uplink, family, source)
                if path is not None:
                    own.setdefault((family, uplink.number), {}).update(dict.fromkeys(of_family, path))
    return own


def _path(
    plan: Plan, announcement: AnnouncementPlan, uplink: UplinkPlan, family: Family, source: Source
) -> Path | None:
    address = uplink.address if family is Family.IPV4 else uplink.address6
    if address is None:
        return None
    attributes = Attributes(
        next_hop=ip_address(address).packed,
        local_pref=uplink.preference,
        large_communities=parse_large(announcement.large_communities),
        extended_communities=(link_bandwidth(plan.asn, uplink.bandwidth),) if uplink.bandwidth else (),
    )
    return Path(source, uplink.number, uplink.number, attributes)


@dataclass(slots=True)
class Originator:
    """What is announced now, so that the next plan costs only its difference."""

    source: Source
    _now: Own = field(default_factory=dict)

    def originate(self, tables: Mapping[Family, Table], plan: Plan) -> None:
        """Announce what `plan` has anew or otherwise, then withdraw what it no longer has."""
        desired = own_paths(plan, self.source)
        for (family, path_id), paths in desired.items():
            now = self._now.get((family, path_id), {})
            changed: dict[Path, list[Key]] = {}
            for key, path in paths.items():
                if now.get(key) != path:
                    changed.setdefault(path, []).append(key)
            for path, keys in changed.items():
                tables[family].announce(keys, path)
        for (family, path_id), paths in self._now.items():
            gone = paths.keys() - desired.get((family, path_id), {}).keys()
            tables[family].withdraw(gone, self.source, path_id)
        self._now = desired
