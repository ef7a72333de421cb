"""The sessions of one gateway: what each peer is to us, what it has told us, and what we still wait for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import ip_address

from speaker.bgp.decode import Decoder
from speaker.bgp.negotiated import Negotiated
from speaker.bgp.opens import GracefulRestart
from speaker.plan import Plan, SessionPlan
from speaker.rib.export import ExportGroup, LanRouter, View
from speaker.rib.lan import Adoption, adoption_of
from speaker.rib.local import local_source
from speaker.rib.path import Source, SourceKind
from speaker.rib.prefix import Family
from speaker.rib.relayed import declared
from speaker.rib.steps import CompiledPolicy


class Closing(Enum):
    """What ends a resend."""

    END_OF_RIB = "End-of-RIB"  # RFC 4724: after a session came up.
    REFRESH_END = "EoRR"  # RFC 7313: in a session that was up before.


KINDS = {
    "hub": SourceKind.HUB,
    "client": SourceKind.CLIENT,
    "peer": SourceKind.PEER,
    "lan": SourceKind.LAN,
}


@dataclass(slots=True)
class Session:
    """One session of the plan. Times are of the monotonic clock, but `since`, which people read."""

    plan: SessionPlan
    since: float
    up: bool = False
    reason: str = "not yet connected"
    moving: bool = False  # Its end is our doing (we dial anew, ExaBGP died): what the peer told stays until it returns.
    source: Source | None = None  # Of the present or of the last connection: its paths may be stale, not gone.
    negotiated: Negotiated | None = None
    decoder: Decoder | None = None
    refresh: bool = False  # Both ends do ROUTE-REFRESH (RFC 2918).
    graceful: GracefulRestart | None = None  # Of the peer, in the present or the last connection.
    heard: set[Family] = field(default_factory=set)  # End-of-RIB or EoRR came since the agent started.
    asked: dict[Family, float] = field(default_factory=dict)  # Refresh wanted, not begun: when to ask again.
    stale_until: float | None = None  # When the peer's restart time is over (RFC 4724).
    lost_at: float | None = None  # Since when its paths are stale.
    ebgp: bool = False
    view: View | None = None
    outside: frozenset[int] = frozenset()  # Of an eBGP client: numbers of the uplinks of all eBGP clients.
    sees_otherwise: bool = False  # By rules, not as we ourselves do.
    adoption: Adoption | None = None  # How paths of routers in our LANs are told.
    # It gets what changes: its resend has begun, or is done. By the last of these groups; while there are several,
    # what it knows of a prefix may still be what one of the former ones said.
    told: dict[Family, tuple[ExportGroup, ...]] = field(default_factory=dict)
    resends: list[tuple[Family, Closing]] = field(default_factory=list)  # Asked for and not begun; each once.
    owed: list[tuple[Family, Closing]] = field(default_factory=list)  # Resent, but the end of it is not yet said.

    @property
    def address(self) -> str:
        return self.plan.peer_address

    @property
    def families(self) -> tuple[Family, ...]:
        return tuple(Family(name) for name in self.plan.families)

    @property
    def gateway(self) -> str:
        """Whose session it is: a gateway may have one per uplink, of which one is up (`SessionPlan.standby`)."""
        return self.plan.peer.partition("/")[0]

    @property
    def heard_all(self) -> bool:
        """It is up and has said End-of-RIB in each family."""
        return self.up and set(self.families) <= self.heard

    def export_group(self, *, add_path: bool) -> ExportGroup:
        """Whose rules decide what it is told."""
        if self.plan.peer_role == "lan":
            router = LanRouter(self.plan.peer, ip_address(self.plan.local_address).packed)
            return ExportGroup(SourceKind.LAN, add_path, self.view, self.ebgp, lan=router)
        own = _uplinks(self.plan) if self.ebgp else frozenset()
        kind = KINDS[self.plan.peer_role]
        return ExportGroup(
            kind, add_path, self.view, self.ebgp, own, self.outside, self.adoption, sees_otherwise=self.sees_otherwise
        )

    def source_for(self, router_id: bytes) -> Source:
        return Source(
            name=self.plan.peer,
            kind=KINDS[self.plan.peer_role],
            address=ip_address(self.plan.peer_address).packed,
            router_id=router_id,
        )


class Sessions:
    """Every session of the plan by the peer's address."""

    def __init__(self) -> None:
        self._by_address: dict[str, Session] = {}
        self._views: dict[CompiledPolicy, View] = {}
        self._adoption: Adoption | None = None

    def __iter__(self) -> Iterator[Session]:
        return iter(self._by_address.values())

    def get(self, address: str) -> Session | None:
        return self._by_address.get(address)

    def set_plan(self, plan: Plan, now: float) -> list[Session]:
        """Takes the sessions of `plan`. Returns those that are gone; changed ones keep their connection's state.

        Raises ValueError when a view has what is no community.
        """
        views = self._compile_views(plan)
        steps = {policy.number: declared(policy) for policy in plan.policies}
        self._adoption = self._adopt(plan)
        foreign = [each for each in plan.sessions if each.peer_role == "client" and each.peer_asn != plan.asn]
        outside = frozenset(number for each in foreign for number in _uplinks(each))
        wanted = {session.peer_address: session for session in plan.sessions}
        gone = [self._by_address.pop(address) for address in list(self._by_address) if address not in wanted]
        for address, session_plan in wanted.items():
            reason = "standby, for when the first uplink is dead" if session_plan.standby else "not yet connected"
            known = self._by_address.setdefault(address, Session(session_plan, since=now, reason=reason))
            known.plan = session_plan
            known.ebgp = session_plan.peer_asn != plan.asn
            # Who sends packets to us for what we use must see it as we do.
            known.view = views.get(plan.own_view if session_plan.peer_role == "lan" else session_plan.view)
            known.sees_otherwise = steps.get(session_plan.view, ()) != steps.get(plan.own_view, ())
            known.outside = outside if known.ebgp else frozenset()
            known.adoption = self._adoption
        return gone

    def _adopt(self, plan: Plan) -> Adoption | None:
        """The one object that it was in the plan before, if it is the same."""
        adoption, former = adoption_of(plan, local_source(ip_address(plan.router_id).packed)), self._adoption
        if adoption is None or former is None:
            return adoption
        return former if former.uplinks == adoption.uplinks else adoption

    def _compile_views(self, plan: Plan) -> dict[int, View]:
        """By number. A view of equal steps is the one object that it was in the plan before, whatever its number."""
        numbers = {plan.own_view if session.peer_role == "lan" else session.view for session in plan.sessions}
        policies = {
            policy.number: CompiledPolicy.of(policy, plan.asn)
            for policy in plan.policies
            if policy.number in numbers and policy.steps
        }
        self._views = {policy: self._views.get(policy) or View(policy) for policy in policies.values()}
        return {number: self._views[policy] for number, policy in policies.items()}

    def all_heard(self, roles: Iterable[str]) -> bool:
        """Every peer in one of these roles has said End-of-RIB for each family, by whichever of its sessions."""
        wanted = set(roles)
        heard: dict[str, bool] = {}
        for session in self:
            if session.plan.peer_role in wanted:
                heard[session.gateway] = heard.get(session.gateway, False) or set(session.families) <= session.heard
        return all(heard.values())


def _uplinks(session: SessionPlan) -> frozenset[int]:
    """Numbers of the peer's uplinks."""
    return frozenset(hop.number for hop in session.imports.next_hops) if session.imports is not None else frozenset()
