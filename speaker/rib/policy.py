"""Import policy: what is made of a path that a peer announces, and which are refused, with the reason.

The judgement has two parts. The attributes are judged once per distinct attributes
(`path`); the prefixes are judged per key (`verdicts`). A refused path stays in the table, to
be shown; it is never used or sent on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_network
from typing import ClassVar, Protocol

from speaker.mac import mac_of
from speaker.plan import ImportPlan, NextHopPlan, SessionPlan
from speaker.rib.attributes import GRACEFUL_SHUTDOWN, Attributes
from speaker.rib.carried import carrying
from speaker.rib.communities import BLACKHOLE, link_bandwidth, parse_large, routers_mac, without_hop_communities
from speaker.rib.decision import neighbour_as
from speaker.rib.denials import Denials, Portion, denials
from speaker.rib.facts import RouterFacts
from speaker.rib.hops import LABEL_RELAY, RELAY
from speaker.rib.intent import NO_INTENT, Intent
from speaker.rib.marks import NO_SETS, PrefixSets
from speaker.rib.path import Path, Source
from speaker.rib.pathset import MEMO_LIMIT
from speaker.rib.prefix import Family, Key, key_of
from speaker.rib.reasons import (
    AS_LOOP,
    CLUSTER_LOOP,
    CONNECTED,
    DEFAULT_ROUTE,
    DENIED,
    DENIED_BY_RULE,
    FIRST_AS,
    FORGED_ORIGINATOR_ID,
    LAN_DOWN,
    MORE_SPECIFIC_THAN_ALLOWED,
    NEXT_HOP_IS_OURS,
    NEXT_HOP_NOT_YOURS,
    NEXT_HOP_OFF_SEGMENT,
    OWN_ORIGINATOR_ID,
    PREFIX_NOT_ALLOCATED,
)
from speaker.rib.spans import Spans
from speaker.rib.steps import CompiledPolicy, Marks, evaluate


class ImportPolicy(Protocol):
    """Immutable; two of equal value judge alike."""

    @property
    def limit(self) -> int:
        """How many prefixes are accepted; 0: no limit. `Rib` enforces it: a policy does not count."""

    def path(self, source: Source, path_id: int, received: Attributes, reason: str, marks: Marks = ()) -> Path:
        """The path for the keys of a portion. Equal arguments may give the same object."""

    def verdicts(self, family: Family, keys: Sequence[Key]) -> list[Portion]:
        """`keys`, sorted out by what their prefixes deserve."""


def _with_reason(path: Path, reason: str) -> Path:
    return path if path.rejected or not reason else replace(path, rejected=reason)


@dataclass(frozen=True)
class _Judge:
    """What the policies share: the memo over attributes, and loops."""

    facts: RouterFacts
    _memo: dict[tuple[int, int, int, str, Marks], tuple[Source, Attributes, Path]] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )

    @property
    def limit(self) -> int:
        return 0

    def path(self, source: Source, path_id: int, received: Attributes, reason: str, marks: Marks = ()) -> Path:
        name = id(source), id(received), path_id, reason, marks
        memo = self._memo.get(name)
        if memo is None:
            path = self._finish(self._judge(source, path_id, received), reason, marks)
            if len(self._memo) >= MEMO_LIMIT:
                self._memo.clear()
            self._memo[name] = memo = source, received, path
        return memo[2]

    def _judge(self, source: Source, path_id: int, received: Attributes) -> Path:
        raise NotImplementedError

    def _finish(self, path: Path, reason: str, marks: Marks) -> Path:  # noqa: ARG002
        return _with_reason(path, reason)

    def _loop(self, attributes: Attributes) -> str:
        if any(self.facts.asn in asns for _, asns in attributes.as_path):
            return AS_LOOP
        if self.facts.cluster_id in attributes.cluster_list:
            return CLUSTER_LOOP
        if attributes.originator_id == self.facts.router_id:
            return OWN_ORIGINATOR_ID
        return ""


def _at_hub(path: Path, reason: str, marks: Marks) -> Path:
    """A hub sends on what it must not route itself."""
    path = replace(path, withheld=reason) if reason == CONNECTED else _with_reason(path, reason)
    return path if path.rejected or not marks else replace(path, marks=marks)


@dataclass(frozen=True)
class HubImport(_Judge):
    """What a hub accepts from a client (default deny). The hub says how good the path is, not the client."""

    imports: ImportPlan = field(kw_only=True)
    first_as: int = field(kw_only=True, default=0)
    """Of a client by eBGP its AS, which must be the first in AS_PATH."""
    intent: Intent = field(kw_only=True, default=NO_INTENT, compare=False)
    relayed: frozenset[int] = field(kw_only=True, default=frozenset())
    """Numbers of the client's uplinks that we say we relay to, ..."""
    relay: bytes = field(kw_only=True, default=b"")
    """... by our IPv4 overlay address, as its other neighbours know it."""
    labelled: frozenset[int] = field(kw_only=True, default=frozenset())
    """Those of them that we relay to by label, too."""
    takes_declared: ClassVar[bool] = True
    """Whether a default route, and one that covers the underlay, may be declared."""
    _next_hops: dict[bytes, NextHopPlan] = field(init=False, repr=False, compare=False)
    _policies: dict[int, CompiledPolicy] = field(init=False, repr=False)
    _sets: PrefixSets = field(init=False, repr=False)
    _viewed: PrefixSets = field(init=False, repr=False)
    _allowed: dict[Family, tuple[Spans, Spans]] = field(init=False, repr=False, compare=False)
    _declared: dict[Family, frozenset[Key]] = field(init=False, repr=False, compare=False)
    """Routes that are allocated as they are: only these may cover the underlay, or be a default."""
    _denials: Denials = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        hops = {
            ip_address(text).packed: hop
            for hop in self.imports.next_hops
            for text in (hop.address, hop.address6)
            if text is not None
        }
        spaces = [
            (network, allocation.longest)
            for allocation in self.imports.allocations
            if (network := ip_network(allocation.prefix)).prefixlen or self.takes_declared
        ]
        allowed, declared = {}, {}
        for family, version in ((Family.IPV4, 4), (Family.IPV6, 6)):
            of_family = [(network, longest) for network, longest in spaces if network.version == version]
            # A default route is no space that others could be a part of.
            space = [network for network, longest in of_family if network.prefixlen or longest]
            allowed[family] = Spans(of_family), Spans.covering(space)
            declared[family] = frozenset(key_of(network) for network, _ in of_family if self.takes_declared)
        used = {hop.policy for hop in self.imports.next_hops if hop.policy}
        object.__setattr__(self, "_next_hops", hops)
        object.__setattr__(self, "_policies", {number: self.intent.policies[number] for number in used})
        object.__setattr__(self, "_sets", self.intent.sets_for(self.imports))
        object.__setattr__(self, "_viewed", self.intent.viewed)
        object.__setattr__(self, "_allowed", allowed)
        object.__setattr__(self, "_declared", declared)
        object.__setattr__(self, "_denials", denials(self.facts))

    @property
    def limit(self) -> int:
        return self.imports.max_prefixes

    def verdicts(self, family: Family, keys: Sequence[Key]) -> list[Portion]:
        allowed, inside = self._allowed[family]
        good, others = allowed.split(keys)
        portions = self._denials.portions(family, good, declared=self._declared[family])
        if others:
            default = [key for key in others if not key[0]]
            longer, strangers = inside.split([key for key in others if key[0]])
            portions += [Portion(DEFAULT_ROUTE, default), Portion(PREFIX_NOT_ALLOCATED, strangers)]
            if self.facts.blackhole:  # Then a longer prefix may still be good.
                portions += self._denials.portions(family, longer, MORE_SPECIFIC_THAN_ALLOWED, _LONGER_AND_CONNECTED)
            else:
                portions.append(Portion(MORE_SPECIFIC_THAN_ALLOWED, longer))
        return _marked(self._sets, family, portions)

    def _judge(self, source: Source, path_id: int, received: Attributes) -> Path:
        hop = self._next_hops.get(received.next_hop)
        if hop is None:
            nobodys = replace(received, large_communities=self._passing(received))
            return Path(source, path_id, 0, nobodys, rejected=NEXT_HOP_NOT_YOURS, received=received)
        reason = self._loop(received)
        if not reason and self.first_as and neighbour_as(received) != self.first_as:
            reason = FIRST_AS
        if not reason and not self.first_as and received.originator_id is not None:
            reason = FORGED_ORIGINATOR_ID
        return Path(source, path_id, hop.number, self._attributes(received, hop), rejected=reason, received=received)

    def _finish(self, path: Path, reason: str, marks: Marks) -> Path:
        """Rules see what all else lets in."""
        if reason in _OF_BLACKHOLE:
            reason = _OF_BLACKHOLE[reason] if self._is_blackhole(path) else MORE_SPECIFIC_THAN_ALLOWED
        path = _at_hub(path, reason, self.intent.viewed_marks(marks))
        hop = self._next_hops.get(path.attributes.next_hop)
        if path.rejected or hop is None or not hop.policy:
            return path
        verdict = evaluate(self._policies[hop.policy], path.attributes, marks)
        attributes = carrying(verdict, self.facts.asn)
        if attributes is None:
            return replace(path, rejected=DENIED_BY_RULE, marks=(), rules=verdict.rules)
        return replace(path, attributes=attributes, rules=verdict.rules)

    def _is_blackhole(self, path: Path) -> bool:
        return self.facts.blackhole and BLACKHOLE in path.attributes.communities

    def _passing(self, received: Attributes) -> tuple[tuple[int, int, int], ...]:
        """The operators' own: those of the fabric's AS are the hubs' word."""
        return tuple(each for each in received.large_communities if each[0] != self.facts.asn)

    def _attributes(self, received: Attributes, hop: NextHopPlan) -> Attributes:
        asn = self.facts.asn
        large = list(self._passing(received))
        extended = without_hop_communities(received.extended_communities)
        if hop.bandwidth:
            extended += (link_bandwidth(asn, hop.bandwidth),)
        if hop.node_id and self.facts.network:
            extended += (routers_mac(mac_of(hop.node_id, self.facts.network)),)
        if hop.number in self.relayed:
            large.append((asn, RELAY, int.from_bytes(self.relay, "big")))
        if hop.number in self.labelled:
            large.append((asn, LABEL_RELAY, int.from_bytes(self.relay, "big")))
        communities = received.communities
        if hop.drained and GRACEFUL_SHUTDOWN not in communities:
            communities = tuple(sorted((*communities, GRACEFUL_SHUTDOWN)))
        return replace(
            received,
            local_pref=0 if GRACEFUL_SHUTDOWN in communities else hop.preference,
            communities=communities,
            large_communities=tuple(sorted({*large, *parse_large(hop.large_communities)})),
            extended_communities=extended,
            originator_id=None,
            cluster_list=(),
        )


@dataclass(frozen=True)
class LanImport(HubImport):
    """What a gateway takes from a router in its LAN, to announce it as its own: what a hub would take from it."""

    down: bool = field(kw_only=True, default=False)
    """Nothing can be sent to it now."""
    takes_declared: ClassVar[bool] = False
    """Such a route stands aside of table main, where traffic from the segment, which comes for it, does not look."""

    def _finish(self, path: Path, reason: str, marks: Marks) -> Path:
        path = super()._finish(path, reason, marks)
        if path.withheld or (self.down and not path.rejected):
            return replace(path, rejected=path.withheld or LAN_DOWN, withheld="", marks=())
        return path


def _marked(sets: PrefixSets, family: Family, portions: Iterable[Portion]) -> list[Portion]:
    """`portions` without empty ones, those that may be used cut by the prefix sets that their keys are in."""
    found = [portion for portion in portions if portion.keys]
    if not sets.plans:
        return found
    marked: list[Portion] = []
    for portion in found:
        if portion.reason in _MAY_BE_USED:
            marked += [Portion(portion.reason, keys, marks) for marks, keys in sets.split(family, portion.keys)]
        else:
            marked.append(portion)
    return marked


_LONGER_AND_CONNECTED = "longer and connected"
_OF_BLACKHOLE = {MORE_SPECIFIC_THAN_ALLOWED: "", _LONGER_AND_CONNECTED: CONNECTED}
"""What deserves this when the path is no BLACKHOLE -> what it deserves when it is one."""
_MAY_BE_USED = ("", CONNECTED, *_OF_BLACKHOLE)


@dataclass(frozen=True)
class _Trusting(_Judge):
    """From a hub: what it says is believed, path ids included; loops and nonsense are not."""

    _denials: Denials = field(init=False, repr=False, compare=False)
    _segments: dict[int, Spans] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        segments: dict[int, Spans] = {}
        for octets, version in ((4, 4), (16, 6)):
            networks = [network for network in self.facts.segments if network.version == version]
            if networks:
                segments[octets] = Spans.covering(networks)
        object.__setattr__(self, "_segments", segments)
        object.__setattr__(self, "_denials", denials(self.facts))

    def verdicts(self, family: Family, keys: Sequence[Key]) -> list[Portion]:
        return [portion for portion in self._denials.portions(family, keys, declared=None) if portion.keys]

    def _judge(self, source: Source, path_id: int, received: Attributes) -> Path:
        reason = self._loop(received) or self._next_hop(received.next_hop)
        return Path(source, path_id, path_id, received, rejected=reason, received=received)

    def _next_hop(self, next_hop: bytes) -> str:
        if next_hop in self.facts.own_next_hops:
            return NEXT_HOP_IS_OURS
        segment = self._segments.get(len(next_hop))
        on_segment = segment is None or bytes((8 * len(next_hop),)) + next_hop in segment
        return "" if on_segment else NEXT_HOP_OFF_SEGMENT


@dataclass(frozen=True)
class SpokeImport(_Trusting):
    """What a spoke accepts from a hub."""


@dataclass(frozen=True)
class PeerImport(_Trusting):
    """What a hub accepts from another hub, whose rules have judged it already: only marks do not travel."""

    viewed: PrefixSets = field(kw_only=True, default=NO_SETS)

    def verdicts(self, family: Family, keys: Sequence[Key]) -> list[Portion]:
        return _marked(self.viewed, family, super().verdicts(family, keys))

    def _finish(self, path: Path, reason: str, marks: Marks) -> Path:
        return _at_hub(path, reason, marks)


@dataclass(frozen=True)
class DenyImport(_Judge):
    """Nothing is accepted: a revoked peer, whose session is still up."""

    def verdicts(self, family: Family, keys: Sequence[Key]) -> list[Portion]:  # noqa: ARG002
        return [Portion(DENIED, keys)]

    def _judge(self, source: Source, path_id: int, received: Attributes) -> Path:
        return Path(source, path_id, 0, received, rejected=DENIED, received=received)


def import_policy(
    session: SessionPlan,
    facts: RouterFacts,
    relayed: frozenset[int] = frozenset(),
    labelled: frozenset[int] = frozenset(),
    intent: Intent = NO_INTENT,
    *,
    lan_down: bool = False,
) -> ImportPolicy:
    """What `session` says about its peer. A client without an import plan is denied everything.

    `relayed`: numbers of uplinks, of this client and of others, that have BFD up with us; `labelled`: those
    whose relay label this kernel forwards. `intent`: of the plan that `session` is of. `lan_down`: the LAN of a router
    in it is dead.
    """
    if session.peer_role == "hub":
        return SpokeImport(facts)
    if session.peer_role == "peer":
        return PeerImport(facts, viewed=intent.viewed)
    if session.imports is None:
        return DenyImport(facts)
    first_as = session.peer_asn if session.peer_asn != facts.asn else 0
    if session.peer_role == "lan":
        return LanImport(facts, imports=session.imports, first_as=first_as, intent=intent, down=lan_down)
    relay = ip_address(session.local_address).packed
    if not session.peer_is_ours or len(relay) != 4:  # A community has room for an IPv4 address.
        return HubImport(facts, imports=session.imports, first_as=first_as, intent=intent)
    its_own = frozenset(hop.number for hop in session.imports.next_hops) & relayed
    return HubImport(
        facts,
        imports=session.imports,
        first_as=first_as,
        intent=intent,
        relayed=its_own,
        relay=relay if its_own else b"",
        labelled=its_own & labelled,
    )
