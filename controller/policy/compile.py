"""Inventory -> plans. Pure: equal inventories give equal bytes, whatever the order of their rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator

import msgspec

from controller.inventory.model import (
    Client,
    Fabric,
    Gateway,
    Inventory,
    LanPeer,
    Uplink,
    network_order,
    uplink_key,
)
from controller.policy import communities
from controller.policy.announced import Announced
from controller.policy.fabric import Session, compile_fabric, speaker_address, speaker_address6
from controller.policy.imports import Imports, text, uplinks_of
from controller.policy.rejects import rejects
from controller.policy.segment import VERSION_WITHOUT_NETWORK, Segment
from controller.policy.sending import in_order
from speaker.plan import (
    AnnouncementPlan,
    BfdPlan,
    FamilyName,
    LivenessPlan,
    Plan,
    SessionPlan,
    UplinkPlan,
)


def compile_plans(inventory: Inventory, only: Collection[str] | None = None) -> dict[str, Plan]:
    """The plan of every gateway, or of those named `only`, by name.

    `inventory` must be allocated and without findings; one without a fabric has no plans. Raises ValueError
    for an inventory that was not allocated.
    """
    if inventory.fabric is None:
        return {}
    gateways = [each for each in inventory.gateways if only is None or each.name in only]
    compiler = _Compiler(inventory.fabric, inventory, gateways)
    return {gateway.name: compiler.plan(gateway) for gateway in sorted(gateways, key=lambda each: each.name)}


class _Compiler:
    """Indexes of one inventory, and the plan of each of `gateways`."""

    def __init__(self, fabric: Fabric, inventory: Inventory, gateways: Collection[Gateway]) -> None:
        self.fabric = fabric
        self.inventory = inventory
        self.imports = Imports(fabric, inventory)
        self.segment = Segment(fabric, inventory)
        self.segments = tuple(str(each) for each in (fabric.segment, fabric.segment6) if each is not None)
        self.families: tuple[FamilyName, ...] = ("ipv4", "ipv6") if fabric.segment6 is not None else ("ipv4",)
        self.underlay = tuple(str(each) for each in sorted(set(fabric.underlay), key=network_order))
        self.members: dict[str, Gateway | Client] = {each.name: each for each in inventory.gateways}
        self.members.update((each.name, each) for each in inventory.clients)
        self.announced = Announced(inventory, gateways)
        self.sessions: dict[str, list[Session]] = defaultdict(list)
        for session in compile_fabric(inventory, {each.name for each in gateways}).sessions:
            self.sessions[session.dialer].append(session)
            self.sessions[session.listener].append(session)
        self.lan_peers: dict[str, list[LanPeer]] = defaultdict(list)
        for peer in inventory.lan_peers:
            self.lan_peers[peer.gateway].append(peer)
        self.liveness = LivenessPlan(
            up_delay_ms=fabric.bfd_up_delay_ms,
            hold_max_ms=fabric.bfd_hold_max_ms,
            idle_seconds=fabric.bfd_idle_seconds,
            max_sessions=fabric.bfd_max_sessions,
            hubless_seconds=fabric.hubless_seconds,
        )

    def plan(self, gateway: Gateway) -> Plan:
        is_hub = gateway.role == "hub"
        plan = Plan(
            version=VERSION_WITHOUT_NETWORK,
            gateway=gateway.name,
            role=gateway.role,
            asn=self.fabric.asn,
            router_id=str(speaker_address(gateway)),
            segments=self.segments,
            uplinks=in_order((self.uplink(each, is_hub=is_hub) for each in gateway.uplinks), is_hub=is_hub),
            announcements=self.announcements(gateway),
            sessions=self.sessions_of(gateway),
            rejects=tuple(map(str, rejects(self.inventory))),
            max_paths=self.fabric.max_paths,
            drained=bool(gateway.drained),
            liveness=self.liveness,
            probes=self.announced.probes(gateway),
            first_hops=self.announced.first_hops(gateway, self.fabric.vrrp_advert_ms),
            prefix_sets=self.imports.prefix_sets if is_hub else (),
            policies=self.imports.policies.plans if is_hub else (),
            own_view=self.imports.view(gateway) if is_hub else 0,
            blackhole=self.fabric.blackhole,
            underlay=self.underlay,
        )
        return self.segment.filled(plan, gateway)

    def uplink(self, uplink: Uplink, *, is_hub: bool) -> UplinkPlan:
        attached = self.imports.attached(uplink)
        return UplinkPlan(
            number=attached.number,
            name=uplink.name,
            interface=uplink.interface,
            address=str(attached.address),
            address6=text(attached.address6),
            circuit_class=attached.circuit_class,
            preference=attached.preference,
            bandwidth=attached.bandwidth,
            bfd=None if attached.bfd is None else BfdPlan(attached.bfd.interval_ms, attached.bfd.multiplier),
            policy=self.imports.own(uplink) if is_hub else 0,
            node_id=attached.node_id,
        )

    def announcements(self, gateway: Gateway) -> tuple[AnnouncementPlan, ...]:
        """Own prefixes, grouped by their attributes: as yet all of a site's have the same."""
        networks = self.announced.networks(gateway)
        if not networks:
            return ()
        site, number = self.imports.site_of(gateway)
        prefixes = tuple(map(str, networks))
        return (AnnouncementPlan(prefixes, communities.of_site(self.fabric.asn, site, number)),)

    def sessions_of(self, gateway: Gateway) -> tuple[SessionPlan, ...]:
        """Sorted by the peer's name."""
        found = [each for session in self.sessions[gateway.name] for each in self.ends(gateway, session)]
        found += [each for peer in self.lan_peers[gateway.name] for each in self.lan_session(gateway, peer)]
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
                    peer_address6=text(uplink.address6),
                    peer_node_id=self.imports.attached(uplink).node_id,
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
            peer_asn=(peer.asn if isinstance(peer, Client) else None) or self.fabric.asn,
            peer_address=str(speaker_address(peer)),
            local_address=str(speaker_address(gateway)),
            # A router that is not ours is dialled too: FRR, while it holds a restarting hub's routes, does not dial.
            passive=listens and not isinstance(peer, Client),
            families=self.families,
            add_path=True,
            hold_time=self.fabric.hold_time,
            restart_time=self.fabric.restart_time,
            password="",
            imports=self.imports.of_client(peer) if reflects else None,
            peer_address6=text(speaker_address6(peer)),
            peer_is_ours=isinstance(peer, Gateway),
            view=self.imports.view(peer) if reflects else 0,
            peer_node_id=self.imports.attached(uplinks_of(peer)[0]).node_id,
        )

    def lan_session(self, gateway: Gateway, peer: LanPeer) -> Iterator[SessionPlan]:
        """A session by IPv4 tells IPv4 routes only, one by IPv6 IPv6 routes: the next hop is in the LAN."""
        families = tuple(each for each in self.families if each == f"ipv{peer.address.version}")
        if not families:
            return
        yield SessionPlan(
            peer=peer.name,
            peer_role="lan",
            peer_asn=peer.asn,
            peer_address=str(peer.address),
            local_address=str(peer.local_address),
            passive=False,
            families=families,
            add_path=False,
            hold_time=self.fabric.hold_time,
            restart_time=self.fabric.restart_time,
            password="",
            imports=self.imports.of_lan_peer(peer, gateway),
            peer_is_ours=False,
            interface=peer.interface,
        )
