"""Adj-RIB-Out: what changed goes out, encoded once per group of peers that get the same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from speaker.agent.sessions import KINDS, Closing, Session, Sessions
from speaker.bgp.encode import encode_updates
from speaker.bgp.negotiated import Negotiated
from speaker.bgp.wire import REFRESH_BEGIN, REFRESH_END, end_of_rib, route_refresh
from speaker.rib.export import Batch, ExportGroup
from speaker.rib.prefix import Family
from speaker.rib.rib import Rib
from speaker.rib.table import Change


class Transport(Protocol):
    """What carries complete messages to peers, in order."""

    def send(self, peers: Sequence[str], messages: Sequence[bytes]) -> None: ...

    async def drain(self, peers: Sequence[str] | None = None) -> None:
        """Returns once there is room for more, for these peers or for all."""
        ...

    def teardown(self, peer: str, subcode: int) -> None:
        """Ends a session by NOTIFICATION Cease (RFC 4486)."""
        ...


@dataclass(frozen=True, slots=True)
class OutGroup:
    """Peers that get the same bytes in one family."""

    family: Family
    export: ExportGroup
    negotiated: Negotiated


def group_of(session: Session, family: Family) -> OutGroup | None:
    """The group of an established session in `family`; None when the family was not negotiated."""
    agreed = session.negotiated
    if agreed is None or family not in agreed.families:
        return None
    add_path = family in agreed.add_path_send
    # Only what shapes the bytes of this family may stand in the group, or equal peers would not share it.
    shape = Negotiated(
        families=frozenset({family}),
        add_path_send=frozenset({family}) if add_path else frozenset(),
        as4=agreed.as4,
    )
    return OutGroup(family, ExportGroup(kind=KINDS[session.plan.peer_role], add_path=add_path), shape)


class Outbound:
    """Sends changes to all peers, and a peer everything when it comes up or asks."""

    def __init__(self, rib: Rib, sessions: Sessions, transport: Transport) -> None:
        self._rib = rib
        self._sessions = sessions
        self._transport = transport

    def tell(self, changes: Sequence[Change]) -> None:
        """One round of changes to everybody whose resend has begun; the others get it with their resend."""
        for group, peers in self._groups().items():
            ours = [change for change in changes if change.family is group.family]
            if ours:
                self._send(group, peers, self._rib.batches(group.export, ours))

    async def tell_all(self, session: Session) -> None:
        """Works through `session.resends`: the whole Adj-RIB-Out of a family to one peer, in slices.

        BoRR goes before it when EoRR shall close it. The end itself is only owed afterwards: it may have to wait
        for what we have not heard ourselves. Until an EoRR is said the next family waits: FRR keeps one refresh
        timer per peer, and takes no EoRR of a second family that was begun before the first one's end.
        """
        while session.resends and all(closing is not Closing.REFRESH_END for _, closing in session.owed):
            family, closing = session.resends.pop(0)
            group = group_of(session, family)
            if group is None:
                continue
            if closing is Closing.REFRESH_END:
                self._transport.send([session.address], [route_refresh(family, REFRESH_BEGIN)])
            session.told.add(family)  # From here on it also gets what changes: in this order it ends right.
            for changes in self._rib.everything(family):
                self._send(group, [session.address], self._rib.batches(group.export, changes))
                await self._transport.drain([session.address])
            session.owed.append((family, closing))

    def say_ends(self, session: Session) -> None:
        """That was everything: what is owed is said.

        End-of-RIB follows EoRR too: BIRD heeds BoRR only after it, and the agent before us may have died without it.
        """
        for family, closing in session.owed:
            if closing is Closing.REFRESH_END:
                self._transport.send([session.address], [route_refresh(family, REFRESH_END)])
            self._transport.send([session.address], [end_of_rib(family)])
        session.owed.clear()

    def _groups(self) -> dict[OutGroup, list[str]]:
        groups: dict[OutGroup, list[str]] = {}
        for session in self._sessions:
            for family in session.told if session.up else ():
                group = group_of(session, family)
                if group is not None:
                    groups.setdefault(group, []).append(session.address)
        return groups

    def _send(self, group: OutGroup, peers: Sequence[str], batches: Sequence[Batch]) -> None:
        for batch in batches:
            messages = encode_updates(batch.family, group.negotiated, batch.withdrawn, batch.announced)
            if messages:
                self._transport.send(peers, messages)
