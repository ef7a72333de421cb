"""How one prefix stands in the kernel, as far as it has answered. For people: nothing is decided by it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from speaker.kernel.choice import Pair, Reach
from speaker.kernel.nexthops import Objects
from speaker.kernel.table import Table
from speaker.kernel.targets import Group
from speaker.rib.prefix import Key

LinkState = Literal["usable", "silent", "held", "dead", "down"]
"""Of a next hop behind an interface. silent: it was asked by BFD for some time and never heard, so that nobody flees to
it; held: it answers again, and is not trusted yet; down: the interface itself is."""


class Way(NamedTuple):
    """One member of a group. `label` is pushed, when there is one."""

    device: str
    address: bytes
    label: int | None
    weight: int


@dataclass(frozen=True, slots=True)
class Standing:
    state: Literal["absent", "group", "unreachable", "foreign"]  # foreign: another program has changed our route.
    ways: tuple[Way, ...] = ()
    moving: bool = False  # Something else is wanted by now, and on its way.
    refused: str = ""  # The kernel's words, where it will not have what is wanted.


def standing(table: Table, objects: Objects, key: Key) -> Standing:
    target = table.actual.get(key)
    refusal = table.refused.get(key)
    moving = key in table.puts or key in table.removals
    refused = refusal.text if refusal is not None else ""
    if target is not None and isinstance(target.wish, Group) and target is target.wish.borrowed:
        target = objects.held.groups.get(target.nhid)
    if isinstance(target, Group):
        ways = tuple(_ways(target, objects))
        return Standing("group" if ways else "unreachable", ways, moving, refused or target.error)
    state: Literal["absent", "unreachable", "foreign"] = "absent"
    if target is not None:
        state = "foreign" if target is table.stranger else "unreachable"
    return Standing(state, (), moving, refused)


def _ways(group: Group, objects: Objects) -> Iterator[Way]:
    """A blackhole is no way."""
    names = {index: name for name, index in objects.reach.links.items()}
    for number, weight in group.content or ():
        hop = objects.held.hops.by_id.get(number)
        if hop is not None and not hop.blackhole:
            index, address, label = hop.spec
            yield Way(names.get(index, f"interface {index}"), address, label, weight)


def link_states(reach: Reach, next_hop: bytes) -> dict[str, LinkState]:
    """By interface, in the plan's order."""
    return {device: _link_state(reach, (device, next_hop)) for device in reach.towards(next_hop)}


def _link_state(reach: Reach, pair: Pair) -> LinkState:
    if pair[0] not in reach.links:
        return "down"
    if pair in reach.dead:
        return "held" if pair in reach.held else "dead"
    return "silent" if pair in reach.silent else "usable"


def state(reach: Reach, next_hop: bytes) -> LinkState:
    """What may be hoped for from it, behind whatever interface.

    "silent" only where silence may be used: who died behind a better interface does not live by silence behind another.
    """
    if reach.trusted(next_hop, fallback=True) is not None:
        return "usable"
    if reach.trusted(next_hop) is not None or reach.unheard(next_hop) is not None:
        return "silent"
    states = set(link_states(reach, next_hop).values())
    return "held" if "held" in states else "down" if states <= {"down"} else "dead"
