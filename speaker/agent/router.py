"""Where BGP, routing table and kernel meet: events come in, changes go to peers and to the FIB.

Everything here runs on the event loop. What touches many rows is done in slices by `pump`,
which is the only place that takes changes out of the RIB.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import chain
from time import monotonic, time
from typing import Protocol

import structlog

from speaker.agent.limits import LimitWatch
from speaker.agent.outbound import Outbound, Transport
from speaker.agent.sessions import Closing, Session, Sessions
from speaker.agent.stale import NO_LIVENESS, ClientLiveness, kept_families, restart_seconds, why_purge, without
from speaker.bgp.decode import Decoder
from speaker.bgp.events import PeerDown, PeerUp, RefreshReceived, UpdateReceived
from speaker.bgp.wire import (
    REFRESH_BEGIN,
    REFRESH_END,
    REFRESH_REQUEST,
    SessionReset,
    notification,
    route_refresh,
)
from speaker.plan import Plan
from speaker.rib.facts import RouterFacts
from speaker.rib.hops import Hops
from speaker.rib.intent import NO_INTENT, intent_of
from speaker.rib.path import Source, Tiers
from speaker.rib.policy import ImportPolicy, import_policy
from speaker.rib.prefix import Family, Key, network_of
from speaker.rib.rib import Rib, RouteChange
from speaker.rib.table import Change
from speaker.spawn import spawn

log = structlog.get_logger()

ADMINISTRATIVE_RESET = 4  # Cease subcode, RFC 4486
MAX_NAMED_FAULTS = 5
MANY_PATHS = 10_000
WAITED_FOR = {
    "hub": ("lan",),
    "peer": ("client", "lan"),
    "client": ("client", "peer", "lan"),
    "lan": ("client", "peer", "hub"),
}
"""Role of a peer -> the roles of those whose ends come before what ours to that peer says."""
ASK_SECONDS = 5.0  # Between two requests for the same routes, until the peer begins.


class ForwardingTable(Protocol):
    """The part of the FIB that routes are handed to."""

    def want_many(self, family: Family, keys: Sequence[Key], tiers: Tiers | None) -> list[tuple[Key, str]]: ...


class Router:
    """The BGP side of one gateway. `fib_moved` is called when the FIB has been told something new."""

    def __init__(
        self,
        facts: RouterFacts,
        transport: Transport,
        fib: ForwardingTable,
        fib_moved: Callable[[], None],
        *,
        patience: float,
        slice_routes: int,
        hops: Hops | None = None,
        clients: ClientLiveness = NO_LIVENESS,
    ) -> None:
        self.rib = Rib(facts, hops)
        self.sessions = Sessions()
        self._facts = facts
        self._plan: Plan | None = None
        self._intent = NO_INTENT
        self._relayed: tuple[frozenset[int], frozenset[int]] = frozenset(), frozenset()
        self._withdrawn: frozenset[str] = frozenset()
        self._cut_off: frozenset[str] = frozenset()
        self._clients = clients
        self._transport = transport
        self._fib = fib
        self._fib_moved = fib_moved
        self._outbound = Outbound(self.rib, self.sessions, transport)
        self._limits = LimitWatch()
        self._slice = slice_routes
        self._kernel_walk: Iterator[list[Change]] | None = None
        self._patient_until = monotonic() + patience
        self._pumping = asyncio.Lock()
        self._resends: dict[str, asyncio.Task[None]] = {}

    # The plan

    def apply(self, plan: Plan, facts: RouterFacts) -> None:
        """Sessions, import policies and own prefixes of `plan`. Denials first: revoked is not down (design).

        Raises ValueError for a plan that `PlanState.accept` would refuse, and changes nothing.
        """
        intent = intent_of(plan)
        for session in self.sessions.set_plan(plan, time()):
            self._stop_resend(session)
            if session.source is not None:
                self.rib.forget(session.source)
        self._plan, self._facts, self._intent = plan, facts, intent
        self._outbound.views_changed()
        if self.rib.router_changed(facts, intent.own_view):
            self._kernel_walk = chain.from_iterable(map(self.rib.everything, Family))
        self._judge_again()
        self.rib.originate(without(plan, self._withdrawn))

    def relay_to(self, relayed: frozenset[int], labelled: frozenset[int] = frozenset()) -> None:
        """As a hub: the numbers of the clients' uplinks that we say we relay to, and to which of them by label, too.

        Only what differs is announced.
        """
        if (relayed, labelled) != self._relayed:
            self._relayed = relayed, labelled
            self._judge_again()

    @property
    def uplinks_with_many_paths(self) -> frozenset[int]:
        """As a hub: numbers of the uplinks of clients whose paths are dear to announce anew."""
        return frozenset(
            hop.number
            for session in self.sessions
            if session.source is not None and session.plan.peer_role == "client" and session.plan.imports is not None
            if sum(self.rib.counts(session.source, family).received for family in Family) > MANY_PATHS
            for hop in session.plan.imports.next_hops
        )

    def withdraw(self, prefixes: frozenset[str]) -> None:
        """Own prefixes that are not announced though the plan has them: their LAN is dead."""
        if prefixes != self._withdrawn and self._plan is not None:
            self._withdrawn = prefixes
            self.rib.originate(without(self._plan, prefixes))

    def cut_off(self, routers: frozenset[str]) -> None:
        """Addresses of routers in LANs that are dead: what they announce is not used."""
        if routers != self._cut_off:
            self._cut_off = routers
            self._judge_again()

    def _judge_again(self) -> None:
        for session in self.sessions:
            if session.source is not None:
                self.rib.policy_changed(session.source, self._import_policy(session))

    def _import_policy(self, session: Session) -> ImportPolicy:
        down = session.address in self._cut_off
        return import_policy(session.plan, self._facts, *self._relayed, intent=self._intent, lan_down=down)

    # What the peers say

    def peer_up(self, event: PeerUp) -> None:
        """A session is established: by the peer just now, or long ago and we have only just (re)started."""
        session = self.sessions.get(event.peer)
        if session is None:
            log.warning("session with a peer that the plan does not name", peer=event.peer)
            return
        source = session.source_for(event.router_id)
        self.rib.set_session(source, self._import_policy(session))
        resumed = event.resumed
        if session.stale_until is not None and not resumed and not session.moving:
            # What the peer did not go on forwarding goes before it is said again (RFC 4724 4.2, the F bit).
            self._purge_stale(source, event.graceful_restart.forwarding if event.graceful_restart is not None else ())
        session.graceful, session.refresh = event.graceful_restart, event.refresh
        session.up, session.since, session.reason, session.moving = True, time(), "", False
        if session.stale_until is not None:  # Kept for longer than that with all hubs gone: now it may speak.
            session.stale_until = max(session.stale_until, monotonic() + session.plan.restart_time)
        session.source, session.negotiated = source, event.negotiated
        session.decoder = Decoder(event.negotiated, ibgp=not session.ebgp)
        self._stop_resend(session)
        session.asked.clear()
        session.told.clear()
        session.owed.clear()
        log.info("session up", peer=session.plan.peer, address=event.peer, resumed=resumed)
        if not resumed:
            self._resend(session, session.families, Closing.END_OF_RIB)
        elif event.enhanced_refresh:
            session.asked = dict.fromkeys(session.families, 0.0)
            self._ask_due(session)
            self._resend(session, session.families, Closing.REFRESH_END)
        else:
            # What vanished while we were away cannot be said to a peer without RFC 7313: a wrong route
            # would stay there for ever. A new session clears it.
            log.warning("peer has no enhanced route refresh; its session is reset", peer=session.plan.peer)
            self._transport.teardown(event.peer, ADMINISTRATIVE_RESET)

    def is_up(self, peer: str) -> bool:
        """Whether BGP with this address is Established."""
        session = self.sessions.get(peer)
        return session is not None and session.up

    def moving(self, peer: str) -> None:
        """Its session is about to be dialled from another uplink: its end will be our own doing."""
        session = self.sessions.get(peer)
        if session is not None:
            session.moving = True

    def peer_down(self, event: PeerDown) -> None:
        """TCP was lost: what the peer restarts gracefully stays, stale, for the restart time. A NOTIFICATION means it:
        all goes (RFC 4724). An attempt that failed changes nothing.
        """
        session = self.sessions.get(event.peer)
        if session is None:
            return
        self._stop_resend(session)
        lost = session.up
        if lost:
            session.since = time()
            log.warning("session down", peer=session.plan.peer, reason=event.reason)
        session.up, session.reason = False, event.reason
        session.heard.clear()
        session.asked.clear()
        session.told.clear()
        session.owed.clear()
        if session.source is None or not lost:
            return
        session.moving |= event.ours and not event.notification
        kept = kept_families(session) if session.moving or not event.notification else ()
        self.rib.session_lost(session.source, keep=bool(kept))
        self._purge_stale(session.source, kept)
        if not kept:
            session.stale_until = session.lost_at = None
        elif session.stale_until is None:
            session.lost_at = monotonic()
            session.stale_until = session.lost_at + restart_seconds(session)

    def _purge_stale(self, source: Source, but: Collection[Family] = ()) -> None:
        for family in Family:
            if family not in but:
                self.rib.end_of_rib(source, family)

    def update(self, event: UpdateReceived) -> None:
        session = self.sessions.get(event.peer)
        if session is None or session.decoder is None or session.source is None or not session.up:
            return  # A peer that was revoked: ExaBGP has not been told yet.
        try:
            update = session.decoder.decode(event.body)
        except SessionReset as error:
            log.error("UPDATE cannot be parsed, session reset", peer=session.plan.peer, error=error.text)
            self._transport.send([event.peer], [notification(error.code, error.subcode)])
            return
        if update.faults:
            log.warning("UPDATE with faults", peer=session.plan.peer, faults=update.faults[:MAX_NAMED_FAULTS])
        if update.end_of_rib in session.asked:
            # The end of a feed whose beginning we missed. It proves nothing, and BIRD forgets what it is asked
            # during that feed: ask once more.
            session.asked[update.end_of_rib] = 0.0
            self._ask_due(session)
            return
        self.rib.receive(session.source, update)
        if update.end_of_rib is not None:
            self._heard(session, update.end_of_rib)

    def refresh(self, event: RefreshReceived) -> None:
        """ROUTE-REFRESH (RFC 2918), BoRR and EoRR (RFC 7313)."""
        session = self.sessions.get(event.peer)
        if session is None or session.source is None or not session.up:
            return
        if event.subtype == REFRESH_REQUEST:
            self._resend(session, [event.family], Closing.REFRESH_END)
        elif event.subtype == REFRESH_BEGIN:
            session.asked.pop(event.family, None)
            self.rib.refresh_begins(session.source, event.family)
        elif event.subtype == REFRESH_END:
            self.rib.refresh_ends(session.source, event.family)
            self._heard(session, event.family)

    # Time and work

    def tick(self) -> None:
        """What only time decides: restart times that are over, and ends that were waited for."""
        now = monotonic()
        keep_seconds = self._plan.liveness.hubless_seconds if self._plan is not None else 0
        for session in self.sessions:
            if why := why_purge(session, self.sessions, self._clients, keep_seconds, now):
                session.stale_until = session.lost_at = None
                log.warning("stale paths go", peer=session.plan.peer, reason=why)
                if session.source is not None:
                    self._purge_stale(session.source)
            if session.up and session.asked:
                self._ask_due(session)
        self._limits.look(self.sessions, self.rib)
        self._ask_for_what_was_not_kept()
        self._say_owed_ends()

    @property
    def heard_everybody(self) -> bool:
        """Every peer of the plan has said End-of-RIB in each family: what is absent now is really absent."""
        return self.sessions.all_heard(("hub", "client", "peer", "lan"))

    async def pump(self) -> None:
        """Takes changes out of the RIB until there are none: to the peers and to the FIB."""
        async with self._pumping:
            while self.rib.pending or self.rib.changed or self._outbound.moving or self._kernel_walk is not None:
                self.rib.step()
                changes = self.rib.take(self._slice)
                # While the kernel is led from one decision to another, what it has is not what the new one had said.
                routes = self.rib.routes if self._kernel_walk is None else self.rib.targets
                self._tell_kernel(routes(changes))
                self._outbound.tell(changes)
                if not self.rib.changed:
                    self._outbound.move()
                    self._walk_kernel()
                self._fib_moved()
                # Room on the way to ExaBGP is waited for, a peer is not: one that reads slowly must hold nobody up.
                # What ExaBGP keeps for it is bounded there, and beyond that its session is ended.
                await self._transport.drain(())
                await asyncio.sleep(0)
        self._say_owed_ends()

    def _walk_kernel(self) -> None:
        """One slice of all routes, as they are to be by now; every one may differ (another number of paths or view)."""
        if self._kernel_walk is not None:
            changes = next(self._kernel_walk, None)
            if changes is None:
                self._kernel_walk = None
            else:
                self._tell_kernel(self.rib.targets(changes))

    def _tell_kernel(self, routes: Iterable[RouteChange]) -> None:
        for family, tiers, keys in routes:
            self._refuse(family, self._fib.want_many(family, keys, tiers))

    def _refuse(self, family: Family, refused: list[tuple[Key, str]]) -> None:
        """The FIB's last guard spoke: import policy has let something through that it should not have."""
        for key, reason in refused[:MAX_NAMED_FAULTS]:
            log.error("route not installed", prefix=str(network_of(family, key)), reason=reason)

    def _ask_due(self, session: Session) -> None:
        """Asks for what was not asked for lately. A peer that answers with BoRR is not asked again."""
        now = monotonic()
        for family, due in session.asked.items():
            if now >= due:
                session.asked[family] = now + ASK_SECONDS
                self._transport.send([session.address], [route_refresh(family, REFRESH_REQUEST)])

    def _ask_for_what_was_not_kept(self) -> None:
        """Refused paths that were only counted, and that might be accepted by now."""
        sources = self.rib.to_ask()
        for session in self.sessions:
            if not session.up or session.source not in sources:
                continue
            if not session.refresh:
                says = "it does no ROUTE-REFRESH: reset its session to hear what was only counted"
                log.warning("peer cannot be asked", peer=session.plan.peer, says=says)
            else:
                for family in session.families:
                    self._transport.send([session.address], [route_refresh(family, REFRESH_REQUEST)])

    def _heard(self, session: Session, family: Family) -> None:
        session.heard.add(family)
        if set(session.families) <= session.heard:
            session.stale_until = session.lost_at = None

    def _resend(self, session: Session, families: Iterable[Family], closing: Closing) -> None:
        """Everything to one peer, as a task of its own. A resend that waits already is not asked for twice."""
        for family in families:
            if (family, closing) not in session.resends:
                session.resends.append((family, closing))
        task = self._resends.get(session.address)
        if task is None or task.done():
            self._resends[session.address] = spawn(self._outbound.tell_all(session))

    def _stop_resend(self, session: Session) -> None:
        session.resends.clear()
        task = self._resends.pop(session.address, None)
        if task is not None:
            task.cancel()

    def _say_owed_ends(self) -> None:
        """The end of a resend is said only when we ourselves have heard what belongs into it.

        A hub that has just started would else tell its clients that all it has not heard yet is gone. No two
        wait for each other: a client's end depends on nobody but routers in its LAN, a hub's end to another hub on
        clients and such routers only.
        """
        if self.rib.pending or self.rib.changed:
            return
        for session in self.sessions:
            if session.owed and session.up and self._may_end(session):
                self._outbound.say_ends(session)
                if session.resends:
                    self._resend(session, (), Closing.REFRESH_END)  # The next family waited for the end of this one.

    def _may_end(self, session: Session) -> bool:
        return monotonic() >= self._patient_until or self.sessions.all_heard(WAITED_FOR[session.plan.peer_role])
