"""Rules, views and limits in a router: what a changed plan does, and what people are told."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from speaker.agent import answers
from speaker.agent.limits import warning_of
from speaker.plan import Plan, PolicyPlan, PrefixRangePlan, PrefixSetPlan, StepPlan
from speaker.rib.facts import facts_of
from speaker.rib.limits import LimitState
from speaker.rib.prefix import Family, Key
from tests.speaker.agent.test_router import BERLIN, HUB, PARIS, Bench, plan, run, session

SETS = (PrefixSetPlan(1, (PrefixRangePlan("10.1.1.0/24", 24, 24),)),)
DENY = PolicyPlan(1, (StepPlan("not-here", prefix_set=1, deny=True),))
BLIND = PolicyPlan(2, (StepPlan("nothing", deny=True),))


def hub_plan(*, policy: int = 0, limit: int = 0, own_view: int = 0) -> Plan:
    berlin = session(BERLIN, "client", 1)
    assert berlin.imports is not None
    hops = tuple(replace(hop, policy=policy) for hop in berlin.imports.next_hops)
    berlin = replace(berlin, imports=replace(berlin.imports, next_hops=hops, max_prefixes=limit))
    made = plan(HUB, [berlin, session(PARIS, "client", 2)])
    return replace(made, prefix_sets=SETS, policies=(DENY, BLIND), own_view=own_view)


def give(hub: Bench, changed: Plan) -> None:
    hub.router.apply(changed, facts_of(changed))


def a_hub(**fields: int) -> Bench:
    hub = Bench(hub_plan(**fields))
    for peer in (BERLIN, PARIS):
        hub.up(peer)
        hub.says_all(peer)
    return hub


class NothingInstalled:
    def installed(self, family: Family, key: Key) -> bool:  # noqa: ARG002
        return False


async def routes(hub: Bench, prefix: str) -> list[dict[str, Any]]:
    answer = await answers.routes({"prefix": prefix}, hub.router.rib, NothingInstalled())
    found: list[dict[str, Any]] = answer["routes"]
    return found


def test_a_changed_rule_judges_again_what_was_announced_before() -> None:
    async def story() -> None:
        hub = a_hub()
        hub.says(BERLIN, "10.1.1.0/24", "10.1.2.0/24")
        await hub.settle()
        hub.heard(PARIS)
        give(hub, hub_plan(policy=1))
        await hub.settle()
        assert hub.heard(PARIS) == [("withdraw", 2, "10.1.1.0/24")]
        assert hub.fib.routes.keys() == {"10.1.2.0/24"}
        give(hub, hub_plan())
        await hub.settle()
        assert hub.heard(PARIS) == [("announce", 2, "10.1.1.0/24")]

    run(story())


def test_a_filtered_path_is_shown_with_rule_words_and_number() -> None:
    async def story() -> None:
        hub = a_hub(policy=1)
        hub.says(BERLIN, "10.1.1.0/24", "10.1.2.0/24")
        await hub.settle()
        (filtered,), (used,) = await routes(hub, "10.1.1.0/24"), await routes(hub, "10.1.2.0/24")
        assert (filtered["rejected"], filtered["reason"]) == ("denied-by-rule", "a rule denies it")
        assert (filtered["rules"], filtered["best"]) == (["not-here"], False)
        assert filtered["communities"] == ["64512:4:2", "64512:9:15"]
        assert (used["rejected"], used["reason"], used["rules"]) == ("", "", [])
        assert used["communities"] == ["64512:4:2"]

    run(story())


def test_the_kernel_follows_the_own_view_and_the_clients_do_not() -> None:
    async def story() -> None:
        hub = a_hub()
        hub.says(BERLIN, "10.1.1.0/24", "10.1.2.0/24")
        await hub.settle()
        hub.heard(PARIS)
        give(hub, hub_plan(own_view=1))
        await hub.settle()
        assert hub.fib.routes.keys() == {"10.1.2.0/24"}
        assert hub.heard(PARIS) == []
        give(hub, hub_plan())
        await hub.settle()
        assert hub.fib.routes.keys() == {"10.1.1.0/24", "10.1.2.0/24"}

    run(story())


def test_what_goes_while_the_kernel_is_led_to_another_view_goes_there_too() -> None:
    async def story() -> None:
        hub = a_hub()
        hub.says(BERLIN, "10.1.1.0/24", "10.1.2.0/24")
        await hub.settle()
        give(hub, hub_plan(own_view=2))
        hub.says(BERLIN, withdrawn=["10.1.1.0/24", "10.1.2.0/24"])  # Hidden by the view that the kernel knows not yet.
        await hub.settle()
        assert hub.fib.routes == {}

    run(story())


def test_a_client_near_its_limit_and_beyond_is_named_once_and_again_after_it_was_well_below() -> None:
    async def story() -> None:
        hub = a_hub(limit=20)
        some = [f"10.1.{n}.0/24" for n in range(22)]

        async def said(*prefixes: str, withdrawn: list[str] | None = None) -> list[str]:
            with capture_logs() as logs:
                hub.says(BERLIN, *prefixes, withdrawn=withdrawn or [])
                await hub.settle()
            return [str(each["says"]) for each in logs if each["event"] == "many prefixes"]

        near, beyond = "16 of 20 prefixes: 80 %", "limit of 20 prefixes reached, 2 more are kept as filtered"
        assert await said(*some[:15]) == []
        assert await said(some[15]) == [near]
        assert await said(withdrawn=some[:1]) == []
        assert await said(some[0]) == [], "it was not well below meanwhile"
        assert await said(*some[16:]) == [beyond]
        assert await said(withdrawn=some[:2]) == []
        assert await said(*some[:2]) == []
        assert await said(withdrawn=some[:8]) == []
        assert await said(*some[:8]) == [beyond]
        assert len(hub.fib.routes) == 20

    run(story())


def test_what_was_only_counted_is_asked_for_when_there_is_room() -> None:
    async def story() -> None:
        hub = a_hub(limit=1)
        hub.router.rib._limits._most_filtered = 1
        hub.says(BERLIN, "10.1.1.0/24", "10.1.2.0/24", "10.1.3.0/24")
        await hub.settle()
        hub.heard(BERLIN)
        hub.says(BERLIN, withdrawn=["10.1.1.0/24", "10.1.2.0/24"])
        await hub.settle()
        await hub.settle()
        assert [each for each in hub.heard(BERLIN) if each[0] == "request"] == [("request", "ipv4")]

    run(story())


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (LimitState(0, 5000, 0, 0), ""),
        (LimitState(10, 7, 0, 0), ""),
        (LimitState(10, 8, 0, 0), "8 of 10 prefixes: 80 %"),
        (LimitState(1000, 1000, 23, 0), "limit of 1,000 prefixes reached, 23 more are kept as filtered"),
        (LimitState(0, 3, 0, 1234), "1,234 refused announcements were counted only"),
        (
            LimitState(1, 1, 2, 3),
            "limit of 1 prefixes reached, 2 more are kept as filtered; 3 refused announcements were counted only",
        ),
    ],
)
def test_the_words_of_a_warning(state: LimitState, words: str) -> None:
    assert warning_of(state) == words
