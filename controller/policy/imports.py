"""What hubs accept from each client, and what they make of it. Default deny: what is not said here is refused."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from controller.inventory.matching import Origin
from controller.inventory.model import (
    GLOBAL,
    Address,
    Allocation,
    BfdTimers,
    Client,
    Fabric,
    Gateway,
    Inventory,
    LanPeer,
    Site,
    Uplink,
    bfd_of,
    circuit_classes,
    network_order,
)
from controller.policy import communities
from controller.policy.policies import Policies
from controller.policy.rules import Imported, Rules, Steps
from controller.policy.segment import node_id
from speaker.plan import AllocationPlan, ImportPlan, NextHopPlan, PrefixSetPlan


@dataclass(frozen=True, slots=True)
class Attached:
    """An uplink, or a client as the one uplink that it is."""

    number: int
    address: Address
    address6: Address | None
    circuit_class: str
    preference: int
    bandwidth: int
    bfd: BfdTimers | None
    node_id: str


class Imports:
    """Import plans and policies of one inventory; each part is made when it is first asked for."""

    def __init__(self, fabric: Fabric, inventory: Inventory) -> None:
        self.fabric = fabric
        self.asn = fabric.asn
        self.inventory = inventory
        self.classes = circuit_classes(inventory)
        self.sites = {site.name: site for site in inventory.sites}
        self.rules = Rules(fabric.asn, inventory)
        self._plans: dict[str, ImportPlan] = {}

    def attached(self, each: Uplink | Client) -> Attached:
        if each.number is None or each.address is None:
            raise ValueError(f"{each.label} has no number or no address: allocate and check before compiling")
        circuit_class = self.classes[each.circuit_class]
        return Attached(
            each.number,
            each.address,
            each.address6,
            each.circuit_class,
            circuit_class.preference if each.preference is None else each.preference,
            each.bandwidth,
            bfd_of(circuit_class),
            node_id(self.fabric, each),
        )

    def site_of(self, member: Gateway | Client) -> tuple[Site, int]:
        site = self.sites[member.site]
        if site.number is None:
            raise ValueError(f"{site.label} has no number: allocate and check before compiling")
        return site, site.number

    def of_client(self, client: Gateway | Client) -> ImportPlan:
        """What every hub accepts from it: its site's space, through its own uplinks."""
        found = self._plans.get(client.name)
        if found is None:
            next_hops = [self._next_hop(client, self.attached(uplink)) for uplink in uplinks_of(client)]
            found = self._plans[client.name] = self._import(
                client.site, tuple(sorted(next_hops, key=lambda each: each.number))
            )
        return found

    def of_lan_peer(self, peer: LanPeer, gateway: Gateway) -> ImportPlan:
        """What the gateway accepts from a router in its LAN: its site's space, with that router itself as next hop.

        The number, preference and communities are those of the gateway's first uplink; what the gateway announces
        of it has those of each uplink.
        """
        attached = self.attached(gateway.uplinks[0])
        site, number = self.site_of(gateway)
        hop = NextHopPlan(
            number=attached.number,
            address=str(peer.address),
            address6=str(peer.address) if peer.address.version == 6 else None,
            preference=attached.preference,
            large_communities=communities.of_site(self.asn, site, number),
            bandwidth=0,
        )
        return self._import(gateway.site, (hop,))

    def _import(self, site: str, next_hops: tuple[NextHopPlan, ...]) -> ImportPlan:
        return ImportPlan(next_hops, self._allocations.get(site, ()), self.sites[site].max_prefixes)

    def _next_hop(self, client: Gateway | Client, attached: Attached) -> NextHopPlan:
        judged = self._judged[attached.number]
        return NextHopPlan(
            number=attached.number,
            address=str(attached.address),
            address6=text(attached.address6),
            preference=judged.preference,
            large_communities=judged.large_communities,
            bandwidth=attached.bandwidth,
            drained=isinstance(client, Gateway) and bool(client.drained),
            policy=self.policies.number(judged.steps),
            node_id=attached.node_id,
        )

    def view(self, member: Gateway | Client) -> int:
        """Number of the policy that what `member` is told goes through; a hub sees by it what it has itself."""
        return self.policies.number(self._views[member.site])

    def own(self, uplink: Uplink) -> int:
        """Number of the policy that what a hub announces over `uplink` itself goes through."""
        return self.policies.number(self._own[self.attached(uplink).number])

    @cached_property
    def policies(self) -> Policies:
        judged = (each.steps for each in self._judged.values())
        return Policies([*judged, *self._own.values(), *self._views.values()])

    @cached_property
    def prefix_sets(self) -> tuple[PrefixSetPlan, ...]:
        """Those that the policies name."""
        used = {step.prefix_set for policy in self.policies.plans for step in policy.steps}
        return tuple(each for each in self.rules.prefix_set_plans() if each.number in used)

    @cached_property
    def _judged(self) -> dict[int, Imported]:
        """Number of an uplink of a hub's client -> what hubs make of what is announced through it."""
        spokes = [each for each in self.inventory.gateways if each.role == "spoke"]
        clients: tuple[Gateway | Client, ...] = (*spokes, *self.inventory.clients)
        return {
            attached.number: self._judge(client, attached)
            for client in clients
            for attached in map(self.attached, uplinks_of(client))
        }

    @cached_property
    def _own(self) -> dict[int, Steps]:
        """Number of a hub's uplink -> steps."""
        hubs = [each for each in self.inventory.gateways if each.role == "hub"]
        return {
            attached.number: self.rules.own(self._origin(hub, attached))
            for hub in hubs
            for attached in map(self.attached, hub.uplinks)
        }

    def _origin(self, member: Gateway | Client, attached: Attached) -> Origin:
        site = self.sites[member.site]
        return Origin(member.name, site.name, site.region, site.tags, attached.circuit_class)

    def _judge(self, client: Gateway | Client, attached: Attached) -> Imported:
        site, number = self.site_of(client)
        origin = self._origin(client, attached)
        large = communities.of_path(self.asn, site, number, attached.circuit_class, attached.number)
        return self.rules.imported(origin, attached.preference, large)

    @cached_property
    def _views(self) -> dict[str, Steps]:
        """Site of a viewer -> steps."""
        members: tuple[Gateway | Client, ...] = (*self.inventory.gateways, *self.inventory.clients)
        return {name: self.rules.view(self.sites[name]) for name in sorted({each.site for each in members})}

    @cached_property
    def _allocations(self) -> dict[str, tuple[AllocationPlan, ...]]:
        return _by_site(each for each in self.inventory.allocations if each.tenant == GLOBAL)


def uplinks_of(member: Gateway | Client) -> tuple[Uplink | Client, ...]:
    """A client is its own only uplink."""
    return member.uplinks if isinstance(member, Gateway) else (member,)


def text(address: Address | None) -> str | None:
    return None if address is None else str(address)


def _by_site(allocations: Iterable[Allocation]) -> dict[str, tuple[AllocationPlan, ...]]:
    found: dict[str, list[AllocationPlan]] = defaultdict(list)
    for each in sorted(allocations, key=lambda each: network_order(each.prefix)):
        found[each.site].append(AllocationPlan(str(each.prefix), each.longest))
    return {site: tuple(plans) for site, plans in found.items()}
