"""Intent by chance for the inventories of `tests.controller.inventories`, so that there is something of every kind:
rules, assertions, closed regions, anycast, default routes, guards, eBGP clients and routers in LANs."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from hypothesis import strategies as st

from controller.inventory.model import (
    Action,
    Allocation,
    Assertion,
    Inventory,
    LanPeer,
    Match,
    Prefix,
    PrefixMatch,
    Rule,
    Viewer,
)
from tests.controller.inventories import CLASSES, inventories

ANYCAST, EVERYTHING = IPv4Network("10.99.0.0/16"), IPv4Network("0.0.0.0/0")
COMMUNITIES = ("65000:1", "65000:2", "65000:1:1")


@st.composite
def ruled_inventories(draw: st.DrawFn) -> Inventory:
    """Not allocated. Every field can be written down; sound but for rules that may be without effect."""
    inventory, count = draw(inventories()), draw(st.integers(0, 8))
    return with_intent(inventory, random.Random(draw(st.integers(0, 10_000))), count)


def with_intent(inventory: Inventory, chance: random.Random, rules: int) -> Inventory:
    assert inventory.fabric is not None
    anycast = tuple(
        Allocation(site.name, ANYCAST, chance.choice([24, 28]), anycast=True)
        for site in inventory.sites
        if chance.random() < 0.3
    )
    defaults = tuple(
        Allocation(site.name, EVERYTHING, 0, anycast=True) for site in inventory.sites if chance.random() < 0.2
    )
    fabric = replace(
        inventory.fabric,
        guard_default=chance.random() < 0.8,
        blackhole=chance.random() < 0.5,
        underlay=(IPv4Network("192.0.2.7/32"), IPv4Network("203.0.113.0/24")) if chance.random() < 0.3 else (),
    )
    return replace(
        inventory,
        fabric=fabric,
        regions=tuple(replace(region, closed=chance.random() < 0.3) for region in inventory.regions),
        sites=tuple(replace(site, max_prefixes=chance.choice([0, 50])) for site in inventory.sites),
        allocations=(*inventory.allocations, *anycast, *defaults),
        prefixes=(*inventory.prefixes, *(Prefix(each.site, EVERYTHING) for each in defaults)),
        clients=tuple(replace(each, asn=chance.choice([None, 65001])) for each in inventory.clients),
        lan_peers=tuple(
            LanPeer(f"lan-{gateway.name}", gateway.name, *_lan(n)) for n, gateway in enumerate(inventory.gateways)
        ),
        rules=tuple(_rule(inventory, chance, n) for n in range(rules)),
        assertions=tuple(_assertion(inventory, chance, n) for n in range(chance.randrange(4))),
    )


def _lan(n: int) -> tuple[IPv4Address, int, str, IPv4Address]:
    return IPv4Address(f"10.100.{n}.2"), 65010 + n, "eth1", IPv4Address(f"10.100.{n}.1")


def _rule(inventory: Inventory, chance: random.Random, n: int) -> Rule:
    names = sorted(each.name for each in (*inventory.gateways, *inventory.clients))
    match = Match(
        sites=_some(chance, [site.name for site in inventory.sites]),
        regions=_some(chance, ["eu", "us"]),
        tags=_some(chance, sorted({tag for site in inventory.sites for tag in site.tags})),
        gateways=_some(chance, names),
        circuit_classes=_some(chance, sorted(CLASSES)),
        prefixes=_some(chance, [PrefixMatch(ANYCAST, 16, 28), PrefixMatch(IPv4Network("10.100.0.0/15"), 24, 24)]),
        communities=_some(chance, COMMUNITIES),
    )
    viewer = Viewer(sites=_some(chance, ["s0"]), regions=_some(chance, ["us"]) or ("eu",)) if n % 2 else None
    return Rule(f"r{n}", _action(chance, viewer=viewer is not None), match, viewer, chance.choice([10, 20, 1000]))


def _action(chance: random.Random, *, viewer: bool) -> Action:
    if chance.random() < 0.1:
        return Action(deny=True, last=chance.random() < 0.5)
    scope = "" if viewer else chance.choice(["region_only", "open", *[""] * 8])
    added = _some(chance, COMMUNITIES)
    action = Action(
        preference=chance.choice([None, None, 1, 500]),
        preference_add=chance.choice([0, 0, 50, -300]),
        add_communities=added,
        remove_communities=() if added else _some(chance, COMMUNITIES),
        med=chance.choice([None, None, 10]),
        prepend=chance.choice([0, 0, 2]),
        max_paths=chance.choice([0, 0, 1, 4]),
        region_only=scope == "region_only",
        open=scope == "open",
        last=chance.random() < 0.2,
    )
    return action if action != Action() else replace(action, preference=7)


def _assertion(inventory: Inventory, chance: random.Random, n: int) -> Assertion:
    sites = _some(chance, [site.name for site in inventory.sites])
    prefix = chance.choice([None, *(each.prefix for each in inventory.prefixes)])
    said: dict[str, Any] = chance.choice(
        [{"reaches": True}, {"never_over": ("lte",)}, *({"survives": kind} for kind in ("gateway", "uplink", "hub"))]
    )
    return Assertion(f"a{n}", sites, prefix, **said)


def _some(chance: random.Random, values: Iterable[Any]) -> tuple[Any, ...]:
    """Mostly none of them."""
    return tuple(each for each in values if chance.random() < 0.4) if chance.random() < 0.25 else ()
