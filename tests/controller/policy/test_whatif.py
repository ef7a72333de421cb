"""Failures and their effects: by example, and against a count of every single pair."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.inventory.allocate import allocate
from controller.inventory.model import Action, Inventory, Match, Rule, Site, Viewer, circuit_classes
from controller.policy.failures import Failures, NoSuchThing, Thing
from controller.policy.intended import Intent, Route
from controller.policy.whatif import Effect, Pair, WhatIf
from tests.controller.inventories import inventories
from tests.controller.policy.intents import anycast, fabric, gateway

HUB = gateway("hub-1", "core", role="hub", bandwidth=10)
SITES = [Site("berlin", "eu", provider="acme"), Site("paris", "eu", provider="acme"), Site("york", "us")]


def small(*rules: Rule) -> Inventory:
    """Berlin has two gateways, paris a fibre and an LTE, york one line."""
    return fabric(
        HUB,
        gateway("berlin-1", "berlin", bandwidth=10**9),
        gateway("berlin-2", "berlin", bandwidth=10**8),
        gateway("paris-1", "paris", "fiber", "lte"),
        gateway("york-1", "york"),
        sites=SITES,
        rules=rules,
    )


def fail(inventory: Inventory, *names: str, floor: str = "", limit: int = 100) -> Effect:
    question = WhatIf(inventory, floor)
    return question.effect([question.failures.named(name) for name in names], limit)


def pairs(found: tuple[Pair, ...]) -> set[tuple[str, str]]:
    return {(pair.source, pair.target) for pair in found}


def test_a_gateway_of_two_costs_redundancy_and_bandwidth() -> None:
    effect = fail(small(), "berlin-1")
    assert (effect.failed, effect.down, effect.lost.total) == (("gateway:berlin-1",), (), 0)
    others = ("core", "paris", "york")
    assert pairs(effect.thin.first) == {*product(["berlin"], others), *product(others, ["berlin"])}
    assert effect.thin.total == 6
    assert effect.thin.first[0] == Pair("berlin", "core", ("gateway", "uplink"))
    assert [(each.site, each.before, each.after) for each in effect.capacity] == [("berlin", 1_100_000_000, 10**8)]
    assert effect.control == ""


def test_the_only_gateway_takes_its_site_down() -> None:
    effect = fail(small(), "gateway:york-1")
    assert effect.down == ("york",)
    assert effect.lost.total == 6
    assert Pair("york", "berlin", ("10.1.1.0/24",)) in effect.lost.first
    assert Pair("berlin", "york", ("10.4.1.0/24",)) in effect.lost.first
    assert effect.thin.total == 0


def test_an_uplink_leaves_the_worse_one_and_the_floor_says_so() -> None:
    effect = fail(small(), "paris-1/fiber", floor="broadband")
    assert effect.below.total == effect.thin.total == 6
    assert set(effect.below.first) >= {Pair("paris", "york", ("lte",)), Pair("york", "paris", ("lte",))}
    assert fail(small(), "paris-1/fiber", floor="lte").below.total == 0


def test_a_provider_has_a_bad_day() -> None:
    effect = fail(small(), "provider:acme")
    assert effect.down == ("berlin", "paris")
    assert effect.lost.total == 4 * 3 - 2, "core and york still have each other"


def test_the_only_hub_is_a_loss_of_control_and_of_its_own_site() -> None:
    effect = fail(small(), "hub:hub-1")
    assert effect.control.startswith("no hub is left: routes stay as they are for 24 h")
    assert pairs(effect.lost.first) == {
        *product(["core"], ["berlin", "paris", "york"]),
        *product(["berlin", "paris", "york"], ["core"]),
    }


def test_several_at_once() -> None:
    assert fail(small(), "berlin-1", "berlin-2").down == ("berlin",)
    assert fail(small(), "region:us", "region:eu").lost.total == 12


def test_a_rule_may_leave_a_viewer_with_one_way() -> None:
    only = Rule("one", Action(deny=True), Match(gateways=("berlin-2",)), Viewer(sites=("york",)))
    effect = fail(small(only), "berlin-1")
    assert Pair("york", "berlin", ("10.1.1.0/24",)) in effect.lost.first
    assert effect.lost.total == 1
    assert ("york", "berlin") not in pairs(effect.thin.first)


def test_anycast_lives_while_one_site_does() -> None:
    inventory = anycast(small(), "10.99.0.0/24", "berlin", "york")
    effect = fail(inventory, "site:york")
    assert Pair("paris", "york", ("10.4.1.0/24",)) in effect.lost.first
    assert Pair("paris", "berlin", ("gateway",)) not in effect.thin.first, "berlin's two gateways are left"
    assert "10.99.0.0/24" in {
        what for pair in fail(inventory, "site:york", "site:berlin").lost.first for what in pair.what
    }


def test_a_site_whose_own_copy_has_failed_goes_to_the_others() -> None:
    inventory = anycast(small(), "10.99.0.0/24", "berlin", "york")
    inventory = replace(
        inventory,
        prefixes=tuple(
            replace(each, gateways=("berlin-1",)) if each.key == "berlin/global/10.99.0.0/24" else each
            for each in inventory.prefixes
        ),
    )
    assert Pair("berlin", "york", ("10.4.1.0/24", "10.99.0.0/24")) in fail(inventory, "berlin-1", "york-1").lost.first
    assert Pair("berlin", "york", ("10.4.1.0/24",)) in fail(inventory, "york-1").lost.first


def test_the_list_is_bounded_and_the_total_is_not() -> None:
    effect = fail(small(), "region:eu", limit=2)
    assert (effect.lost.total, len(effect.lost.first)) == (12, 2)


def test_each_is_the_worst_first_and_leaves_out_what_does_no_harm() -> None:
    question = WhatIf(small())
    found, harmful = question.each()
    assert harmful == len(found)
    assert found[0].failed == ("region:eu",)
    ranks = [effect.lost.total for effect in found]
    assert ranks == sorted(ranks, reverse=True)
    assert ("hub:hub-1",) not in [effect.failed for effect in found], "it is gateway:hub-1 already"
    assert question.each(most=2) == (found[:2], harmful)
    assert [effect.failed for effect in question.each([Thing("gateway", "york-1")])[0]] == [("gateway:york-1",)]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("berlin-1", "gateway:berlin-1"),
        ("paris-1/lte", "uplink:paris-1/lte"),
        ("york", "site:york"),
        ("hub-1", "gateway:hub-1"),
        ("hub:hub-1", "hub:hub-1"),
        ("acme", "provider:acme"),
    ],
)
def test_a_bare_name_is_enough_when_it_means_one_thing(name: str, found: str) -> None:
    assert str(Failures(small()).named(name)) == found


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("berlin-3", "there is nothing named 'berlin-3'; did you mean \"berlin-2\"?"),
        ("gateway:hub-2", "there is no gateway 'hub-2'; did you mean \"hub-1\"?"),
        ("router:x", "'router:x': there are no things of kind 'router'; there are gateway, uplink"),
        ("us", "'us' can be region:us or site:us: say which"),
    ],
)
def test_a_name_that_does_not_say_what_is_meant(name: str, says: str) -> None:
    inventory = small()
    inventory = replace(inventory, sites=(*inventory.sites, Site("us", "us")))
    with pytest.raises(NoSuchThing) as caught:
        Failures(inventory).named(name)
    assert says in str(caught.value)


def test_nothing_stands_on_nothing() -> None:
    assert Failures(Inventory()).things() == []
    assert WhatIf(Inventory()).each() == ([], 0)


REGIONAL = (
    Rule("eu-first", Action(preference_add=50), Match(regions=("eu",)), Viewer(regions=("eu",))),
    Rule("no-lte", Action(deny=True), Match(circuit_classes=("lte",)), Viewer(tags=("dc",))),
)


@given(
    inventory=inventories(clients=2),
    ruled=st.booleans(),
    shared=st.booleans(),
    picks=st.lists(st.integers(0, 1000), min_size=1, max_size=2),
)
def test_totals_are_those_of_counting_every_pair(
    inventory: Inventory, ruled: bool, shared: bool, picks: list[int]
) -> None:
    if shared:
        inventory = anycast(inventory, "10.99.0.0/24", *(site.name for site in inventory.sites[:2]))
    inventory = allocate(replace(inventory, rules=REGIONAL if ruled else ()))
    question = WhatIf(inventory, "broadband")
    things = question.failures.things()
    chosen = sorted({things[pick % len(things)] for pick in picks})
    effect = question.effect(chosen, 10_000)
    expected = counted(inventory, question.failures.fallen(chosen), "broadband")
    for found, wanted in zip((effect.lost, effect.thin, effect.below), expected, strict=True):
        assert pairs(found.first) == wanted
        assert (found.total, len(found.first)) == (len(wanted), len(wanted))


def counted(inventory: Inventory, failed: frozenset[str], floor: str) -> list[set[tuple[str, str]]]:
    """Lost, thin and below, the slow way: every pair of sites, every prefix."""
    intent, least = Intent(inventory), circuit_classes(inventory)[floor].preference
    lost, thin, below = set(), set(), set()
    for source, target in product(intent.of_site, {prefix.site for prefix in inventory.prefixes}):
        if source == target:
            continue
        prefixes = [prefix for prefix in intent.groups if target in intent.sites_of[prefix]]
        before = [reach(intent, source, prefix, frozenset()) for prefix in prefixes]
        after = [reach(intent, source, prefix, failed) for prefix in prefixes]
        both = [(b, a) for b, a in zip(before, after, strict=True) if b is not None]
        if not both:
            continue
        near_before, near_after = near(intent, source, frozenset()), near(intent, source, failed)
        if any(a is None for _, a in both):
            lost.add((source, target))
            continue
        sides = [(near_before, near_after), *both]
        if any(b[n] > 1 == a[n] for b, a in sides if a is not None and b is not None for n in range(3)):
            thin.add((source, target))
        if any(b[3] >= least > a[3] for b, a in sides if a is not None and b is not None):
            below.add((source, target))
    return [lost, thin, below]


Numbers = tuple[int, int, int, int]
"""Gateways, uplinks, providers, and the preference of the class that counts."""


def near(intent: Intent, site: str, failed: frozenset[str]) -> Numbers | None:
    left = [s for member in intent.of_site[site] for s in member.sources if s.key not in failed]
    if not left:
        return None
    return len({s.origin.member for s in left}), len(left), 0, max(s.class_preference for s in left)


def reach(intent: Intent, site: str, prefix: object, failed: frozenset[str]) -> Numbers | None:
    """None: no way."""
    if near(intent, site, failed) is None:
        return None
    route: Route = intent.route(intent.of_site[site][0], prefix, failed)  # type: ignore[arg-type]
    sources = [each.source for each in route.decision.allowed]
    announced = intent.groups[prefix].sources  # type: ignore[index]
    if any(source.origin.site == site and source.key not in failed for source in announced):
        return (10**6,) * 3 + (10**6,)
    if not sources:
        return None
    gateways, providers = {s.origin.member for s in sources}, {s.provider for s in sources}
    worst = min(source.class_preference for source in route.decision.tiers[0])
    return len(gateways), len(sources), len(providers), worst
