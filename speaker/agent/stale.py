"""How long the paths of a lost session stay (RFC 4724), and which own prefixes go out, by which uplinks. Pure.

A session that was lost by TCP says nothing about the data plane: BFD does. So with all hubs gone stale paths stay
beyond the restart time, where the way is not known to be dead; `hubless_seconds` bounds it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Protocol

import msgspec

from speaker.agent.sessions import Session
from speaker.plan import Plan, SessionPlan
from speaker.rib.prefix import Family

LEFT_SECONDS = 10.0
"""A gateway whose BGP was lost and whose BFD said AdminDown has so long to restart both."""


class ClientLiveness(Protocol):
    """What BFD says of all uplinks of a hub's client together."""

    def client_is_dead(self, session: SessionPlan) -> bool: ...

    def client_has_left(self, session: SessionPlan) -> bool: ...


class NoLiveness:
    """Nothing is known: the restart time alone decides."""

    def client_is_dead(self, session: SessionPlan) -> bool:  # noqa: ARG002
        return False

    def client_has_left(self, session: SessionPlan) -> bool:  # noqa: ARG002
        return False


NO_LIVENESS = NoLiveness()


def kept_families(session: Session) -> frozenset[Family]:
    """What stays of a session that ended without a NOTIFICATION: what the peer said it restarts gracefully (RFC 4724
    4.2); all of it when our own end was lost, for then it is we who restart (4.1).
    """
    if not session.plan.restart_time:
        return frozenset()
    if session.moving:
        return frozenset(Family)
    return session.graceful.families if session.graceful is not None else frozenset()


def restart_seconds(session: Session) -> int:
    """How long that stays: the peer's restart time, ours being the upper bound (RFC 4724 4.2)."""
    if session.moving or session.graceful is None:
        return session.plan.restart_time
    return min(session.plan.restart_time, session.graceful.seconds)


def why_purge(
    session: Session, everybody: Iterable[Session], clients: ClientLiveness, keep_seconds: float, now: float
) -> str:
    """Why what is stale of `session` must go now; "" when it stays, or nothing is stale.

    A client's goes at once when none of its uplinks can be reached, or when the client has told everything in a
    session from another uplink; soon when its BFD said good-bye as well (it is not restarting ExaBGP, it is
    shutting down); else after the restart time. A hub's goes after the restart time when another hub
    has told everything; with all hubs gone it stays: the sender's own liveness still rules the kernel.
    """
    if session.stale_until is None or session.lost_at is None:
        return ""
    if session.up:
        return "restart time is over" if now >= session.stale_until else ""
    role = session.plan.peer_role
    others = [each for each in everybody if each is not session]
    if any(each.heard_all for each in others if each.gateway == session.gateway):
        return "another session of this gateway has told everything"
    if role == "client" and clients.client_is_dead(session.plan):
        return "BFD reaches none of its next hops"
    if role == "client" and now >= session.lost_at + LEFT_SECONDS and clients.client_has_left(session.plan):
        return "BGP and BFD were stopped and have not come back"
    if now < session.stale_until:
        return ""
    if now >= max(session.stale_until, session.lost_at + keep_seconds):
        return "nothing was heard of it for too long"
    if role == "hub" and not any(each.heard_all for each in others if each.plan.peer_role == "hub"):
        return ""
    return "restart time is over"


def without(plan: Plan, withdrawn: frozenset[str]) -> Plan:
    """`plan`, but for own prefixes that are withdrawn."""
    if not withdrawn:
        return plan
    announcements = tuple(
        msgspec.structs.replace(each, prefixes=tuple(p for p in each.prefixes if p not in withdrawn))
        for each in plan.announcements
    )
    return msgspec.structs.replace(plan, announcements=announcements)


def over(plan: Plan, deaf: Collection[str]) -> Plan:
    """`plan`, but for what is announced by uplinks on these interfaces: nothing is."""
    if not deaf:
        return plan
    return msgspec.structs.replace(plan, uplinks=tuple(each for each in plan.uplinks if each.interface not in deaf))
