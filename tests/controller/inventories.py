"""Sound inventories for Hypothesis: any number of sites, hubs, spokes, uplinks and clients."""

from __future__ import annotations

import random
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network

from hypothesis import strategies as st

from controller.inventory.model import (
    SECTIONS,
    Allocation,
    BfdTimers,
    CircuitClass,
    Client,
    Fabric,
    Gateway,
    Host,
    Inventory,
    Moon,
    Network,
    Prefix,
    Probe,
    Region,
    Role,
    Site,
    Uplink,
)

SEGMENT = IPv4Network("10.42.0.0/24")
SEGMENT6 = IPv6Network("fd42:42::/64")
CLASSES = ("fiber", "broadband", "lte", "gold")


@st.composite
def inventories(draw: st.DrawFn, clients: int = 3) -> Inventory:
    """Not allocated; without findings once it is. Hypothesis draws (and shrinks) the sizes; chance does the rest,
    for a draw for each field takes longer than all that is tested with it."""
    sites, gateways, count = draw(st.integers(1, 5)), draw(st.integers(1, 6)), draw(st.integers(0, clients))
    return sound_inventory(random.Random(draw(st.integers(0, 10_000))), sites, gateways, count)


def sound_inventory(chance: random.Random, sites: int, gateways: int, clients: int) -> Inventory:
    six = chance.random() < 0.5
    built = tuple(gateway(chance, n, sites) for n in range(gateways))
    return Inventory(
        fabric=Fabric(
            "demo",
            chance.choice([64512, 4200000000]),
            SEGMENT,
            SEGMENT6 if six else None,
            bfd_up_delay_ms=chance.choice([0, 2000]),
            vrrp_advert_ms=chance.choice([10, 104, 40_950]),
        ),
        regions=(Region("eu"), Region("us")),
        circuit_classes=(CircuitClass("gold", 300, chance.choice([None, "normal", "off", BfdTimers(250, 4)])),),
        sites=tuple(site(chance, n) for n in range(sites)),
        allocations=tuple(
            Allocation(f"s{n}", network, longest)
            for n in range(sites)
            for network, longest in [
                (IPv4Network((f"10.{100 + n}.0.0", 16)), 24),
                (IPv6Network((f"fd00:{n}::", 32)), 64),
            ]
        ),
        prefixes=tuple(each for n in range(sites) for each in prefixes(chance, n, six, built)),
        gateways=built,
        clients=tuple(client(chance, n, sites) for n in range(clients)),
        hosts=tuple(host(chance, n, sites) for n in range(clients)),
        moons=(Moon("m0", "g0", ("203.0.113.10/9993",), chance.choice(["", "u0"])),),
    )


def site(chance: random.Random, n: int) -> Site:
    tags = tuple(tag for tag in ("branch", "dc", "lab") if chance.random() < 0.3)
    number = chance.choice([None, 1000 + n])
    return Site(f"s{n}", chance.choice(["eu", "us"]), number, chance.choice(["", "Acme"]), tags)


def gateway(chance: random.Random, n: int, sites: int) -> Gateway:
    """The first one is a hub."""
    uplinks = tuple(
        Uplink(
            f"u{k}",
            f"{n * 8 + k:010x}",
            f"zt{k}",
            chance.choice(CLASSES),
            number=chance.choice([None, None, 100 + n * 8 + k]),
            preference=chance.choice([None, 7]),
            bandwidth=chance.choice([0, 10**9]),
        )
        for k in range(chance.randint(1, 3))
    )
    role: Role = "hub" if n == 0 or chance.random() < 0.4 else "spoke"
    return Gateway(f"g{n}", f"s{chance.randrange(sites)}", role, uplinks, chance.choice([None, False, True]))


def client(chance: random.Random, n: int, sites: int) -> Client:
    address = chance.choice([None, SEGMENT[240 + n]])
    return Client(f"c{n}", f"s{chance.randrange(sites)}", chance.choice(CLASSES), address=address)


def host(chance: random.Random, n: int, sites: int) -> Host:
    address = chance.choice([None, SEGMENT[230 + n]])
    return Host(f"h{n}", f"d{n:09x}", address, site=chance.choice(["", f"s{chance.randrange(sites)}"]))


def prefixes(chance: random.Random, n: int, six: bool, gateways: tuple[Gateway, ...]) -> list[Prefix]:
    local = [each.name for each in gateways if each.site == f"s{n}"]
    networks: list[Network] = [IPv4Network((f"10.{100 + n}.{k}.0", 24)) for k in range(chance.randrange(4))]
    if six:
        networks.append(IPv6Network((f"fd00:{n}::", 64)))
    return [
        Prefix(
            f"s{n}",
            network,
            gateways=tuple(name for name in local if chance.random() < 0.4),
            first_hop=network[254] if local and chance.random() < 0.5 else None,
            probe=chance.choice([None, Probe("icmp", network[10]), Probe("tcp", network[11], 443, 500, 2)]),
        )
        for network in networks
    ]


def shuffled(inventory: Inventory, seed: int) -> Inventory:
    """The same inventory with the rows of every section in another order."""
    chance = random.Random(seed)
    for section in SECTIONS:
        rows = list(getattr(inventory, section))
        chance.shuffle(rows)
        inventory = replace(inventory, **{section: tuple(rows)})
    return inventory
