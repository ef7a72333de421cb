"""A controller of one's own: the API of zerotier-one on port 9993. What it does was recorded from 1.14.1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from controller.zerotier import wire, written
from controller.zerotier.adapter import Adapter, spoilt
from controller.zerotier.http import HttpService, NotFound, Secret
from controller.zerotier.port import (
    Garbled,
    MemberChange,
    Members,
    MemberState,
    NetworkChange,
    NetworkState,
    NoController,
    NoSuchNetwork,
    Service,
    ZeroTierError,
)

T = TypeVar("T")
TOKEN_HELP = (
    "compare it with authtoken.secret in that node's home; 9993 also says so to every address but loopback that"
    " settings.allowManagementFrom in its local.conf does not name"
)


class _Status(msgspec.Struct):
    address: str
    version: str = ""


class _Listing(msgspec.Struct):
    data: list[Any]


class SelfHosted(Adapter):
    """The `SegmentApi` of zerotier-one. `options` are those of `HttpService`: patience, and fakes for tests."""

    def __init__(self, url: str, token: str, network: str, **options: Any) -> None:
        network = written.usable_network_id(network)
        secret = Secret("X-ZT1-Auth", token)
        http = HttpService(url, secret, what="the ZeroTier controller", token_help=TOKEN_HELP, **options)
        super().__init__(http, network, f"controller/network/{network}")

    def members(self) -> Members:
        try:
            listing = self._http.get(f"unstable/{self._path}/member")  # All at once, since 1.14.
        except NotFound:
            return self._members_one_by_one()
        return self._members_in(self._convert(f"unstable/{self._path}/member", listing, _Listing).data)

    def describe(self) -> Service:
        status = self._status()
        self._controller()
        return Service("self-hosted", self._http.url, status.version, status.address)

    def _network_body(self, change: NetworkChange) -> dict[str, Any]:
        return wire.write_network(change, self._before())

    def _member_body(self, change: MemberChange) -> dict[str, Any]:
        return wire.write_member(change)

    def _before(self) -> NetworkState | None:
        """The network before a write; None: it is to be made, and only this node's own networks are ever delivered."""
        try:
            return self.network()
        except NoSuchNetwork:
            return None

    def _members_one_by_one(self) -> Members:
        path = f"{self._path}/member"
        try:
            revisions = self._convert(path, self._http.get(path), dict[str, int])
        except NotFound:
            raise self._missing() from None
        found = Members()
        for node_id in revisions:
            try:
                member = self._read_member(self._http.get(f"{path}/{node_id}"))
            except NotFound:
                continue  # Deleted since the list was made.
            except Garbled as error:
                spoilt(found, node_id, error)
            else:
                found[member.node_id] = member
        return found

    def _missing(self) -> ZeroTierError:
        """What a 404 under /controller/network means: no controller, somebody else's network, or none at all."""
        node = self._status().address  # First: what answers 404 to this is no ZeroTier at all.
        self._controller()
        if not self._network.startswith(node):
            return NoController(
                f"network {self._network} belongs to the controller {self._network[:10]}; {self._http.what} is {node}"
            )
        return NoSuchNetwork(f"{self._http.what} has no network {self._network}")

    def _controller(self) -> None:
        try:
            answer = self._http.get("controller")
        except NotFound:
            raise NoController(
                f"{self._http.what} is a ZeroTier node without a controller (builds from 1.16 on may lack it):"
                " take a build that has one, or ZeroTier Central"
            ) from None
        if not isinstance(answer, Mapping) or answer.get("controller") is not True:
            raise self._http.garbled("controller", "something that is no controller's status")

    def _status(self) -> _Status:
        try:
            status = self._convert("status", self._http.get("status"), _Status)
        except NotFound:
            raise self._http.garbled("status", "404: no zerotier-one is there") from None
        if not written.NODE_ID.fullmatch(status.address):
            raise self._http.garbled("status", f"node id {status.address!r}")
        return status

    def _network_in(self, document: Any) -> NetworkState:
        try:
            return wire.read_network(document)
        except wire.Unreadable as error:
            raise self._http.garbled(self._path, str(error)) from None

    def _read_member(self, document: Any) -> MemberState:
        try:
            state = wire.read_member(document)
        except wire.Unreadable as error:
            raise self._http.garbled(f"{self._path}/member", str(error)) from None
        if not written.NODE_ID.fullmatch(state.node_id):
            raise self._http.garbled(f"{self._path}/member", f"node id {state.node_id!r}")
        return state

    def _convert(self, path: str, document: Any, kind: type[T]) -> T:
        try:
            return wire.convert(document, kind)
        except wire.Unreadable as error:
            raise self._http.garbled(path, str(error)) from None
