"""Fake ZeroTier Central, REST v1, as its published description says (`test_central` has the sources).

What the description leaves open is taken the hard way: rules are taken from `rulesSource` only, a token that may not
see a network gets 403, values are coerced and dropped as a controller does it, for Central keeps its networks in one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from tests.controller.zerotier.fake_controller import Document, FakeController
from tests.controller.zerotier.fake_http import Answer, said, silent
from tests.controller.zerotier.fake_rules import stored_rules

BASE = "/api/v1"
CHARACTERISTIC_BITS = {"inbound": 63, "multicast": 62, "broadcast": 61, "ipauth": 60, "macauth": 59}
ACTIONS = {"accept": "ACTION_ACCEPT", "drop": "ACTION_DROP", "break": "ACTION_BREAK"}


class FakeCentral:
    """One account with its token. `now` in milliseconds; `per_second` requests are answered, then 429."""

    def __init__(self, token: str = "secret", per_second: int = 20, now: int = 1_795_301_128_000) -> None:
        self.token, self.per_second, self.now = token, per_second, now
        self.controller = FakeController("8056c2e21c", lambda: self.now)
        self.strangers: set[str] = set()  # Networks of other accounts.
        self.beside: dict[tuple[str, str], Document] = {}  # What stands beside a member's `config`.
        self.sources: dict[str, str] = {}
        self._second, self._asked = 0, 0

    def make_network(self, name: str) -> str:
        """What the account's owner does in the browser; the id is Central's choice."""
        network = self.controller.new_id()
        self.controller.put_network(network, {"name": name})
        return network

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        if self._too_many():
            reset = datetime.fromtimestamp(self.now / 1000 + 1, UTC).strftime("%a, %d %b %Y %H:%M:%S UTC")
            date = datetime.fromtimestamp(self.now / 1000, UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
            limits = {"X-Ratelimit-Limit": str(self.per_second), "X-Ratelimit-Remaining": "0"}
            return Answer(429, "text/plain", b"", {**limits, "X-Ratelimit-Reset": reset, "Date": date})
        if not path.startswith(f"{BASE}/"):
            return Answer(404, "text/html", b"<html>no such page</html>")
        scheme, _, token = headers.get("authorization", "").partition(" ")
        known = scheme.lower() in ("token", "bearer") and token == self.token
        inner = path.removeprefix(BASE)
        if method == "GET" and inner == "/status":
            user = {"id": "00000000-0000-0000-0000-000000000000", "displayName": "Joe User"} if known else None
            return said({"id": "central_status", "type": "CentralStatus", "version": "1.6.5", "apiVersion": "4",
                         "clock": self.now, "user": user, "readOnlyMode": False})  # fmt: skip
        if not known:
            return said({"type": "unauthorized"}, 401)
        try:
            document = json.loads(body) if body else {}
        except ValueError:
            return said({"type": "bad-request"}, 400)
        return self._routed(method, inner, document)

    def _too_many(self) -> bool:
        second = self.now // 1000
        self._asked = self._asked + 1 if second == self._second else 1
        self._second = second
        return self._asked > self.per_second

    def _routed(self, method: str, path: str, document: Any) -> Answer:
        if path == "/network" and method == "POST":
            return said(self._network(self.make_network((document.get("config") or {}).get("name", ""))))
        found = re.fullmatch("/network/([0-9a-f]{16})(/member(?:/([0-9a-f]{10}))?)?", path)
        if found is None:
            return silent(404)
        network, members, node_id = found.groups()
        if network in self.strangers:
            return said({"type": "access-denied"}, 403)
        if self.controller.network(network) is None:
            return said({"type": "not-found"}, 404)
        if not members:
            return self._on_network(method, network, document)
        if node_id is None:
            known = (member["id"] for member in self.controller.all_members(network))
            return said([self._member(network, node_id) for node_id in known])
        return self._on_member(method, network, node_id, document)

    def _on_network(self, method: str, network: str, document: Any) -> Answer:
        if method == "DELETE":
            self.controller.delete_network(network)
            return silent(200)
        if method == "POST":
            config = {name: value for name, value in (document.get("config") or {}).items() if name != "rules"}
            if isinstance(document.get("rulesSource"), str):
                compiled = compile_rules(document["rulesSource"])
                if compiled is None:
                    return said({"type": "bad-request", "message": "rules do not compile"}, 400)
                self.sources[network] = document["rulesSource"]
                config |= {"rules": compiled, "capabilities": [], "tags": []}  # A text of this corner defines none.
            self.controller.put_network(network, config)
        return said(self._network(network))

    def _on_member(self, method: str, network: str, node_id: str, document: Any) -> Answer:
        if method == "POST":
            self.controller.put_member(network, node_id, document.get("config") or {})
            mine = self.beside.setdefault((network, node_id), {"name": "", "description": "", "hidden": False})
            mine |= {name: document[name] for name in mine if name in document}
        elif self.controller.member(network, node_id) is None:
            return said({"type": "not-found"}, 404)
        if method == "DELETE":
            self.controller.delete_member(network, node_id)
            self.beside.pop((network, node_id), None)
            return silent(200)
        return said(self._member(network, node_id))

    def _network(self, network: str) -> Document:
        return {
            "id": network,
            "clock": self.now,
            "config": self.controller.network(network),
            "description": "",
            "rulesSource": self.sources.get(network, "accept;"),
            "totalMemberCount": len(self.controller.all_members(network)),
            "capabilitiesByName": {},
            "tagsByName": {},
        }

    def _member(self, network: str, node_id: str) -> Document:
        config = self.controller.member(network, node_id) or {}
        config.pop("name", None)
        return {
            "id": f"{network}-{node_id}",
            "clock": self.now,
            "networkId": network,
            "nodeId": node_id,
            "controllerId": network[:10],
            "hidden": False,
            "name": "",
            "description": "",
            "config": config,
            "lastOnline": 0,
            "lastSeen": 0,
            "physicalAddress": None,
            "clientVersion": "",
            "protocolVersion": 0,
            "supportsRulesEngine": True,
            **self.beside.get((network, node_id), {}),
        }


def compile_rules(source: str) -> list[Document] | None:
    """A corner of ZeroTierOne/rule-compiler: ethertype and chr, joined by and, or, not. None: it does not compile."""
    rules: list[Document] = []
    for line in source.replace("\n", " ").split(";")[:-1]:
        action, *words = line.split()
        logic = {"not": False, "or": False}
        while words:
            word = words.pop(0)
            if word in logic:
                logic[word] = True
            elif word in ("ethertype", "chr") and words:
                rules.append({**_match(word, words.pop(0)), **logic})
                logic = {"not": False, "or": False}
            elif word != "and":
                return None
        if action not in ACTIONS:
            return None
        rules.append({"type": ACTIONS[action]})
    return stored_rules(rules)


def _match(word: str, value: str) -> Document:
    if word == "ethertype":
        return {"type": "MATCH_ETHERTYPE", "etherType": int(value, 0)}
    return {"type": "MATCH_CHARACTERISTICS", "mask": f"{1 << CHARACTERISTIC_BITS[value]:016x}"}
