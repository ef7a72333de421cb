"""Documents that the tests of store and API declare."""

from __future__ import annotations

from copy import deepcopy
from ipaddress import ip_network
from itertools import islice
from typing import Any

Document = dict[str, Any]

SMALL: Document = {
    "fabric": {
        "name": "demo",
        "asn": 64512,
        "segment": "10.42.0.0/16",
        "segment6": "fd42:42::/64",
        "bfd_up_delay_ms": 1,
        "bfd_hold_max_ms": 2,
        "bfd_idle_seconds": 30,
        "bfd_max_sessions": 4,
        "hubless_seconds": 5,
        "vrrp_advert_ms": 60,
        "guard_default": False,
        "blackhole": True,
        "underlay": ["192.0.2.0/24", "2001:db8:ffff::/48"],
        "network": "8056c2e21c000001",
        "mtu": 2800,
        "segment_rules": "owned",
        "managed_floor": True,
        "permanent_neighbours": False,
        "mss_clamp": False,
        "relayed_seconds": 30,
        "relayed_preference": -90,
        "md5": True,
    },
    "regions": [{"name": "eu"}, {"name": "us", "closed": True}],
    "circuit_classes": [
        {"name": "gold", "preference": 300, "bfd": {"interval_ms": 250, "multiplier": 4}},
        {"name": "dark", "preference": 10, "bfd": "off"},
    ],
    "sites": [
        {"name": "berlin", "region": "eu", "tags": ["dc", "edge"]},
        {"name": "paris", "region": "eu", "number": 7, "provider": "acme", "tags": ["shop"], "max_prefixes": 100},
    ],
    "allocations": [
        {"site": "berlin", "prefix": "10.1.0.0/16"},
        {"site": "paris", "prefix": "10.2.0.0/16", "longest": 26},
        {"site": "paris", "prefix": "2001:db8:2::/48"},
        {"site": "berlin", "prefix": "10.9.0.0/24", "anycast": True},
        {"site": "paris", "prefix": "10.9.0.0/24", "anycast": True},
    ],
    "prefixes": [
        {"site": "berlin", "prefix": "10.1.1.0/24"},
        {"site": "paris", "prefix": "10.2.1.0/24", "gateways": ["paris-1", "paris-2"], "first_hop": "10.2.1.254"},
        {
            "site": "paris",
            "prefix": "2001:db8:2:1::/64",
            "first_hop": "2001:db8:2:1::fe",
            "vrid": 7,
            "probe": {"tcp": "[2001:db8:2:1::10]:443", "interval_ms": 500},
        },
    ],
    "gateways": [
        {
            "name": "berlin-1",
            "site": "berlin",
            "role": "hub",
            "uplinks": [{"name": "main", "node_id": "a000000001", "interface": "zt0", "circuit_class": "gold"}],
        },
        {
            "name": "paris-1",
            "site": "paris",
            "role": "spoke",
            "uplinks": [
                {"name": "wan", "node_id": "a000000002", "interface": "zt0", "circuit_class": "fiber"},
                {
                    "name": "backup",
                    "node_id": "a000000003",
                    "interface": "zt1",
                    "circuit_class": "lte",
                    "preference": 90,
                    "bandwidth": "100M",
                },
            ],
        },
        {
            "name": "paris-2",
            "site": "paris",
            "role": "spoke",
            "drained": True,
            "uplinks": [{"name": "wan", "node_id": "a000000004", "interface": "zt0", "circuit_class": "fiber"}],
        },
    ],
    "clients": [
        {
            "name": "frr1",
            "site": "berlin",
            "node_id": "b000000001",
            "circuit_class": "fiber",
            "number": 90,
            "asn": 65010,
        }
    ],
    "lan_peers": [
        {
            "name": "core",
            "gateway": "paris-1",
            "asn": 65001,
            "interface": "lan0",
            "address": "2001:db8:2:1::2",
            "local_address": "2001:db8:2:1::1",
        },
    ],
    "rules": [
        {
            "name": "all-of-it",
            "match": {
                "sites": ["paris"],
                "regions": ["eu"],
                "tags": ["shop"],
                "gateways": ["paris-1"],
                "circuit_classes": ["lte"],
                "prefixes": ["10.0.0.0/8 ge 16 le 24", "2001:db8::/32 le 64"],
                "communities": ["65000:1", "4200000000:1:7"],
            },
            "viewer": {"sites": ["berlin"], "regions": ["eu"], "tags": ["edge"]},
            "action": {
                "preference": 120,
                "preference_add": -5,
                "add_communities": ["65000:2"],
                "remove_communities": ["65000:1"],
                "med": 0,
                "prepend": 2,
                "max_paths": 1,
                "last": True,
            },
        },
        {"name": "first", "order": 1, "match": {"tags": ["shop"]}, "action": {"max_paths": 2}},
    ],
    "assertions": [
        {"name": "never-lte", "sites": ["paris"], "prefix": "10.1.1.0/24", "never_over": ["lte"]},
        {"name": "by-provider", "sites": ["berlin"], "prefix": "10.1.1.0/24", "survives": "provider"},
        {"name": "reach", "prefix": "10.1.1.0/24", "reaches": True},
    ],
    "hosts": [
        {"name": "laptop", "node_id": "f000000001"},
        {"name": "nas", "site": "berlin", "node_id": "f000000002", "address": "10.42.0.200"},
    ],
    "moons": [
        {"name": "eu", "gateway": "paris-1", "uplink": "backup", "endpoints": ["203.0.113.10/9993"]},
        {"name": "own", "gateway": "berlin-1", "endpoints": ["2001:db8::10/9993", "203.0.113.11/443"]},
    ],
}


def small() -> Document:
    return deepcopy(SMALL)


def sized(gateways: int, prefixes: int) -> Document:
    """A sound fabric with so many gateways, one a site, the first of them a hub, and so many prefixes in all."""
    space = ip_network("10.0.0.0/9").subnets(new_prefix=9 + max(1, (gateways - 1).bit_length()))
    lans = list(islice(space, gateways))
    each = -(-prefixes // gateways)
    document: Document = {
        "fabric": {"name": "demo", "asn": 64512, "segment": "10.200.0.0/16"},
        "regions": [{"name": "eu"}],
        "sites": [{"name": f"s{n}", "region": "eu"} for n in range(gateways)],
        "allocations": [{"site": f"s{n}", "prefix": str(lan), "longest": 30} for n, lan in enumerate(lans)],
        "prefixes": [
            {"site": f"s{n}", "prefix": str(lan)}
            for n, allocation in enumerate(lans)
            for lan in islice(allocation.subnets(new_prefix=28), each)
        ],
        "gateways": [
            {
                "name": f"g{n}",
                "site": f"s{n}",
                "role": "hub" if n == 0 else "spoke",
                "uplinks": [{"name": "wan", "node_id": f"{n + 1:010x}", "interface": "zt0", "circuit_class": "fiber"}],
            }
            for n in range(gateways)
        ],
    }
    document["prefixes"] = document["prefixes"][:prefixes]
    return document
