"""Before a write: what ZeroTier stores and never delivers. After it: is what is stored what was written? Pure."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import Any

from controller.zerotier.port import (
    MAX_ADDRESSES,
    MAX_ROUTES,
    MTU_MIN,
    MTU_USABLE,
    MemberChange,
    MemberState,
    NetworkChange,
    NetworkState,
    NotStored,
    Refused,
)
from controller.zerotier.wire import plain_rule

MAX_RULES = 1024
NODE_ID = re.compile(r"[0-9a-f]{10}", re.ASCII)
NETWORK_ID = re.compile(r"[0-9a-f]{16}", re.ASCII)


def deliverable_network(network: str, change: NetworkChange) -> None:
    """Raises Refused for what the API would take and members would never get, or could not use."""
    if change.mtu is not None and not MTU_MIN <= change.mtu <= MTU_USABLE:
        raise Refused(
            f"network {network}: MTU {change.mtu} is outside {MTU_MIN}..{MTU_USABLE}, which is what members can use"
        )
    _no_more(network, "managed routes", change.routes, MAX_ROUTES)
    _no_more(network, "rules", change.rules, MAX_RULES)


def deliverable_member(network: str, node_id: str, change: MemberChange) -> None:
    if not NODE_ID.fullmatch(node_id):
        raise Refused(f"network {network}: {node_id!r} is no node id: ten hexadecimal digits in lower case")
    _no_more(f"{network}, member {node_id}", "addresses", change.addresses, MAX_ADDRESSES)


def check_network(network: str, wanted: NetworkChange, stored: NetworkState) -> None:
    _check(f"network {network}", wanted, stored)


def check_member(network: str, wanted: MemberChange, stored: MemberState) -> None:
    _check(f"network {network}, member {stored.node_id}", wanted, stored)


def usable_network_id(network: str) -> str:
    if not NETWORK_ID.fullmatch(network):
        raise Refused(f"{network!r} is no ZeroTier network id: sixteen hexadecimal digits in lower case")
    return network


def _check(thing: str, wanted: NetworkChange | MemberChange, stored: NetworkState | MemberState) -> None:
    for field in fields(wanted):
        value, found = getattr(wanted, field.name), getattr(stored, field.name)
        if value is not None and _comparable(field.name, value) != _comparable(field.name, found):
            raise NotStored(thing, field.name, value, found)


def _comparable(field: str, value: Any) -> Any:
    """Order says something in rules only."""
    if field == "rules":
        return [plain_rule(rule) for rule in value]
    return frozenset(value) if isinstance(value, tuple) else value


def _no_more(thing: str, what: str, values: tuple[Any, ...] | None, bound: int) -> None:
    if values is not None and len(values) > bound:
        raise Refused(f"network {thing}: {len(values)} {what}; ZeroTier delivers {bound} and drops the rest silently")
