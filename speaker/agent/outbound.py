"""Adj-RIB-Out: what changed goes out, encoded once per group of peers that get the same bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Protocol

from speaker.agent.sessions import Closing, Session, Sessions
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
    exports: tuple[ExportGroup, ...]  # The last one is in force, see `Session.told`.
    negotiated: Negotiated


def export_of(session: Session, family: Family) -> ExportGroup | None:
    """What an established session is to be told by in `family`; None when the family was not negotiated."""
    agreed = session.negotiated
    if agreed is None or family not in agreed.families:
        return None
    return session.export_group(add_path=family in agreed.add_path_send)


def shape_of(agreed: Negotiated, family: Family) -> Negotiated:
    """Only what shapes the bytes of this family may stand in the group, or equal peers would not share it."""
    add_path = family in agreed.add_path_send
    return Negotiated(
        families=frozenset({family}),
        add_path_send=frozenset({family}) if add_path else frozenset(),
        as4=agreed.as4,
    )


@dataclass(slots=True)
class Walk:
    """Through all rows of a family, for those whose view has changed. Who changes it again needs another walk."""

    family: Family
    moved: list[tuple[Session, tuple[ExportGroup, ...]]]  # With their groups when it began.
    slices: Iterator[list[Change]]

    def walkers(self) -> list[Session]:
        """Those who are still led from the same groups, or from more: who came up anew is not among them."""
        return [each for each, exports in self.moved if each.told.get(self.family, ())[: len(exports)] == exports]

    def end(self) -> None:
        for session, exports in self.moved:
            if session.told.get(self.family) == exports:
                session.told[self.family] = exports[-1:]


class Outbound:
    """Sends changes to all, a peer everything when it comes up or asks, and the difference when its view changes."""

    def __init__(self, rib: Rib, sessions: Sessions, transport: Transport) -> None:
        self._rib = rib
        self._sessions = sessions
        self._transport = transport
        self._walk: Walk | None = None
        self._quiet = asyncio.Event()

    def tell(self, changes: Sequence[Change]) -> None:
        """One round of changes to everybody whose resend has begun; the others get it with their resend."""
        if changes:
            for group, peers in self._groups().items():
                ours = [change for change in changes if change.family is group.family]
                if ours:
                    self._send(group, peers, self._batches(group, ours))
        if not self._rib.changed:
            self._quiet.set()

    async def tell_all(self, session: Session) -> None:
        """Works through `session.resends`: the whole Adj-RIB-Out of a family to one peer, in slices.

        BoRR goes before it when EoRR shall close it. The end itself is only owed afterwards: it may have to wait
        for what we have not heard ourselves. Until an EoRR is said the next family waits: FRR keeps one refresh
        timer per peer, and takes no EoRR of a second family that was begun before the first one's end.
        """
        while session.resends and all(closing is not Closing.REFRESH_END for _, closing in session.owed):
            family, closing = session.resends.pop(0)
            export, agreed = export_of(session, family), session.negotiated
            if export is None or agreed is None:
                continue
            if closing is Closing.REFRESH_END:
                self._transport.send([session.address], [route_refresh(family, REFRESH_BEGIN)])
            session.told.setdefault(family, (export,))  # From here on it also gets what changes.
            slices = self._rib.everything(family)
            while await self._caught_up() and (changes := next(slices, None)) is not None:
                group = OutGroup(family, session.told[family], shape_of(agreed, family))
                self._send(group, [session.address], self._batches(group, changes))
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

    # Views that change while their sessions are up

    def views_changed(self) -> None:
        """The plan may give sessions other views: whoever knows something by another one is led to it by `move`."""
        for session in self._sessions:
            for family, exports in session.told.items():
                export = export_of(session, family)
                if export is not None and export != exports[-1]:
                    session.told[family] = (*(each for each in exports if each != export), export)
        self._forget_unused()

    @property
    def moving(self) -> bool:
        """Whether `move` has something to do."""
        return self._walk is not None or any(
            len(exports) > 1 for session in self._sessions for exports in session.told.values()
        )

    def move(self) -> None:
        """One slice of the table to all who are led from one view to another.

        To be called when there are no changes that have not been told: what is known of a row is then what one of
        the session's groups says of it as it stands.
        """
        if self._walk is None:
            self._walk = self._next_walk()
            if self._walk is None:
                return
        changes = next(self._walk.slices, None)
        if changes is None:
            self._walk.end()
            self._walk = None
            self._forget_unused()
            return
        same = [change._replace(old=change.new) for change in changes]
        for group, peers in self._groups(self._walk.walkers()).items():
            if group.family is self._walk.family:
                self._send(group, peers, self._batches(group, same))

    def _next_walk(self) -> Walk | None:
        for family in Family:
            moved = [(each, each.told[family]) for each in self._sessions if len(each.told.get(family, ())) > 1]
            if moved:
                return Walk(family, moved, self._rib.everything(family))
        return None

    def _forget_unused(self) -> None:
        told = (exports for session in self._sessions for exports in session.told.values())
        self._rib.keep_exporters(frozenset(chain.from_iterable(told)))

    async def _caught_up(self) -> bool:
        """Returns True when all changes have been told.

        A row that were told as it is now, while its change is still to be told, and that changed back before that,
        would be known wrongly ever after: no change would be left to tell.
        """
        while self._rib.changed:
            self._quiet.clear()
            await self._quiet.wait()
        return True

    def _groups(self, sessions: Iterable[Session] | None = None) -> dict[OutGroup, list[str]]:
        groups: dict[OutGroup, list[str]] = {}
        for session in self._sessions if sessions is None else sessions:
            agreed = session.negotiated
            if not session.up or agreed is None:
                continue
            for family, exports in session.told.items():
                group = OutGroup(family, exports, shape_of(agreed, family))
                groups.setdefault(group, []).append(session.address)
        return groups

    def _batches(self, group: OutGroup, changes: Sequence[Change]) -> list[Batch]:
        *formers, latest = group.exports
        return self._rib.batches(latest, changes, formers)

    def _send(self, group: OutGroup, peers: Sequence[str], batches: Sequence[Batch]) -> None:
        ibgp = not group.exports[-1].ebgp
        for batch in batches:
            messages = encode_updates(batch.family, group.negotiated, batch.withdrawn, batch.announced, ibgp=ibgp)
            if messages:
                self._transport.send(peers, messages)
