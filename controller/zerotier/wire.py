"""Between the JSON of ZeroTier's APIs and the values of the port. Both services name a network's fields alike. Pure."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any, TypeVar

import msgspec

from controller.zerotier.port import (
    Address,
    ManagedRoute,
    MemberChange,
    MemberState,
    NetworkChange,
    NetworkState,
    Pool,
    Rule,
)

T = TypeVar("T")
ACTION = "ACTION_"


class Unreadable(ValueError):
    """Not what the API says; the text names the field."""


class _Route(msgspec.Struct):
    target: str
    via: str | None = None


class _Pool(msgspec.Struct):
    start: str = msgspec.field(name="ipRangeStart")
    end: str = msgspec.field(name="ipRangeEnd")


class _Mode(msgspec.Struct):
    zt: bool = False
    plane: bool = msgspec.field(name="6plane", default=False)
    rfc4193: bool = False


class _Network(msgspec.Struct, rename="camel"):
    id: str
    name: str | None = None
    private: bool | None = None
    routes: list[_Route] | None = None
    mtu: int | None = None
    v4_assign_mode: _Mode | None = None
    v6_assign_mode: _Mode | None = None
    ip_assignment_pools: list[_Pool] | None = None
    rules: list[dict[str, Any]] | None = None
    capabilities: list[dict[str, Any]] | None = None
    tags: list[dict[str, Any]] | None = None
    multicast_limit: int | None = None
    enable_broadcast: bool | None = None
    revision: int | None = None


class _Member(msgspec.Struct, rename="camel"):
    id: str = ""
    authorized: bool | None = None
    ip_assignments: list[str] | None = None
    name: str | None = None
    no_auto_assign_ips: bool | None = None
    active_bridge: bool | None = None
    tags: list[tuple[int, int | bool]] | None = None
    capabilities: list[int] | None = None
    identity: str | None = None
    v_major: int | None = None
    v_minor: int | None = None
    v_rev: int | None = None
    last_deauthorized_time: int | None = None
    revision: int | None = None


def read_network(document: Any) -> NetworkState:
    """A network's JSON object (Central: its `config`). Raises Unreadable."""
    found = convert(document, _Network)
    mode4, mode6 = found.v4_assign_mode or _Mode(), found.v6_assign_mode or _Mode()
    return NetworkState(
        network=found.id.lower(),
        name=found.name or "",
        private=True if found.private is None else found.private,
        routes=tuple(_route(route) for route in found.routes or ()),
        mtu=NetworkState.mtu if found.mtu is None else found.mtu,
        auto_assign4=mode4.zt,
        auto_assign6=mode6.zt,
        auto_6plane=mode6.plane,
        auto_rfc4193=mode6.rfc4193,
        pools=tuple(Pool(_address(pool.start), _address(pool.end)) for pool in found.ip_assignment_pools or ()),
        rules=tuple(plain_rule(rule) for rule in found.rules or ()),
        capabilities=tuple(found.capabilities or ()),
        tags=tuple(found.tags or ()),
        multicast_limit=NetworkState.multicast_limit if found.multicast_limit is None else found.multicast_limit,
        broadcast=True if found.enable_broadcast is None else found.enable_broadcast,
        revision=found.revision or 0,
    )


def read_member(document: Any) -> MemberState:
    """A member's JSON object (Central: its `config`). Raises Unreadable."""
    found = convert(document, _Member)
    version = (found.v_major, found.v_minor, found.v_rev)
    return MemberState(
        node_id=found.id.lower(),
        authorised=bool(found.authorized),
        addresses=tuple(_address(text) for text in found.ip_assignments or ()),
        name=found.name or "",
        no_auto_assign=bool(found.no_auto_assign_ips),
        bridge=bool(found.active_bridge),
        tags=tuple((number, int(value)) for number, value in found.tags or ()),
        capabilities=tuple(found.capabilities or ()),
        identity=found.identity or "",
        version=".".join(str(part) for part in version)
        if all(part is not None and part >= 0 for part in version)
        else "",
        revision=found.revision or 0,
        deauthorised_at=(found.last_deauthorized_time or 0) / 1000,
    )


def write_network(change: NetworkChange, now: NetworkState | None = None) -> dict[str, Any]:
    """The JSON fields of a change. The modes of a family are one object, and what it leaves out is forgotten by
    zerotier-one 1.14 (source: networkUpdateFromPostData), so they are filled from `now`, the stored state."""
    now = now or NetworkState(network="")
    plain = {
        "name": change.name,
        "private": change.private,
        "mtu": change.mtu,
        "rules": None if change.rules is None else [dict(rule) for rule in change.rules],
        "routes": None if change.routes is None else [_route_json(route) for route in change.routes],
        "ipAssignmentPools": None if change.pools is None else [_pool_json(pool) for pool in change.pools],
        "v4AssignMode": None if change.auto_assign4 is None else {"zt": change.auto_assign4},
    }
    six = (change.auto_assign6, change.auto_6plane, change.auto_rfc4193)
    if six != (None, None, None):
        stored = (now.auto_assign6, now.auto_6plane, now.auto_rfc4193)
        modes = (was if new is None else new for new, was in zip(six, stored, strict=True))
        plain["v6AssignMode"] = dict(zip(("zt", "6plane", "rfc4193"), modes, strict=True))
    return {field: value for field, value in plain.items() if value is not None}


def write_member(change: MemberChange) -> dict[str, Any]:
    plain = {
        "authorized": change.authorised,
        "ipAssignments": None if change.addresses is None else [str(address) for address in change.addresses],
        "name": change.name,
        "noAutoAssignIps": change.no_auto_assign,
    }
    return {field: value for field, value in plain.items() if value is not None}


def plain_rule(rule: Rule) -> Rule:
    """Without `not` and `or` where they say nothing: on an action, and when false."""
    action = str(rule.get("type", "")).startswith(ACTION)
    return {key: value for key, value in rule.items() if key not in ("not", "or") or (value and not action)}


def convert(document: Any, kind: type[T]) -> T:
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        raise Unreadable(str(error)) from None


def _route(route: _Route) -> ManagedRoute:
    try:
        target = ip_network(route.target, strict=False)
    except ValueError:
        raise Unreadable(f"routes: {route.target!r} is no network") from None
    return ManagedRoute(target, None if route.via is None else _address(route.via))


def _address(text: str) -> Address:
    try:
        return ip_address(text)
    except ValueError:
        raise Unreadable(f"{text!r} is no address") from None


def _route_json(route: ManagedRoute) -> dict[str, str | None]:
    return {"target": str(route.target), "via": None if route.via is None else str(route.via)}


def _pool_json(pool: Pool) -> dict[str, str]:
    return {"ipRangeStart": str(pool.start), "ipRangeEnd": str(pool.end)}
