"""Managed routes with a `via` -> which member leads where. Pure. What cannot be taken over is said, with the reason."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from controller.inventory.model import network_order
from controller.inventory.rules_members import martian
from controller.zerotier.port import Address, ManagedRoute, MemberState, Network


@dataclass(frozen=True, slots=True)
class Question:
    """What waits for the operator's word. `section` of the inventory, "" for the network itself."""

    section: str
    what: str
    why: str

    def __str__(self) -> str:
        return f"{self.what}: {self.why}"


@dataclass(frozen=True, slots=True)
class Space:
    """Members whose routes overlap: they are one site. `targets`: target -> node ids, in the order of targets."""

    targets: Mapping[Network, tuple[str, ...]]

    @property
    def node_ids(self) -> tuple[str, ...]:
        """In the order of their first targets."""
        return tuple(dict.fromkeys(node_id for each in self.targets.values() for node_id in each))

    @property
    def outermost(self) -> tuple[Network, ...]:
        found: list[Network] = []
        for target in self.targets:
            if not found or not _inside(target, found[-1]):
                found.append(target)
        return tuple(found)


def owners(members: Iterable[MemberState]) -> dict[Address, tuple[str, ...]]:
    """Address -> node ids of the members that have it: ZeroTier takes one address for two, and both use it."""
    found: dict[Address, tuple[str, ...]] = {}
    for member in members:
        for address in member.addresses:
            found[address] = (*found.get(address, ()), member.node_id)
    return found


def routed(
    routes: Iterable[ManagedRoute],
    members: Mapping[str, MemberState],
    segments: Iterable[Network],
    questions: list[Question],
) -> list[Space]:
    """What members lead to, sites' space apart from each other; in the order of targets."""
    held = owners(members.values())
    segments = tuple(segments)
    targets: dict[Network, tuple[str, ...]] = {}
    for route in sorted(routes, key=lambda each: network_order(each.target)):
        if route.via is None:
            continue
        if reason := _unusable(route, held.get(route.via, ()), members, segments):
            questions.append(Question("prefixes", f"{route} is left out", reason))
            continue
        node_ids = targets.get(route.target, ())
        targets[route.target] = tuple(dict.fromkeys((*node_ids, *held[route.via])))
    return [Space(each) for each in _apart(targets)]


def _unusable(
    route: ManagedRoute, node_ids: tuple[str, ...], members: Mapping[str, MemberState], segments: tuple[Network, ...]
) -> str:
    """Why it cannot become a prefix of a gateway; "" when it can."""
    target = route.target
    if target.prefixlen == 0:
        return "a default route is never announced, for it would capture ZeroTier's own packets; it goes with the rest"
    if (space := martian(target)) is not None:
        return f"it touches {space}, which is never routed"
    same = [each for each in segments if each.version == target.version]
    if not same:
        return f"the network has no segment of IPv{target.version}, so there is no next hop: give it one first"
    if any(_inside(target, each) or _inside(each, target) for each in same):
        return "it overlaps the segment, which is on-link for everybody"
    if not node_ids:
        return f"no member has {route.via}: a router behind a bridge, or a dead route? Declare its member as a client"
    if len(node_ids) > 1:
        return f"{' and '.join(node_ids)} both have {route.via}: give one of them another address, and import again"
    if not members[node_ids[0]].authorised:
        return f"{node_ids[0]}, which has {route.via}, is not authorised: the route is dead"
    return ""


def _apart(targets: Mapping[Network, tuple[str, ...]]) -> Iterator[dict[Network, tuple[str, ...]]]:
    """Groups without a member or an overlap in common. `targets` are in order, so an outer one is before its inner."""
    group: dict[str, str] = {}

    def root(node_id: str) -> str:
        while group.setdefault(node_id, node_id) != node_id:
            node_id = group[node_id]
        return node_id

    outer: Network | None = None
    for target, node_ids in targets.items():
        if outer is None or not _inside(target, outer):
            outer = target
        for node_id in node_ids:
            group[root(node_id)] = root(targets[outer][0])
    found: dict[str, dict[Network, tuple[str, ...]]] = {}
    for target, node_ids in targets.items():
        found.setdefault(root(node_ids[0]), {})[target] = node_ids
    yield from found.values()


def _inside(inner: Network, outer: Network) -> bool:
    return inner.version == outer.version and bool(inner.subnet_of(outer))  # type: ignore[arg-type]
