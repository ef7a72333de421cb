"""Readers of what stands in ZeroTier's own words: the network, its rules, where a moon answers."""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Any

from controller.inventory.fields import Unquoted, Unreadable, shown
from controller.inventory.model import SegmentRules

MAX_ENDPOINTS = 32
"""Of one root of a moon: ZT_WORLD_MAX_STABLE_ENDPOINTS_PER_ROOT."""

_NETWORK_ID = re.compile(r"[0-9a-f]{16}", re.ASCII)
_PORT = re.compile(r"[1-9][0-9]{0,4}", re.ASCII)


def network_id(value: Any) -> str:
    if isinstance(value, Unquoted) or not isinstance(value, str):
        message = f"must be text, not {shown(value)}: put the network id in quotes"
        raise Unreadable("network-id-invalid", message)
    if _NETWORK_ID.fullmatch(value):
        return value
    if _NETWORK_ID.fullmatch(value.lower()):
        raise Unreadable("network-id-invalid", f'"{value}" must be in lower case: "{value.lower()}"')
    raise Unreadable("network-id-invalid", f"{shown(value)} is no ZeroTier network id: 16 digits of 0-9 and a-f")


def segment_rules(value: Any) -> SegmentRules:
    if value == "checked":
        return "checked"
    if value == "owned":
        return "owned"
    raise Unreadable("segment-rules-unknown", f"{shown(value)} is no way to treat them: use checked or owned")


def endpoints(value: Any) -> tuple[str, ...]:
    """["203.0.113.10/9993", "2001:db8::10/9993"]: sorted, as `zerotier-idtool genmoon` takes them."""
    if not isinstance(value, list):
        raise Unreadable("field-type", f"must be a list of endpoints, not {shown(value)}")
    if not 1 <= len(value) <= MAX_ENDPOINTS:
        raise Unreadable("number-range", f"{len(value)} endpoints; 1 to {MAX_ENDPOINTS} are possible")
    return tuple(sorted({_endpoint(each) for each in value}))


def _endpoint(value: Any) -> str:
    address, slash, port = value.partition("/") if isinstance(value, str) else ("", "", "")
    try:
        found = IPv6Address(address) if ":" in address else IPv4Address(address)
    except AddressValueError:
        found = None
    if found is None or not slash or not _PORT.fullmatch(port) or int(port) > 65_535:
        raise Unreadable("endpoint-invalid", f'{shown(value)} is no ADDRESS/PORT: write "203.0.113.10/9993"')
    if found.is_unspecified or found.is_loopback or found.is_multicast or found.is_link_local:
        raise Unreadable("endpoint-invalid", f"{found} is no address that other gateways can reach: use a public one")
    return f"{found}/{port}"
