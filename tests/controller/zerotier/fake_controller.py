"""The controller inside zerotier-one 1.14.1: networks and members, as coercing and as silent as it was recorded.

State in, state out: no HTTP here. `FakeNode` answers with it, and `FakeCentral` keeps its networks in one.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator
from typing import Any

from tests.controller.zerotier.fake_json import address, as_bool, as_int, as_text, fields, text_or_explode
from tests.controller.zerotier.fake_rules import stored_rules

Document = dict[str, Any]
MTU_LEAST, MTU_MOST = 1280, 10000


class FakeController:
    """`now` is milliseconds since the epoch. Documents that come out are copies."""

    def __init__(self, node_id: str, now: Callable[[], int]) -> None:
        self.node_id, self.now = node_id, now
        self.networks: dict[str, Document] = {}
        self.members: dict[str, dict[int, Document]] = {}
        self.removed: dict[str, int] = {}  # Network -> when it was deleted.
        self.random: Iterator[int] = itertools.count(0x32F35C)  # "random" last six digits of new networks.

    def snapshot(self) -> Any:
        return copy.deepcopy((self.networks, self.members, self.removed))

    def restore(self, snapshot: Any) -> None:
        self.networks, self.members, self.removed = snapshot

    def new_id(self) -> str:
        return next(name for n in self.random if (name := f"{self.node_id}{n:06x}") not in self.networks)

    def network(self, network: str) -> Document | None:
        return copy.deepcopy(self.networks.get(network))

    def member(self, network: str, node_id: str) -> Document | None:
        return copy.deepcopy(self.members.get(network, {}).get(int(node_id, 16)))

    def all_members(self, network: str) -> list[Document]:
        return copy.deepcopy(list(self.members.get(network, {}).values()))

    def put_network(self, network: str, body: Any) -> Document:
        stored = _new_network(self.now()) | (self.network(network) or {}) | {"id": network, "nwid": network}
        given = fields(body)
        for name, read in NETWORK_FIELDS.items():
            if name in given and (value := read(given[name])) is not None:
                stored[name] = value
        self.networks[network] = _revised(self.networks.get(network), stored)
        self.members.setdefault(network, {})
        self.removed.pop(network, None)
        return self.network(network) or {}

    def put_member(self, network: str, node_id: str, body: Any) -> Document:
        """The id is stored as it was written, and found by its number: upper case shows, but is the same member."""
        known = self.members[network]
        stored = _new_member(self.now()) | (self.member(network, node_id) or {})
        stored |= {"id": node_id, "address": node_id, "nwid": network}
        given = fields(body)
        for name, read in MEMBER_FIELDS.items():
            if name in given and (value := read(given[name])) is not None:
                stored[name] = value
        if "authorized" in given:
            self._authorise(stored, as_bool(given["authorized"]))
        known[int(node_id, 16)] = _revised(known.get(int(node_id, 16)), stored)
        return self.member(network, node_id) or {}

    def delete_network(self, network: str) -> None:
        del self.networks[network]
        self.members.pop(network, None)
        self.removed[network] = self.now()

    def delete_member(self, network: str, node_id: str) -> None:
        del self.members[network][int(node_id, 16)]

    def _authorise(self, member: Document, wanted: bool) -> None:
        if member["authorized"] == wanted:
            return
        member["authorized"] = wanted
        member["lastAuthorizedTime" if wanted else "lastDeauthorizedTime"] = self.now()
        if wanted:
            member |= {"lastAuthorizedCredentialType": "api", "lastAuthorizedCredential": None}


def _revised(before: Document | None, after: Document) -> Document:
    """An identical write does not count."""
    if before is not None and {**before, "revision": 0} == {**after, "revision": 0}:
        return before
    return {**after, "revision": after.get("revision", 0) + 1}


def _new_network(now: int) -> Document:
    return {
        "authTokens": [None], "authorizationEndpoint": "", "capabilities": [], "clientId": "", "creationTime": now,
        "dns": [], "enableBroadcast": True, "ipAssignmentPools": [], "mtu": 2800, "multicastLimit": 32, "name": "",
        "objtype": "network", "private": True, "remoteTraceLevel": 0, "remoteTraceTarget": None, "routes": [],
        "rules": [{"not": False, "or": False, "type": "ACTION_ACCEPT"}], "rulesSource": "", "ssoEnabled": False,
        "tags": [], "v4AssignMode": {"zt": False}, "v6AssignMode": {"6plane": False, "rfc4193": False, "zt": False},
    }  # fmt: skip


def _new_member(now: int) -> Document:
    return {
        "activeBridge": False, "authenticationExpiryTime": 0, "authorized": False, "capabilities": [],
        "creationTime": now, "ipAssignments": [], "lastAuthorizedCredential": None,
        "lastAuthorizedCredentialType": None, "lastAuthorizedTime": 0, "lastDeauthorizedTime": 0,
        "noAutoAssignIps": False, "objtype": "member", "remoteTraceLevel": 0, "remoteTraceTarget": None,
        "revision": 0, "ssoExempt": False, "tags": [], "vMajor": -1, "vMinor": -1, "vProto": -1, "vRev": -1,
    }  # fmt: skip


def _routes(value: Any) -> Any:
    """A target that is no network is dropped; a `via` of the other family, or none at all, becomes null."""
    if not isinstance(value, list):
        return None
    stored = []
    for route in value:
        target = address(as_text(route.get("target"))) if isinstance(route, dict) else None
        if target is None or target[1] > target[0].max_prefixlen:
            continue
        via = address(route["via"]) if isinstance(route.get("via"), str) else None
        same = via is not None and via[0].version == target[0].version
        stored.append({"target": f"{target[0]}/{target[1]}", "via": str(via[0]) if via and same else None})
    return stored


def _pools(value: Any) -> Any:
    if not isinstance(value, list):
        return None
    stored = []
    for pool in value:
        start, end = (address(as_text(fields(pool).get(name))) for name in ("ipRangeStart", "ipRangeEnd"))
        if start and end and start[0].version == end[0].version:
            stored.append({"ipRangeStart": str(start[0]), "ipRangeEnd": str(end[0])})
    return stored


def _addresses(value: Any) -> Any:
    """What is no address is dropped, a mask is cut off, what is no text makes the parser throw."""
    if not isinstance(value, list):
        return None
    return [str(found[0]) for text in value if (found := address(text_or_explode(text))) is not None]


def _mode6(value: Any) -> Any:
    """The keys that are left out are gone."""
    if isinstance(value, dict):
        return {name: as_bool(value[name]) for name in ("rfc4193", "zt", "6plane") if name in value}
    words = value.split(",") if isinstance(value, str) else []
    return {name: name in words for name in ("rfc4193", "zt", "6plane")}


def _network_tags(value: Any) -> Any:
    if not isinstance(value, list):
        return None
    by_id = {
        as_int(tag.get("id")): None if tag.get("default") is None else as_int(tag["default"])
        for tag in value
        if isinstance(tag, dict)
    }
    return [{"id": number, "default": default} for number, default in sorted(by_id.items())]


def _network_capabilities(value: Any) -> Any:
    if not isinstance(value, list):
        return None
    by_id = {as_int(cap.get("id")): cap for cap in value if isinstance(cap, dict)}
    return [
        {"id": number, "default": as_bool(cap.get("default")), "rules": stored_rules(cap.get("rules") or [])}
        for number, cap in sorted(by_id.items())
    ]


def _member_tags(value: Any) -> Any:
    if not isinstance(value, list):
        return None
    pairs = {as_int(tag[0]): as_int(tag[1]) for tag in value if isinstance(tag, list) and len(tag) == 2}
    return [list(pair) for pair in sorted(pairs.items())]


NETWORK_FIELDS: dict[str, Callable[[Any], Any]] = {
    "name": as_text,
    "private": lambda value: as_bool(value, True),
    "enableBroadcast": as_bool,
    "multicastLimit": lambda value: as_int(value, 32),
    "mtu": lambda value: max(min(as_int(value, 2800), MTU_MOST), MTU_LEAST),
    "v4AssignMode": lambda value: {"zt": as_bool(value.get("zt")) if isinstance(value, dict) else value == "zt"},
    "v6AssignMode": _mode6,
    "routes": _routes,
    "ipAssignmentPools": _pools,
    "rules": lambda value: stored_rules(value) if isinstance(value, list) else None,
    "capabilities": _network_capabilities,
    "tags": _network_tags,
}
MEMBER_FIELDS: dict[str, Callable[[Any], Any]] = {
    "activeBridge": as_bool,
    "noAutoAssignIps": as_bool,
    "authenticationExpiryTime": as_int,
    "name": as_text,
    "ipAssignments": _addresses,
    "tags": _member_tags,
    "capabilities": lambda value: sorted({as_int(v) for v in value}) if isinstance(value, list) else None,
}
