"""Inventory -> plans. Pure: equal inventories give equal bytes, whatever the order of their rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, collapse_addresses

import msgspec

from controller.inventory.model import (
    GLOBAL,
    Address,
    Allocation,
    BfdTimers,
    Client,
    Fabric,
    Gateway,
    Inventory,
    Network,
    Site,
    Uplink,
    bfd_of,
    circuit_classes,
    network_order,
    uplink_key,
)
from controller.policy import communities
from controller.policy.announced import Announced
from controller.policy.fabric import Session, Wiring, compile_fabric, speaker_address, speaker_address6
from speaker.plan import (
    AllocationPlan,
    AnnouncementPlan,
    BfdPlan,
    FamilyName,
    ImportPlan,
    LivenessPlan,
    NextHopPlan,
    Plan,
    SessionPlan,
    UplinkPlan,
)


def compile_plans(inventory: Inventory) -> dict[str, Plan]:
    """The plan of every gateway, by name.

    `inventory` must be allocated and without findings; one without a fabric has no plans. Raises ValueError
    for an inventory that was not allocated.
    """
    if inventory.fabric is None:
        return {}
    compiler = _Compiler(inventory.fabric, inventory)
    return {gateway.name: compiler.plan(gateway) for gateway in sorted(inventory.gateways, key=lambda each: each.name)}


@dataclass(frozen=True, slots=True)
class _Attached:
    """An uplink, or a client as the one uplink that it is."""

    number: int
    address: Address
    address6: Address | None
    circuit_class: str
    preference: int
    bandwidth: int
    bfd: BfdTimers | None


class _Compiler:
    """Indexes of one inventory, and the plan of each of its gateways."""

    def __init__(self, fabric: Fabric, inventory: Inventory) -> None:
        self.fabric = fabric
        self.wiring: Wiring = compile_fabric(inventory)
        self.classes = circuit_classes(inventory)
        self.sites = {site.name: site for site in inventory.sites}
        self.segments = tuple(str(each) for each in (fabric.segment, fabric.segment6) if each is not None)
        self.families: tuple[FamilyName, ...] = ("ipv4", "ipv6") if fabric.segment6 is not None else ("ipv4",)
        self.members: dict[str, Gateway | Client] = {each.name: each for each in inventory.gateways}
        self.members.update((each.name, each) for each in inventory.clients)
        self.sessions: dict[str, list[Session]] = defaultdict(list)
        for session in self.wiring.sessions:
            self.sessions[session.dialer].append(session)
            self.sessions[session.listener].append(session)
        allocations = [each for each in inventory.allocations if each.tenant == GLOBAL]
        self.rejects = _rejects([each.prefix for each in allocations], fabric)
        self.allocations: dict[str, tuple[AllocationPlan, ...]] = _allocations(allocations)
        self.announced = Announced(inventory)
        self.liveness = LivenessPlan(
            up_delay_ms=fabric.bfd_up_delay_ms,
            hold_max_ms=fabric.bfd_hold_max_ms,
            idle_seconds=fabric.bfd_idle_seconds,
            max_sessions=fabric.bfd_max_sessions,
            hubless_seconds=fabric.hubless_seconds,
        )
        self.imports: dict[str, ImportPlan] = {}

    def plan(self, gateway: Gateway) -> Plan:
        return Plan(
            version=2,
            gateway=gateway.name,
            role=gateway.role,
            asn=self.fabric.asn,
            router_id=str(speaker_address(gateway)),
            segments=self.segments,
            uplinks=tuple(self.uplink(each) for each in gateway.uplinks),
            announcements=self.announcements(gateway),
            sessions=self.sessions_of(gateway),
            rejects=self.rejects,
            max_paths=self.fabric.max_paths,
            drained=bool(gateway.drained),
            liveness=self.liveness,
            probes=self.announced.probes(gateway),
            first_hops=self.announced.first_hops(gateway, self.fabric.vrrp_advert_ms),
        )

    def uplink(self, uplink: Uplink) -> UplinkPlan:
        attached = self.attached(uplink)
        return UplinkPlan(
            number=attached.number,
            name=uplink.name,
            interface=uplink.interface,
            address=str(attached.address),
            address6=_text(attached.address6),
            circuit_class=attached.circuit_class,
            preference=attached.preference,
            bandwidth=attached.bandwidth,
            bfd=None if attached.bfd is None else BfdPlan(attached.bfd.interval_ms, attached.bfd.multiplier),
        )

    def attached(self, each: Uplink | Client) -> _Attached:
        if each.number is None or each.address is None:
            raise ValueError(f"{each.label} has no number or no address: allocate and check before compiling")
        circuit_class = self.classes[each.circuit_class]
        return _Attached(
            each.number,
            each.address,
            each.address6,
            each.circuit_class,
            circuit_class.preference if each.preference is None else each.preference,
            each.bandwidth,
            bfd_of(circuit_class),
        )

    def announcements(self, gateway: Gateway) -> tuple[AnnouncementPlan, ...]:
        """Own prefixes, grouped by their attributes: as yet all of a site's have the same."""
        networks = self.announced.networks(gateway)
        if not networks:
            return ()
        site, number = self.site_of(gateway)
        prefixes = tuple(map(str, networks))
        return (AnnouncementPlan(prefixes, communities.of_site(self.fabric.asn, site, number)),)

    def site_of(self, member: Gateway | Client) -> tuple[Site, int]:
        site = self.sites[member.site]
        if site.number is None:
            raise ValueError(f"{site.label} has no number: allocate and check before compiling")
        return site, site.number

    def sessions_of(self, gateway: Gateway) -> tuple[SessionPlan, ...]:
        """Sorted by the peer's name."""
        found = [each for session in self.sessions[gateway.name] for each in self.ends(gateway, session)]
        return tuple(sorted(found, key=lambda session: session.peer))

    def ends(self, gateway: Gateway, session: Session) -> Iterator[SessionPlan]:
        """This gateway's end of it. A hub also waits at the further uplinks of a client, should the first one die."""
        end = self.session(gateway, session)
        if session.kind == "mesh":
            yield end
        elif session.listener != gateway.name:
            fallbacks = tuple(str(uplink.address) for uplink in gateway.uplinks[1:])
            yield msgspec.structs.replace(end, local_fallbacks=fallbacks)
        else:
            yield end
            peer = self.members[session.dialer]
            if not isinstance(peer, Gateway):
                return
            for uplink in peer.uplinks[1:]:
                yield msgspec.structs.replace(
                    end,
                    peer=uplink_key(peer, uplink),
                    peer_address=str(uplink.address),
                    peer_address6=_text(uplink.address6),
                    standby=True,
                )

    def session(self, gateway: Gateway, session: Session) -> SessionPlan:
        """This gateway's end of it."""
        listens = session.listener == gateway.name
        peer = self.members[session.dialer if listens else session.listener]
        reflects = session.kind == "reflect" and listens
        return SessionPlan(
            peer=peer.name,
            peer_role="peer" if session.kind == "mesh" else "client" if listens else "hub",
            peer_asn=self.fabric.asn,
            peer_address=str(speaker_address(peer)),
            local_address=str(speaker_address(gateway)),
            # A router that is not ours is dialled too: FRR, while it holds a restarting hub's routes, does not dial.
            passive=listens and not isinstance(peer, Client),
            families=self.families,
            add_path=True,
            hold_time=self.fabric.hold_time,
            restart_time=self.fabric.restart_time,
            password="",
            imports=self.imports_of(peer) if reflects else None,
            peer_address6=_text(speaker_address6(peer)),
            peer_is_ours=isinstance(peer, Gateway),
        )

    def imports_of(self, client: Gateway | Client) -> ImportPlan:
        """What every hub accepts from this client: its site's space, through its own uplinks."""
        found = self.imports.get(client.name)
        if found is None:
            uplinks = client.uplinks if isinstance(client, Gateway) else (client,)
            next_hops = [self.next_hop(client, self.attached(uplink)) for uplink in uplinks]
            found = ImportPlan(
                next_hops=tuple(sorted(next_hops, key=lambda each: each.number)),
                allocations=self.allocations.get(client.site, ()),
            )
            self.imports[client.name] = found
        return found

    def next_hop(self, client: Gateway | Client, attached: _Attached) -> NextHopPlan:
        site, number = self.site_of(client)
        return NextHopPlan(
            number=attached.number,
            address=str(attached.address),
            address6=_text(attached.address6),
            preference=attached.preference,
            large_communities=communities.of_path(
                self.fabric.asn, site, number, attached.circuit_class, attached.number
            ),
            bandwidth=attached.bandwidth,
            drained=isinstance(client, Gateway) and bool(client.drained),
        )


def _rejects(networks: Iterable[Network], fabric: Fabric) -> tuple[str, ...]:
    """The declared space and the segments, in as few prefixes as it takes, IPv4 first."""
    space = [*networks, fabric.segment, *([fabric.segment6] if fabric.segment6 is not None else [])]
    four = collapse_addresses([each for each in space if isinstance(each, IPv4Network)])
    six = collapse_addresses([each for each in space if isinstance(each, IPv6Network)])
    return tuple(map(str, (*four, *six)))


def _allocations(allocations: Iterable[Allocation]) -> dict[str, tuple[AllocationPlan, ...]]:
    found: dict[str, list[AllocationPlan]] = defaultdict(list)
    for each in sorted(allocations, key=lambda each: network_order(each.prefix)):
        found[each.site].append(AllocationPlan(str(each.prefix), each.longest))
    return {site: tuple(plans) for site, plans in found.items()}


def _text(address: Address | None) -> str | None:
    return None if address is None else str(address)
