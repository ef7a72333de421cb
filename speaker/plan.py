"""The plan: all that one gateway must do. Compiled by the controller, carried out by the speaker.

This is the contract between the two. `encode` is canonical, so equal plans have equal
bytes and one digest; `decode` refuses what it does not understand, because a field that is
ignored may be a deny that is ignored.

Addresses and prefixes travel as text in canonical form (RFC 5952 for IPv6).
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

PLAN_VERSION = 1
READABLE_VERSIONS = (1,)
"""What this speaker reads. It tells the controller with every poll."""

FamilyName = Literal["ipv4", "ipv6"]
Asn = Annotated[int, Meta(ge=1, le=2**32 - 2)]
U32 = Annotated[int, Meta(ge=0, le=2**32 - 1)]
Number = Annotated[int, Meta(ge=1, le=2**20 - 1)]


class PlanUnreadable(ValueError):
    """The bytes are no plan that this speaker understands. Nothing may be changed because of them."""


class PlanStruct(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=False):
    """Whole values, compared whole; an unknown field is an error."""


class UplinkPlan(PlanStruct, frozen=True):
    """One attachment to the segment. `address` and `address6` are the BGP next hops of this uplink."""

    number: Number  # Unique in the fabric: ADD-PATH path id, and 16000 + number is its relay label.
    name: str
    interface: str
    address: str
    address6: str | None
    circuit_class: str
    preference: U32  # LOCAL_PREF of what is announced over it.
    bandwidth: int  # bit/s; 0 = not declared, no weight.


class AnnouncementPlan(PlanStruct, frozen=True):
    """Own prefixes that share their attributes. Announced once per uplink, path id = uplink number."""

    prefixes: tuple[str, ...]
    large_communities: tuple[str, ...]  # "AS:function:value"


class NextHopPlan(PlanStruct, frozen=True):
    """A next hop that a client may announce, and what the hub makes of a path through it."""

    number: Number
    address: str
    address6: str | None
    preference: U32
    large_communities: tuple[str, ...]
    bandwidth: int  # bit/s, 0 = none


class AllocationPlan(PlanStruct, frozen=True):
    prefix: str
    longest: Annotated[int, Meta(ge=0, le=128)]


class ImportPlan(PlanStruct, frozen=True):
    """What a hub accepts from one client. Nothing else is accepted (default deny)."""

    next_hops: tuple[NextHopPlan, ...]
    allocations: tuple[AllocationPlan, ...]


class SessionPlan(PlanStruct, frozen=True):
    """One BGP session. `peer_role` says what the peer is to us.

    hub     the peer reflects to us (we are its client): what it sends is believed, path ids included
    client  we reflect to the peer: `imports` decides what it may announce
    peer    hub to hub: non-client of each other (RFC 4456)
    """

    peer: str
    peer_role: Literal["hub", "client", "peer"]
    peer_asn: Asn
    peer_address: str
    local_address: str
    passive: bool  # True: wait for the peer's connection. Never both ends of a session.
    families: tuple[FamilyName, ...]
    add_path: bool
    hold_time: Annotated[int, Meta(ge=3, le=65535)]
    restart_time: Annotated[int, Meta(ge=0, le=4095)]  # RFC 4724; 0 = no graceful restart.
    password: str  # TCP MD5 (RFC 2385); empty = none.
    imports: ImportPlan | None  # Only for peer_role == "client".


class Plan(PlanStruct, frozen=True):
    version: Literal[1]
    gateway: str
    role: Literal["spoke", "hub"]
    asn: Asn
    router_id: str
    segments: tuple[str, ...]  # The fabric's on-link prefixes. No received route inside them is installed.
    uplinks: tuple[UplinkPlan, ...]
    announcements: tuple[AnnouncementPlan, ...]
    sessions: tuple[SessionPlan, ...]
    rejects: tuple[str, ...]  # Declared space: `unreachable` beneath everything, so it never leaks to a default route.
    max_paths: Annotated[int, Meta(ge=1, le=64)]  # Widest ECMP group.


_encoder = msgspec.json.Encoder(order="sorted")
_decoder = msgspec.json.Decoder(Plan, strict=True)


def encode(plan: Plan) -> bytes:
    """One plan, one byte string: sorted keys, no spaces."""
    return _encoder.encode(plan)


def decode(data: bytes) -> Plan:
    """The plan in `data`.

    Raises PlanUnreadable with the path of what is wrong, and nothing else, whatever the bytes.
    """
    try:
        version = msgspec.json.decode(data, type=_Version).version
        if version not in READABLE_VERSIONS:
            readable = ", ".join(map(str, READABLE_VERSIONS))
            raise PlanUnreadable(f"plan version {version}; this speaker reads {readable}: upgrade the speaker first")
        return _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise PlanUnreadable(str(error)) from None


def digest(plan: Plan) -> str:
    """Names the plan: 16 hex digits over its canonical bytes. The ETag of the gateway's poll."""
    return hashlib.sha256(encode(plan)).hexdigest()[:16]


class _Version(Struct):
    version: int
