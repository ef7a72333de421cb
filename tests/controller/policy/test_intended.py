"""What each viewer should use, and the words for what it does not."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.inventory.model import (
    Action,
    Allocation,
    Client,
    Inventory,
    Match,
    Prefix,
    PrefixMatch,
    Region,
    Rule,
    Site,
    Viewer,
)
from controller.policy import intended
from controller.policy.intended import Intent
from tests.controller.inventories import inventories, shuffled
from tests.controller.policy.intents import anycast, fabric, gateway, taken

HUB = gateway("hub-1", "core", role="hub")
BERLIN, PARIS = "10.1.1.0/24", "10.3.1.0/24"  # Of sites berlin, core, paris.


def tiers(inventory: Inventory, viewer: str, prefix: str, *failed: str) -> list[list[str]]:
    intent = Intent(inventory)
    route = intent.route(intent.members[viewer], ip_network(prefix), frozenset(failed))
    return [[source.key for source in tier] for tier in route.decision.tiers]


def beaten(inventory: Inventory, viewer: str, prefix: str) -> dict[str, str]:
    intent = Intent(inventory)
    route = intent.route(intent.members[viewer], ip_network(prefix))
    return {each.source.key: each.beaten for each in route.decision.candidates if each.tier != 1}


def two(*rules: Rule, **parts: object) -> Inventory:
    """Berlin with fibre and LTE, paris with a fibre."""
    berlin = gateway("berlin-1", "berlin", "fiber", "lte")
    return fabric(HUB, berlin, gateway("paris-1", "paris"), rules=rules, **parts)  # type: ignore[arg-type]


def test_the_better_class_is_used_and_the_other_waits() -> None:
    assert tiers(two(), "paris-1", BERLIN) == [["berlin-1/fiber"], ["berlin-1/lte"]]
    assert beaten(two(), "paris-1", BERLIN) == {"berlin-1/lte": "LOCAL_PREF 100 is lower than 200 of berlin-1/fiber"}


def test_what_has_failed_is_not_there() -> None:
    assert tiers(two(), "paris-1", BERLIN, "berlin-1/fiber") == [["berlin-1/lte"]]
    assert tiers(two(), "paris-1", BERLIN, "berlin-1/fiber", "berlin-1/lte") == []


@pytest.mark.parametrize("guarded", [True, False])
def test_a_default_route_leads_to_what_nobody_declared(guarded: bool) -> None:
    """Declared space is unreachable beneath everything, unless that is switched off."""
    inventory = two()
    assert inventory.fabric is not None
    intent = Intent(
        replace(
            inventory,
            fabric=replace(inventory.fabric, guard_default=guarded),
            allocations=(
                Allocation("berlin", ip_network("0.0.0.0/0"), 0),
                Allocation("berlin", ip_network("10.1.0.0/16"), 24),
            ),
            prefixes=(*inventory.prefixes, Prefix("berlin", ip_network("0.0.0.0/0"))),
        )
    )
    paris = intent.members["paris-1"]

    def prefix(address: str) -> str:
        route = taken(intent, paris, ip_address(address))
        return "" if route is None else str(route.prefix)

    assert (prefix("8.8.8.8"), prefix("10.1.1.1")) == ("0.0.0.0/0", BERLIN)
    assert prefix("10.1.77.1") == ("" if guarded else "0.0.0.0/0")


def test_equal_paths_are_used_together_up_to_max_paths() -> None:
    inventory = fabric(HUB, gateway("paris-1", "paris"), *(gateway(f"b-{n}", "berlin") for n in range(3)))
    assert tiers(inventory, "paris-1", BERLIN) == [["b-0/fiber", "b-1/fiber", "b-2/fiber"]]
    assert inventory.fabric is not None
    narrow = replace(inventory, fabric=replace(inventory.fabric, max_paths=2))
    assert tiers(narrow, "paris-1", BERLIN) == [["b-0/fiber", "b-1/fiber"], ["b-2/fiber"]]
    assert beaten(narrow, "paris-1", BERLIN) == {"b-2/fiber": "only 2 equal paths are used (max_paths of the fabric)"}
    ruled = replace(inventory, rules=(Rule("one", Action(max_paths=1), Match(sites=("berlin",))),))
    assert len(tiers(ruled, "paris-1", BERLIN)) == 3
    assert beaten(ruled, "paris-1", BERLIN)["b-1/fiber"] == "only 1 equal paths are used (max_paths of rule one)"


def test_at_most_four_tiers() -> None:
    berlin = gateway("berlin-1", "berlin", "fiber", "broadband", "lte", "satellite", "dark")
    five = replace(berlin, uplinks=tuple(replace(u, preference=90 - n) for n, u in enumerate(berlin.uplinks)))
    inventory = fabric(HUB, five, gateway("paris-1", "paris"))
    assert len(tiers(inventory, "paris-1", BERLIN)) == 4
    assert "LOCAL_PREF 86 is lower than 90" in beaten(inventory, "paris-1", BERLIN)["berlin-1/dark"]


def test_own_prefixes_beat_all() -> None:
    intent = Intent(anycast(two(), "10.99.0.0/24", "berlin", "paris"))
    route = intent.route(intent.members["berlin-1"], ip_network("10.99.0.0/24"))
    assert route.own
    assert not intent.route(intent.members["hub-1"], ip_network("10.99.0.0/24")).own


def test_an_import_rule_changes_the_preference_for_everybody() -> None:
    rule = Rule("lte-first", Action(preference=300), Match(circuit_classes=("lte",)))
    assert tiers(two(rule), "paris-1", BERLIN) == [["berlin-1/lte"], ["berlin-1/fiber"]]
    assert tiers(two(rule), "hub-1", BERLIN) == [["berlin-1/lte"], ["berlin-1/fiber"]]
    assert beaten(two(rule), "paris-1", BERLIN) == {
        "berlin-1/fiber": "LOCAL_PREF 200 is lower than 300 of berlin-1/lte (berlin-1/lte by lte-first)"
    }


def test_rules_come_in_order_and_last_stops() -> None:
    first = Rule("a", Action(preference=300, last=True), Match(circuit_classes=("lte",)), order=1)
    second = Rule("b", Action(preference=7), order=2)
    intent = Intent(two(second, first))
    found = intent.route(intent.members["paris-1"], ip_network(BERLIN)).decision.candidates
    assert {each.source.key: each.judged.preference for each in found} == {"berlin-1/lte": 300, "berlin-1/fiber": 7}


def test_rules_add_and_never_leave_the_range() -> None:
    less = two(Rule("less", Action(preference_add=-1000)), Rule("more", Action(preference_add=5)))
    intent = Intent(less)
    found = intent.route(intent.members["paris-1"], ip_network(BERLIN)).decision.candidates
    assert {each.judged.preference for each in found} == {6}


def test_what_is_drained_stays_last_whatever_rules_say() -> None:
    inventory = fabric(
        HUB,
        gateway("paris-1", "paris"),
        gateway("berlin-1", "berlin", "lte"),
        replace(gateway("berlin-2", "berlin"), drained=True),
        rules=[Rule("up", Action(preference=900), Match(gateways=("berlin-2",)))],
    )
    assert tiers(inventory, "paris-1", BERLIN) == [["berlin-1/lte"], ["berlin-2/fiber"]]
    assert beaten(inventory, "paris-1", BERLIN) == {
        "berlin-2/fiber": "berlin-2 is drained: LOCAL_PREF 0, whatever rules say"
    }


def test_a_rule_can_drain_and_no_rule_undrains() -> None:
    down = Rule("down", Action(add_communities=("65535:0",)), Match(circuit_classes=("fiber",)), order=1)
    up = Rule("up", Action(preference=900, remove_communities=("65535:0",)), order=2)
    assert tiers(two(down, up), "paris-1", BERLIN) == [["berlin-1/lte"], ["berlin-1/fiber"]]
    assert beaten(two(down), "paris-1", BERLIN) == {
        "berlin-1/fiber": "rule down gives it GRACEFUL_SHUTDOWN: LOCAL_PREF 0, whatever rules say"
    }


def test_a_denied_path_is_out_and_the_rule_is_named() -> None:
    denied = two(Rule("no-lte", Action(deny=True), Match(circuit_classes=("lte",))))
    assert tiers(denied, "paris-1", BERLIN) == [["berlin-1/fiber"]]
    assert beaten(denied, "paris-1", BERLIN) == {"berlin-1/lte": "rule no-lte denies it at the hubs"}


def test_rules_without_a_viewer_judge_what_clients_announce_and_a_hubs_own() -> None:
    denied = two(Rule("none", Action(deny=True)))
    assert tiers(denied, "paris-1", BERLIN) == []
    assert tiers(denied, "paris-1", "10.2.1.0/24") == []


def test_a_rule_with_a_viewer_acts_for_this_viewer_alone() -> None:
    rule = Rule("p", Action(deny=True), Match(circuit_classes=("lte",)), Viewer(sites=("paris",)))
    assert tiers(two(rule), "paris-1", BERLIN) == [["berlin-1/fiber"]]
    assert tiers(two(rule), "hub-1", BERLIN) == [["berlin-1/fiber"], ["berlin-1/lte"]]
    assert beaten(two(rule), "paris-1", BERLIN) == {"berlin-1/lte": "rule p denies it to this viewer"}


def test_a_prefix_match_is_of_these_prefixes_only() -> None:
    within = PrefixMatch(ip_network("10.1.0.0/16"), 24, 24)
    rule = Rule("p", Action(deny=True), Match(prefixes=(within,)))
    inventory = two(rule)
    assert tiers(inventory, "paris-1", BERLIN) == []
    assert tiers(inventory, "berlin-1", PARIS) == [["paris-1/fiber"]]


def test_communities_that_a_rule_adds_are_seen_by_later_ones() -> None:
    tag = Rule("tag", Action(add_communities=("65000:1",)), Match(circuit_classes=("lte",)), order=1)
    use = Rule("use", Action(preference=999), Match(communities=("65000:1",)), Viewer(), order=2)
    assert tiers(two(tag, use), "paris-1", BERLIN) == [["berlin-1/lte"], ["berlin-1/fiber"]]
    untag = Rule("untag", Action(remove_communities=("65000:1",)), order=1)
    assert tiers(two(tag, untag, use), "paris-1", BERLIN) == [["berlin-1/fiber"], ["berlin-1/lte"]]


REGIONS = [Site("berlin", "eu"), Site("paris", "eu"), Site("core", "eu"), Site("york", "us")]


def world(*rules: Rule, closed: str = "") -> Inventory:
    inventory = fabric(
        HUB, *(gateway(f"{site}-1", site) for site in ("berlin", "paris", "york")), sites=REGIONS, rules=rules
    )
    regions = tuple(Region(each.name, each.name == closed) for each in inventory.regions)
    return anycast(replace(inventory, regions=regions), "10.99.0.0/24", "berlin", "york")


def test_anycast_is_own_region_first_then_the_rest() -> None:
    assert tiers(world(), "paris-1", "10.99.0.0/24") == [["berlin-1/fiber"], ["york-1/fiber"]]
    assert beaten(world(), "paris-1", "10.99.0.0/24") == {
        "york-1/fiber": "LOCAL_PREF 200 is lower than 1000200 of berlin-1/fiber"
        " (berlin-1/fiber by anycast: own region first)"
    }


def test_a_closed_region_neither_tells_nor_learns_but_what_a_rule_opens() -> None:
    assert tiers(world(closed="us"), "paris-1", "10.4.1.0/24") == []
    assert tiers(world(closed="us"), "york-1", BERLIN) == []
    assert tiers(world(closed="us"), "paris-1", BERLIN) == [["berlin-1/fiber"]]
    opened = world(Rule("dns", Action(open=True), Match(sites=("york",))), closed="us")
    assert tiers(opened, "paris-1", "10.4.1.0/24") == [["york-1/fiber"]]
    assert tiers(opened, "york-1", BERLIN) == []
    assert beaten(opened, "york-1", BERLIN) == {"berlin-1/fiber": "region us is closed, and no rule opens it"}


def test_region_only_keeps_a_path_at_home() -> None:
    kept = world(Rule("home", Action(region_only=True, open=True), Match(sites=("berlin",))))
    assert tiers(kept, "paris-1", BERLIN) == [["berlin-1/fiber"]]
    assert beaten(kept, "york-1", BERLIN) == {"berlin-1/fiber": "rule home keeps it in its region, eu"}


def test_an_ebgp_client_loses_by_its_as_path_and_announces_what_its_site_declares() -> None:
    client = Client("frr", "lab", "fiber", asn=65010, address=ip_address("10.200.9.9"))
    inventory = two(clients=(client,))
    assert tiers(inventory, "paris-1", "10.3.1.0/24") == [["frr"]], "lab has no gateway: its client announces"
    both = anycast(inventory, "10.99.0.0/24", "berlin", "lab")
    assert tiers(both, "paris-1", "10.99.0.0/24") == [["berlin-1/fiber"], ["frr"], ["berlin-1/lte"]]
    assert beaten(both, "paris-1", "10.99.0.0/24")["frr"].startswith("AS_PATH is longer than that of berlin-1/fiber")


def test_med_decides_last() -> None:
    rule = Rule("med", Action(med=5), Match(gateways=("b-1",)))
    inventory = fabric(
        HUB, gateway("b-1", "berlin"), gateway("b-2", "berlin"), gateway("paris-1", "paris"), rules=[rule]
    )
    assert tiers(inventory, "paris-1", BERLIN) == [["b-2/fiber"], ["b-1/fiber"]]
    assert beaten(inventory, "paris-1", BERLIN) == {"b-1/fiber": "MED 5 is higher than 0 of another path from its AS"}


def test_an_address_takes_the_longest_prefix_that_may_be_used() -> None:
    inventory = two()
    wide = replace(inventory, prefixes=(*inventory.prefixes, Prefix("core", ip_network("10.0.0.0/8"))))
    hidden = replace(
        wide,
        rules=(Rule("h", Action(deny=True), Match(sites=("berlin",)), Viewer(sites=("paris",))),),
    )
    intent = Intent(hidden)

    def prefix(viewer: str, address: str) -> str:
        return str(getattr(taken(intent, intent.members[viewer], ip_address(address)), "prefix", None))

    assert (prefix("paris-1", "10.1.1.7"), prefix("hub-1", "10.1.1.7")) == ("10.0.0.0/8", BERLIN)
    assert (prefix("hub-1", "192.0.2.1"), prefix("hub-1", "2001:db8::1")) == ("None", "None")


def test_without_hubs_control_is_lost_and_not_reachability() -> None:
    intent = Intent(two())
    assert intent.control(frozenset()) == ""
    assert intent.control(frozenset({"hub-1/fiber"})) == (
        "no hub is left: routes stay as they are for 24 h and nobody learns new ones"
    )
    assert tiers(two(), "paris-1", BERLIN, "hub-1/fiber") == [["berlin-1/fiber"], ["berlin-1/lte"]]


@given(inventory=inventories(), seed=st.integers(0, 99))
def test_the_order_of_rows_means_nothing(inventory: Inventory, seed: int) -> None:
    from controller.inventory.allocate import allocate

    one = allocate(inventory, {})
    ours, other = Intent(one), Intent(shuffled(one, seed))
    for prefix in ours.groups:
        for name in ours.members:
            assert ours.route(ours.members[name], prefix) == other.route(other.members[name], prefix)


@pytest.mark.parametrize("missing", ["sites", "regions", "gateways", "allocations", "prefixes"])
def test_half_an_inventory_can_be_asked(missing: str) -> None:
    inventory = replace(world(closed="us"), **{missing: ()})
    intent = Intent(inventory)
    for prefix in intent.groups:
        for member in intent.members.values():
            intent.route(member, prefix)


def test_what_is_remembered_of_paths_and_decisions_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    inventory = two(Rule("far", Action(preference=50), viewer=Viewer(sites=("paris",))))
    before = Intent(inventory)
    monkeypatch.setattr(intended, "MEMO_LIMIT", 2)
    intent = Intent(inventory)
    for viewer in intent.members:
        for prefix in intent.groups:
            told = [each.route(each.members[viewer], prefix).decision.tiers for each in (before, intent)]
            assert told[0] == told[1]
            assert max(len(intent._viewed), len(intent._decisions)) <= 2
