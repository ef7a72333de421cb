"""What every gateway and client should use for a prefix, from the inventory alone, whatever has failed.

Equal questions have one answer: prefixes with the same announcers and marks are one group, viewers whom the
rules treat alike are one view, and a decision is made once for each pair of the two.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from controller.inventory.matching import Origin
from controller.inventory.model import (
    GLOBAL,
    Client,
    Fabric,
    Gateway,
    Inventory,
    Network,
    Prefix,
    Site,
    Uplink,
    circuit_classes,
    residents,
    uplink_key,
)
from controller.policy.deciding import Decider, Decision, Source, decide
from controller.policy.judging import GRACEFUL_SHUTDOWN, Judged, Kind, Marks, Rules, View

NOTHING_FAILED: frozenset[str] = frozenset()
MEMO_LIMIT = 200_000
OURS: tuple[Kind, ...] = ("spoke", "hub")
KINDS: tuple[Kind, ...] = (*OURS, "ibgp", "ebgp")
"""In this order the members of a site speak for it."""


@dataclass(frozen=True, slots=True)
class Group:
    """Prefixes that the same uplinks announce and the same rules may match."""

    number: int
    sources: tuple[Source, ...]
    marks: Marks


@dataclass(frozen=True, slots=True)
class Member:
    """A gateway, or a client that is not ours: somebody who looks, and who may announce."""

    name: str
    site: str
    kind: Kind
    view: View
    sources: tuple[Source, ...]

    @property
    def is_ours(self) -> bool:
        return self.kind in OURS

    def alive(self, failed: frozenset[str]) -> bool:
        return any(source.key not in failed for source in self.sources)


@dataclass(frozen=True, slots=True)
class Route:
    """What one viewer should use for a prefix. `own`: it announces the prefix itself, and nothing else counts."""

    viewer: str
    prefix: Network
    own: bool
    decision: Decision

    @property
    def usable(self) -> bool:
        return self.own or bool(self.decision.tiers)


class Intent:
    """The intended state of one inventory. `failed` is always a set of Source keys: uplinks and clients.

    A prefix that names no gateways is announced by all of its site, or by its clients where it has no gateways.
    Objects that refer to something unknown are left out, so that half a change can be asked about too.
    """

    def __init__(self, inventory: Inventory) -> None:
        self.inventory = inventory
        self.rules = Rules(inventory)
        self.deciders = {kind: _decider(kind, inventory.fabric) for kind in KINDS}
        self.sites = {site.name: site for site in inventory.sites}
        self.members = {each.name: each for each in _members(inventory, self.sites, self.rules)}
        self.of_site: dict[str, list[Member]] = defaultdict(list)
        for member in sorted(self.members.values(), key=lambda each: (KINDS.index(each.kind), each.name)):
            self.of_site[member.site].append(member)
        self.hubs = {each.name for each in inventory.gateways if each.role == "hub"}
        self.groups: dict[Network, Group] = {}
        self.sites_of: dict[Network, set[str]] = defaultdict(set)
        self._group_prefixes()
        self._lengths = {
            version: sorted({p.prefixlen for p in self.groups if p.version == version}, reverse=True)
            for version in (4, 6)
        }
        self._guarded = _guarded(inventory)
        self._viewed: dict[tuple[str, View, Marks], Judged] = {}
        self._decisions: dict[tuple[View, int, frozenset[str]], Decision] = {}

    def _group_prefixes(self) -> None:
        announcers = _announcers(self.inventory)
        found: dict[Network, set[str]] = defaultdict(set)
        for each in self.inventory.prefixes:
            if each.tenant == GLOBAL:
                self.sites_of[each.prefix].add(each.site)
                found[each.prefix].update(announcers(each))
        known: dict[tuple[tuple[str, ...], Marks, int], Group] = {}
        for prefix, names in found.items():
            key = (tuple(sorted(names)), self.rules.marks(prefix), prefix.version)
            group = known.get(key)
            if group is None:
                members = [self.members[name] for name in key[0] if name in self.members]
                sources = tuple(s for member in members for s in member.sources if s.reaches(prefix.version))
                group = known[key] = Group(len(known), sources, key[1])
            self.groups[prefix] = group

    def decision(self, view: View, group: Group, failed: frozenset[str] = NOTHING_FAILED) -> Decision:
        """For viewers with this view that do not announce the prefix themselves."""
        gone = failed and failed.intersection(source.key for source in group.sources)
        key = (view, group.number, gone)
        found = self._decisions.get(key)
        if found is None:
            alive = [source for source in group.sources if source.key not in gone]
            judged = [(source, self._judged(source, view, group.marks)) for source in alive]
            if len(self._decisions) >= MEMO_LIMIT:
                self._decisions.clear()
            found = self._decisions[key] = decide(judged, self.deciders[view.kind])
        return found

    def _judged(self, source: Source, view: View, marks: Marks) -> Judged:
        viewed = self._viewed.get((source.key, view, marks))
        if viewed is None:
            fresh = Judged(source.preference)
            if source.drained:
                fresh = Judged(0, drained=True, communities=frozenset({GRACEFUL_SHUTDOWN}))
            imported = self.rules.imported(source.origin, fresh, marks)
            viewed = self._told(source, imported, view) or self.rules.viewed(source.origin, imported, view, marks)
            if len(self._viewed) >= MEMO_LIMIT:
                self._viewed.clear()
            self._viewed[source.key, view, marks] = viewed
        return viewed

    def _told(self, source: Source, imported: Judged, view: View) -> Judged | None:
        """It as denied where not even its rules are asked, for it does not get there."""
        if imported.denied:
            return imported
        if view.kind == "hub" and source.origin.member in self.hubs and (why := self.rules.kept(imported)):
            return replace(imported, denied=why)  # What clients announce each hub hears itself.
        if view.asn and source.asn == view.asn:
            return replace(imported, denied=f"AS_PATH has the viewer's own AS {view.asn}: it drops it")
        return None

    def route(self, viewer: Member, prefix: Network, failed: frozenset[str] = NOTHING_FAILED) -> Route:
        """`prefix` is one that is announced: KeyError otherwise."""
        group = self.groups[prefix]
        # A gateway whose uplinks are all gone still stands in its own LAN.
        own = any(source.origin.member == viewer.name for source in group.sources)
        return Route(viewer.name, prefix, own, self.decision(viewer.view, group, failed))

    def covering(self, viewer: Member, prefix: Network, failed: frozenset[str] = NOTHING_FAILED) -> Iterator[Route]:
        """Routes to what contains `prefix`, the longest first, whether usable or not.

        To a gateway a default route is none to declared space: that is unreachable beneath everything.
        """
        for length in self._lengths[prefix.version]:
            if length <= prefix.prefixlen and (length or not (viewer.is_ours and self._is_guarded(prefix))):
                wider = prefix.supernet(new_prefix=length)
                if wider in self.groups:
                    yield self.route(viewer, wider, failed)

    def _is_guarded(self, prefix: Network) -> bool:
        lengths = (length for length in self._guarded[prefix.version] if length <= prefix.prefixlen)
        return any(prefix.supernet(new_prefix=n) in self._guarded[prefix.version][n] for n in lengths)

    def control(self, failed: frozenset[str]) -> str:
        """What becomes of learning and telling routes, in words; "" while a hub lives.

        With all hubs gone nobody loses a route at once: they stay for `hubless_seconds`.
        """
        if not self.hubs or any(self.members[name].alive(failed) for name in self.hubs if name in self.members):
            return ""
        fabric = self.inventory.fabric
        seconds = fabric.hubless_seconds if fabric is not None else 0
        lasts = f"{seconds / 3600:g} h" if seconds % 3600 == 0 else f"{seconds} s"
        return f"no hub is left: routes stay as they are for {lasts} and nobody learns new ones"


def _decider(kind: Kind, fabric: Fabric | None) -> Decider:
    if fabric is None:
        return Decider(1)
    return Decider(fabric.max_paths, served=kind == "ebgp", ours=kind in OURS, blackhole=fabric.blackhole)


def _guarded(inventory: Inventory) -> dict[int, dict[int, set[Network]]]:
    """IP version -> prefix length -> space that gateways keep from any default route."""
    found: dict[int, dict[int, set[Network]]] = {4: defaultdict(set), 6: defaultdict(set)}
    if inventory.fabric is not None and inventory.fabric.guard_default:
        for each in inventory.allocations:
            if each.tenant == GLOBAL and each.prefix.prefixlen:
                found[each.prefix.version][each.prefix.prefixlen].add(each.prefix)
    return found


def _announcers(inventory: Inventory) -> Callable[[Prefix], tuple[str, ...]]:
    """Prefix -> names of those who announce it."""
    of_site = residents(inventory)
    clients: dict[str, list[str]] = defaultdict(list)
    for client in inventory.clients:
        clients[client.site].append(client.name)
    return lambda each: each.gateways or of_site.get(each.site) or tuple(clients.get(each.site, ()))


def _members(inventory: Inventory, sites: dict[str, Site], rules: Rules) -> list[Member]:
    fabric, found = inventory.fabric, []
    sources = _Sources(inventory, fabric)
    announcers: tuple[Gateway | Client, ...] = (*inventory.gateways, *inventory.clients)
    for each in sorted(announcers, key=lambda each: each.name):
        site = sites.get(each.site)
        if site is not None:
            kind, asn = sources.kind_of(each)
            found.append(Member(each.name, site.name, kind, rules.view(site, kind, asn), sources.of(each, site)))
    return found


class _Sources:
    def __init__(self, inventory: Inventory, fabric: Fabric | None) -> None:
        self.classes = circuit_classes(inventory)
        self.asn = fabric.asn if fabric is not None else 0

    def kind_of(self, member: Gateway | Client) -> tuple[Kind, int]:
        """(what it is, its AS where that is another one than the fabric's, else 0)."""
        if isinstance(member, Gateway):
            return "hub" if member.role == "hub" else "spoke", 0
        asn = 0 if member.asn in (None, self.asn) else member.asn or 0
        return "ebgp" if asn else "ibgp", asn

    def of(self, member: Gateway | Client, site: Site) -> tuple[Source, ...]:
        """In the order of the uplinks; a client is its own one uplink."""
        if isinstance(member, Client):
            _, asn = self.kind_of(member)
            return (self._source(member.name, member, member, site, asn),)
        return tuple(self._source(uplink_key(member, each), member, each, site, 0) for each in member.uplinks)

    def _source(self, key: str, member: Gateway | Client, at: Uplink | Client, site: Site, asn: int) -> Source:
        its_class = self.classes.get(at.circuit_class)
        base = at.preference if at.preference is not None else its_class.preference if its_class is not None else 1
        first = member if isinstance(member, Client) else member.uplinks[0]
        return Source(
            key=key,
            origin=Origin(member.name, site.name, site.region, site.tags, at.circuit_class),
            provider=site.provider,
            number=at.number or 0,
            router_id=0 if first.address is None else int(first.address),
            address=at.address,
            address6=at.address6,
            preference=base,
            class_preference=its_class.preference if its_class is not None else 1,
            bandwidth=at.bandwidth,
            asn=asn,
            drained=isinstance(member, Gateway) and bool(member.drained),
        )
