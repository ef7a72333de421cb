"""What one gateway says back: the report, and the answers to asks."""

from __future__ import annotations

from typing import Any, Literal, TypeVar

import msgspec
from msgspec import Struct

REPORT_VERSION = 1
MAX_REPORT_BYTES = 1 << 20
MAX_ANSWER_BYTES = 4 << 20
MAX_NEXT_HOPS = 1000
MAX_PEERS = 1000

NO_PLAN = msgspec.Raw(b"null")
"""`Envelope.plan` when the digest did not move."""


class ReportUnreadable(ValueError):
    """The bytes are no report, ask or answer."""


class ReportStruct(Struct, frozen=True, forbid_unknown_fields=True):
    pass


class SessionReport(ReportStruct, frozen=True):
    peer: str
    peer_address: str
    state: Literal["up", "down", "standby"]  # standby: waits, in case the peer's first uplink dies.
    since: float  # Unix time of the last change of state.
    reason: str  # Why it is down; empty while up.
    add_path: bool
    received: dict[str, int]  # family -> paths in the Adj-RIB-In, the refused ones included
    rejected: dict[str, int]  # family -> of those, refused by import policy
    stale: dict[str, int]  # family -> of those, kept by graceful restart
    limit: int = 0  # As a hub: prefixes that the plan accepts from this client; 0: no limit.
    prefixes: int = 0  # As a hub: accepted from it, both families.
    unkept: int = 0  # Refused announcements that were counted only, so that they do not eat the memory.
    warning: str = ""  # The client is near its limit, or beyond; empty while all is well.
    reasons: dict[str, int] = {}  # Reason code -> kept paths that are refused for it, both families.


class UplinkReport(ReportStruct, frozen=True):
    number: int
    name: str
    interface: str
    up: bool
    detail: str


class NextHopReport(ReportStruct, frozen=True):
    """Liveness of one next hop over one local uplink."""

    address: str
    interface: str
    state: Literal["unknown", "up", "down", "held"]  # held: BFD is up again, but it flapped; not used yet.
    since: float  # Unix time of the last change of `state`.
    reason: str  # Why it is not used, or only when there is no other way; else empty.
    flaps: int  # Downs since the agent started.
    bfd: str  # "Up", "Down", "Init", "AdminDown", or "" without a session.
    detection_ms: float  # Detection time as negotiated; 0 without a session.
    detour: str  # Hub that its traffic takes now; empty when none.


class LanReport(ReportStruct, frozen=True):
    """A prefix of ours whose LAN is watched."""

    prefix: str
    interface: str
    up: bool
    reason: str  # Why it is withdrawn; empty when it is announced.


class PeerReport(ReportStruct, frozen=True):
    """How one ZeroTier service of ours sees another member's node."""

    node_id: str
    address: str  # Its overlay address; "" when it is not known.
    uplink: str  # Ours, whose service says it.
    state: Literal["direct", "relayed", "unknown"]
    latency_ms: float  # As ZeroTier measures it; -1: unknown.
    silent_seconds: float  # Since the last packet by the path in use; -1: unknown.
    since: float  # Unix time of the last change of `state`.
    version: str  # Of its ZeroTier; "" when it is not known.
    physical: str  # "ADDRESS/PORT" of the path in use; "" when relayed or unknown.


class PathProbeReport(ReportStruct, frozen=True):
    """What our own probes saw on the way from one of our uplinks to another member's overlay address."""

    address: str
    uplink: str
    rtt_p50_ms: float  # -1: nothing came back.
    rtt_p95_ms: float
    loss: float  # 0..1
    mtu: int  # Largest packet that passed unfragmented; 0: not known.
    sent: int


class ServiceReport(ReportStruct, frozen=True):
    """The ZeroTier service behind one uplink, as its local API says."""

    uplink: str
    node_id: str  # "" when the service does not answer.
    version: str
    online: bool
    status: str  # Of the network: "OK", "ACCESS_DENIED", ...; "" when it is not joined.
    mtu: int  # Of the network's interface; 0: not known.
    problem: str  # What is wrong and the way out; "" when all is well.
    lacks: tuple[str, ...] = ()  # Addresses of the plan that the network, which has let this node in, does not give it.


class KernelReport(ReportStruct, frozen=True):
    routes: dict[str, int]  # family -> our routes in the kernel
    groups: int
    failed: int  # routes that the kernel refused in the last pass
    repaired: int  # since start: differences found by read-back and put right
    last_error: str
    sysctls: dict[str, str]  # every one that we changed: name -> "old -> new"
    neighbours: int = 0  # our permanent neighbour entries, as they should be


class Report(ReportStruct, frozen=True):
    version: int
    gateway: str
    speaker_version: str
    plan_versions: tuple[int, ...]
    plan_digest: str  # Of the plan in force; "" when there is none yet.
    plan_error: str  # Why a newer plan, or ExaBGP's part of it, is not in force; "" when it is.
    started_at: float
    reported_at: float
    converged: bool
    sessions: tuple[SessionReport, ...]
    uplinks: tuple[UplinkReport, ...]
    kernel: KernelReport
    drained: bool = False
    next_hops: tuple[NextHopReport, ...] = ()  # At most MAX_NEXT_HOPS, those that are not well first.
    lans: tuple[LanReport, ...] = ()
    forwarded: int = 0  # Packets that this box has forwarded, both families, since it booted.
    forwarded_pps: float = 0.0  # The same per second, over the last report interval.
    loop_lag_ms: float = 0.0  # 99.9th percentile of the agent's event loop lag, last few minutes.
    peers: tuple[PeerReport, ...] = ()  # At most MAX_PEERS, those that are not direct first.
    paths: tuple[PathProbeReport, ...] = ()
    zerotier: tuple[ServiceReport, ...] = ()
    moon_world: str = ""  # Id of the world whose root this gateway is; "" when it is none.


class Ask(ReportStruct, frozen=True):
    """A question beside the plan, never stored. After `expires` (Unix time, the asker's) nobody waits for an answer."""

    id: str
    kind: str
    arguments: dict[str, str]
    expires: float


class Answer(ReportStruct, frozen=True):
    id: str
    ok: bool
    body: Any  # JSON; on ok=False {"error": text}


class Envelope(ReportStruct, frozen=True):
    """What the gateway's long poll returns: the plan, when it moved, and the asks."""

    digest: str
    plan: msgspec.Raw  # JSON as it came; `null` when the digest did not move.
    asks: tuple[Ask, ...]


def encode(value: ReportStruct) -> bytes:
    return msgspec.json.encode(value)


def decode_report(data: bytes) -> Report:
    """Raises ReportUnreadable, and nothing else."""
    return _decode(data, Report, MAX_REPORT_BYTES)


def decode_answer(data: bytes) -> Answer:
    """Raises ReportUnreadable, and nothing else."""
    return _decode(data, Answer, MAX_ANSWER_BYTES)


def decode_envelope(data: bytes) -> Envelope:
    """Raises ReportUnreadable, and nothing else. The plan inside stays raw: see speaker.plan.decode."""
    return _decode(data, Envelope, 1 << 30)


Kind = TypeVar("Kind", bound=ReportStruct)


def _decode(data: bytes, kind: type[Kind], most: int) -> Kind:
    if len(data) > most:
        raise ReportUnreadable(f"{len(data)} bytes; at most {most} are accepted")
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ReportUnreadable(str(error)) from None
