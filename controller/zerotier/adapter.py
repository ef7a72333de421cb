"""What both services of ZeroTier have in common: one network at one path, and whatever is written is read back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any

from controller.zerotier import written
from controller.zerotier.http import HttpService, NotFound
from controller.zerotier.port import (
    MAX_UNREADABLE,
    Garbled,
    MemberChange,
    Members,
    MemberState,
    NetworkChange,
    NetworkState,
    ZeroTierError,
)


class Adapter(ABC):
    """All of `SegmentApi` but `members` and `describe`. `path` is the network's, below the service's URL."""

    def __init__(self, http: HttpService, network: str, path: str) -> None:
        self._http = http
        self._network = network
        self._path = path

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._http.url!r}, network={self._network!r})"

    def close(self) -> None:
        self._http.close()

    def network(self) -> NetworkState:
        try:
            document = self._http.get(self._path)
        except NotFound:
            raise self._missing() from None
        state = self._network_in(document)
        if state.network != self._network:
            raise self._http.garbled(self._path, f"network {state.network}")
        return state

    def write_network(self, change: NetworkChange) -> NetworkState:
        written.deliverable_network(self._network, change)
        body = self._network_body(change)
        try:
            self._http.post(self._path, body)
        except NotFound:
            raise self._missing() from None
        stored = self.network()
        written.check_network(self._network, change, stored)
        return stored

    def write_member(self, node_id: str, change: MemberChange) -> MemberState:
        written.deliverable_member(self._network, node_id, change)
        path = f"{self._path}/member/{node_id}"
        try:
            self._http.post(path, self._member_body(change))
            stored = self._read_member(self._http.get(path))
        except NotFound:
            raise self._missing() from None
        if stored.node_id != node_id:
            raise self._http.garbled(path, f"member {stored.node_id}")
        written.check_member(self._network, change, stored)
        return stored

    def delete_member(self, node_id: str) -> None:
        written.deliverable_member(self._network, node_id, MemberChange())
        try:
            self._http.delete(f"{self._path}/member/{node_id}")
        except NotFound:
            self.network()  # So that a missing network is not taken for a missing member.

    def _members_in(self, documents: Iterable[Any]) -> Members:
        """Raises Garbled; see `SegmentApi.members`."""
        found = Members()
        for document in documents:
            try:
                member = self._read_member(document)
            except Garbled as error:
                spoilt(found, _node_id(document), error)
            else:
                found[member.node_id] = member
        return found

    @abstractmethod
    def _missing(self) -> ZeroTierError:
        """What a 404 to the network's path means."""

    @abstractmethod
    def _network_in(self, document: Any) -> NetworkState:
        """Raises Garbled."""

    @abstractmethod
    def _read_member(self, document: Any) -> MemberState:
        """Raises Garbled."""

    @abstractmethod
    def _network_body(self, change: NetworkChange) -> Mapping[str, Any]:
        """What is posted. May ask how the network is now."""

    @abstractmethod
    def _member_body(self, change: MemberChange) -> Mapping[str, Any]:
        """What is posted."""


def spoilt(found: Members, node_id: str, error: Garbled) -> None:
    """One record is put aside, when it says whose it is, and is one of few."""
    if not node_id or len(found.unreadable) >= MAX_UNREADABLE:
        raise error
    found.unreadable[node_id] = str(error)


def _node_id(document: Any) -> str:
    """Of a member's record that cannot be read; "" when it does not tell."""
    told = (document.get(name) for name in ("nodeId", "id")) if isinstance(document, Mapping) else ()
    return next(
        (each.lower() for each in told if isinstance(each, str) and written.NODE_ID.fullmatch(each.lower())), ""
    )
