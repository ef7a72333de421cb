"""Desired x actual -> what to write. Pure. Whole values are compared, and only what is ours is touched.

A member is ours when the controller has let it in, or the operator said so (`adopt`); who owns what is remembered
in the database. What is declared and not ours yet is taken by itself when it is not there, was never
let in, or is already as it should be. Everything else waits for the operator's word.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any

from controller.zerotier.desired import Desired, DesiredMember, DesiredNetwork, addresses_in_order, in_order
from controller.zerotier.port import (
    MAX_ROUTES,
    Address,
    ManagedRoute,
    MemberChange,
    MemberState,
    Network,
    NetworkChange,
    NetworkState,
)

THE_NETWORK = ""
"""Stands among node ids for the network itself."""

MAX_REMOVALS = 1
"""Managed routes that go in one write. ZeroTier stalls every member for a second for each (it waits for an answer of
the kernel's that only an error has; source: osdep/LinuxNetLink.cpp, `delRoute`), and BFD of three seconds bears one."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Of managed routes: how many may go in this write. `resting`: targets that may not come back yet."""

    removals: int = MAX_REMOVALS
    resting: frozenset[Network] = frozenset()


FULL = Pace()
LEAVE = MemberChange(authorised=False, addresses=())


@dataclass(frozen=True, slots=True)
class Held:
    """Declared, but set up by somebody else: nothing is written until it is adopted. `differs`: what would change."""

    node_id: str
    label: str
    differs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Conflict:
    """An address that a member should have, and that another member has, who is not ours."""

    label: str
    address: Address
    holder: str  # Its node id.


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A member whose record in the service cannot be read. It is left alone, unless it is to leave. `label`: "" when
    it is not declared."""

    node_id: str
    label: str
    reason: str


@dataclass(frozen=True, slots=True)
class Difference:
    """`network` None: nothing to write there. `takes`: node ids that are ours from now on. `leaving`: no longer
    declared, to be put out. `strangers` are neither ours nor declared; they are left alone."""

    network: NetworkChange | None
    network_held: tuple[str, ...]
    members: Mapping[str, MemberChange]
    leaving: tuple[str, ...]
    takes: frozenset[str]
    held: tuple[Held, ...]
    conflicts: tuple[Conflict, ...]
    strangers: tuple[MemberState, ...]
    unreadable: tuple[Unreadable, ...] = ()

    @property
    def settled(self) -> bool:
        """Nothing is left to be written."""
        return self.network is None and not self.members and not self.leaving

    @property
    def as_declared(self) -> bool:
        """And nothing waits for the operator."""
        return self.settled and not (self.network_held or self.held or self.conflicts or self.unreadable)


def difference(
    wanted: Desired,
    network: NetworkState | None,
    members: Mapping[str, MemberState],
    owned: frozenset[str],
    pace: Pace = FULL,
    unreadable: Mapping[str, str] = MappingProxyType({}),
) -> Difference:
    """`network` None: there is none yet. `owned`: node ids, and THE_NETWORK. `pace`: of managed routes.
    `unreadable`: node id -> why its record cannot be read."""
    change, held_fields = _of_network(wanted.network, network, THE_NETWORK in owned, pace)
    writes: dict[str, MemberChange] = {}
    takes = set() if held_fields else {THE_NETWORK}
    held: list[Held] = []
    for node_id, member in wanted.members.items():
        if node_id in unreadable:
            continue
        actual = members.get(node_id)
        asked = member_change(member, actual)
        if node_id in owned or asked is None or not is_in(actual):
            takes.add(node_id)
            if asked is not None:
                writes[node_id] = asked
        else:
            held.append(Held(node_id, member.label, differing(asked)))
    conflicts = _conflicts(wanted, members, takes)
    barred = {each.label for each in conflicts}
    leaving = [
        each for each in owned - {THE_NETWORK} - wanted.members.keys() if each in unreadable or is_in(members.get(each))
    ]
    return Difference(
        change,
        held_fields,
        {each: writes[each] for each in sorted(writes) if wanted.members[each].label not in barred},
        tuple(sorted(leaving)),
        frozenset(takes - owned),
        tuple(sorted(held, key=lambda each: each.label)),
        conflicts,
        tuple(members[each] for each in sorted(members.keys() - wanted.members.keys() - owned)),
        tuple(Unreadable(each, _label(wanted, each), why) for each, why in sorted(unreadable.items())),
    )


def member_change(wanted: DesiredMember, actual: MemberState | None) -> MemberChange | None:
    """The fields of ours that differ; None: none does."""
    now = actual or MemberState(wanted.node_id)
    change = MemberChange(
        authorised=None if now.authorised else True,
        addresses=None if addresses_in_order(now.addresses) == wanted.addresses else wanted.addresses,
        name=None if now.name == wanted.name else wanted.name,
        no_auto_assign=None if now.no_auto_assign else True,
    )
    return None if change == MemberChange() else change


def network_change(wanted: DesiredNetwork, actual: NetworkState | None, pace: Pace = FULL) -> NetworkChange | None:
    """What to write now of the fields of ours that differ; None: nothing. A network that is not there gets all."""
    now = actual or NetworkState(wanted.network)
    whole = NetworkChange(
        name=wanted.name,
        private=wanted.private,
        routes=wanted.routes,
        mtu=wanted.mtu,
        auto_assign4=False,
        auto_assign6=False,
        auto_6plane=False,
        auto_rfc4193=False,
        rules=wanted.rules,
    )
    if actual is None:
        return whole
    same = {
        field: None
        for field in differing(whole)
        if getattr(replace(now, routes=in_order(now.routes)), field) == getattr(whole, field)
    }
    change = replace(whole, **same)
    if change.routes is not None:
        routes = _step(wanted.routes, now.routes, pace)
        change = replace(change, routes=None if routes == in_order(now.routes) else routes)
    return None if change == NetworkChange() else change


def _step(wanted: tuple[ManagedRoute, ...], actual: tuple[ManagedRoute, ...], pace: Pace) -> tuple[ManagedRoute, ...]:
    """The routes after the next write: fewer of `actual`, and what is new as far as there is room.

    Members never apply another `via` of a route that they have, so one that moves goes first and comes back later;
    those that move go before those that are not wanted any more, for somebody waits for them.
    """
    on_link = [route for route in wanted if route.via is None]
    ours = {route.target for route in on_link}
    by_target = {route.target: route for route in wanted}
    vias: dict[Network, set[Address | None]] = {}
    for route in actual:
        if route.target not in ours:
            vias.setdefault(route.target, set()).add(route.via)
    going = [target for target, there in vias.items() if target not in by_target or there != {by_target[target].via}]
    going.sort(key=lambda target: target not in by_target)
    excess = max(len(on_link) + sum(map(len, vias.values())) - MAX_ROUTES, 0)  # Nobody has these, so nothing stalls.
    gone = {*going[: pace.removals], *(going[-excess:] if excess and pace.removals else ())}
    stays = [route for route in actual if route.target in vias and route.target not in gone]
    new = [route for route in wanted if route.target not in {*ours, *vias, *pace.resting}]
    return in_order([*on_link, *stays, *new[: max(MAX_ROUTES - len(on_link) - len(stays), 0)]])


def removed(before: Iterable[ManagedRoute], after: Iterable[ManagedRoute]) -> tuple[ManagedRoute, ...]:
    """The routes that are in no longer, in their order."""
    left = set(after)
    return tuple(route for route in before if route not in left)


def differing(change: NetworkChange | MemberChange) -> tuple[str, ...]:
    """Names of the fields that a change writes."""
    return tuple(each.name for each in fields(change) if getattr(change, each.name) is not None)


def _of_network(
    wanted: DesiredNetwork, actual: NetworkState | None, owned: bool, pace: Pace
) -> tuple[NetworkChange | None, tuple[str, ...]]:
    """(what to write, fields that are held)."""
    change = network_change(wanted, actual, pace)
    if change is None or owned or actual is None:
        return change, ()
    fresh: Any = NetworkState(wanted.network)
    told = tuple(
        field
        for field in differing(change)
        if field != "rules" and getattr(actual, field) != getattr(fresh, field)  # `owned` is the operator's word.
    )
    return (None, told) if told else (change, ())


def is_in(actual: MemberState | None) -> bool:
    """Somebody has let it in, or given it an address. Else it has asked to join, if that, and may have a name."""
    return actual is not None and (actual.authorised or bool(actual.addresses))


def _label(wanted: Desired, node_id: str) -> str:
    member = wanted.members.get(node_id)
    return member.label if member else ""


def _conflicts(wanted: Desired, members: Mapping[str, MemberState], ours: set[str]) -> tuple[Conflict, ...]:
    """ZeroTier accepts one address for two members, and both use it."""
    holders = {
        address: node_id
        for node_id, actual in members.items()
        if actual.authorised and node_id not in wanted.members
        for address in actual.addresses
    }
    for node_id in (wanted.members.keys() & members.keys()) - ours:
        holders.update({address: node_id for address in members[node_id].addresses if members[node_id].authorised})
    return tuple(
        Conflict(member.label, address, holders[address])
        for _, member in sorted(wanted.members.items())
        for address in member.addresses
        if holders.get(address, member.node_id) != member.node_id
    )
