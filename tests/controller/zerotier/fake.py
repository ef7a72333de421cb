"""Fake ZeroTier: nodes as they were recorded, on one clock that only tests move.

    world = FakeWorld()
    controller = world.node("53fe91125f", token="secret")
    api = SelfHosted("http://127.0.0.1:9993", "secret", "53fe91125f00abcd", transport=transport(controller))

`fake_http.served(node)` puts one on a real port, `fake_http.Faulty` makes one misbehave.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.controller.zerotier.fake_controller import FakeController
from tests.controller.zerotier.fake_http import Answer, said, silent
from tests.controller.zerotier.fake_json import Exploded, parse
from tests.controller.zerotier.fake_local import FakeMember

VERSION = {"version": "1.14.1", "versionBuild": 0, "versionMajor": 1, "versionMinor": 14, "versionRev": 1}
NETWORK, NODE = "([0-9a-fA-F]{16})", "([0-9a-fA-F]{10})"


class FakeWorld:
    """All nodes that can reach each other. `now` in milliseconds since the epoch."""

    def __init__(self, now: int = 1_795_301_128_000) -> None:
        self.now = now
        self.nodes: dict[str, FakeNode] = {}

    def node(self, node_id: str, token: str = "secret", *, controller: bool = True) -> FakeNode:
        self.nodes[node_id] = FakeNode(self, node_id, token, controller=controller)
        return self.nodes[node_id]

    def pass_seconds(self, seconds: float) -> None:
        self.now += int(seconds * 1000)

    def controller_of(self, node_id: str) -> FakeController | None:
        found = self.nodes.get(node_id)
        return found.controller if found and found.running else None


class FakeNode:
    """One zerotier-one: a member, and a controller unless it was built without. `peers` is what GET /peer says."""

    def __init__(self, world: FakeWorld, node_id: str, token: str, *, controller: bool) -> None:
        self.world, self.node_id, self.token = world, node_id, token
        self.running = True  # False: its controller is not heard by anybody.
        self.online = True
        self.controller = FakeController(node_id, lambda: world.now) if controller else None
        self.member = FakeMember(node_id, lambda: world.now, world.controller_of)
        self.peers: list[dict[str, Any]] = []

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        parts = urlsplit(path)
        if parts.path != "/health" and not self._known(headers, parts.query):
            return said({}, 401)
        method = "POST" if method == "PUT" else method
        try:
            return self._local(method, parts.path, body) or self._controller(method, parts.path, body) or silent(404)
        except Exploded as error:
            return said({"description": str(error), "error": 500}, 500)

    def _known(self, headers: Mapping[str, str], query: str) -> bool:
        if "x-zt1-auth" in headers:
            return headers["x-zt1-auth"] == self.token
        if "auth" in (given := parse_qs(query)):
            return given["auth"][0] == self.token
        scheme, _, token = headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and token == self.token

    def _local(self, method: str, path: str, body: bytes) -> Answer | None:
        if method == "GET" and path in ("/health", "/status"):
            status = {"clock": self.world.now, "online": self.online, **VERSION}
            return said(status if path == "/health" else {"address": self.node_id, **status})
        if method == "GET" and path == "/peer":
            return said(self.peers)
        if method == "GET" and (found := re.fullmatch(f"/peer/{NODE}", path)):
            return said(next((peer for peer in self.peers if peer["address"] == found.group(1)), {}))
        if method == "GET" and path == "/network":
            return said([self.member.network(network) for network in sorted(self.member.joined)])
        if found := re.fullmatch(f"/network/{NETWORK}", path):
            return self._joined(method, found.group(1).lower(), body)
        return None

    def _joined(self, method: str, network: str, body: bytes) -> Answer | None:
        if method == "POST":
            return said(self.member.join(network, body))
        if method == "DELETE":
            return said(self.member.leave(network))
        return said(self.member.network(network)) if network in self.member.joined else said({}, 404)

    def _controller(self, method: str, path: str, body: bytes) -> Answer | None:
        own = self.controller
        if own is None:
            return None
        if method == "GET" and path == "/controller":
            return said({"controller": True, "apiVersion": 4, "clock": self.world.now, "databaseReady": True})
        if method == "GET" and path == "/controller/network":
            return said(sorted(own.networks))
        if method == "POST" and path == "/controller/network":
            return said(own.put_network(own.new_id(), parse(body)))
        if method == "POST" and (found := re.fullmatch(f"/controller/network/{NODE}______", path)):
            mine = found.group(1) == self.node_id
            return said(own.put_network(own.new_id(), parse(body))) if mine else silent(400)
        if found := re.fullmatch(f"/controller/network/{NETWORK}", path):
            return _network(own, method, found.group(1).lower(), body)
        if found := re.fullmatch(f"(/unstable)?/controller/network/{NETWORK}/member", path):
            return _members(own, method, found.group(2).lower(), at_once=bool(found.group(1)))
        if found := re.fullmatch(f"/controller/network/{NETWORK}/member/{NODE}", path):
            return _member(own, method, found.group(1).lower(), found.group(2), body)
        return None


def _network(own: FakeController, method: str, network: str, body: bytes) -> Answer | None:
    if method == "POST":  # Makes it when it is not there, whatever its id says.
        return said(own.put_network(network, parse(body)))
    stored = own.network(network)
    if stored is not None and method == "DELETE":
        own.delete_network(network)
    return None if stored is None else said(stored)


def _members(own: FakeController, method: str, network: str, *, at_once: bool) -> Answer | None:
    if method != "GET" or own.network(network) is None:
        return None
    members = own.all_members(network)
    if not at_once:
        return said({member["id"]: member["revision"] for member in members})
    authorised = sum(member["authorized"] for member in members)
    return said({"data": members, "meta": {"totalCount": len(members), "authorizedCount": authorised}})


def _member(own: FakeController, method: str, network: str, node_id: str, body: bytes) -> Answer | None:
    if own.network(network) is None:
        return None
    if method == "POST":
        return said(own.put_member(network, node_id, parse(body)))
    stored = own.member(network, node_id)
    if stored is not None and method == "DELETE":
        own.delete_member(network, node_id)
    return None if stored is None else said(stored)
