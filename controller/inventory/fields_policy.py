"""Readers of rules and assertions: matches, viewers, actions, communities.

A value that can mean nothing (an action that does nothing, one that denies and prefers) is unreadable, with the way
out; what a rule refers to is looked up by `rules_policy`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from controller.inventory import fields
from controller.inventory.fields import Parts, Reader, Unreadable, shown
from controller.inventory.model import Action, Assertion, Match, PrefixMatch, Rule, Viewer, network_order

MAX_LISTED = 256
"""Prefixes or communities in one match: they travel in plans."""

MAX_CHANGED = 32
"""Communities that one action adds, or removes: they travel in every UPDATE."""

U32 = 2**32 - 1
SURVIVABLE = ("gateway", "uplink", "provider", "hub")
_PREFIX_MATCH = re.compile(r"(\S+)(?: ge ([0-9]{1,3}))?(?: le ([0-9]{1,3}))?", re.ASCII)
_COMMUNITY = re.compile(r"[0-9]{1,5}:[0-9]{1,5}|[0-9]{1,10}:[0-9]{1,10}:[0-9]{1,10}", re.ASCII)


def prefix_match(value: Any) -> PrefixMatch:
    """`10.0.0.0/8`, `10.0.0.0/8 le 24`, `10.0.0.0/8 ge 16 le 24`: as FRR and BIRD users write it."""
    found = _PREFIX_MATCH.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        example = '"10.0.0.0/8", "10.0.0.0/8 le 24" or "10.0.0.0/8 ge 16 le 24"'
        raise Unreadable("prefix-match-invalid", f"{shown(value)} is no prefix with ge and le: write {example}")
    prefix = fields.network(found[1])
    longest = prefix.max_prefixlen
    ge = int(found[2]) if found[2] else prefix.prefixlen
    le = int(found[3]) if found[3] else longest if found[2] else prefix.prefixlen
    if not prefix.prefixlen <= ge <= le <= longest:
        message = f"{shown(value)} matches nothing: {prefix.prefixlen} <= ge <= le <= {longest} is needed"
        raise Unreadable("prefix-match-invalid", message)
    return PrefixMatch(prefix, ge, le)


def prefix_match_text(match: PrefixMatch) -> str:
    """What `prefix_match` reads, in its shortest form."""
    length = match.prefix.prefixlen
    if match.ge == length:
        return str(match.prefix) if match.le == length else f"{match.prefix} le {match.le}"
    return f"{match.prefix} ge {match.ge}" + (f" le {match.le}" if match.le < match.prefix.max_prefixlen else "")


def _match_order(match: PrefixMatch) -> tuple[Any, ...]:
    return network_order(match.prefix), match.ge, match.le


def community(value: Any) -> str:
    """Standard (RFC 1997) `65000:1`, or large (RFC 8092) `64512:1:7`; in canonical decimal."""
    if isinstance(value, str) and _COMMUNITY.fullmatch(value):
        parts = [int(part) for part in value.split(":")]
        if max(parts) <= (0xFFFF if len(parts) == 2 else U32):
            return ":".join(map(str, parts))
    message = (
        f'{shown(value)} is no community: write "65000:1" (two numbers up to 65535) or "4200000000:1:7" (up to {U32})'
    )
    raise Unreadable("community-invalid", message)


def _community_order(text: str) -> list[int]:
    return [text.count(":"), *map(int, text.split(":"))]


def _listed(read: Any, order: Any, most: int, what: str) -> Reader:
    """A list of distinct values in canonical order."""

    def of(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise Unreadable("field-type", f"must be a list of {what}, not {shown(value)}")
        found = tuple(sorted({read(each) for each in value}, key=order))
        if len(found) > most:
            raise Unreadable("number-range", f"{len(found)} {what}; at most {most} are possible")
        return found

    return of


prefix_matches = _listed(prefix_match, _match_order, MAX_LISTED, "prefixes")
matched_communities = _listed(community, _community_order, MAX_LISTED, "communities")
changed_communities = _listed(community, _community_order, MAX_CHANGED, "communities")
networks = _listed(fields.network, network_order, MAX_LISTED, "prefixes")


def _viewer(**values: Any) -> Viewer:
    if not any(values.values()):
        message = "names nobody: name sites, regions or tags, or leave viewer out so that the rule acts at the import"
        raise Unreadable("viewer-empty", message)
    return Viewer(**values)


def _action(**values: Any) -> Action:
    found = Action(**values)
    if found == Action():
        raise Unreadable("action-empty", "does nothing: set at least one of " + ", ".join(ACTION.readers))
    useless = [name for name in values if name not in ("deny", "last") and values[name] != getattr(Action(), name)]
    if found.deny and useless:
        message = f"what is denied needs no {' and no '.join(useless)}: leave that out, or leave deny out"
        raise Unreadable("action-contradictory", message)
    if found.region_only and found.open:
        message = "region_only keeps a path in its region and open lets it out: leave one of them out"
        raise Unreadable("action-contradictory", message)
    if both := sorted(set(found.add_communities) & set(found.remove_communities)):
        raise Unreadable("action-contradictory", f"{both[0]} is added and removed: leave one of them out")
    return found


MATCH = Parts(
    Match,
    {
        "sites": fields.names,
        "regions": fields.names,
        "tags": fields.names,
        "gateways": fields.names,
        "circuit_classes": fields.names,
        "prefixes": prefix_matches,
        "communities": matched_communities,
        "tenant": fields.name,
    },
)
VIEWER = Parts(_viewer, {"sites": fields.names, "regions": fields.names, "tags": fields.names})
ACTION = Parts(
    _action,
    {
        "preference": fields.integer(1, U32),
        "preference_add": fields.integer(-U32, U32),
        "add_communities": changed_communities,
        "remove_communities": changed_communities,
        "med": fields.integer(0, U32),
        "prepend": fields.integer(0, 32),
        "max_paths": fields.integer(0, 64),
        "deny": fields.boolean,
        "region_only": fields.boolean,
        "open": fields.boolean,
        "last": fields.boolean,
    },
)
PARTS: Mapping[type, Parts] = {Match: MATCH, Viewer: VIEWER, Action: ACTION}


def rule(**values: Any) -> Rule:
    found = Rule(**values)
    if found.viewer is not None and (found.action.region_only or found.action.open):
        message = "region_only and open say by themselves who sees the path: leave viewer out"
        raise Unreadable("action-contradictory", message)
    return found


def assertion(**values: Any) -> Assertion:
    found = Assertion(**values)
    if sum(map(bool, (found.reaches, found.never_over, found.survives))) != 1:
        message = "says not exactly one thing: set one of reaches: true, never_over: [lte], survives: gateway"
        raise Unreadable("assertion-invalid", message)
    return found


def survivable(value: Any) -> str:
    if value not in SURVIVABLE:
        known = f"{', '.join(SURVIVABLE[:-1])} or {SURVIVABLE[-1]}"
        raise Unreadable("survives-unknown", f"{shown(value)} is nothing to survive: use {known}")
    return str(value)


def lan_address(value: Any) -> Any:
    """That one router of a LAN has."""
    found = fields.address(value)
    if found.version == 6 and found.is_link_local:
        # Several interfaces may have the same one, and the next hops that are told and heard must be known beforehand.
        message = f"{found} is link-local: sessions are between global or unique local addresses, such as fd00:1::2"
        raise Unreadable("address-invalid", message)
    if found.is_unspecified or found.is_loopback or found.is_multicast or found.is_link_local:
        message = f"{found} is no address of a router in a LAN: use one that its LAN knows, such as 10.1.0.2"
        raise Unreadable("address-invalid", message)
    return found
