"""Managed routes of ZeroTier for members without BGP: site prefixes, by way of a gateway that lives. Pure.

ZeroTier delivers at most 128 routes, the segment's included, to every member, gateways among them, at metric 5000.
BGP's routes stand at 1000 and the guard's at 4999, so on a gateway a managed route counts only where neither covers the
same prefix or a longer one. From that follows what is generated:

without a floor  whole allocations, which the guard covers: hosts use them, and gateways never do
with a floor     declared prefixes: a gateway whose BGP routes are gone goes on by them

Two summaries never overlap, and the gateway of one announces every prefix inside it; so a packet that follows one
arrives where its prefix is connected, and cannot be sent on by another one. `flaws` checks that on the result.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import collapse_addresses, ip_network
from typing import Any

from controller.inventory.model import GLOBAL, Inventory, Network, network_order, residents
from controller.zerotier.port import MAX_ROUTES, Address, ManagedRoute

ALL = "*"
"""Among the prefixes of a gateway that lead nowhere: every one."""

CODES = {
    "summaries-too-many": "ZeroTier delivers 128 managed routes; what does not fit has none.",
    "summary-split": "Prefixes inside each other are announced by different gateways: no one route can stand for both.",
    "summary-no-gateway": "No gateway announces anything there, or it has no address of the family.",
    "summary-peer": "A router in a LAN may announce more there than the summary's gateway has: hosts lack it.",
    "summary-dead": "Every gateway that announces it is gone; the route stays where it was.",
    "summary-on-gateways": "Without guard_default gateways use managed routes too, beneath those of BGP.",
    "floor-hidden": "The guard stands at that prefix or inside it, so gateways do not use the floor there; hosts do.",
    "floor-flaw": "A managed route that would lose or circle packets.",
}


@dataclass(frozen=True, slots=True)
class Remark:
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """`gateways`, the first choice first: each of them announces every declared prefix inside `target`."""

    target: Network
    gateways: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Summaries:
    """`routes` in the order of their targets. `left_out`: what would need one more than ZeroTier delivers."""

    routes: tuple[ManagedRoute, ...] = ()
    remarks: tuple[Remark, ...] = ()
    left_out: tuple[Network, ...] = ()


def summaries(inventory: Inventory, gone: Mapping[str, frozenset[str]], current: Iterable[ManagedRoute]) -> Summaries:
    """What the network should have beside the segment. Nothing unless there are hosts, or a floor is asked for.

    `gone`: gateway -> its prefixes that lead nowhere ("*": all). `current`: the routes as they are; what stands by way
    of a gateway that lives stays there, for moving a route stalls every member for a second.
    """
    fabric = inventory.fabric
    if fabric is None or not fabric.network or not (inventory.hosts or fabric.managed_floor):
        return Summaries()
    remarks: list[Remark] = []
    room = MAX_ROUTES - 1 - (fabric.segment6 is not None)
    needed = _needed(inventory, fabric.managed_floor, room, remarks)
    chosen, left_out = needed[:room], tuple(each.target for each in needed[room:])
    if left_out:
        remarks.append(_too_many(left_out, room))
    addresses = _addresses(inventory)
    drained = {each.name for each in inventory.gateways if each.drained}
    held = {route.target: route.via for route in current if route.via is not None}
    last = [replace(each, gateways=tuple(sorted(each.gateways, key=lambda name: name in drained))) for each in chosen]
    routes = [_route(each, addresses, gone, held, remarks) for each in last]
    found = tuple(route for route in routes if route is not None)
    if unsound := tuple(flaws(inventory, found)):
        return Summaries((), (*remarks, *unsound))
    return Summaries(found, (*remarks, *_said(inventory, found)), left_out)


def _needed(inventory: Inventory, floor: bool, room: int, remarks: list[Remark]) -> list[Candidate]:
    """Disjoint candidates, in order. With a floor whole allocations only where prefixes alone are more than `room`."""
    exact: dict[Network, list[Candidate]] = {}
    whole: dict[Network, Candidate] = {}
    peered = _peered(inventory)
    for allocation, inside in _by_allocation(inventory, remarks).items():
        exact[allocation] = _exact(inside, remarks)
        if common := _common(inside.values()):
            names = _peered_first(allocation, common, peered.get(allocation, frozenset()), remarks)
            whole[allocation] = Candidate(allocation, names)
    if not floor:
        some = {each: Candidate(each, tuple(sorted(names))) for each, names in peered.items() if each not in exact}
        whole |= some
        exact |= {each: [] for each in some}
    groups = exact if floor else {each: [whole[each]] if each in whole else exact[each] for each in exact}
    for allocation in sorted(whole, key=lambda each: -len(groups[each])):
        if sum(map(len, groups.values())) > room and len(groups[allocation]) > 1:
            groups[allocation] = [whole[allocation]]
    found = _in_order(groups.values())
    if len(found) > room:
        found = _merged(found)
    if len(found) > room:
        found = _merged(_in_order([whole[each]] if each in whole else groups[each] for each in groups))
    return found


def _in_order(groups: Iterable[Iterable[Candidate]]) -> list[Candidate]:
    return sorted((each for some in groups for each in some), key=lambda each: network_order(each.target))


def _merged(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Neighbours of the same gateways as one, whosever allocations they are in."""
    alike: dict[tuple[str, ...], list[Network]] = {}
    for each in candidates:
        alike.setdefault(each.gateways, []).append(each.target)
    return _in_order([Candidate(target, names) for target in _collapsed(those)] for names, those in alike.items())


def _too_many(left_out: Sequence[Network], room: int) -> Remark:
    shown = ", ".join(map(str, left_out[:3]))
    text = f"{room + len(left_out)} are needed and {room} fit: hosts do not reach {shown} ({len(left_out)} in all)"
    return Remark("summaries-too-many", f"{text}. Give sites larger allocations in one piece")


def _peered(inventory: Inventory) -> dict[Network, frozenset[str]]:
    """Outermost allocation -> gateways of its site that a router in a LAN may tell of what is inside."""
    outermost = _Apart(each.prefix for each in inventory.allocations if each.tenant == GLOBAL)
    peered = {(each.gateway, each.address.version) for each in inventory.lan_peers}
    at_site = residents(inventory)
    found: dict[Network, frozenset[str]] = {}
    for each in inventory.allocations:
        names = at_site.get(each.site, ())
        there = frozenset(name for name in names if (name, each.prefix.version) in peered)
        outer = outermost.around(each.prefix) if each.tenant == GLOBAL else None
        if outer is not None and there:
            found[outer] = found.get(outer, frozenset()) | there
    return found


def _peered_first(
    allocation: Network, names: tuple[str, ...], peered: frozenset[str], remarks: list[Remark]
) -> tuple[str, ...]:
    if peered and not peered.intersection(names):
        text = f"{allocation} leads to {', '.join(names)}, and routers in LANs of {', '.join(sorted(peered))}"
        remarks.append(Remark("summary-peer", f"{text} may announce more of it: hosts do not reach that"))
    return tuple(sorted(names, key=lambda name: name not in peered))


def _by_allocation(inventory: Inventory, remarks: list[Remark]) -> dict[Network, dict[Network, frozenset[str]]]:
    """Outermost allocation -> declared prefix inside it -> who announces it."""
    outermost = _Apart(each.prefix for each in inventory.allocations if each.tenant == GLOBAL)
    found: dict[Network, dict[Network, frozenset[str]]] = {}
    for network, names in _announced(inventory).items():
        outer = outermost.around(network)
        if outer is not None and names:
            found.setdefault(outer, {})[network] = names
        else:
            remarks.append(Remark("summary-no-gateway", f"no gateway announces {network}: it has no managed route"))
    return found


def _announced(inventory: Inventory) -> dict[Network, frozenset[str]]:
    """Prefix -> gateways. An anycast prefix is announced by those of several sites."""
    found: dict[Network, frozenset[str]] = {}
    at_site = residents(inventory)
    for prefix in inventory.prefixes:
        if prefix.tenant == GLOBAL:
            names = frozenset(prefix.gateways or at_site.get(prefix.site, ()))
            found[prefix.prefix] = found.get(prefix.prefix, frozenset()) | names
    return found


class _Apart:
    """Of some networks those that are in no other one."""

    def __init__(self, networks: Iterable[Network]) -> None:
        self.networks: list[Network] = []
        for each in sorted(networks, key=network_order):
            if not self.networks or not _inside(each, self.networks[-1]):
                self.networks.append(each)
        self._keys = [network_order(each) for each in self.networks]

    def around(self, network: Network) -> Network | None:
        """The one that `network` is in, or is."""
        at = bisect_right(self._keys, network_order(network)) - 1
        return self.networks[at] if at >= 0 and _inside(network, self.networks[at]) else None


def _exact(inside: Mapping[Network, frozenset[str]], remarks: list[Remark]) -> list[Candidate]:
    """What is declared and no more: prefixes inside others with them, neighbours of the same gateways as one."""
    outermost = _Apart(inside)
    nested: dict[Network, list[frozenset[str]]] = {}
    for network, names in inside.items():
        nested.setdefault(outermost.around(network) or network, []).append(names)
    alike: dict[tuple[str, ...], list[Network]] = {}
    for network, names_of_all in nested.items():
        if common := _common(names_of_all):
            alike.setdefault(common, []).append(network)
        else:
            text = f"{network} and prefixes inside it are announced by different gateways: it has no managed route"
            remarks.append(Remark("summary-split", text))
    return [Candidate(target, names) for names, those in alike.items() for target in _collapsed(those)]


def _collapsed(networks: Iterable[Network]) -> Iterator[Network]:
    families: dict[int, list[Any]] = {}
    for each in networks:
        families.setdefault(each.version, []).append(each)
    for some in families.values():
        yield from collapse_addresses(some)


def _common(names: Iterable[frozenset[str]]) -> tuple[str, ...]:
    return tuple(sorted(frozenset.intersection(*names)))


def _route(
    candidate: Candidate,
    addresses: Mapping[str, Mapping[int, Address]],
    gone: Mapping[str, frozenset[str]],
    held: Mapping[Network, Address],
    remarks: list[Remark],
) -> ManagedRoute | None:
    """By way of a gateway that lives; the one that has it keeps it."""
    target = candidate.target
    ways = {name: addresses[name][target.version] for name in candidate.gateways if target.version in addresses[name]}
    if not ways:
        remarks.append(Remark("summary-no-gateway", f"no gateway of {target} has an address of its family"))
        return None
    alive = {name: via for name, via in ways.items() if not _leads_nowhere(target, gone.get(name, frozenset()))}
    if not alive:
        text = f"{', '.join(ways)} are gone, and nobody else announces {target}: its route stays where it was"
        remarks.append(Remark("summary-dead", text))
    usable = alive or ways
    before = held.get(target)
    return ManagedRoute(target, before if before in usable.values() else next(iter(usable.values())))


def _leads_nowhere(target: Network, withdrawn: frozenset[str]) -> bool:
    return ALL in withdrawn or any(_inside(ip_network(each), target) for each in withdrawn)


def _inside(network: Any, target: Any) -> bool:
    return bool(network.version == target.version and network.subnet_of(target))


def _addresses(inventory: Inventory) -> dict[str, dict[int, Address]]:
    """Gateway -> family -> address of its first uplink."""
    found: dict[str, dict[int, Address]] = {}
    for gateway in inventory.gateways:
        first = gateway.uplinks[0]
        found[gateway.name] = {each.version: each for each in (first.address, first.address6) if each is not None}
    return found


def _said(inventory: Inventory, routes: Sequence[ManagedRoute]) -> Iterator[Remark]:
    """Limits of what was generated."""
    fabric = inventory.fabric
    assert fabric is not None
    allocations = {each.prefix for each in inventory.allocations}
    if routes and not fabric.managed_floor and not fabric.guard_default:
        yield Remark("summary-on-gateways", f"guard_default is off: {CODES['summary-on-gateways']}")
    hidden = [str(each.target) for each in routes if any(_inside(some, each.target) for some in allocations)]
    if hidden and fabric.managed_floor and fabric.guard_default:
        yield Remark("floor-hidden", f"{', '.join(hidden[:3])}: {CODES['floor-hidden']}")


def flaws(inventory: Inventory, routes: Sequence[ManagedRoute]) -> Iterator[Remark]:
    """Whatever made them: could a packet that follows one of these be lost, or circle? Nothing: they are sound."""
    owners: dict[Address | None, str] = {
        address: name for name, each in _addresses(inventory).items() for address in each.values()
    }
    announced = _announced(inventory)
    apart = _Apart(route.target for route in routes)
    by_target = {route.target: route for route in routes}
    for route in routes:
        if route.via not in owners:
            yield _flaw(route, "its via is no gateway's first address")
        if (around := apart.around(route.target)) != route.target or by_target[route.target] != route:
            yield _flaw(route, f"it overlaps {around}: two gateways may send a packet to each other")
        for wider in _wider(route.target):
            if wider in announced:
                yield _flaw(route, f"it is inside {wider}, so it would beat BGP's route")
    for prefix, names in announced.items():
        target = apart.around(prefix)
        owner = None if target is None else owners.get(by_target[target].via)
        if target is not None and owner not in names:
            yield _flaw(by_target[target], f"{owner} does not announce {prefix}")


def _wider(network: Any) -> Iterator[Network]:
    for length in range(network.prefixlen):
        yield network.supernet(new_prefix=length)


def _flaw(route: ManagedRoute, why: str) -> Remark:
    return Remark("floor-flaw", f"{route.target} by way of {route.via}: {why}")
