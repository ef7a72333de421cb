"""Of what on this box ZeroTier must keep out, lest it runs over its own overlay; and what it must not lose. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from ipaddress import IPv4Interface, IPv6Interface, ip_network

from speaker.plan import Plan
from speaker.rib.spans import Network
from speaker.zerotier.config import NEVER_BOUND, Wanted

Interfaces = Mapping[str, Collection[IPv4Interface | IPv6Interface]]


class NoWayOut(Exception):
    """It is not known what ZeroTier needs."""


def kept_out(plan: Plan, interfaces: Interfaces, ways_out: Collection[str]) -> Wanted:
    """`ways_out`: interfaces by which this box reaches addresses outside. A LAN that is one, too, stays ZeroTier's.

    Raises NoWayOut when none is known but the segment: whatever was listed might be the only one.
    """
    segment = {uplink.interface for uplink in plan.uplinks}
    if not set(ways_out) - segment:
        raise NoWayOut("no way out of this box is seen yet: a default route, or a path to a root of ZeroTier")
    lans = {name for name in _lans(plan, interfaces) if name not in ways_out and name not in segment}
    spared = [name for name in interfaces if name not in lans | segment and not name.startswith(NEVER_BOUND)]
    own = [ip_network(prefix) for announcement in plan.announcements for prefix in announcement.prefixes]
    declared = [ip_network(text) for text in (*plan.segments, *plan.rejects, *plan.unguarded)]
    return Wanted(
        interfaces=tuple(sorted({*lans, *segment})),
        spared=tuple(sorted(spared)),
        space=(*declared, *own),
        underlay=(
            *(ip_network(text) for text in plan.underlay),
            *(network for name in sorted(spared) for network in _networks(interfaces, name)),
        ),
    )


def _lans(plan: Plan, interfaces: Interfaces) -> Iterator[str]:
    """Those with a router of the plan, and those that are attached to a prefix of ours."""
    yield from (session.interface for session in plan.sessions if session.peer_role == "lan")
    own = [ip_network(prefix) for announcement in plan.announcements for prefix in announcement.prefixes]
    own += [ip_network(each.prefix) for each in plan.first_hops]
    for name in interfaces:
        if any(network.overlaps(each) for network in _networks(interfaces, name) for each in own):
            yield name


def _networks(interfaces: Interfaces, name: str) -> list[Network]:
    found = {interface.network for interface in interfaces.get(name, ()) if not interface.is_link_local}
    return sorted(found, key=str)
