"""Sound inventories for Hypothesis: any number of sites, hubs, spokes, uplinks and clients."""

from __future__ import annotations

import random
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network

from hypothesis import strategies as st

from controller.inventory.model import (
    SECTIONS,
    Allocation,
    CircuitClass,
    Client,
    Fabric,
    Gateway,
    Inventory,
    Prefix,
    Region,
    Site,
    Uplink,
)

SEGMENT = IPv4Network("10.42.0.0/24")
SEGMENT6 = IPv6Network("fd42:42::/64")
CLASSES = ("fiber", "broadband", "lte", "gold")


@st.composite
def inventories(draw: st.DrawFn, clients: int = 3) -> Inventory:
    """Not allocated; without findings once it is."""
    sites = draw(st.integers(1, 5))
    six = draw(st.booleans())
    gateways = [f"g{n}" for n in range(draw(st.integers(1, 6)))]
    built = [gateway(draw, n, name, n == 0 or draw(st.booleans()), sites) for n, name in enumerate(gateways)]
    return Inventory(
        fabric=Fabric("demo", draw(st.sampled_from([64512, 4200000000])), SEGMENT, SEGMENT6 if six else None),
        regions=(Region("eu"), Region("us")),
        circuit_classes=(CircuitClass("gold", 300),),
        sites=tuple(site(draw, n) for n in range(sites)),
        allocations=tuple(
            Allocation(f"s{n}", network, longest)
            for n in range(sites)
            for network, longest in [
                (IPv4Network((f"10.{100 + n}.0.0", 16)), 24),
                (IPv6Network((f"fd00:{n}::", 32)), 64),
            ]
        ),
        prefixes=tuple(each for n in range(sites) for each in prefixes(draw, n, six, built)),
        gateways=tuple(built),
        clients=tuple(client(draw, n, sites) for n in range(draw(st.integers(0, clients)))),
    )


def site(draw: st.DrawFn, n: int) -> Site:
    tags = draw(st.lists(st.sampled_from(["dc", "branch", "lab"]), unique=True))
    number = draw(st.sampled_from([None, 1000 + n]))
    return Site(
        f"s{n}", draw(st.sampled_from(["eu", "us"])), number, draw(st.sampled_from(["", "Acme"])), tuple(sorted(tags))
    )


def gateway(draw: st.DrawFn, n: int, name: str, hub: bool, sites: int) -> Gateway:
    uplinks = tuple(
        Uplink(
            f"u{k}",
            f"{n * 8 + k:010x}",
            f"zt{k}",
            draw(st.sampled_from(CLASSES)),
            number=draw(st.sampled_from([None, None, 100 + n * 8 + k])),
            preference=draw(st.sampled_from([None, 7])),
            bandwidth=draw(st.sampled_from([0, 10**9])),
        )
        for k in range(draw(st.integers(1, 3)))
    )
    return Gateway(name, f"s{draw(st.integers(0, sites - 1))}", "hub" if hub else "spoke", uplinks)


def client(draw: st.DrawFn, n: int, sites: int) -> Client:
    name = f"c{n}"
    address = draw(st.sampled_from([None, SEGMENT[240 + n]]))
    return Client(name, f"s{draw(st.integers(0, sites - 1))}", draw(st.sampled_from(CLASSES)), address=address)


def prefixes(draw: st.DrawFn, n: int, six: bool, gateways: list[Gateway]) -> list[Prefix]:
    local = [each.name for each in gateways if each.site == f"s{n}"]
    networks = [IPv4Network((f"10.{100 + n}.{k}.0", 24)) for k in range(draw(st.integers(0, 3)))]
    found: list[Prefix] = []
    for network in [*networks, *([IPv6Network((f"fd00:{n}::", 64))] if six else [])]:
        chosen = draw(st.lists(st.sampled_from(local), unique=True)) if local else []
        found.append(Prefix(f"s{n}", network, gateways=tuple(sorted(chosen))))
    return found


def shuffled(inventory: Inventory, seed: int) -> Inventory:
    """The same inventory with the rows of every section in another order."""
    chance = random.Random(seed)
    for section in SECTIONS:
        rows = list(getattr(inventory, section))
        chance.shuffle(rows)
        inventory = replace(inventory, **{section: tuple(rows)})
    return inventory
