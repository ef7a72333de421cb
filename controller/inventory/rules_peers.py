"""Rules about routers of another AS: eBGP clients, and those in a gateway's LAN."""

from __future__ import annotations

from collections.abc import Iterator

from controller.inventory.findings import Finding
from controller.inventory.model import Client, Inventory, LanPeer, uplink_key
from controller.inventory.rules_members import taken, unknown


def asn_of_the_fabric(inventory: Inventory) -> Iterator[Finding]:
    fabric = inventory.fabric
    if fabric is None:
        return
    routers: tuple[tuple[Client | LanPeer, str], ...] = (
        *((client, "leave asn out, then it is an iBGP client") for client in inventory.clients),
        *((peer, "a LAN peer is of another one, say 65001") for peer in inventory.lan_peers),
    )
    for each, way_out in routers:
        if each.asn == fabric.asn:
            yield Finding(each.label, "asn-of-fabric", f"AS {each.asn} is the fabric's own: {way_out}", field="asn")


def unknown_gateway(inventory: Inventory) -> Iterator[Finding]:
    users = [(peer.label, peer.gateway) for peer in inventory.lan_peers]
    yield from unknown(inventory, users, [each.name for each in inventory.gateways], "gateway", "gateway")


def lan_peer_address(inventory: Inventory) -> Iterator[Finding]:
    """A LAN peer stands in the LAN: what stands in the segment is a client."""
    fabric = inventory.fabric
    segments = [each for each in (fabric.segment, fabric.segment6) if each is not None] if fabric is not None else []
    for peer in inventory.lan_peers:
        for field, address in (("address", peer.address), ("local_address", peer.local_address)):
            segment = next((each for each in segments if address in each), None)
            if segment is not None:
                message = (
                    f"{field} {address} is in the segment {segment}: declare a client, or use an address of the LAN"
                )
                yield Finding(peer.label, "lan-peer-address", message, field=field)
        if peer.address.version != peer.local_address.version:
            message = f"{peer.address} and local_address {peer.local_address} are of two families: use one"
            yield Finding(peer.label, "lan-peer-address", message, field="local_address")
        elif peer.address == peer.local_address:
            message = f"local_address {peer.address} is the peer's own: write the gateway's, on the same LAN"
            yield Finding(peer.label, "lan-peer-address", message, field="local_address")


def lan_peer6_without_segment6(inventory: Inventory) -> Iterator[Finding]:
    """A session by IPv6 carries IPv6 routes alone, and without an IPv6 segment there are none."""
    fabric = inventory.fabric
    if fabric is None or fabric.segment6 is not None:
        return
    for peer in inventory.lan_peers:
        if peer.address.version == 6:
            message = f"{peer.address} has no route to tell or to hear, for the fabric has no segment6: declare one"
            yield Finding(peer.label, "lan-peer6-without-segment6", f"{message}, or peer by IPv4", field="address")


def lan_peer_twice(inventory: Inventory) -> Iterator[Finding]:
    """A gateway knows its LAN peers by their addresses."""
    by_gateway: dict[str, list[LanPeer]] = {}
    for peer in inventory.lan_peers:
        by_gateway.setdefault(peer.gateway, []).append(peer)
    for peers in by_gateway.values():
        yield from taken(((peer.label, peer.address) for peer in peers), "lan-peer-taken", "address")


def lan_peer_on_uplink(inventory: Inventory) -> Iterator[Finding]:
    uplinks = {
        (gateway.name, each.interface): uplink_key(gateway, each)
        for gateway in inventory.gateways
        for each in gateway.uplinks
    }
    for peer in inventory.lan_peers:
        if (uplink := uplinks.get((peer.gateway, peer.interface))) is not None:
            message = f"interface {peer.interface} is that of uplink {uplink}, on the segment: name the one on the LAN"
            yield Finding(peer.label, "interface-taken", message, field="interface")
