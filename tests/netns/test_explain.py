"""`explain` against the kernel: for random addresses it names the next hops that `ip route get` chooses from."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from msgspec.structs import replace

from speaker import plan as p
from speaker.show import fetch
from tests.netns.namespaces import Namespace, segment, wait_until
from tests.netns.speakers import PATIENCE, Speaker, address, plan_of, prefixes, to_client, to_hub

pytestmark = pytest.mark.root

HUB, A, B, C = 1, 2, 3, 4
NAMES = {HUB: "hub", A: "a", B: "b", C: "c"}
SPOKES = (A, B, C)
FAST = p.BfdPlan(100, 3)
SHARED = [f"20.9.{third}.0/24" for third in range(10)]
"""Of B and C both."""
WIDE = "20.4.0.0/18"
"""Of C, around its other prefixes."""
PAIRS = 200


def plan_for(number: int) -> p.Plan:
    if number == HUB:
        sessions = [_shared(to_client(HUB, spoke)) for spoke in SPOKES]
        return plan_of("hub", HUB, sessions, hub=True, bfd=FAST)
    own = prefixes(number, 10) + (SHARED if number != A else []) + ([WIDE] if number == C else [])
    return plan_of(NAMES[number], number, [to_hub(number, HUB)], own, bfd=FAST)


def _shared(session: p.SessionPlan) -> p.SessionPlan:
    assert session.imports is not None
    space = (*session.imports.allocations, p.AllocationPlan("20.9.0.0/16", 24))
    return replace(session, imports=replace(session.imports, allocations=space))


class World:
    def __init__(self, members: dict[str, Namespace], place: Path) -> None:
        self.members = members
        self.speakers = {number: Speaker(members[name], name, place) for number, name in NAMES.items()}
        for number, speaker in self.speakers.items():
            speaker.start(plan_for(number))
        of = {number: prefixes(number, 10) for number in SPOKES}
        for number, has in (
            (HUB, of[A] + of[B] + of[C] + SHARED + [WIDE]),
            (A, of[B] + of[C] + SHARED + [WIDE]),
            (B, of[A] + of[C] + [WIDE]),
            (C, of[A] + of[B]),
        ):
            wait_until(lambda n=number, has=has: self._settled(n, has), PATIENCE, self.evidence)  # type: ignore[misc]

    def _settled(self, number: int, has: list[str]) -> bool:
        speaker = self.speakers[number]
        return speaker.has(has) and speaker.settled(*(SPOKES if number == HUB else (HUB,)))

    def evidence(self) -> str:
        return "\n".join(each.evidence() for each in self.speakers.values())

    def explain(self, number: int, to: str) -> dict[str, Any]:
        found: dict[str, Any] = fetch(self.speakers[number].state.control, "explain", {"address": to})
        return found

    def kernel(self, number: int, to: str) -> tuple[str, str]:
        """(next hop, "" when there is none; "local", "direct", "via", or "" when the kernel refuses)."""
        said = self.members[NAMES[number]].run("ip", "-j", "route", "get", to, check=False)
        routes = json.loads(said) if said.strip() else []
        if not routes:
            return "", ""
        route = routes[0]
        if route.get("type") == "local":
            return "", "local"
        return route.get("gateway", ""), "via" if "gateway" in route else "direct"

    def agree(self, viewers: Sequence[int], seed: int) -> Counter[str]:
        """Asks of PAIRS random pairs, and fails where the two differ; how often each verdict came."""
        draw, seen = random.Random(seed), Counter[str]()
        for _ in range(PAIRS):
            number, to = draw.choice(viewers), address_of(draw)
            found, (hop, how) = self.explain(number, to), self.kernel(number, to)
            verdict = found["verdict"]
            seen[verdict["what"]] += 1
            ways = {way["address"] for way in verdict["ways"]}
            expected = {"route": "via", "segment": "direct", "itself": "local"}.get(verdict["what"], "")
            assert how == expected, (NAMES[number], to, hop, found)
            assert (hop in ways) if hop else not ways, (NAMES[number], to, hop, found)
        return seen


def address_of(draw: random.Random) -> str:
    """In what is announced, near it, declared only, on the segment, or nobody's."""
    last = draw.randrange(1, 255)
    return draw.choice(
        [
            *[f"20.{draw.choice((2, 3, 4, 9))}.{draw.randrange(12)}.{last}"] * 6,
            f"20.4.{draw.randrange(80)}.{last}",
            f"20.77.0.{last}",
            address(draw.choice((HUB, A, B, C, 9))),
            f"192.0.2.{last}",
        ]
    )


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    addresses = {name: [f"{address(number)}/16"] for number, name in NAMES.items()}
    with TemporaryDirectory(prefix="ll-explain-") as place, segment("explain", {**addresses}) as members:
        yield World(members, Path(place))


def test_it_names_what_the_kernel_uses(world: World) -> None:
    """Own prefixes end in the reject here: there is no LAN behind them."""
    seen = world.agree((HUB, A, B, C), seed=1)
    assert {"route", "own", "declared", "segment", "itself", "none"} <= seen.keys()
    shared = world.explain(A, "20.9.3.1")
    assert {way["address"] for way in shared["verdict"]["ways"]} == {address(B), address(C)}
    assert [each["prefix"] for each in world.explain(A, "20.4.3.1")["prefixes"]] == ["20.4.3.0/24", WIDE, "20.0.0.0/8"]


def test_a_death_shows_at_once(world: World) -> None:
    """B is cut off: its next hop is dead, what it shares goes to C alone, and its paths become stale or go."""
    world.members["b"].run("ip", "link", "set", "eth0", "down")
    wait_until(lambda: world.speakers[HUB].judges(B, "down"), PATIENCE, world.evidence)
    wait_until(lambda: world.explain(HUB, "20.3.1.1")["verdict"]["what"] != "route", PATIENCE, world.evidence)
    wait_until(lambda: bool(world.speakers[HUB].report().get("converged")), PATIENCE, world.evidence)
    seen = world.agree((HUB, C), seed=2)
    assert seen["route"]
    shared = world.explain(HUB, "20.9.3.1")
    assert [way["address"] for way in shared["verdict"]["ways"]] == [address(C)]
    gone = world.explain(HUB, "20.3.1.1")
    assert gone["verdict"]["what"] in ("unreachable", "declared")
