"""Why import policy refuses a path, or keeps it out of the kernel: codes, words, numbers."""

from __future__ import annotations

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
DENIED_BY_RULE = "denied-by-rule"
OVER_LIMIT = "over-limit"
UNDERLAY = "underlay"
FIRST_AS = "first-as"
LAN_DOWN = "lan-down"
TOO_MANY_PATHS = "too-many-paths"

REASONS = {
    NEXT_HOP_NOT_YOURS: "the next hop is none of the uplinks that the plan gives this peer",
    NEXT_HOP_IS_OURS: "the next hop is an address of this gateway",
    NEXT_HOP_OFF_SEGMENT: "the next hop is not on the fabric's segment",
    PREFIX_NOT_ALLOCATED: "no allocation of the peer's site contains the prefix",
    MORE_SPECIFIC_THAN_ALLOWED: "the prefix is longer than its allocation allows",
    DEFAULT_ROUTE: "no allocation of the peer's site is a default route",
    INSIDE_SEGMENT: "the prefix lies inside the fabric's segment",
    MARTIAN: "the prefix lies in address space that is never routed",
    CONNECTED: "the prefix lies inside one that this gateway is attached to",
    OWN_ORIGINATOR_ID: "ORIGINATOR_ID is our own: our route came back (RFC 4456 8)",
    FORGED_ORIGINATOR_ID: "a client reflects nothing, so it may not send ORIGINATOR_ID",
    CLUSTER_LOOP: "CLUSTER_LIST contains our own CLUSTER_ID (RFC 4456 8)",
    AS_LOOP: "AS_PATH contains our own AS (RFC 4271 9.1.2)",
    DENIED: "nothing is accepted from this peer",
    DENIED_BY_RULE: "a rule denies it",
    OVER_LIMIT: "the peer announces more prefixes than it may",
    UNDERLAY: "it lies among addresses that ZeroTier runs over, or contains some and is not itself allocated",
    FIRST_AS: "AS_PATH does not begin with the peer's own AS (RFC 4271 6.3)",
    LAN_DOWN: "the interface to the LAN of this router is down, or without carrier",
    TOO_MANY_PATHS: "the peer announces more paths of this prefix than it may",
}
"""Every reason code, with what it says to people."""

REASON_NUMBERS = {reason: number for number, reason in enumerate(REASONS, 1)}
"""N of the large community `AS:9:N`, shown on a path that is kept as filtered. New reasons go to the end."""
