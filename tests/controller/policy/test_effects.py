"""What a change does to routes, by example and against every single site and prefix."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

from hypothesis import given
from hypothesis import strategies as st

from controller.inventory.allocate import allocate
from controller.inventory.model import Action, Inventory, Match, Network, Rule, Viewer
from controller.policy.effects import AT_HOME, PathChange, path_changes
from controller.policy.intended import Intent
from tests.controller.inventories import inventories
from tests.controller.policy.intents import anycast, fabric, gateway

FIBER, LTE = ("berlin-1/fiber",), ("berlin-1/lte",)


def small(*rules: Rule) -> Inventory:
    names = [gateway(f"{site}-1", site) for site in ("paris", "rome", "york")]
    berlin = gateway("berlin-1", "berlin", "fiber", "lte")
    return fabric(gateway("hub-1", "core", role="hub"), berlin, *names, rules=rules)


def test_nothing_changes_when_only_rows_do() -> None:
    assert path_changes(small(), small(Rule("none", Action(preference_add=1)))).routes == 0


def test_a_rule_moves_the_traffic_of_its_viewers() -> None:
    rule = Rule("lte", Action(preference=900), Match(circuit_classes=("lte",)), Viewer(sites=("paris", "york")))
    found = path_changes(small(), small(rule))
    assert found.first == (PathChange("10.1.1.0/24", ("berlin",), ("paris", "york"), 0, FIBER, LTE),)
    assert (found.routes, found.pairs, found.more) == (2, 2, 0)


def test_a_prefix_that_comes_or_goes() -> None:
    less = replace(small(), prefixes=small().prefixes[1:])
    found = path_changes(small(), less)
    assert found.first[0] == PathChange("10.1.1.0/24", ("berlin",), ("core", "paris", "rome", "york"), 0, FIBER, ())
    assert found.first[1] == PathChange("10.1.1.0/24", ("berlin",), ("berlin",), 0, AT_HOME, ())
    assert path_changes(less, small()).routes == 5


def test_the_list_is_bounded_and_says_how_many_more() -> None:
    found = path_changes(Inventory(), small(), limit=3)
    assert (len(found.first), found.routes, found.pairs) == (3, 25, 20)
    assert found.more == 7, "for each prefix one row of those who come by the fabric, and one of the site itself"
    wide = fabric(gateway("hub-1", "core", role="hub"), *(gateway(f"g{n}", f"s{n}") for n in range(9)))
    assert path_changes(Inventory(), wide, limit=1).first[0].more_sites == 4


@given(inventory=inventories(clients=2), shared=st.booleans(), change=st.integers(0, 3))
def test_it_is_what_comparing_every_site_and_prefix_gives(inventory: Inventory, shared: bool, change: int) -> None:
    if shared:
        inventory = anycast(inventory, "10.99.0.0/24", *(site.name for site in inventory.sites[:2]))
    before = allocate(inventory)
    rule = Rule("r", Action(preference=600), Match(circuit_classes=("lte",)), Viewer(regions=("eu",)))
    after = [
        replace(before, rules=(rule,)),
        replace(before, gateways=before.gateways[:-1]),
        replace(before, prefixes=before.prefixes[1:]),
        replace(before, clients=()),
    ][change]
    routes, pairs = compared(Intent(before), Intent(after))
    found = path_changes(before, after, 10_000)
    assert (found.routes, found.pairs, found.more) == (len(routes), len(pairs), 0)
    listed = {(each.prefix, site) for each in found.first for site in each.sites}
    assert listed == {(str(prefix), site) for site, prefix in routes}


def compared(old: Intent, new: Intent) -> tuple[set[tuple[str, Network]], set[tuple[str, str]]]:
    routes, pairs = set(), set()
    for site in old.of_site.keys() | new.of_site.keys():
        for prefix in old.groups.keys() | new.groups.keys():
            if used(old, site, prefix) != used(new, site, prefix):
                routes.add((site, prefix))
                targets = old.sites_of.get(prefix, set()) | new.sites_of.get(prefix, set())
                pairs |= {(site, target) for target in targets if target != site}
    return routes, pairs


def used(intent: Intent, site: str, prefix: Network) -> set[str]:
    if site not in intent.of_site or prefix not in intent.groups:
        return set()
    if any(source.origin.site == site for source in intent.groups[prefix].sources):
        return {"home"} if site in intent.sites_of[prefix] else set()
    tiers = intent.route(intent.of_site[site][0], ip_network(prefix)).decision.tiers
    return {source.key for source in tiers[0]} if tiers else set()
