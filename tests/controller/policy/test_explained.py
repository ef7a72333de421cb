"""What explain says of the inventory, and how a gateway's answer differs from it, word for word."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.inventory.model import Action, Inventory, Match, Rule, Site, Viewer
from controller.policy.answered import AnswerUnreadable, read
from controller.policy.differences import differences
from controller.policy.explained import Intended, intended
from controller.policy.intended import Intent
from tests.controller.inventories import inventories
from tests.controller.policy.intents import fabric, gateway, taken

HUB = gateway("hub-1", "core", role="hub")
BERLIN = "10.1.1.7"  # Of sites berlin, core, paris.


def two(*rules: Rule, **parts: object) -> Inventory:
    """Berlin with fibre and LTE, paris with a fibre."""
    berlin = gateway("berlin-1", "berlin", "fiber", "lte")
    return fabric(HUB, berlin, gateway("paris-1", "paris"), rules=rules, **parts)  # type: ignore[arg-type]


def at(inventory: Inventory, viewer: str = "paris-1", address: str = BERLIN) -> Intended:
    intent = Intent(inventory)
    return intended(intent, intent.members[viewer], ip_address(address))


def names(inventory: Inventory) -> dict[str, str]:
    return {
        str(source.address): source.key for member in Intent(inventory).members.values() for source in member.sources
    }


def verdict(found: Intended) -> tuple[str, str]:
    return found.what, found.prefix


def test_the_paths_their_preferences_and_what_beat_them() -> None:
    bad_line = Rule("bad-line", match=Match(circuit_classes=("lte",)), action=Action(preference_add=-30))
    found = at(two(bad_line))
    assert verdict(found) == ("route", "10.1.1.0/24")
    assert found.text == "over berlin-1/fiber"
    assert found.taken is not None
    assert found.taken.sites == ("berlin",)
    assert found.taken.tiers == (("berlin-1/fiber",), ("berlin-1/lte",))
    fiber, lte = found.taken.paths
    assert (fiber.tier, fiber.base, fiber.preference, fiber.why) == (1, 200, 200, "")
    assert (lte.tier, lte.base, lte.preference, lte.preferred_by) == (2, 100, 70, ("bad-line",))
    assert lte.why == "LOCAL_PREF 70 is lower than 200 of berlin-1/fiber (berlin-1/lte by bad-line)"


def test_what_is_not_routed_is_named() -> None:
    inventory = two()
    assert verdict(at(inventory, "berlin-1")) == ("own", "10.1.1.0/24")
    assert verdict(at(inventory, address="10.1.2.1")) == ("declared", "10.1.0.0/16")
    assert verdict(at(inventory, address="10.200.99.99")) == ("segment", "10.200.0.0/16")
    own = inventory.gateways[-1].uplinks[0].address
    assert verdict(at(inventory, inventory.gateways[-1].name, str(own))) == ("itself", f"{own}/32")
    assert verdict(at(inventory, address="192.0.2.1")) == ("none", "")
    assert verdict(at(inventory, address="2001:db8::1")) == ("none", "")
    assert inventory.fabric is not None
    open_ground = replace(inventory, fabric=replace(inventory.fabric, guard_default=False))
    assert verdict(at(open_ground, address="10.1.2.1")) == ("none", "")


def test_what_nobody_may_use_leaves_the_address_to_the_reject() -> None:
    deny = Rule("shut", viewer=Viewer(sites=("paris",)), match=Match(sites=("berlin",)), action=Action(deny=True))
    found = at(two(deny))
    assert verdict(found) == ("declared", "10.1.0.0/16")
    assert [(each.prefix, each.what) for each in found.prefixes] == [
        ("10.1.1.0/24", "unused"),
        ("10.1.0.0/16", "declared"),
    ]
    assert {path.why for path in found.prefixes[0].paths} == {"rule shut denies it to this viewer"}


@given(inventory=inventories(), number=st.integers(0, 2**32 - 1))
def test_any_inventory_is_explained_in_the_order_of_the_kernel(inventory: Inventory, number: int) -> None:
    intent = Intent(inventory)
    addresses = [IPv4Address(number), *(prefix.network_address for prefix in intent.groups)]
    for address in addresses:
        for member in intent.members.values():
            found = intended(intent, member, address)
            lengths = [ip_network(each.prefix).prefixlen for each in found.prefixes]
            assert lengths == sorted(lengths, reverse=True)
            assert sum(each.taken for each in found.prefixes) == (found.what != "none")
            route = taken(intent, member, address)
            if found.what in ("own", "route"):
                assert route is not None
                assert found.prefix == str(route.prefix)


# Live


def live(found: Intended) -> dict[str, Any]:
    """The answer of a gateway that does as intended."""
    prefix = found.taken
    assert prefix is not None
    hop = {path.uplink: path.next_hop for path in prefix.paths}
    paths: list[dict[str, Any]] = [
        {
            "next_hop": path.next_hop,
            "local_pref": path.preference,
            "stale": False,
            "tier": path.tier,
            "step": "LOCAL_PREF" if path.tier != 1 else "",
            "why": "",
            "seen": {},
            "path_id": 1,
        }
        for path in prefix.paths
        if not path.denied
    ]
    fields = {
        "prefix": prefix.prefix,
        "what": "route",
        "text": "installed",
        "taken": True,
        "kernel": {"state": "group", "moving": False, "refused": "", "ways": []},
        "tiers": [[{"next_hop": hop[each], "state": "usable"} for each in tier] for tier in prefix.tiers],
        "paths": paths,
    }
    ways = [
        {"interface": "zt0", "address": hop[each], "label": None, "towards": [hop[each]], "detour": False}
        for each in prefix.tiers[0]
    ]
    said = {"what": fields["what"], "prefix": prefix.prefix, "text": fields["text"], "ways": ways}
    return {"address": BERLIN, "verdict": said, "prefixes": [fields]}


def said(inventory: Inventory, answer: dict[str, Any], viewer: str = "paris-1") -> list[str]:
    return differences(at(inventory, viewer), read(answer), names(inventory))


def test_nothing_differs_when_all_is_as_intended() -> None:
    inventory = two()
    assert said(inventory, live(at(inventory))) == []


@pytest.mark.parametrize(("what", "prefix"), [("connected", "10.1.0.0/20"), ("itself", f"{BERLIN}/32")])
def test_a_lan_that_is_attached_is_its_own(what: str, prefix: str) -> None:
    answer = {"verdict": {"what": what, "prefix": prefix, "text": "", "ways": []}, "prefixes": []}
    assert said(two(), answer, "berlin-1") == []


def edited(number: int, **fields: Any) -> Any:
    def edit(answer: dict[str, Any]) -> None:
        answer["prefixes"][0]["paths"][number].update(fields)

    return edit


def lost(answer: dict[str, Any]) -> None:
    del answer["prefixes"][0]["paths"][0]


def dead(answer: dict[str, Any]) -> None:
    answer["prefixes"][0]["tiers"][0][0]["state"] = "dead"


def silent(number: int, chosen: int, manner: str) -> Any:
    def edit(answer: dict[str, Any]) -> None:
        prefix = answer["prefixes"][0]
        prefix["tiers"][number - 1][0].update(state="silent", ways=[])
        prefix["chosen"] = {"tier": chosen, "manner": manner}

    return edit


def refused(answer: dict[str, Any]) -> None:
    answer["prefixes"][0]["kernel"]["refused"] = "Route exists"


def strange(answer: dict[str, Any]) -> None:
    path = {**answer["prefixes"][0]["paths"][0], "next_hop": "10.200.7.7"}
    answer["prefixes"][0]["paths"].append(path)


def detour(answer: dict[str, Any]) -> None:
    (way,) = answer["verdict"]["ways"]
    way.update(address="10.200.7.7", detour=True)


def gone(answer: dict[str, Any]) -> None:
    answer["prefixes"] = []
    answer["verdict"] = {"what": "declared", "prefix": "10.1.0.0/16", "text": "declared space: unreachable", "ways": []}


CASES = [
    (lost, ["the path over berlin-1/fiber is missing"]),
    (
        edited(0, step="refused", why="a rule denies it", tier=0),
        ["the path over berlin-1/fiber is not used: a rule denies it"],
    ),
    (edited(1, tier=1), ["the path over berlin-1/lte is in tier 1, and should be in tier 2"]),
    (edited(1, local_pref=50), ["the path over berlin-1/lte has LOCAL_PREF 50, and should have 100"]),
    (edited(1, seen={"local_pref": 60}), ["the path over berlin-1/lte has LOCAL_PREF 60, and should have 100"]),
    (
        edited(0, stale=True),
        ["the path over berlin-1/fiber is stale: who told it is gone, or has not repeated it yet"],
    ),
    (dead, ["next hop berlin-1/fiber (FIBER) does not answer"]),
    (silent(2, 1, "detour"), ["next hop berlin-1/lte (LTE) was never heard, so it is passed over"]),
    (silent(1, 2, "direct"), ["next hop berlin-1/fiber (FIBER) was never heard, so it is passed over"]),
    (refused, ["the kernel refuses 10.1.1.0/24: Route exists"]),
    (strange, ["a path over 10.200.7.7 may be used, and nobody intended it"]),
    (detour, ["packets take a detour through 10.200.7.7 to berlin-1/fiber (FIBER)"]),
    (
        gone,
        [
            "intended: a route to 10.1.1.0/24, over berlin-1/fiber; now: 10.1.0.0/16, declared space: unreachable",
            "10.1.1.0/24 is not in its routing table: no hub tells it any path",
        ],
    ),
]


@pytest.mark.parametrize(("edit", "words"), CASES, ids=[case[1][0] for case in CASES])
def test_every_difference_has_its_words(edit: Any, words: list[str]) -> None:
    inventory = two()
    answer = live(at(inventory))
    fiber, lte = (hop for hop, key in names(inventory).items() if key.startswith("berlin-1/"))
    edit(answer)
    assert said(inventory, answer) == [each.replace("FIBER", fiber).replace("LTE", lte) for each in words]


def test_who_is_silent_and_waits_for_its_turn_is_no_difference() -> None:
    inventory = two()
    answer = live(at(inventory))
    silent(2, 1, "direct")(answer)
    assert said(inventory, answer) == []


def test_a_path_that_a_rule_denies_should_not_be_there() -> None:
    deny = Rule(
        "no-lte", viewer=Viewer(sites=("paris",)), match=Match(circuit_classes=("lte",)), action=Action(deny=True)
    )
    inventory = two(deny)
    answer = live(at(two()))
    assert said(inventory, answer) == [
        "the path over berlin-1/lte is there, and should not be: rule no-lte denies it to this viewer"
    ]


def test_sites_without_members_do_not_disturb() -> None:
    assert verdict(at(two(sites=[Site("york", "eu")]))) == ("route", "10.1.1.0/24")


@pytest.mark.parametrize("body", [None, [], {}, {"verdict": 1, "prefixes": []}])
def test_an_answer_of_another_form_is_not_read(body: Any) -> None:
    with pytest.raises(AnswerUnreadable, match="of one release"):
        read(body)
