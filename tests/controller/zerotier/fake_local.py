"""The other half of zerotier-one 1.14.1: what a member says of the networks that it has joined.

A member hears of a change some time after the controller stored it; of being thrown out, much later. The times are
those that were measured.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, ip_address, ip_network
from typing import Any

from tests.controller.zerotier.fake_controller import Document, FakeController
from tests.controller.zerotier.fake_json import Exploded, fields, parse

JOINED_MS = 3_500  # From joining, or from being authorised, to the address.
THROWN_OUT_MS = 45_000  # From being de-authorised to ACCESS_DENIED; the traffic stops at once.
GONE_MS = 65_000  # From the network's end to NOT_FOUND.
UNKNOWN_MS = 1_000  # From joining a network that its controller does not know to NOT_FOUND.
DELIVERED_ROUTES = 128
ALLOWED = {"allowManaged": True, "allowGlobal": False, "allowDefault": False, "allowDNS": False}
BASE32 = "abcdefghijklmnopqrstuvwxyz234567"


@dataclass
class Joined:
    since: int
    allowed: dict[str, bool] = field(default_factory=lambda: dict(ALLOWED))
    last: Document | None = None  # The configuration that it has; kept when the network is gone.


class FakeMember:
    """One node as a member. `controllers` finds the controller of a network by node id; None: there is none."""

    def __init__(
        self, node_id: str, now: Callable[[], int], controllers: Callable[[str], FakeController | None]
    ) -> None:
        self.node_id, self.now, self.controllers = node_id, now, controllers
        self.joined: dict[str, Joined] = {}

    def join(self, network: str, body: bytes) -> Document:
        """POST /network/ID: joins, and changes what is allowed; a body that is no JSON changes nothing."""
        known = self.joined.setdefault(network, Joined(self.now()))
        try:
            given = fields(parse(body))
        except Exploded:
            given = {}
        known.allowed |= {name: given[name] for name in ALLOWED if isinstance(given.get(name), bool)}
        return self.network(network)

    def leave(self, network: str) -> Document:
        return {"result": True} if self.joined.pop(network, None) else {}

    def network(self, network: str) -> Document:
        joined = self.joined[network]
        status, config = self._heard(network, joined)
        return self._shown(network, joined, status, config)

    def _heard(self, network: str, joined: Joined) -> tuple[str, Document | None]:
        """Status and configuration, as old as they are here."""
        age = self.now() - joined.since
        controller = self.controllers(network[:10])
        stored = controller.network(network) if controller else None
        if controller is None or stored is None:
            gone = controller.removed.get(network, 0) if controller else 0
            if joined.last is not None and self.now() - gone < GONE_MS:
                return "OK", joined.last
            return ("REQUESTING_CONFIGURATION" if age < UNKNOWN_MS else "NOT_FOUND"), joined.last
        member = controller.member(network, self.node_id) or controller.put_member(network, self.node_id, {})
        if member["authorized"] or not stored["private"]:
            if self.now() - max(joined.since, member["lastAuthorizedTime"]) < JOINED_MS and joined.last is None:
                return "REQUESTING_CONFIGURATION", None
            joined.last = stored | {"addresses": member["ipAssignments"]}
            return "OK", joined.last
        if joined.last is not None and self.now() - member["lastDeauthorizedTime"] < THROWN_OUT_MS:
            return "OK", joined.last
        if age < UNKNOWN_MS:
            return "REQUESTING_CONFIGURATION", joined.last
        return "ACCESS_DENIED", joined.last

    def _shown(self, network: str, joined: Joined, status: str, config: Document | None) -> Document:
        mac = member_mac(self.node_id, network)
        config = config or {}
        routes = config.get("routes", [])[:DELIVERED_ROUTES]
        addresses = assigned(config.get("addresses", []), routes)
        heard_tap = status != "REQUESTING_CONFIGURATION"
        return {
            **joined.allowed,
            "assignedAddresses": addresses,
            "bridge": False,
            "broadcastEnabled": config.get("enableBroadcast", False),
            "dhcp": False,
            "dns": {"domain": "", "servers": []},
            "id": network,
            "mac": mac,
            "mtu": config.get("mtu", 2800),
            "multicastSubscriptions": subscriptions(mac, addresses) if heard_tap else [],
            "name": config.get("name", ""),
            "netconfRevision": config.get("revision", 0),
            "nwid": network,
            "portDeviceName": device_name(network),
            "portError": 0,
            "routes": [{"flags": 0, "metric": 0, **route} for route in routes],
            "status": status,
            "type": "PRIVATE" if config.get("private", True) else "PUBLIC",
        }


def assigned(addresses: list[str], routes: list[Document]) -> list[str]:
    """With the mask of the longest managed route that covers it; without one an address is never delivered."""
    shown = []
    for text in addresses:
        covering = [net for route in routes if ip_address(text) in (net := ip_network(route["target"], strict=False))]
        if covering:
            shown.append(f"{text}/{max(net.prefixlen for net in covering)}")
    return shown


def member_mac(node_id: str, network: str) -> str:
    """node/MAC.hpp, fromAddress."""
    nwid = int(network, 16)
    first = (nwid & 0xFE) | 0x02
    mac = ((0x32 if first == 0x52 else first) << 40) | int(node_id, 16)
    for index in range(1, 6):
        mac ^= ((nwid >> (8 * index)) & 0xFF) << (8 * (5 - index))
    return mac.to_bytes(6, "big").hex(":")


def device_name(network: str) -> str:
    """osdep/LinuxEthernetTap.cpp."""
    nwid = int(network, 16)
    digits = (nwid ^ (nwid >> 24)) & 0xFFFFFFFFFF
    return "zt" + "".join(BASE32[(digits >> (35 - 5 * index)) & 31] for index in range(8))


def subscriptions(mac: str, addresses: list[str]) -> list[dict[str, Any]]:
    groups = [
        {"adi": 0, "mac": "01:00:5e:00:00:01"},
        {"adi": 0, "mac": "33:33:00:00:00:01"},
        {"adi": 0, "mac": f"33:33:ff:{mac[9:]}"},
    ]
    fours = [ip for text in addresses if isinstance(ip := ip_address(text.partition("/")[0]), IPv4Address)]
    return groups + [{"adi": int(ip), "mac": "ff:ff:ff:ff:ff:ff"} for ip in fours]
