"""ZeroTier Central, REST v1, as https://docs.zerotier.com/openapi/central/v1.json says; its facts are in test_central.

Central makes networks with ids of its own choice, keeps what a controller knows under `config`, and takes flow rules as
the text of its rules editor, not as JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec

from controller.zerotier import wire, written
from controller.zerotier.adapter import Adapter
from controller.zerotier.central_rules import rules_source
from controller.zerotier.http import HttpService, NotFound, Secret
from controller.zerotier.port import (
    MemberChange,
    Members,
    MemberState,
    NetworkChange,
    NetworkState,
    NoSuchNetwork,
    Refused,
    Service,
    Unauthorised,
    ZeroTierError,
)

CENTRAL_URL = "https://api.zerotier.com/api/v1"
PACE = 0.1  # Seconds between requests. A free account has 20 a second for all its tools: we take half.
TOKEN_HELP = "make an API token on the account page of an account that owns the network, or may change it"


class _Network(msgspec.Struct):
    config: dict[str, Any]


class _Member(msgspec.Struct, rename="camel"):
    """What stands beside `config`: the name, and where the member was seen last (milliseconds; 0: forgotten)."""

    config: dict[str, Any]
    node_id: str
    name: str | None = None
    last_seen: int | None = None
    physical_address: str | None = None
    client_version: str | None = None


class Central(Adapter):
    """The `SegmentApi` of ZeroTier Central. `options` are those of `HttpService`."""

    def __init__(self, token: str, network: str, url: str = CENTRAL_URL, **options: Any) -> None:
        network = written.usable_network_id(network)
        secret = Secret("Authorization", token, scheme="token")
        options = {"interval": PACE, **options}
        http = HttpService(url, secret, what="ZeroTier Central", token_help=TOKEN_HELP, **options)
        super().__init__(http, network, f"network/{network}")

    def members(self) -> Members:
        path = f"{self._path}/member"
        try:
            documents = self._http.get(path)
        except NotFound:
            raise self._missing() from None
        if not isinstance(documents, list):
            raise self._http.garbled(path, "no list")
        return self._members_in(documents)

    def describe(self) -> Service:
        try:
            status = self._http.get("status")
        except NotFound:
            raise self._http.garbled("status", "404: no ZeroTier Central is there") from None
        if not isinstance(status, Mapping) or not isinstance(status.get("version"), str):
            raise self._http.garbled("status", "something without a version")
        if not status.get("user"):  # /status answers everybody, and names the token's user.
            raise Unauthorised(f"{self._http.what} does not know the token: {TOKEN_HELP}")
        return Service("central", self._http.url, status["version"], self._network[:10])

    def _network_body(self, change: NetworkChange) -> dict[str, Any]:
        now = self.network()
        config = wire.write_network(change, now)
        config.pop("rules", None)
        body: dict[str, Any] = {"config": config} if config else {}
        if change.rules is not None:
            self._nothing_to_lose(now)
            body["rulesSource"] = rules_source(change.rules)
        return body

    def _nothing_to_lose(self, now: NetworkState) -> None:
        """One text defines rules, capabilities and tags, and another text in its place defines rules alone."""
        lost = {"capabilities": now.capabilities, "tags": now.tags}
        if what := " and ".join(name for name, those in lost.items() if those):
            raise Refused(
                f"network {self._network}: the text of its rules at {self._http.what} defines {what} too, which would"
                " be deleted with it. Declare segment_rules: checked, or take them out in Central's rules editor first"
            )

    def _member_body(self, change: MemberChange) -> dict[str, Any]:
        config = wire.write_member(change)
        name = config.pop("name", None)
        return {"config": config} | ({} if name is None else {"name": name})

    def _missing(self) -> ZeroTierError:
        return NoSuchNetwork(
            f"{self._http.what} has no network {self._network} for this token: Central chooses ids by itself, so make"
            " the network there, and write its id into the inventory"
        )

    def _network_in(self, document: Any) -> NetworkState:
        try:
            return wire.read_network(wire.convert(document, _Network).config)
        except wire.Unreadable as error:
            raise self._http.garbled(self._path, str(error)) from None

    def _read_member(self, document: Any) -> MemberState:
        try:
            beside = wire.convert(document, _Member)
            state = wire.read_member(beside.config)
        except wire.Unreadable as error:
            raise self._http.garbled(f"{self._path}/member", str(error)) from None
        node_id = beside.node_id.lower()
        if not written.NODE_ID.fullmatch(node_id):
            raise self._http.garbled(f"{self._path}/member", f"node id {beside.node_id!r}")
        return replace(
            state,
            node_id=node_id,
            name=beside.name or "",
            version=beside.client_version or state.version,
            last_seen=(beside.last_seen or 0) / 1000,
            physical=beside.physical_address or "",
        )
