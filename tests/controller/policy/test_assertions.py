"""Assertions: what breaks one, in words; and which of several changes did it."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

import pytest

from controller.inventory.model import (
    Action,
    Assertion,
    CircuitClass,
    Client,
    Inventory,
    Match,
    Rule,
    Site,
    Viewer,
    objects,
)
from controller.policy.assertions import Broken, Verdict, broken, judge
from tests.controller.policy.intents import anycast, fabric, gateway

SITES = [Site("berlin", "eu", provider="acme"), Site("dc", "eu", provider="bolt"), Site("york", "us", provider="acme")]


def small(*assertions: Assertion, rules: tuple[Rule, ...] = ()) -> Inventory:
    """10.1 berlin (fibre and LTE), 10.2 core (two hubs), 10.3 dc (two gateways), 10.4 york."""
    return fabric(
        gateway("hub-1", "core", role="hub"),
        gateway("hub-2", "core", role="hub"),
        gateway("berlin-1", "berlin", "fiber", "lte"),
        gateway("dc-1", "dc"),
        gateway("dc-2", "dc"),
        gateway("york-1", "york"),
        sites=SITES,
        rules=rules,
        assertions=assertions,
    )


def breaks(assertion: Assertion, *rules: Rule) -> tuple[str, ...]:
    found = broken(small(assertion, rules=rules))
    return found[0].what if found else ()


DC = ip_network("10.3.1.0/24")
HIDE = Rule("hide-dc", Action(deny=True), Match(sites=("dc",)), Viewer(regions=("us",)))


def test_without_assertions_nothing_is_asked() -> None:
    assert broken(Inventory()) == []


def test_reaches() -> None:
    reaches = Assertion("to-dc", sites=("berlin", "york"), prefix=DC, reaches=True)
    assert breaks(reaches) == ()
    assert breaks(reaches, HIDE) == ("york does not reach 10.3.1.0/24 (rule hide-dc denies it to this viewer)",)
    assert breaks(replace(reaches, prefix=ip_network("10.3.1.128/25"))) == (), "a route that contains it is one"
    assert breaks(replace(reaches, sites=("dc",), prefix=DC), replace(HIDE, viewer=None)) == (), "its own"
    nowhere = replace(reaches, sites=("berlin",), prefix=ip_network("192.0.2.0/24"))
    assert breaks(nowhere) == ("berlin does not reach 192.0.2.0/24 (nobody announces it)",)


def test_reaches_everything() -> None:
    assert breaks(Assertion("all", reaches=True)) == ()
    assert breaks(Assertion("all", reaches=True), HIDE) == (
        "york does not reach 10.3.1.0/24 (rule hide-dc denies it to this viewer)",
    )


def test_never_over_counts_paths_that_only_wait() -> None:
    never = Assertion("no-lte", sites=("york",), never_over=("lte",))
    assert breaks(never) == ("york may use berlin-1/lte (lte) to 10.1.1.0/24",)
    assert breaks(never, Rule("deny", Action(deny=True), Match(circuit_classes=("lte",)))) == ()
    assert breaks(replace(never, prefix=DC)) == ()
    assert breaks(replace(never, sites=("berlin",))) == (), "its own prefix does not cross the fabric"


def test_never_over_counts_the_uplink_that_the_site_itself_sends_by() -> None:
    plain = small(Assertion("no-lte", sites=("berlin", "york"), prefix=DC, never_over=("lte",)))
    assert broken(plain) == [], "its best is fibre; what it falls back to no rule could prevent"
    best = replace(plain, circuit_classes=(CircuitClass("lte", 300),))
    assert broken(best)[0].what == ("berlin sends by berlin-1/lte (lte)",)
    only = replace(plain.gateways[2], uplinks=plain.gateways[2].uplinks[1:])
    alone = replace(plain, gateways=tuple(only if each.name == only.name else each for each in plain.gateways))
    assert broken(alone)[0].what == ("berlin sends by berlin-1/lte (lte)",)
    assert [each.assertion for each in verdict(plain, best).new] == ["no-lte"]
    assert verdict(best, plain).new == (), "who mends it is not refused"


def test_who_has_no_route_there_sends_nothing_over_it() -> None:
    never = Assertion("no-fiber", sites=("york",), prefix=DC, never_over=("fiber",))
    far = Rule("far", Action(deny=True), Match(circuit_classes=("fiber",)), Viewer(sites=("york",)))
    assert "york sends by york-1/fiber (fiber)" in breaks(never)
    assert breaks(never, far) == ()
    assert breaks(replace(never, prefix=ip_network("10.4.1.0/24"))) == (), "it is at home there"


def test_a_hub_sends_by_its_primary_and_a_client_by_its_only_line() -> None:
    inventory = fabric(
        gateway("hub-1", "core", "satellite", "fiber", role="hub"),
        gateway("dc-1", "dc"),
        sites=SITES,
        clients=(Client("york-frr", "york", "satellite"), Client("core-frr", "core", "lte")),
        assertions=(Assertion("never", sites=("core", "york"), prefix=DC, never_over=("satellite", "lte")),),
    )
    assert broken(inventory)[0].what == (
        "core sends by hub-1/satellite (satellite)",
        "york sends by york-frr (satellite)",
    ), "a site is spoken for by its gateways, and by clients where it has none"


def test_survives_between_sites() -> None:
    def survives(kind: str, *sites: str) -> tuple[str, ...]:
        return breaks(Assertion("s", sites=sites, survives=kind))

    assert survives("gateway", "dc", "core") == ()
    assert survives("gateway", "dc", "york") == ("without gateway:york-1 york has no gateway left",)
    assert survives("uplink", "berlin", "dc") == ()
    assert survives("hub") == ()
    assert survives("provider") == ()
    kept = Rule("one", Action(deny=True), Match(gateways=("dc-2",)), Viewer(sites=("core",)))
    assert breaks(Assertion("s", sites=("dc", "core"), survives="gateway"), kept) == (
        "without gateway:dc-1 core does not reach 10.3.1.0/24 of dc",
    )


def test_survives_to_a_prefix() -> None:
    inventory = anycast(small(), "10.99.0.0/24", "dc", "york")
    to = Assertion("s", sites=("core",), prefix=ip_network("10.99.0.0/24"), survives="provider")
    assert broken(replace(inventory, assertions=(to,))) == []
    only = Assertion("s", sites=("core",), prefix=ip_network("10.4.1.0/24"), survives="gateway")
    assert broken(replace(inventory, assertions=(only,)))[0].what == (
        "without gateway:york-1 core does not reach 10.4.1.0/24",
    )


def test_a_hub_that_is_the_last_one() -> None:
    inventory = small(Assertion("s", sites=("berlin", "dc"), survives="hub"))
    one = replace(inventory, gateways=tuple(each for each in inventory.gateways if each.name != "hub-2"))
    by_gateway = replace(one, assertions=(Assertion("s", sites=("dc",), survives="gateway"),))
    assert broken(by_gateway) == [], "control is lost, and no reach"
    assert broken(one)[0].what == (
        "without hub:hub-1 no hub is left: routes stay as they are for 24 h and nobody learns new ones",
    )


def test_a_site_without_gateways_holds_nothing() -> None:
    assert breaks(Assertion("s", sites=("rome",), prefix=DC, reaches=True)) == ("rome has no gateway",)


TO_DC = Assertion("to-dc", sites=("york",), prefix=DC, reaches=True)
HARMLESS = Rule("harmless", Action(preference_add=1))


def verdict(before: Inventory, after: Inventory) -> Verdict:
    old, new = ({each.label: each for each in objects(inventory)} for inventory in (before, after))
    return judge(before, after, [each for label, each in (old | new).items() if old.get(label) != new.get(label)])


def test_the_change_that_broke_it_is_named_and_no_other() -> None:
    found = verdict(small(TO_DC), small(TO_DC, rules=(HARMLESS, HIDE)))
    assert found.old == ()
    assert [(each.assertion, each.by) for each in found.new] == [("to-dc", ("rule hide-dc",))]


def test_a_single_change_is_the_culprit() -> None:
    before = small(TO_DC)
    after = replace(before, prefixes=tuple(each for each in before.prefixes if each.site != "dc"))
    assert [each.by for each in verdict(before, after).new] == [("prefix dc/global/10.3.1.0/24",)]


def test_two_that_only_together_break_it_are_both_named() -> None:
    halves = (
        Rule("one", Action(deny=True), Match(gateways=("dc-1",))),
        Rule("two", Action(deny=True), Match(gateways=("dc-2",))),
    )
    assert verdict(small(TO_DC), small(TO_DC, rules=halves)).new[0].by == ("rule one", "rule two")
    whole = (HIDE, replace(HIDE, name="hide-it-again"))
    found = verdict(small(TO_DC), small(TO_DC, rules=whole))
    assert found.new[0].by == ("rule hide-dc", "rule hide-it-again"), "neither alone can be taken back"


def test_what_was_broken_before_is_no_fault_of_this_change() -> None:
    found = verdict(small(TO_DC, rules=(HIDE,)), small(TO_DC, rules=(HIDE, HARMLESS)))
    assert (found.new, [each.assertion for each in found.old]) == ((), ["to-dc"])


def test_what_was_broken_before_and_breaks_in_more_places_is() -> None:
    wide = replace(TO_DC, sites=("berlin", "york"))
    worse = Rule("hide-more", Action(deny=True), Match(sites=("dc",)), Viewer(sites=("berlin",)))
    found = verdict(small(wide, rules=(HIDE,)), small(wide, rules=(HIDE, worse)))
    assert [each.by for each in found.new] == [("rule hide-more",)]


def test_a_new_assertion_that_does_not_hold_is_its_own_culprit() -> None:
    found = verdict(small(rules=(HIDE,)), small(TO_DC, rules=(HIDE,)))
    assert found.new == (
        Broken(
            "to-dc", ("york does not reach 10.3.1.0/24 (rule hide-dc denies it to this viewer)",), ("assertion to-dc",)
        ),
    )


@pytest.mark.parametrize("kind", ["gateway", "uplink", "hub", "provider"])
def test_every_kind_of_failure_is_known(kind: str) -> None:
    broken(small(Assertion("s", survives=kind), Assertion("t", prefix=DC, survives=kind)))
