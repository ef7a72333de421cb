"""The plan: all that one gateway must do. Compiled by the controller, carried out by the speaker.

This is the contract between the two. `encode` is canonical, so equal plans have equal
bytes and one digest; `decode` refuses what it does not understand, because a field that is
ignored may be a deny that is ignored.

Addresses and prefixes travel as text in canonical form (RFC 5952 for IPv6). Fields that a later version
added have defaults, so that a plan of the version before is still read. What version 4 added stands only in
plans that use it: a fabric that leaves its segment to somebody else has the same plans as before, byte for byte.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct

PLAN_VERSION: Final = 4
READABLE_VERSIONS = (1, 2, 3, 4)
"""What this speaker reads. It tells the controller with every poll."""

FIRST_RELAY_LABEL = 16000
"""The relay label of an uplink is this plus its number, everywhere in the fabric."""
MAX_TIERS = 4
"""Best set, and three to fall back to without a decision. A route with more has the rest when the best ones leave."""
MOST_PREPENDED = 32
"""Times, by all rules together."""

FamilyName = Literal["ipv4", "ipv6"]
Asn = Annotated[int, Meta(ge=1, le=2**32 - 2)]
U32 = Annotated[int, Meta(ge=0, le=2**32 - 1)]
Number = Annotated[int, Meta(ge=1, le=2**20 - 1)]
NodeId = Annotated[str, Meta(pattern=r"^([0-9a-f]{10})?\Z")]
"""ZeroTier's name for one of its nodes, 10 hex digits; "" where it is not known."""


class PlanUnreadable(ValueError):
    """The bytes are no plan that this speaker understands. Nothing may be changed because of them."""


class PlanStruct(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=False):
    """Whole values, compared whole; an unknown field is an error."""


class BfdPlan(PlanStruct, frozen=True):
    """Timers of BFD (RFC 5880 6.8.1) on one uplink; the slower end of a pair rules."""

    interval_ms: Annotated[int, Meta(ge=10, le=60_000)]  # Desired Min TX and Required Min RX.
    multiplier: Annotated[int, Meta(ge=2, le=50)]


class UplinkPlan(PlanStruct, frozen=True):
    """One attachment to the segment. `address` and `address6` are the BGP next hops of this uplink."""

    number: Number  # Unique in the fabric: ADD-PATH path id, and its relay label.
    name: str
    interface: str
    address: str
    address6: str | None
    circuit_class: str
    preference: U32  # LOCAL_PREF of what is announced over it.
    bandwidth: int  # bit/s; 0 = not declared, no weight.
    bfd: BfdPlan | None = None  # None: no BFD on this uplink.
    policy: int = 0  # Of a hub: number of the PolicyPlan for what it announces over it itself; 0: none.
    node_id: NodeId = ""  # Of the ZeroTier service behind it.


class AnnouncementPlan(PlanStruct, frozen=True):
    """Own prefixes that share their attributes. Announced once per uplink, path id = uplink number."""

    prefixes: tuple[str, ...]
    large_communities: tuple[str, ...]  # "AS:function:value"


class PrefixRangePlan(PlanStruct, frozen=True):
    """Prefixes inside `prefix` whose length is from `ge` to `le`."""

    prefix: str
    ge: Annotated[int, Meta(ge=0, le=128)]
    le: Annotated[int, Meta(ge=0, le=128)]


class PrefixSetPlan(PlanStruct, frozen=True):
    """What the rules of this plan mean by a set of prefixes. As many as rules name, whatever is announced."""

    number: Annotated[int, Meta(ge=1, le=65_535)]
    ranges: tuple[PrefixRangePlan, ...]


class StepPlan(PlanStruct, frozen=True):
    """One step of a policy: on a path that matches, all its actions. Later steps see what earlier ones did.

    A path matches when its prefix is in the set, it has one of `communities` (if any are named), at least one of
    each group of `large`, and none of `large_none`. Communities are matched on the path as it comes to the step.
    """

    rule: str  # Name of the operator's rule, or in words what the step is for: people read it in `explain`.
    prefix_set: int = 0  # Number of a PrefixSetPlan; 0: every prefix.
    communities: tuple[str, ...] = ()  # "AS:value" or "AS:function:value"; one is enough.
    large: tuple[tuple[str, ...], ...] = ()
    large_none: tuple[str, ...] = ()
    preference: U32 | None = None  # LOCAL_PREF from now on; then `preference_add`. At least 1; 0 is for the drained.
    preference_add: Annotated[int, Meta(ge=-(2**32 - 1), le=2**32 - 1)] = 0
    add: tuple[str, ...] = ()  # Communities of both kinds.
    remove: tuple[str, ...] = ()
    med: U32 | None = None
    prepend: Annotated[int, Meta(ge=0, le=32)] = 0  # The fabric's AS, towards eBGP clients only.
    max_paths: Annotated[int, Meta(ge=0, le=64)] = 0  # Widest ECMP group of the prefix, by community; 0: no word.
    deny: bool = False  # At import: kept as filtered. At export: not told.
    last: bool = False  # No later step of this policy is looked at.


class PolicyPlan(PlanStruct, frozen=True):
    """Steps in order. At import for what one next hop announces, at export for viewers who share a result."""

    number: Annotated[int, Meta(ge=1, le=65_535)]
    steps: tuple[StepPlan, ...]


class NextHopPlan(PlanStruct, frozen=True):
    """A next hop that a client may announce, and what the hub makes of a path through it."""

    number: Number
    address: str
    address6: str | None
    preference: U32
    large_communities: tuple[str, ...]
    bandwidth: int  # bit/s, 0 = none
    drained: bool = False  # Lowest preference and GRACEFUL_SHUTDOWN (RFC 8326), whatever `preference` says.
    policy: int = 0  # Number of the PolicyPlan for what is announced through it; 0: none.
    node_id: NodeId = ""  # Its MAC follows from it: the hub says it as Router's MAC (RFC 9135) with the path.


class AllocationPlan(PlanStruct, frozen=True):
    prefix: str
    longest: Annotated[int, Meta(ge=0, le=128)]


class ImportPlan(PlanStruct, frozen=True):
    """What a hub accepts from one client. Nothing else is accepted (default deny)."""

    next_hops: tuple[NextHopPlan, ...]
    allocations: tuple[AllocationPlan, ...]
    max_prefixes: U32 = 0  # Of both families together; what is beyond is kept as filtered. 0: no limit.


class SessionPlan(PlanStruct, frozen=True):
    """One BGP session. `peer_role` says what the peer is to us.

    hub     the peer reflects to us (we are its client): what it sends is believed, path ids included
    client  we reflect to the peer: `imports` decides what it may announce
    peer    hub to hub: non-client of each other (RFC 4456)
    lan     a router in our LAN, by eBGP: what it announces inside `imports` is announced as our own

    With a `peer_asn` other than the plan's the session is eBGP; a client is then served by a route server (RFC 7947).
    """

    peer: str
    peer_role: Literal["hub", "client", "peer", "lan"]
    peer_asn: Asn
    peer_address: str
    local_address: str
    passive: bool  # True: wait for the peer's connection. Never both ends of a session.
    families: tuple[FamilyName, ...]
    add_path: bool
    hold_time: Annotated[int, Meta(ge=3, le=65535)]
    restart_time: Annotated[int, Meta(ge=0, le=4095)]  # RFC 4724; 0 = no graceful restart.
    password: str  # TCP MD5 (RFC 2385); empty = none.
    imports: ImportPlan | None  # Only of clients and lan peers.
    peer_address6: str | None = None  # The peer's IPv6 overlay address: what a detour of IPv6 goes through.
    peer_is_ours: bool = True  # A speaker of ours: BFD always, relays for us or is relayed to.
    local_fallbacks: tuple[str, ...] = ()  # Other uplinks' addresses to dial from while the one in use is dead.
    standby: bool = False  # The peer comes by this one only when its first uplink is dead. `peer` is GATEWAY/UPLINK.
    view: int = 0  # Number of the PolicyPlan that what we tell this client goes through; 0: none.
    interface: str = ""  # Of a lan peer: the LAN interface that it is behind.
    peer_node_id: NodeId = ""  # Of the uplink that `peer_address` is on.


class LivenessPlan(PlanStruct, frozen=True):
    """How a next hop's liveness is judged beyond BFD's own timers, and what is kept without hubs."""

    up_delay_ms: Annotated[int, Meta(ge=0, le=600_000)] = 2_000  # Quick down, slow up: a session must be up so long.
    hold_max_ms: Annotated[int, Meta(ge=0, le=3_600_000)] = 60_000  # The up delay doubles per flap, up to this.
    idle_seconds: Annotated[int, Meta(ge=10, le=86_400)] = 300  # An on-demand session goes after so long without use.
    max_sessions: Annotated[int, Meta(ge=1, le=4096)] = 256  # On-demand sessions at once.
    hubless_seconds: Annotated[int, Meta(ge=0, le=30 * 86_400)] = 86_400  # With all hubs gone routes stay so long.


class ProbePlan(PlanStruct, frozen=True):
    """Is the LAN behind `prefix` alive? It is withdrawn while the probe fails."""

    prefix: str
    kind: Literal["icmp", "tcp"]
    address: str
    port: Annotated[int, Meta(ge=0, le=65_535)]  # 0 for icmp.
    interval_ms: Annotated[int, Meta(ge=50, le=60_000)]
    multiplier: Annotated[int, Meta(ge=1, le=50)]  # Failures in a row until the LAN counts as dead.


class FirstHopPlan(PlanStruct, frozen=True):
    """An address that hosts of a LAN use as their router: one VRRPv3 instance (RFC 9568)."""

    prefix: str  # The LAN: the interface with an address in it runs the instance.
    address: str
    vrid: Annotated[int, Meta(ge=1, le=255)]
    priority: Annotated[int, Meta(ge=1, le=254)]
    advert_ms: Annotated[int, Meta(ge=10, le=40_950)]  # In whole centiseconds.


class MoonPlan(PlanStruct, frozen=True):
    """A moon (ZeroTier's word for an additional root) that this gateway orbits."""

    name: str
    world: Annotated[str, Meta(pattern=r"^([0-9a-f]{16})?\Z")]  # Its world's id; "" until it is known.
    seed: NodeId  # The node that the world's definition is asked of.


class MoonSeedPlan(PlanStruct, frozen=True):
    """This gateway is to be a moon: the ZeroTier service of `uplink` is its root."""

    name: str
    uplink: str
    endpoints: tuple[str, ...]  # "ADDRESS/PORT", where it is reached from the underlay.


class Plan(PlanStruct, frozen=True):
    version: Literal[1, 2, 3, 4]
    gateway: str
    role: Literal["spoke", "hub"]
    asn: Asn
    router_id: str
    segments: tuple[str, ...]  # The fabric's on-link prefixes. No received route inside them is installed.
    uplinks: tuple[UplinkPlan, ...]  # In the order in which packets are sent by them: by the first usable one.
    announcements: tuple[AnnouncementPlan, ...]
    sessions: tuple[SessionPlan, ...]
    rejects: tuple[str, ...]  # Declared space: `unreachable` beneath everything, so it never leaks to a default route.
    max_paths: Annotated[int, Meta(ge=1, le=64)]  # Widest ECMP group.
    drained: bool = False
    liveness: LivenessPlan = LivenessPlan()
    probes: tuple[ProbePlan, ...] = ()
    first_hops: tuple[FirstHopPlan, ...] = ()
    prefix_sets: tuple[PrefixSetPlan, ...] = ()
    policies: tuple[PolicyPlan, ...] = ()
    own_view: int = 0  # A hub's own view of what it reflects: number of a PolicyPlan; 0: none.
    blackhole: bool = False  # BLACKHOLE (RFC 7999) is honoured inside allocations, up to host routes.
    underlay: tuple[str, ...] = ()  # Never taken from anybody: addresses that ZeroTier itself runs over.
    network: Annotated[str, Meta(pattern=r"^([0-9a-f]{16})?\Z")] = ""  # ZeroTier's network id; "": not our business.
    mtu: Annotated[int, Meta(ge=0, le=9890)] = 0  # Of the segment; 0: not ours to say.
    mss_clamp: bool = False  # TCP's MSS is held to what the segment carries.
    permanent_neighbours: bool = False  # Next hops' MACs are computed and set: forwarding waits for no ARP.
    orbit: tuple[MoonPlan, ...] = ()
    moon: MoonSeedPlan | None = None
    relayed_seconds: Annotated[int, Meta(ge=0, le=86_400)] = 0  # 0: that ZeroTier relays a path changes nothing.
    relayed_preference: Annotated[int, Meta(ge=-(2**32 - 1), le=2**32 - 1)] = 0  # Added once it was so for so long.
    unguarded: tuple[str, ...] = ()  # Declared space that is not in `rejects`: ZeroTier keeps out of it all the same.

    @property
    def interfaces(self) -> tuple[str, ...]:
        """Of the uplinks, in their order, each once."""
        return tuple(dict.fromkeys(uplink.interface for uplink in self.uplinks))


_encoder = msgspec.json.Encoder(order="sorted")
_decoder = msgspec.json.Decoder(Plan, strict=True)

_SINCE_4: dict[str, object] = {
    "network": "",
    "mtu": 0,
    "mss_clamp": False,
    "permanent_neighbours": False,
    "orbit": (),
    "moon": None,
    "relayed_seconds": 0,
    "relayed_preference": 0,
    "unguarded": (),
}


def encode(plan: Plan) -> bytes:
    """One plan, one byte string: sorted keys, no spaces."""
    return _encoder.encode(plan if plan.version >= 4 else _before_4(plan))


def _before_4(plan: Plan) -> dict[str, Any]:
    """The plan without the unused fields of version 4, which a reader of version 3 refuses."""
    document: dict[str, Any] = msgspec.to_builtins(plan)
    for field, unused in _SINCE_4.items():
        _leave_out(document, field, unused)
    for uplink in document["uplinks"]:
        _leave_out(uplink, "node_id", "")
    for session in document["sessions"]:
        _leave_out(session, "peer_node_id", "")
        for hop in session["imports"]["next_hops"] if session["imports"] is not None else ():
            _leave_out(hop, "node_id", "")
    return document


def _leave_out(document: dict[str, Any], field: str, unused: object) -> None:
    if document[field] == unused:
        del document[field]


def decode(data: bytes) -> Plan:
    """The plan in `data`.

    Raises PlanUnreadable with the path of what is wrong, and nothing else, whatever the bytes.
    """
    try:
        version = version_of(data)
        if version not in READABLE_VERSIONS:
            readable = ", ".join(map(str, READABLE_VERSIONS))
            raise PlanUnreadable(f"plan version {version}; this speaker reads {readable}: upgrade the speaker first")
        return _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise PlanUnreadable(str(error)) from None


def version_of(data: bytes) -> int:
    """Which version the encoded plan in `data` is of. Raises msgspec.MsgspecError for what is no plan."""
    return msgspec.json.decode(data, type=_Version).version


def digest(plan: Plan) -> str:
    """Names the plan: 16 hex digits over its canonical bytes. The ETag of the gateway's poll."""
    return hashlib.sha256(encode(plan)).hexdigest()[:16]


class _Version(Struct):
    version: int
