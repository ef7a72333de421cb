"""What zerotier-one 1.14 makes of flow rules (controller/EmbeddedNetworkController.cpp: _parseRule, _renderRule)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.controller.zerotier.fake_json import as_bool, as_int, as_text

ACTIONS = ("ACTION_DROP", "ACTION_ACCEPT", "ACTION_BREAK")


def stored_rules(rules: list[Any]) -> list[dict[str, Any]]:
    """Rules that it does not know are dropped, and nobody is told."""
    return [stored for rule in rules if isinstance(rule, dict) and (stored := _stored(rule)) is not None]


def _stored(rule: dict[str, Any]) -> dict[str, Any] | None:
    kind = as_text(rule.get("type"))
    if kind in ACTIONS:
        return {"type": kind}
    if kind not in MATCHES:
        return None
    logic = {"not": as_bool(rule.get("not")), "or": as_bool(rule.get("or"))}
    return {"type": kind, **MATCHES[kind](rule), **logic}


def _number(field: str, bits: int) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda rule: {field: as_int(rule.get(field)) & ((1 << bits) - 1)}


def _mask(rule: dict[str, Any]) -> dict[str, Any]:
    mask = rule.get("mask", 0)
    return {"mask": f"{int(mask, 16) if isinstance(mask, str) else int(mask):016x}"}


def _node(rule: dict[str, Any]) -> dict[str, Any]:
    return {"zt": f"{int(as_text(rule.get('zt'), '0'), 16) & 0xFFFFFFFFFF:010x}"}


MATCHES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "MATCH_ETHERTYPE": _number("etherType", 16),
    "MATCH_IP_PROTOCOL": _number("ipProtocol", 8),
    "MATCH_VLAN_ID": _number("vlanId", 16),
    "MATCH_CHARACTERISTICS": _mask,
    "MATCH_SOURCE_ZEROTIER_ADDRESS": _node,
    "MATCH_DEST_ZEROTIER_ADDRESS": _node,
}
