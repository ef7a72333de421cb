"""What is left of managed routes: which may go, which must wait, and who is not declared. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import collapse_addresses
from typing import Any, Literal

from controller.inventory.model import Inventory, residents
from controller.zerotier.desired import desired
from controller.zerotier.port import ManagedRoute, MemberState, Network, NetworkState
from controller.zerotier.summaries import ALL, summaries

State = Literal["announced", "waiting", "undeclared"]
WORDS: dict[State, str] = {
    "announced": "BGP has it: it may go",
    "waiting": "declared, and no hub has it by BGP yet",
    "undeclared": "nobody is declared to announce it",
}


@dataclass(frozen=True, slots=True)
class LeftRoute:
    """`gateways`: those that announce it, or (waiting) are declared to."""

    route: ManagedRoute
    state: State
    gateways: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Left:
    """`kept` managed routes are Leyline's own. `members` are authorised and not declared: they may stay so for good."""

    routes: tuple[LeftRoute, ...] = ()
    members: tuple[MemberState, ...] = ()
    kept: tuple[ManagedRoute, ...] = ()

    @property
    def done(self) -> bool:
        return not self.routes


def left(
    network: NetworkState,
    members: Mapping[str, MemberState],
    inventory: Inventory,
    silent: Mapping[str, frozenset[str]],
) -> Left:
    """`inventory`: allocated. `silent`: gateway -> its prefixes that it does not announce ("*": all)."""
    wanted = desired(inventory)
    own = {*summaries(inventory, {}, network.routes).routes, *(wanted.network.routes if wanted else ())}
    announced = dict(_announcers(inventory, silent))
    declared = dict(_announcers(inventory, {}))
    known = set(_node_ids(inventory))
    return Left(
        tuple(_judged(route, announced, declared) for route in network.routes if route not in own),
        tuple(members[each] for each in sorted(members) if members[each].authorised and each not in known),
        tuple(route for route in network.routes if route in own and route.via is not None),
    )


def _judged(
    route: ManagedRoute, announced: Mapping[Network, frozenset[str]], declared: Mapping[Network, frozenset[str]]
) -> LeftRoute:
    if names := _covering(route.target, announced):
        return LeftRoute(route, "announced", names)
    if names := _covering(route.target, declared):
        return LeftRoute(route, "waiting", names)
    return LeftRoute(route, "undeclared")


def _covering(target: Any, prefixes: Mapping[Network, frozenset[str]]) -> tuple[str, ...]:
    """Who announces all of it: one prefix around it, or several that make it up. () when a part is missing."""
    same: list[Any] = [each for each in prefixes if each.version == target.version]
    around = [each for each in same if target.subnet_of(each)]
    inside = [each for each in same if each.subnet_of(target)]
    if not around and target not in collapse_addresses(inside):
        return ()
    return tuple(sorted(frozenset().union(*(prefixes[each] for each in around or inside))))


def _announcers(inventory: Inventory, silent: Mapping[str, frozenset[str]]) -> Iterator[tuple[Network, frozenset[str]]]:
    at_site = residents(inventory)
    found: dict[Network, set[str]] = {}
    for prefix in inventory.prefixes:
        for name in prefix.gateways or at_site.get(prefix.site, ()):
            if not {ALL, str(prefix.prefix)} & silent.get(name, frozenset()):
                found.setdefault(prefix.prefix, set()).add(name)
    return ((each, frozenset(names)) for each, names in found.items())


def _node_ids(inventory: Inventory) -> Iterable[str | None]:
    for gateway in inventory.gateways:
        yield from (uplink.node_id for uplink in gateway.uplinks)
    yield from (each.node_id for each in inventory.clients)
    yield from (each.node_id for each in inventory.hosts)
