"""The fields of every kind of object: who reads them, which must be there, which are the key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from controller.inventory import fields, fields_policy, fields_segment
from controller.inventory.fields import Reader, Unreadable, shown
from controller.inventory.model import (
    DEFAULT_LONGEST,
    GLOBAL,
    MAX_MTU,
    MAX_NUMBER,
    MIN_MTU,
    Allocation,
    CircuitClass,
    Client,
    Fabric,
    Gateway,
    Host,
    LanPeer,
    Moon,
    Network,
    Prefix,
    Region,
    Site,
    Uplink,
)

PREFERENCE = fields.integer(1, 2**32 - 1)  # 0 is for what is drained.
NUMBER = fields.integer(1, MAX_NUMBER)


@dataclass(frozen=True, slots=True)
class Spec:
    """The fields of one kind: name -> reader. What is not required has its default in the model."""

    make: Callable[..., Any]
    readers: dict[str, Reader]
    required: tuple[str, ...]
    key: tuple[str, ...] = ("name",)


UPLINK = Spec(
    Uplink,
    {
        "name": fields.name,
        "number": NUMBER,
        "node_id": fields.node_id,
        "interface": fields.interface,
        "address": fields.address4,
        "address6": fields.address6,
        "circuit_class": fields.name,
        "preference": PREFERENCE,
        "bandwidth": fields.bandwidth,
    },
    ("name", "node_id", "interface", "circuit_class"),
)


def _uplinks(value: Any) -> Any:
    if not isinstance(value, list):
        raise Unreadable("field-type", f"must be a list of uplinks, not {shown(value)}")
    return value


def _allocation(
    site: str, prefix: Network, tenant: str = GLOBAL, longest: int | None = None, anycast: bool = False
) -> Allocation:
    if longest is None:
        # A default route is one route: what is inside it belongs to others.
        longest = max(DEFAULT_LONGEST[prefix.version], prefix.prefixlen) if prefix.prefixlen else 0
    if not prefix.prefixlen <= longest <= prefix.max_prefixlen:
        raise Unreadable(
            "number-range", f"longest {longest} does not fit {prefix}: use {prefix.prefixlen} to {prefix.max_prefixlen}"
        )
    return Allocation(site, prefix, longest, tenant, anycast)


SPECS: dict[str, Spec] = {
    "fabric": Spec(
        Fabric,
        {
            "name": fields.name,
            "asn": fields.asn,
            "segment": fields.network4,
            "segment6": fields.network6,
            "hold_time": fields.integer(3, 65535),
            "restart_time": fields.integer(0, 4095),
            "max_paths": fields.integer(1, 64),
            "bfd_up_delay_ms": fields.integer(0, 600_000),
            "bfd_hold_max_ms": fields.integer(0, 3_600_000),
            "bfd_idle_seconds": fields.integer(10, 86_400),
            "bfd_max_sessions": fields.integer(1, 4096),
            "hubless_seconds": fields.integer(0, 30 * 86_400),
            "vrrp_advert_ms": fields.integer(10, 40_950),
            "guard_default": fields.boolean,
            "blackhole": fields.boolean,
            "underlay": fields_policy.networks,
            "network": fields_segment.network_id,
            "mtu": fields.integer(MIN_MTU, MAX_MTU),
            "segment_rules": fields_segment.segment_rules,
            "managed_floor": fields.boolean,
            "permanent_neighbours": fields.boolean,
            "mss_clamp": fields.boolean,
            "relayed_seconds": fields.integer(0, 86_400),
            "relayed_preference": fields.integer(-(2**32) + 1, 2**32 - 1),
            "md5": fields.boolean,
        },
        ("name", "asn", "segment"),
    ),
    "region": Spec(Region, {"name": fields.name, "closed": fields.boolean}, ("name",)),
    "circuit-class": Spec(
        CircuitClass, {"name": fields.name, "preference": PREFERENCE, "bfd": fields.bfd}, ("name", "preference")
    ),
    "site": Spec(
        Site,
        {
            "name": fields.name,
            "number": fields.integer(1, 2**32 - 1),
            "region": fields.name,
            "provider": fields.text,
            "tags": fields.tags,
            "max_prefixes": fields.integer(0, 2**32 - 1),
        },
        ("name", "region"),
    ),
    "allocation": Spec(
        _allocation,
        {
            "site": fields.name,
            "prefix": fields.network,
            "longest": fields.integer(0, 128),
            "tenant": fields.name,
            "anycast": fields.boolean,
        },
        ("site", "prefix"),
        ("site", "tenant", "prefix"),
    ),
    "prefix": Spec(
        Prefix,
        {
            "site": fields.name,
            "prefix": fields.network,
            "tenant": fields.name,
            "gateways": fields.names,
            "first_hop": fields.address,
            "vrid": fields.integer(1, 255),
            "probe": fields.probe,
        },
        ("site", "prefix"),
        ("site", "tenant", "prefix"),
    ),
    "gateway": Spec(
        Gateway,
        {
            "name": fields.name,
            "site": fields.name,
            "role": fields.role,
            "drained": fields.boolean,
            "uplinks": _uplinks,
        },
        ("name", "site", "role", "uplinks"),
    ),
    "client": Spec(
        Client,
        {
            "name": fields.name,
            "site": fields.name,
            "number": NUMBER,
            "node_id": fields.node_id,
            "address": fields.address4,
            "address6": fields.address6,
            "circuit_class": fields.name,
            "preference": PREFERENCE,
            "bandwidth": fields.bandwidth,
            "asn": fields.asn,
        },
        ("name", "site", "circuit_class"),
    ),
    "lan-peer": Spec(
        LanPeer,
        {
            "name": fields.name,
            "gateway": fields.name,
            "asn": fields.asn,
            "interface": fields.interface,
            "address": fields_policy.lan_address,
            "local_address": fields_policy.lan_address,
        },
        ("name", "gateway", "asn", "interface", "address", "local_address"),
    ),
    "rule": Spec(
        fields_policy.rule,
        {
            "name": fields.name,
            "order": fields.integer(0, 2**31 - 1),
            "match": fields_policy.MATCH,
            "viewer": fields_policy.VIEWER,
            "action": fields_policy.ACTION,
        },
        ("name", "action"),
    ),
    "assertion": Spec(
        fields_policy.assertion,
        {
            "name": fields.name,
            "sites": fields.names,
            "prefix": fields.network,
            "tenant": fields.name,
            "reaches": fields.boolean,
            "never_over": fields.names,
            "survives": fields_policy.survivable,
        },
        ("name",),
    ),
    "host": Spec(
        Host,
        {
            "name": fields.name,
            "site": fields.name,
            "node_id": fields.node_id,
            "address": fields.address4,
            "address6": fields.address6,
        },
        ("name", "node_id"),
    ),
    "moon": Spec(
        Moon,
        {
            "name": fields.name,
            "gateway": fields.name,
            "uplink": fields.name,
            "endpoints": fields_segment.endpoints,
        },
        ("name", "gateway", "endpoints"),
    ),
    "uplink": UPLINK,
}
