"""Rules and limits in a real hub: what BIRD announces is refused, changed, held back, and shown with the reason."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace

from speaker import plan as p
from speaker.show import fetch
from tests.netns.fabric import BIRD, EXTRA, HUB, OWN, THEIRS, Fabric, fabric, hub_plan
from tests.netns.namespaces import wait_until
from tests.netns.speakers import ASN, PATIENCE, connections

pytestmark = pytest.mark.root

DENIED, LEFT = THEIRS[:4], THEIRS[4:] + EXTRA


@pytest.fixture(scope="module")
def world() -> Iterator[Fabric]:
    with fabric() as made:
        yield made


def ruled(*steps: p.StepPlan, limit: int = 0, **fields: Any) -> p.Plan:
    """The hub's plan, in which policy 1 judges what BIRD announces; set 1 are the prefixes in DENIED."""
    plan = hub_plan()
    sessions = tuple(
        replace(
            session,
            imports=replace(
                session.imports,
                next_hops=tuple(replace(hop, policy=1 if steps else 0) for hop in session.imports.next_hops),
                max_prefixes=limit,
            ),
        )
        if session.imports is not None and session.peer == f"n{BIRD}"
        else session
        for session in plan.sessions
    )
    first = DENIED[0].replace("0.0/24", "0.0/22")
    sets = (p.PrefixSetPlan(1, (p.PrefixRangePlan(first, 24, 24),)),)
    policies = (p.PolicyPlan(1, steps),) if steps else ()
    return replace(plan, sessions=sessions, prefix_sets=sets, policies=policies, **fields)


def shown(world: Fabric, member: str, prefix: str) -> list[dict[str, Any]]:
    """What `leyline speaker routes` tells of a prefix."""
    speaker = world.hub if member == "hub" else world.spoke
    answer: dict[str, Any] = fetch(speaker.state.control, "routes", {"prefix": prefix})
    return list(answer["routes"])


def until_spoke_has(world: Fabric, expected: list[str]) -> None:
    wait_until(lambda: world.spoke.has(expected) and world.spoke.settled(HUB), PATIENCE, world.evidence)


def test_a_rule_denies_some_and_prefers_the_rest_without_a_reset(world: Fabric) -> None:
    before = connections(world.hub.namespace)
    deny = p.StepPlan("no-such-services", prefix_set=1, deny=True)
    prefer = p.StepPlan("prefer-bird", preference_add=50, add=("65000:7",))
    world.hub.give(ruled(deny, prefer))
    until_spoke_has(world, LEFT)
    wait_until(lambda: world.hub.has(LEFT + OWN), PATIENCE, world.evidence)

    (refused,) = shown(world, "hub", DENIED[0])
    assert (refused["rejected"], refused["rules"]) == ("denied-by-rule", ["no-such-services"])
    assert f"{ASN}:9:15" in refused["communities"]
    assert refused["reason"] == "a rule denies it"
    (told,) = shown(world, "spoke", LEFT[0])
    assert (told["local_pref"], told["rejected"]) == (250, "")
    assert "65000:7" in told["communities"]

    world.hub.give(hub_plan())
    world.until_settled()
    assert connections(world.hub.namespace) == before, "sessions"


def test_a_hub_does_not_use_what_its_own_view_hides_and_tells_it_nevertheless(world: Fabric) -> None:
    hide = p.PolicyPlan(2, (p.StepPlan("not-for-us", prefix_set=1, deny=True),))
    plan = ruled()
    world.hub.give(replace(plan, policies=(hide,), own_view=2))
    wait_until(lambda: world.hub.has(LEFT + OWN), PATIENCE, world.evidence)
    until_spoke_has(world, THEIRS + EXTRA)
    world.hub.give(hub_plan())
    world.until_settled()


def test_what_is_beyond_the_limit_waits_and_comes_when_there_is_room(world: Fabric) -> None:
    before = connections(world.hub.namespace)
    limit = len(THEIRS) + 2
    world.hub.give(ruled(limit=limit))
    wait_until(lambda: len(world.spoke.kernel()) == limit, PATIENCE, world.evidence)
    assert "prefixes reached, 3 more are kept as filtered" in report_of_bird(world)["warning"]
    wait_until(lambda: "many prefixes" in world.hub.log(), PATIENCE, world.evidence)
    missing = sorted({*THEIRS, *EXTRA} - world.spoke.kernel().keys())
    assert [shown(world, "hub", prefix)[0]["rejected"] for prefix in missing] == ["over-limit"] * 3

    world.bird.bird.ask("disable extra")
    until_spoke_has(world, THEIRS)
    session = report_of_bird(world)
    assert (session["prefixes"], session["limit"]) == (len(THEIRS), limit)
    assert session["warning"].startswith(f"{len(THEIRS)} of {limit} prefixes")
    world.bird.bird.ask("enable extra")
    wait_until(lambda: len(world.spoke.kernel()) == limit, PATIENCE, world.evidence)

    world.hub.give(hub_plan())
    world.until_settled()
    assert connections(world.hub.namespace) == before, "sessions"


def test_a_blackhole_is_unreachable_everywhere_where_it_is_honoured(world: Fabric) -> None:
    """RFC 7999, here by a rule."""
    hole = THEIRS[0]
    mark = p.StepPlan("hole", prefix_set=1, add=("65535:666",))
    world.spoke.give(replace(p.decode(world.spoke.plan_file.read_bytes()), blackhole=True))
    world.hub.give(ruled(mark, blackhole=True))

    def is_hole(member: str) -> bool:
        return f"unreachable {hole} " in world.members[member].run("ip", "-4", "route", "show", "metric", "1000")

    wait_until(lambda: is_hole("spoke") and is_hole("hub"), PATIENCE, world.evidence)
    assert world.spoke.kernel().keys() == set(LEFT)
    world.hub.give(hub_plan())
    world.until_settled()


def report_of_bird(world: Fabric) -> dict[str, Any]:
    (found,) = (one for one in world.hub.report()["sessions"] if one["peer"] == f"n{BIRD}")
    return dict(found)
