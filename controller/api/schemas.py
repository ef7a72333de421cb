"""What OpenAPI says about the inventory's bodies, each with an example.

The parser of these bodies is controller.inventory.document, which finds more than a schema can
say; a test holds the two together: same fields, and every example is accepted.
"""

from __future__ import annotations

from typing import Any

from controller.inventory.fields import Parts
from controller.inventory.fields_policy import SURVIVABLE
from controller.inventory.fields_segment import MAX_ENDPOINTS
from controller.inventory.model import BFD_OFF, BFD_PRESETS, MAX_MTU, MIN_MTU, SECTIONS
from controller.inventory.specs import SPECS

_TEXT = {"type": "string"}
_NAME = {"type": "string", "pattern": "^[a-z0-9][a-z0-9-]{0,62}$"}
_NUMBER = {"type": "integer", "minimum": 1}
_PREFIX = {"type": "string", "description": "ADDRESS/LENGTH, IPv4 or IPv6"}
_NAMES = {"type": "array", "items": _NAME}


_COMMUNITIES = {"type": "array", "items": {"type": "string", "description": '"65000:1" or "4200000000:1:7"'}}


def _flag(text: str) -> dict[str, Any]:
    return {"type": "boolean", "description": text}


def _between(least: int, most: int, text: str) -> dict[str, Any]:
    return {"type": "integer", "minimum": least, "maximum": most, "description": text}


_TIMERS = {
    "type": "object",
    "additionalProperties": False,
    "required": ["interval_ms", "multiplier"],
    "properties": {"interval_ms": _between(10, 60_000, "milliseconds"), "multiplier": _between(2, 50, "intervals")},
}
_PROBE = {
    "type": "object",
    "additionalProperties": False,
    "description": "One target: icmp or tcp",
    "properties": {
        "icmp": {"type": "string", "description": "An address"},
        "tcp": {"type": "string", "description": '"10.1.0.10:80" or "[fd00:1::10]:80"'},
        "interval_ms": _between(50, 60_000, "milliseconds; 1000 when left out"),
        "multiplier": _between(1, 50, "Failures in a row until the LAN counts as dead; 3 when left out"),
    },
}

FIELDS: dict[str, dict[str, Any]] = {
    "address": {"type": "string", "format": "ipv4"},
    "address6": {"type": "string", "format": "ipv6"},
    "anycast": _flag("Other sites may have the very same allocation, if theirs says so too"),
    "asn": {"type": "integer", "minimum": 1, "maximum": 2**32 - 2},
    "bandwidth": {"type": ["integer", "string"], "description": 'bit/s, or "100M", "1G"'},
    "bfd": {
        "description": "Left out: lte for lte and satellite, else wan",
        "oneOf": [{"type": "string", "enum": [*BFD_PRESETS, BFD_OFF]}, _TIMERS],
    },
    "bfd_hold_max_ms": _between(0, 3_600_000, "The up delay doubles with each flap, up to this"),
    "bfd_idle_seconds": _between(10, 86_400, "A session on demand goes after so long without use"),
    "bfd_max_sessions": _between(1, 4096, "On demand, per gateway"),
    "bfd_up_delay_ms": _between(0, 600_000, "A next hop that was down is used again after so long"),
    "blackhole": _flag("BLACKHOLE (RFC 7999) is honoured inside allocations, up to host routes"),
    "circuit_class": _NAME,
    "closed": _flag("Its routes stay in it, and it gets none of others, but for what rules open"),
    "drained": {"type": "boolean", "description": "Left out: as it is. See POST /gateways/{name}/drain"},
    "endpoints": {
        "type": "array",
        "items": {"type": "string", "description": '"203.0.113.10/9993": where the moon answers in the underlay'},
        "minItems": 1,
        "maxItems": MAX_ENDPOINTS,
    },
    "first_hop": {"type": "string", "description": "Address in the prefix that its gateways share by VRRP"},
    "gateway": _NAME,
    "gateways": {**_NAMES, "description": "Empty or left out: every gateway of the site"},
    "guard_default": _flag("Declared space never leaves by a default route; true when left out"),
    "hold_time": {"type": "integer", "minimum": 3, "maximum": 65535, "description": "seconds"},
    "hubless_seconds": _between(0, 30 * 86_400, "With all hubs gone routes stay so long"),
    "interface": {"type": "string", "maxLength": 15},
    "local_address": {"type": "string", "description": "Of the gateway, on the LAN"},
    "longest": {"type": "integer", "minimum": 0, "maximum": 128, "description": "Longest mask that may be announced"},
    "managed_floor": _flag("Managed routes of ZeroTier beneath those of BGP, as a floor"),
    "max_paths": {"type": "integer", "minimum": 1, "maximum": 64},
    "max_prefixes": _between(0, 2**32 - 1, "That hubs take from each gateway and client of the site; 0: no limit"),
    "md5": _flag("Sessions are to have MD5 keys (RFC 2385): see POST /gateways/{name}/rotate-md5"),
    "mss_clamp": _flag("TCP's MSS is clamped to the segment's MTU; true when left out"),
    "mtu": _between(MIN_MTU, MAX_MTU, "Of the segment; 1280 when left out"),
    "name": _NAME,
    "network": {
        "type": "string",
        "pattern": "^[0-9a-f]{16}$",
        "description": "ZeroTier network id; left out: not ours",
    },
    "never_over": {**_NAMES, "description": "Circuit classes"},
    "node_id": {"type": "string", "pattern": "^[0-9a-f]{10}$"},
    "number": {**_NUMBER, "description": "Left out: allocated, stored, never moves"},
    "order": _between(0, 2**31 - 1, "Rules are looked at by order, then by name; 1000 when left out"),
    "permanent_neighbours": _flag("Next hops have permanent neighbour entries; true when left out"),
    "preference": {"type": "integer", "minimum": 1, "maximum": 2**32 - 1, "description": "LOCAL_PREF"},
    "prefix": _PREFIX,
    "probe": _PROBE,
    "provider": _TEXT,
    "reaches": _flag("Every one of the sites has a route to the prefix"),
    "region": _NAME,
    "relayed_preference": _between(1 - 2**32, 2**32 - 1, "Added to what is relayed for too long; -50 when left out"),
    "relayed_seconds": _between(0, 86_400, "A path may be relayed for so long; 0: for ever"),
    "restart_time": {"type": "integer", "minimum": 0, "maximum": 4095, "description": "seconds"},
    "role": {"type": "string", "enum": ["spoke", "hub"]},
    "segment": _PREFIX,
    "segment6": _PREFIX,
    "segment_rules": {"type": "string", "enum": ["checked", "owned"], "description": "ZeroTier's flow rules"},
    "site": _NAME,
    "sites": {**_NAMES, "description": "Empty or left out: every site"},
    "survives": {"type": "string", "enum": [*SURVIVABLE]},
    "tags": _NAMES,
    "tenant": {"type": "string", "enum": ["global"]},
    "uplink": _NAME,
    "underlay": {"type": "array", "items": _PREFIX, "description": "Addresses that ZeroTier itself runs over"},
    "vrid": _between(1, 255, "VRRP's number of the first hop; left out: derived from the prefix"),
    "vrrp_advert_ms": _between(10, 40_950, "Between two VRRP adverts; rounded to centiseconds"),
}

_PARTS: dict[str, dict[str, Any]] = {
    "add_communities": _COMMUNITIES,
    "circuit_classes": _NAMES,
    "communities": {**_COMMUNITIES, "description": "One of them is enough"},
    "deny": _flag("Not taken, or with a viewer not told"),
    "gateways": {**_NAMES, "description": "Gateways and clients"},
    "last": _flag("Rules after this one do not see the path"),
    "max_paths": _between(0, 64, "Widest ECMP group; 1: none, 0: as the fabric says"),
    "med": _between(0, 2**32 - 1, "MULTI_EXIT_DISC"),
    "open": _flag("Leaves and enters closed regions"),
    "prefixes": {"type": "array", "items": {"type": "string", "description": '"10.0.0.0/8 ge 16 le 24"'}},
    "preference_add": _between(1 - 2**32, 2**32 - 1, "Added to LOCAL_PREF, which stays between 1 and 4294967295"),
    "prepend": _between(0, 32, "So often is the fabric's AS put before AS_PATH towards eBGP clients"),
    "region_only": _flag("Told in the origin's own region only"),
    "regions": _NAMES,
    "remove_communities": _COMMUNITIES,
    "sites": _NAMES,
}
"""Fields of what is a field itself; the others mean what they mean in an object."""

_OF_KIND: dict[tuple[str, str], dict[str, Any]] = {
    ("lan-peer", "address"): {"type": "string", "description": "Of the router, on the LAN: IPv4 or IPv6"},
    ("client", "asn"): {**FIELDS["asn"], "description": "Left out: the fabric's, so iBGP. Another one: eBGP"},
}

EXAMPLES: dict[str, dict[str, Any]] = {
    "fabric": {"name": "demo", "asn": 64512, "segment": "10.42.0.0/16", "segment6": "fd42:42::/64"},
    "region": {"name": "eu"},
    "circuit-class": {"name": "gold", "preference": 300, "bfd": "normal"},
    "site": {"name": "berlin", "region": "eu", "provider": "acme", "tags": ["dc"]},
    "allocation": {"site": "berlin", "prefix": "10.1.0.0/16", "longest": 24},
    "prefix": {
        "site": "berlin",
        "prefix": "10.1.1.0/24",
        "first_hop": "10.1.1.254",
        "probe": {"icmp": "10.1.1.10", "interval_ms": 1000, "multiplier": 3},
    },
    "uplink": {
        "name": "main",
        "node_id": "a1b2c3d4e5",
        "interface": "ztfabric0",
        "circuit_class": "fiber",
        "bandwidth": "1G",
    },
    "gateway": {
        "name": "berlin-1",
        "site": "berlin",
        "role": "hub",
        "uplinks": [{"name": "main", "node_id": "a1b2c3d4e5", "interface": "ztfabric0", "circuit_class": "fiber"}],
    },
    "client": {"name": "frr1", "site": "berlin", "node_id": "b1b2c3d4e5", "circuit_class": "fiber"},
    "lan-peer": {
        "name": "berlin-core",
        "gateway": "berlin-1",
        "asn": 65001,
        "interface": "lan0",
        "address": "10.1.0.2",
        "local_address": "10.1.0.1",
    },
    "rule": {
        "name": "eu-by-eu",
        "order": 10,
        "match": {"regions": ["eu"], "prefixes": ["10.0.0.0/8 ge 16 le 24"]},
        "viewer": {"regions": ["eu"]},
        "action": {"preference_add": 50},
    },
    "assertion": {"name": "berlin-never-lte", "sites": ["berlin"], "never_over": ["lte"]},
    "host": {"name": "nas", "site": "berlin", "node_id": "c1b2c3d4e5", "address": "10.42.0.200"},
    "moon": {"name": "eu", "gateway": "berlin-1", "uplink": "main", "endpoints": ["203.0.113.10/9993"]},
}

DOCUMENT_EXAMPLE: dict[str, Any] = {
    "fabric": EXAMPLES["fabric"],
    **{section: [EXAMPLES[kind]] for section, kind in SECTIONS.items()},
}


def schema_of(kind: str, *, patch: bool = False) -> dict[str, Any]:
    """JSON Schema of one object. In a patch nothing is required and null takes a field away."""
    spec = SPECS[kind]
    properties = {field: _field(kind, field) for field in spec.readers}
    schema: dict[str, Any] = {"type": "object", "additionalProperties": False, "properties": properties}
    if not patch:
        schema["required"] = list(spec.required)
    return schema


def _field(kind: str, field: str) -> dict[str, Any]:
    if field == "uplinks":
        return {"type": "array", "items": schema_of("uplink"), "minItems": 1, "maxItems": 8}
    reader = SPECS[kind].readers[field]
    if isinstance(reader, Parts):
        properties = {each: _PARTS.get(each) or FIELDS[each] for each in reader.readers}
        return {"type": "object", "additionalProperties": False, "properties": properties}
    return _OF_KIND.get((kind, field)) or FIELDS[field]


def document_schema() -> dict[str, Any]:
    sections = {section: {"type": "array", "items": schema_of(kind)} for section, kind in SECTIONS.items()}
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {"fabric": schema_of("fabric"), **sections},
    }


def request_body(kind: str) -> dict[str, Any]:
    return _body(schema_of(kind), EXAMPLES[kind], "application/json")


def patch_body(kind: str) -> dict[str, Any]:
    example = {field: value for field, value in EXAMPLES[kind].items() if field not in SPECS[kind].key}
    return _body(schema_of(kind, patch=True), example, "application/merge-patch+json")


def document_body() -> dict[str, Any]:
    return _body(document_schema(), DOCUMENT_EXAMPLE, "application/json")


def document_response() -> dict[str, Any]:
    content = {"application/json": {"schema": document_schema(), "example": DOCUMENT_EXAMPLE}}
    return {"description": "Every object, in canonical order", "content": content}


def _body(schema: dict[str, Any], example: dict[str, Any], media_type: str) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {media_type: {"schema": schema, "example": example}}}}
