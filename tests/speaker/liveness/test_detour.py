"""Detours, enumerated: whatever pairs of 2 hubs and 4 spokes are broken, nothing loops, and what can arrive does.

The gateways judge by the real functions (`reach`, and the FIB's `choose`) from what each of them can know:
its own BFD sessions, and what the hubs say of themselves on the paths.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import combinations, permutations
from typing import NamedTuple

import pytest

from speaker.kernel.choice import Reach, Relay, choose
from speaker.liveness import reach
from speaker.liveness.damping import Pair
from speaker.rib.hops import Hop
from speaker.rib.path import Member, Tiers
from tests.speaker.liveness.test_reach import four, plan, to_peer, uplink

HUBS, SPOKES = (1, 2), (11, 12, 13, 14)
NODES = HUBS + SPOKES
LINKS = tuple(combinations(NODES, 2))
DEVICE = "zt0"

Link = tuple[int, int]
Targets = tuple[int, ...]
"""The gateways that announce a prefix, the preferred one first."""


class View(NamedTuple):
    """What one gateway knows."""

    node: int
    broken: frozenset[int]  # Behind its own sessions that are not up.
    said: frozenset[Link]  # (hub, spoke): the hub says that it relays to it.
    late: bool = False  # Only the first choice was ever heard, and died; the others were broken from the beginning.


def link(a: int, b: int) -> Link:
    return (a, b) if a < b else (b, a)


def pair(number: int) -> Pair:
    return DEVICE, f"10.42.0.{number}"


@cache
def next_node(view: View, targets: Targets) -> int | None:
    """Where the kernel of this gateway sends a packet for `targets`; None: unreachable."""
    known = directory_of(view)
    died = view.broken & {targets[0]} if view.late else view.broken
    dead = reach.dead_hops(known, [pair(number) for number in died])
    silent = reach.dead_hops(known, [pair(number) for number in view.broken - died])
    up = {pair(number) for number in NODES if number != view.node and number not in view.broken}
    relays = reach.relays(known, dead | silent, up, (DEVICE,), labels=False)
    state = Reach((DEVICE,))
    state.links = {DEVICE: 1}
    ways = {hop: tuple(Relay(*via) for via in vias) for hop, vias in relays.items()}
    state.update(dead, ways, frozenset(), silent)
    tiers: Tiers = tuple((Member(four(number), 1),) for number in targets)
    chosen = choose(tiers, state, lambda _: False)
    assert chosen is not None, "there is an interface"
    numbers = sorted(way.address[3] for way in chosen)
    return numbers[0] if numbers else None  # Of several hubs any: all of them are walked by symmetry of the links.


@cache
def directory_of(view: View) -> reach.Directory:
    hops = []
    for spoke in SPOKES:
        hubs = frozenset(four(hub) for hub in HUBS if (hub, spoke) in view.said)
        hops.append(Hop(four(spoke), spoke, hubs))
    role = "hub" if view.node in HUBS else "spoke"
    peers = [(spoke, "client") for spoke in SPOKES] if role == "hub" else [(hub, "hub") for hub in HUBS]
    sessions = [to_peer(view.node, number, kind, (number,)) for number, kind in peers]
    return reach.directory(plan(role, [uplink(view.node, DEVICE)], sessions), hops)


def walk(views: dict[int, View], broken: frozenset[Link], start: int, targets: Targets) -> tuple[list[int], bool]:
    """(the gateways that a packet comes to, whether it arrives)."""
    path = [start]
    while path[-1] not in targets:
        assert len(path) <= len(NODES), f"loop: {path}"
        following = next_node(views[path[-1]], targets)
        if following is None or link(path[-1], following) in broken:
            return path, False
        if path[-1] in SPOKES and len(path) > 1:
            return path, False  # nftables: a spoke forwards nothing from segment to segment.
        path.append(following)
    return path, True


def flows() -> Iterator[tuple[int, Targets]]:
    """Every spoke to every prefix of one other gateway, and of two."""
    for count in (1, 2):
        for targets in permutations(SPOKES, count):
            yield from ((start, targets) for start in SPOKES if start not in targets)


def can_arrive(broken: frozenset[Link], start: int, targets: Targets) -> bool:
    return any(
        link(start, target) not in broken
        or any(link(start, hub) not in broken and link(hub, target) not in broken for hub in HUBS)
        for target in targets
    )


def views_of(broken: frozenset[Link], said: frozenset[Link], *, late: bool = False) -> dict[int, View]:
    views = {}
    for node in NODES:
        cut_off = frozenset(other for other in NODES if other != node and link(node, other) in broken)
        views[node] = View(node, cut_off, said if node in SPOKES else frozenset(), late)
    return views


def breakages() -> Iterator[frozenset[Link]]:
    for bits in range(1 << len(LINKS)):
        yield frozenset(each for number, each in enumerate(LINKS) if bits >> number & 1)


FLOWS = tuple(flows())


@pytest.mark.slow
@pytest.mark.parametrize("late", [False, True])
def test_every_combination_of_broken_pairs(late: bool) -> None:
    count = 0
    for broken in breakages():
        said = frozenset((hub, spoke) for hub in HUBS for spoke in SPOKES if (hub, spoke) not in broken)
        views = views_of(broken, said, late=late)
        for start, targets in FLOWS:
            path, arrived = walk(views, broken, start, targets)
            assert sum(node in HUBS for node in path) <= 1, f"{path} with {sorted(broken)} broken"
            assert arrived == can_arrive(broken, start, targets), f"{path} to {targets} with {sorted(broken)} broken"
        count += 1
    assert count == 32_768


@pytest.mark.slow
def test_hubs_that_say_too_much_make_no_loop() -> None:
    """What a hub says may be late: it claims to relay to everybody, and cannot. The packet is lost there, at most."""
    everything = frozenset((hub, spoke) for hub in HUBS for spoke in SPOKES)
    for broken in list(breakages())[:: 1 << 4]:
        views = views_of(broken, everything)
        for start, targets in FLOWS:
            path, _ = walk(views, broken, start, targets)
            assert len(path) <= 3, f"{path} to {targets} with {sorted(broken)} broken"
            assert sum(node in HUBS for node in path) <= 1


@pytest.mark.slow
def test_without_detours_cut_pairs_are_holes() -> None:
    """The model can fail: nobody says anything, so only direct paths arrive."""
    broken = frozenset({(11, 12)})
    views = views_of(broken, frozenset())
    assert walk(views, broken, 11, (12,)) == ([11], False)
    assert walk(views, broken, 11, (12, 13)) == ([11, 13], True)
