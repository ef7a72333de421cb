"""The answer to the ask `explain`: where packets to an address go now, and why there.

The kernel's order is followed: the longest prefix that has the address, and of equal ones what is attached before
what was learnt, and that before the reject of declared space. Routes of other programs are not seen from here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Protocol

from speaker.agent.asks import BadAsk, path_fields
from speaker.kernel.choice import Chosen, Relay
from speaker.kernel.standing import LinkState, Standing, Way
from speaker.rib.decision import Decision
from speaker.rib.path import Member, Path, PathSet, SourceKind, Tiers
from speaker.rib.prefix import Family, Key, family_of, key_of
from speaker.rib.rib import Rib
from speaker.rib.why import Why

MOST_PATHS = 500
"""Of all prefixes together; the best ones are shown."""

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

ITSELF, SEGMENT, CONNECTED, OWN = "itself", "segment", "connected", "own"
ROUTE, UNREACHABLE, FOREIGN, UNUSED, DECLARED, NONE = "route", "unreachable", "foreign", "unused", "declared", "none"
"""What a prefix is to this gateway. All but UNUSED and NONE take the packet."""

TEXTS = {
    ITSELF: "an address of this gateway",
    SEGMENT: "on the fabric's segment: delivered directly",
    CONNECTED: "in a LAN that this gateway is attached to: delivered directly",
    OWN: "announced by this gateway itself: its own routes lead on",
    FOREIGN: "another program has changed our route: the next audit puts it right",
    DECLARED: "declared space that no route leads to: unreachable",
    NONE: "no prefix of the fabric has it: the gateway's other routes decide",
}


class ForwardingView(Protocol):
    """The part of the FIB that answers."""

    def installed(self, family: Family, key: Key) -> bool: ...

    def standing(self, family: Family, key: Key, *, reject: bool = False) -> Standing: ...

    def link_states(self, next_hop: bytes) -> dict[str, LinkState]: ...

    def state(self, next_hop: bytes) -> LinkState: ...

    def chosen(self, tiers: Tiers) -> Chosen | None: ...


NOT_THERE = Standing("absent")


@dataclass(frozen=True)
class _Place:
    """One prefix that has the address."""

    network: Network
    what: str
    text: str
    standing: Standing = NOT_THERE
    decision: Decision | None = None
    paths: list[Why] = field(default_factory=list)

    @property
    def taken(self) -> bool:
        return self.what != UNUSED


def explain(
    arguments: dict[str, str], rib: Rib, fib: ForwardingView, own: Collection[bytes] = frozenset()
) -> dict[str, Any]:
    """What becomes of packets to the `address` in `arguments`. `own`: addresses of this box. Raises BadAsk."""
    address = _address(arguments.get("address", ""))
    places = list(_places(address, rib, fib, own))
    taken = next((place for place in places if place.taken), None)
    left, shown = MOST_PATHS, []
    for place in places:
        shown.append({"taken": place is taken, **_shown(place, rib, fib, left)})
        left = max(0, left - len(place.paths))
    return {
        "address": str(address),
        "verdict": {
            "what": NONE if taken is None else taken.what,
            "prefix": "" if taken is None else str(taken.network),
            "text": TEXTS[NONE] if taken is None else taken.text,
            "ways": [] if taken is None else _ways(taken, fib),
        },
        "prefixes": shown,
        "truncated": sum(len(place.paths) for place in places) > MOST_PATHS,
    }


def _address(text: str) -> Address:
    try:
        return ip_address(text)
    except ValueError:
        raise BadAsk(f"{text!r} is no address; write it like 10.1.0.7") from None


def _places(address: Address, rib: Rib, fib: ForwardingView, own: Collection[bytes]) -> Iterator[_Place]:
    """In the kernel's order."""
    facts = rib.router
    for length in range(address.max_prefixlen, -1, -1):
        network = ip_network(f"{address}/{length}", strict=False)
        family, key = family_of(network), key_of(network)
        if length == address.max_prefixlen and (address.packed in own or address.packed in facts.own_next_hops):
            yield _Place(network, ITSELF, TEXTS[ITSELF])
        for what, attached in ((CONNECTED, facts.connected), (SEGMENT, facts.segments)):
            if network in attached:
                yield _Place(network, what, TEXTS[what])
        pathset, standing = rib.lookup(family, key), fib.standing(family, key)
        if pathset or standing.state != "absent":
            yield _route(network, pathset, standing, rib)
        if fib.standing(family, key, reject=True).state != "absent":
            yield _Place(network, DECLARED, TEXTS[DECLARED])


def _route(network: Network, pathset: PathSet, standing: Standing, rib: Rib) -> _Place:
    decision = rib.decide(pathset)
    if decision.best is not None and decision.best.source.kind is SourceKind.LOCAL:
        what, text = OWN, TEXTS[OWN]
    elif standing.state == "group":
        what, text = ROUTE, _route_text(decision, standing)
    elif standing.state == "unreachable":
        said = "a path says so (BLACKHOLE, RFC 7999)" if decision.discard else "no next hop of any tier is alive"
        what, text = UNREACHABLE, f"unreachable: {said}"
    elif standing.state == "foreign":
        what, text = FOREIGN, TEXTS[FOREIGN]
    else:
        what, text = UNUSED, _unused_text(decision, standing)
    return _Place(network, what, text, standing, decision, rib.why(pathset))


def _route_text(decision: Decision, standing: Standing) -> str:
    if decision.route is None:
        return "no path is left; the route stays until that is certain"
    if standing.refused:
        return f"the kernel keeps its former route: {standing.refused}"
    return "another route is on its way into the kernel" if standing.moving else "installed"


def _unused_text(decision: Decision, standing: Standing) -> str:
    if decision.route is None:
        return "no path may be used: a shorter prefix decides"
    if standing.refused:
        return f"the kernel refuses it: {standing.refused}"
    return "on its way into the kernel" if standing.moving else "not in the kernel"


def _shown(place: _Place, rib: Rib, fib: ForwardingView, most: int) -> dict[str, Any]:
    """The prefix as JSON, with `most` of its paths."""
    fields: dict[str, Any] = {"prefix": str(place.network), "what": place.what, "text": place.text}
    if place.decision is not None:
        tiers = place.decision.tiers
        fields["kernel"] = {"state": place.standing.state, "moving": place.standing.moving} | {
            "refused": place.standing.refused,
            "ways": _ways(place, fib),
        }
        chosen = fib.chosen(tiers)
        fields["chosen"] = None if chosen is None else {"tier": chosen.turn.place + 1, "manner": chosen.turn.manner}
        fields["tiers"] = [[_member(member, chosen, fib) for member in tier] for tier in tiers]
        fields["paths"] = [_path(each, rib.router.asn) for each in place.paths[:most]]
        fields["paths_total"] = len(place.paths)
    return fields


def _ways(place: _Place, fib: ForwardingView) -> list[dict[str, Any]]:
    tiers = place.decision.tiers if place.decision is not None else ()
    chosen = fib.chosen(tiers)
    hops = list(dict.fromkeys(member.next_hop for tier in tiers for member in tier))
    taken = {hop: chosen.taken_by(hop) for hop in hops} if chosen is not None else {}
    return [_way(way, hops, taken) for way in place.standing.ways]


def _way(way: Way, hops: list[bytes], taken: Mapping[bytes, tuple[Relay, ...]]) -> dict[str, Any]:
    """`towards`: the next hops that it stands for. More than itself, or another, when it is a detour."""
    relay = Relay(way.device, way.address, way.label)
    towards = [hop for hop, ways in taken.items() if relay in ways]
    return {
        "interface": way.device,
        "address": str(ip_address(way.address)),
        "label": way.label,
        "weight": way.weight,
        "towards": [str(ip_address(hop)) for hop in towards],
        "detour": way.label is not None or way.address not in (towards or hops or [way.address]),
    }


def _member(member: Member, chosen: Chosen | None, fib: ForwardingView) -> dict[str, Any]:
    """`ways`: those that its traffic takes, by what is known of liveness now; [] when it waits or is passed over."""
    ways = chosen.taken_by(member.next_hop) if chosen is not None else ()
    return {
        "next_hop": str(ip_address(member.next_hop)),
        "weight": member.weight,
        "state": fib.state(member.next_hop),
        "interfaces": fib.link_states(member.next_hop),
        "ways": [
            {"interface": way.device, "address": str(ip_address(way.address)), "label": way.label} for way in ways
        ],
    }


def _path(why: Why, asn: int) -> dict[str, Any]:
    """As `show routes` has it, and its fate. `seen`: what this gateway's own view made of it."""
    looks, as_is = why.looks, why.path.attributes
    return {
        **path_fields(why.path, asn),
        "seen": {"local_pref": looks.local_pref, "med": looks.med} if looks is not as_is else {},
        "view_rules": list(why.rules),
        "tier": why.tier,
        "step": why.step,
        "why": why.words,
        "beaten_by": _name(why.by),
        "copy_of": _name(why.copy_of),
    }


def _name(path: Path | None) -> str:
    return "" if path is None else f"{ip_address(path.attributes.next_hop)} from {path.source.name}"
