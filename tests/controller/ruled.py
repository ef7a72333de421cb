"""Intent by chance for the inventories of `tests.controller.inventories`: rules, closed regions, anycast, guards."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from hypothesis import strategies as st

from controller.inventory.model import Action, Allocation, Inventory, LanPeer, Match, PrefixMatch, Rule, Viewer
from tests.controller.inventories import CLASSES, inventories

ANYCAST = IPv4Network("10.99.0.0/16")
COMMUNITIES = ("65000:1", "65000:2", "65000:1:1")


@st.composite
def ruled_inventories(draw: st.DrawFn) -> Inventory:
    """Not allocated. Sound but for rules that may be without effect."""
    inventory, count = draw(inventories()), draw(st.integers(0, 8))
    return with_intent(inventory, random.Random(draw(st.integers(0, 10_000))), count)


def with_intent(inventory: Inventory, chance: random.Random, rules: int) -> Inventory:
    assert inventory.fabric is not None
    anycast = tuple(
        Allocation(site.name, ANYCAST, chance.choice([24, 28]), anycast=True)
        for site in inventory.sites
        if chance.random() < 0.3
    )
    fabric = replace(
        inventory.fabric,
        guard_default=chance.random() < 0.8,
        blackhole=chance.random() < 0.5,
        underlay=(IPv4Network("203.0.113.0/24"), IPv4Network("192.0.2.7/32")) if chance.random() < 0.3 else (),
    )
    return replace(
        inventory,
        fabric=fabric,
        regions=tuple(replace(region, closed=chance.random() < 0.3) for region in inventory.regions),
        sites=tuple(replace(site, max_prefixes=chance.choice([0, 50])) for site in inventory.sites),
        allocations=(*inventory.allocations, *anycast),
        clients=tuple(replace(each, asn=chance.choice([None, 65001])) for each in inventory.clients),
        lan_peers=tuple(
            LanPeer(f"lan-{gateway.name}", gateway.name, *_lan(n)) for n, gateway in enumerate(inventory.gateways)
        ),
        rules=tuple(_rule(inventory, chance, n) for n in range(rules)),
    )


def _lan(n: int) -> tuple[IPv4Address, int, str, IPv4Address]:
    return IPv4Address(f"10.100.{n}.2"), 65010 + n, "eth1", IPv4Address(f"10.100.{n}.1")


def _rule(inventory: Inventory, chance: random.Random, n: int) -> Rule:
    names = [each.name for each in (*inventory.gateways, *inventory.clients)]
    match = Match(
        sites=_some(chance, [site.name for site in inventory.sites]),
        regions=_some(chance, ["eu", "us"]),
        tags=_some(chance, sorted({tag for site in inventory.sites for tag in site.tags})),
        gateways=_some(chance, names),
        circuit_classes=_some(chance, CLASSES),
        prefixes=_some(chance, [PrefixMatch(ANYCAST, 16, 28), PrefixMatch(IPv4Network("10.100.0.0/15"), 24, 24)]),
        communities=_some(chance, COMMUNITIES),
    )
    viewer = Viewer(sites=_some(chance, ["s0", "s1"]), regions=_some(chance, ["eu", "us"])) if n % 2 else None
    return Rule(f"r{n}", _action(chance), match, viewer, chance.choice([10, 20, 1000]))


def _action(chance: random.Random) -> Action:
    action = Action(
        preference=chance.choice([None, None, 1, 500]),
        preference_add=chance.choice([0, 0, 50, -300]),
        add_communities=_some(chance, COMMUNITIES),
        remove_communities=_some(chance, COMMUNITIES),
        med=chance.choice([None, None, 10]),
        prepend=chance.choice([0, 0, 2]),
        max_paths=chance.choice([0, 0, 1, 4]),
        deny=chance.random() < 0.1,
        region_only=chance.random() < 0.1,
        open=chance.random() < 0.1,
        last=chance.random() < 0.2,
    )
    return action if action != Action() else replace(action, preference=7)


def _some(chance: random.Random, values: Iterable[Any]) -> tuple[Any, ...]:
    """Mostly none of them."""
    return tuple(each for each in values if chance.random() < 0.4) if chance.random() < 0.25 else ()
