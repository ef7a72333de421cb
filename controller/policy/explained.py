"""Where packets from a gateway to an address should go, from the inventory alone, and by which rules. Pure.

The order is the speakers': the longest prefix that has the address, and of equal ones what is attached before what
is learnt, and that before the reject of declared space.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_network

from controller.inventory.model import Address, Fabric, Network
from controller.policy.deciding import Candidate, Source
from controller.policy.intended import Intent, Member, Route
from controller.policy.rejects import rejects

ITSELF, SEGMENT, OWN, ROUTE, UNREACHABLE, UNUSED, DECLARED, NONE = (
    "itself",
    "segment",
    "own",
    "route",
    "unreachable",
    "unused",
    "declared",
    "none",
)
"""What a prefix should be to a gateway. All but UNUSED and NONE take the packet."""

TEXTS = {
    ITSELF: "an address of its own",
    SEGMENT: "on the fabric's segment: delivered directly",
    OWN: "announced by itself",
    UNREACHABLE: "unreachable: a path says so (BLACKHOLE, RFC 7999)",
    UNUSED: "no path may be used: a shorter prefix decides",
    DECLARED: "declared space that no route leads to: unreachable",
    NONE: "nobody declares it: other routes decide",
}
TOLD = {
    "ibgp": "it should take from the hubs what every client takes, and decide as RFC 4271 9.1.2 says",
    "ebgp": "it should be told LOCAL_PREF as MED (RFC 7947), take ADD-PATH, and decide as RFC 4271 9.1.2 says",
}
"""What is assumed of viewers that are not ours, by their kind."""


@dataclass(frozen=True, slots=True)
class IntendedPath:
    """A path with its fate. `next_hop`: of the address's family; "" while it is not allocated."""

    uplink: str
    site: str
    next_hop: str
    base: int  # Preference of the uplink or its class, before any rule.
    preference: int  # LOCAL_PREF
    preferred_by: tuple[str, ...]  # The rules that made the one of the other, in order.
    rules: tuple[str, ...]  # All that acted.
    drained: bool
    denied: bool
    tier: int  # 1 is used, the next ones wait, 0: none.
    why: str  # Why it is not in the first tier.
    med: int | None = None  # As the viewer gets it.


@dataclass(frozen=True, slots=True)
class IntendedPrefix:
    prefix: str
    what: str
    text: str
    taken: bool
    sites: tuple[str, ...] = ()  # That announce it.
    tiers: tuple[tuple[str, ...], ...] = ()  # Uplinks
    paths: tuple[IntendedPath, ...] = ()


@dataclass(frozen=True, slots=True)
class Intended:
    what: str
    prefix: str
    text: str
    prefixes: tuple[IntendedPrefix, ...]

    @property
    def taken(self) -> IntendedPrefix | None:
        return next((each for each in self.prefixes if each.taken), None)


def intended(intent: Intent, viewer: Member, address: Address) -> Intended:
    """What `viewer` should do with packets to `address`."""
    found = sorted(_prefixes(intent, viewer, address), key=lambda each: -ip_network(each[0]).prefixlen)
    taken = next((number for number, each in enumerate(found) if each[1] != UNUSED), None)
    prefixes = tuple(_prefix(intent, address, *each, taken=n == taken) for n, each in enumerate(found))
    if taken is None:
        return Intended(NONE, "", TEXTS[NONE], prefixes)
    chosen = prefixes[taken]
    return Intended(chosen.what, chosen.prefix, chosen.text, prefixes)


def _prefixes(intent: Intent, viewer: Member, address: Address) -> Iterator[tuple[Network, str, Route | None]]:
    """Of equal ones in the kernel's order."""
    fabric = intent.inventory.fabric
    if str(address) in {_next_hop(source, address) for source in viewer.sources}:
        yield ip_network(address), ITSELF, None
    for segment in _segments(fabric):
        if address in segment:
            yield segment, SEGMENT, None
    for route in intent.covering(viewer, ip_network(address)):
        yield route.prefix, _what(route), route
    for reject in rejects(intent.inventory) if viewer.is_ours else ():
        if address in reject:
            yield reject, DECLARED, None


def _what(route: Route) -> str:
    if route.own:
        return OWN
    return UNREACHABLE if route.decision.discard else ROUTE if route.usable else UNUSED


def _segments(fabric: Fabric | None) -> list[Network]:
    both = () if fabric is None else (fabric.segment, fabric.segment6)
    return [each for each in both if each is not None]


def _prefix(
    intent: Intent, address: Address, prefix: Network, what: str, route: Route | None, *, taken: bool
) -> IntendedPrefix:
    if route is None:
        return IntendedPrefix(str(prefix), what, TEXTS[what], taken)
    decision = route.decision
    used = " and ".join(source.key for source in decision.tiers[0]) if decision.tiers else ""
    return IntendedPrefix(
        str(prefix),
        what,
        TEXTS.get(what, f"over {used}"),
        taken,
        sites=tuple(sorted(intent.sites_of[prefix])),
        tiers=tuple(tuple(source.key for source in tier) for tier in decision.tiers),
        paths=tuple(_path(each, address) for each in decision.candidates),
    )


def _path(candidate: Candidate, address: Address) -> IntendedPath:
    source, judged = candidate.source, candidate.judged
    return IntendedPath(
        uplink=source.key,
        site=source.origin.site,
        next_hop=_next_hop(source, address),
        base=source.preference,
        preference=judged.preference,
        preferred_by=judged.preferred,
        rules=judged.rules,
        drained=judged.drained,
        denied=bool(judged.denied),
        tier=candidate.tier,
        why=judged.denied or candidate.beaten if candidate.tier != 1 else "",
        med=candidate.med,
    )


def _next_hop(source: Source, address: Address) -> str:
    hop = source.address if address.version == 4 else source.address6
    return "" if hop is None else str(hop)
