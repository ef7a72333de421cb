"""Import policy: what is made of a path that a peer announces, and which are refused, with the reason.

The judgement has two parts. The attributes are judged once per distinct attributes
(`path`); the prefixes are judged per key (`verdicts`). A refused path stays in the table, to
be shown; it is never used or sent on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Protocol

from speaker.plan import ImportPlan, NextHopPlan, SessionPlan
from speaker.rib.attributes import GRACEFUL_SHUTDOWN, Attributes
from speaker.rib.communities import link_bandwidth, parse_large, without_hop_communities
from speaker.rib.facts import RouterFacts
from speaker.rib.hops import LABEL_RELAY, RELAY
from speaker.rib.path import Path, Source
from speaker.rib.pathset import MEMO_LIMIT
from speaker.rib.prefix import Family, Key
from speaker.rib.spans import Network, Spans

NEXT_HOP_NOT_YOURS = "next-hop-not-yours"
NEXT_HOP_IS_OURS = "next-hop-is-ours"
NEXT_HOP_OFF_SEGMENT = "next-hop-off-segment"
PREFIX_NOT_ALLOCATED = "prefix-not-allocated"
MORE_SPECIFIC_THAN_ALLOWED = "more-specific-than-allowed"
DEFAULT_ROUTE = "default-route"
INSIDE_SEGMENT = "inside-segment"
MARTIAN = "martian"
CONNECTED = "connected"
OWN_ORIGINATOR_ID = "own-originator-id"
FORGED_ORIGINATOR_ID = "forged-originator-id"
CLUSTER_LOOP = "cluster-loop"
AS_LOOP = "as-loop"
DENIED = "denied"

REASONS = {
    NEXT_HOP_NOT_YOURS: "the next hop is none of the uplinks that the plan gives this peer",
    NEXT_HOP_IS_OURS: "the next hop is an address of this gateway",
    NEXT_HOP_OFF_SEGMENT: "the next hop is not on the fabric's segment",
    PREFIX_NOT_ALLOCATED: "no allocation of the peer's site contains the prefix",
    MORE_SPECIFIC_THAN_ALLOWED: "the prefix is longer than its allocation allows",
    DEFAULT_ROUTE: "a default route is not accepted from a client",
    INSIDE_SEGMENT: "the prefix lies inside the fabric's segment",
    MARTIAN: "the prefix lies in address space that is never routed",
    CONNECTED: "the prefix lies inside one that this gateway is attached to",
    OWN_ORIGINATOR_ID: "ORIGINATOR_ID is our own: our route came back (RFC 4456 8)",
    FORGED_ORIGINATOR_ID: "a client reflects nothing, so it may not send ORIGINATOR_ID",
    CLUSTER_LOOP: "CLUSTER_LIST contains our own CLUSTER_ID (RFC 4456 8)",
    AS_LOOP: "AS_PATH contains our own AS (RFC 4271 9.1.2)",
    DENIED: "nothing is accepted from this peer",
}
"""Every reason code, with what it says to people."""

MARTIANS: tuple[Network, ...] = tuple(
    ip_network(text)
    for text in ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3", "::/16", "fe80::/10", "ff00::/8")
)

Verdicts = list[tuple[str, Sequence[Key]]]
"""[(reason, keys)]: "" for the accepted ones."""


class ImportPolicy(Protocol):
    """Immutable; two of equal value judge alike."""

    def path(self, source: Source, path_id: int, received: Attributes, verdict: str) -> Path:
        """The path for prefixes with this verdict. Equal arguments may give the same object."""

    def verdicts(self, family: Family, keys: Sequence[Key]) -> Verdicts:
        """`keys`, sorted out by what their prefixes deserve."""


@dataclass(frozen=True)
class Denials:
    """Address space that is refused, in order of precedence. The usual batch touches none of it and costs little."""

    rules: tuple[tuple[str, frozenset[Network]], ...]
    _spans: dict[Family, tuple[Spans, list[tuple[str, Spans]]]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        spans = {}
        for family, version in ((Family.IPV4, 4), (Family.IPV6, 6)):
            rules = [(reason, [n for n in networks if n.version == version]) for reason, networks in self.rules]
            everything = Spans.covering(network for _, networks in rules for network in networks)
            spans[family] = everything, [(reason, Spans.covering(networks)) for reason, networks in rules]
        object.__setattr__(self, "_spans", spans)

    def verdicts(self, family: Family, keys: Sequence[Key]) -> Verdicts:
        everything, rules = self._spans[family]
        if not everything.touches(keys):
            return [("", keys)]
        verdicts: Verdicts = []
        for reason, spans in rules:
            inside, keys = spans.split(keys)
            verdicts.append((reason, inside))
        return [*verdicts, ("", keys)]


@lru_cache(maxsize=16)
def _denials(segments: frozenset[Network], connected: frozenset[Network]) -> Denials:
    """The same for all peers of a router, and not cheap to make: 6 ms each add up over hundreds of peers."""
    return Denials(((MARTIAN, frozenset(MARTIANS)), (INSIDE_SEGMENT, segments), (CONNECTED, connected)))


def _with_verdict(path: Path, verdict: str) -> Path:
    return path if path.rejected or not verdict else replace(path, rejected=verdict)


@dataclass(frozen=True)
class _Judge:
    """What the policies share: the memo over attributes, and loops."""

    facts: RouterFacts
    _memo: dict[tuple[int, int, int, str], tuple[Source, Attributes, Path]] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )

    def path(self, source: Source, path_id: int, received: Attributes, verdict: str) -> Path:
        name = id(source), id(received), path_id, verdict
        memo = self._memo.get(name)
        if memo is None:
            path = self._finish(self._judge(source, path_id, received), verdict)
            if len(self._memo) >= MEMO_LIMIT:
                self._memo.clear()
            self._memo[name] = memo = source, received, path
        return memo[2]

    def _judge(self, source: Source, path_id: int, received: Attributes) -> Path:
        raise NotImplementedError

    def _finish(self, path: Path, verdict: str) -> Path:
        if verdict == CONNECTED:  # A hub sends on what it must not route itself.
            return replace(path, withheld=verdict)
        return _with_verdict(path, verdict)

    def _loop(self, attributes: Attributes) -> str:
        if any(self.facts.asn in asns for _, asns in attributes.as_path):
            return AS_LOOP
        if self.facts.cluster_id in attributes.cluster_list:
            return CLUSTER_LOOP
        if attributes.originator_id == self.facts.router_id:
            return OWN_ORIGINATOR_ID
        return ""


@dataclass(frozen=True)
class HubImport(_Judge):
    """What a hub accepts from a client (default deny). The hub says how good the path is, not the client."""

    imports: ImportPlan = field(kw_only=True)
    relayed: frozenset[int] = field(kw_only=True, default=frozenset())
    """Numbers of the client's uplinks that we say we relay to, ..."""
    relay: bytes = field(kw_only=True, default=b"")
    """... by our IPv4 overlay address, as its other neighbours know it."""
    labelled: frozenset[int] = field(kw_only=True, default=frozenset())
    """Those of them that we relay to by label, too."""
    _next_hops: dict[bytes, NextHopPlan] = field(init=False, repr=False, compare=False)
    _allowed: dict[Family, tuple[Spans, Spans]] = field(init=False, repr=False, compare=False)
    _denials: Denials = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        hops = {
            ip_address(text).packed: hop
            for hop in self.imports.next_hops
            for text in (hop.address, hop.address6)
            if text is not None
        }
        spaces = [
            (part, allocation.longest)
            for allocation in self.imports.allocations
            for part in _without_default(ip_network(allocation.prefix))
        ]
        allowed = {}
        for family, version in ((Family.IPV4, 4), (Family.IPV6, 6)):
            of_family = [(network, longest) for network, longest in spaces if network.version == version]
            allowed[family] = Spans(of_family), Spans.covering(network for network, _ in of_family)
        object.__setattr__(self, "_next_hops", hops)
        object.__setattr__(self, "_allowed", allowed)
        object.__setattr__(self, "_denials", _denials(self.facts.segments, self.facts.connected))

    def verdicts(self, family: Family, keys: Sequence[Key]) -> Verdicts:
        allowed, inside = self._allowed[family]
        good, others = allowed.split(keys)
        verdicts = self._denials.verdicts(family, good)
        if others:
            default = [key for key in others if not key[0]]
            longer, strangers = inside.split([key for key in others if key[0]])
            verdicts += [
                (DEFAULT_ROUTE, default),
                (MORE_SPECIFIC_THAN_ALLOWED, longer),
                (PREFIX_NOT_ALLOCATED, strangers),
            ]
        return [(reason, keys) for reason, keys in verdicts if keys]

    def _judge(self, source: Source, path_id: int, received: Attributes) -> Path:
        hop = self._next_hops.get(received.next_hop)
        if hop is None:
            return Path(source, path_id, 0, received, rejected=NEXT_HOP_NOT_YOURS, received=received)
        reason = self._loop(received)
        if not reason and received.originator_id is not None:
            reason = FORGED_ORIGINATOR_ID
        return Path(source, path_id, hop.number, self._attributes(received, hop), rejected=reason, received=received)

    def _attributes(self, received: Attributes, hop: NextHopPlan) -> Attributes:
        asn = self.facts.asn
        large = [c for c in received.large_communities if c[0] != asn]
        extended = without_hop_communities(received.extended_communities)
        if hop.bandwidth:
            extended += (link_bandwidth(asn, hop.bandwidth),)
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
        )


def _without_default(network: Network) -> Iterator[Network]:
    """An allocation of everything still allows no default route."""
    return iter((network,)) if network.prefixlen else iter(network.subnets())


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
        object.__setattr__(self, "_denials", _denials(self.facts.segments, self.facts.connected))

    def verdicts(self, family: Family, keys: Sequence[Key]) -> Verdicts:
        return [(reason, found) for reason, found in self._denials.verdicts(family, keys) if found]

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

    def _finish(self, path: Path, verdict: str) -> Path:
        return _with_verdict(path, verdict)


@dataclass(frozen=True)
class PeerImport(_Trusting):
    """What a hub accepts from another hub."""


@dataclass(frozen=True)
class DenyImport(_Judge):
    """Nothing is accepted: a revoked peer, whose session is still up."""

    def verdicts(self, family: Family, keys: Sequence[Key]) -> Verdicts:  # noqa: ARG002
        return [(DENIED, keys)]

    def _judge(self, source: Source, path_id: int, received: Attributes) -> Path:
        return Path(source, path_id, 0, received, rejected=DENIED, received=received)


def import_policy(
    session: SessionPlan,
    facts: RouterFacts,
    relayed: frozenset[int] = frozenset(),
    labelled: frozenset[int] = frozenset(),
) -> ImportPolicy:
    """What `session` says about its peer. A client without an import plan is denied everything.

    `relayed`: numbers of uplinks, of this client and of others, that have BFD up with us; `labelled`: those
    whose relay label this kernel forwards.
    """
    if session.peer_role == "hub":
        return SpokeImport(facts)
    if session.peer_role == "peer":
        return PeerImport(facts)
    if session.imports is None:
        return DenyImport(facts)
    relay = ip_address(session.local_address).packed
    if not session.peer_is_ours or len(relay) != 4:  # A community has room for an IPv4 address.
        return HubImport(facts, imports=session.imports)
    its_own = frozenset(hop.number for hop in session.imports.next_hops) & relayed
    return HubImport(
        facts,
        imports=session.imports,
        relayed=its_own,
        relay=relay if its_own else b"",
        labelled=its_own & labelled,
    )
