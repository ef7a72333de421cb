"""How long every single failure of a fabric of 500 sites with two gateways each takes, and its memory.

There is nothing to compare with that does the same; the ratio is against the bound of ten seconds.
"""

from __future__ import annotations

import os
import time
from ipaddress import IPv4Network

from controller.inventory.allocate import allocate
from controller.inventory.model import (
    Action,
    Allocation,
    Fabric,
    Gateway,
    Inventory,
    Match,
    Prefix,
    Region,
    Rule,
    Site,
    Uplink,
    Viewer,
)
from controller.policy.whatif import WhatIf
from tests.bench.harness import Measured, alternate, emit, ratio, rss_mb, say

SITES, GATEWAYS, PREFIXES = 500, 2, 4
BOUND_SECONDS = 10.0
REGIONS = ("eu", "us", "ap")


def bench() -> None:
    say(f"whatif_500: every failure of {SITES} sites with {GATEWAYS} gateways each")
    found = alternate({"leyline": _run})["leyline"]
    emit(
        bench="whatif_500",
        value=round(found.seconds["each"], 2),
        unit="s",
        against=f"bound of {BOUND_SECONDS:.0f} s",
        ratio=ratio(BOUND_SECONDS, found.seconds["each"]),
        cpu_seconds=round(found.seconds["cpu"], 2),
        build_seconds=round(found.seconds["build"], 2),
        rss_mb=found.rss_mb["process"],
    )


def _run() -> Measured:
    inventory = fabric()
    began, worked = time.monotonic(), time.process_time()
    question = WhatIf(inventory, floor="broadband")
    built = time.monotonic()
    effects, harmful = question.each()
    ended = time.monotonic()
    assert effects
    assert harmful >= SITES * (GATEWAYS + 1)
    return Measured(
        {"build": built - began, "each": ended - began, "cpu": time.process_time() - worked},
        {"process": rss_mb(os.getpid())},
    )


def fabric(sites: int = SITES) -> Inventory:
    """Three regions, ten providers, fibre and LTE at every gateway; regions and tags see differently by rules."""
    names = [f"s{n:03}" for n in range(sites)]
    lans = [IPv4Network((f"10.{n // 16}.{n % 16 * 16}.0", 20)) for n in range(sites)]
    return allocate(
        Inventory(
            fabric=Fabric("bench", 64512, IPv4Network("172.16.0.0/16")),
            regions=tuple(map(Region, REGIONS)),
            sites=tuple(
                Site(name, REGIONS[n % 3], provider=f"isp-{n % 10}", tags=("dc",) if n % 20 == 0 else ())
                for n, name in enumerate(names)
            ),
            allocations=tuple(Allocation(name, lan, 24) for name, lan in zip(names, lans, strict=True)),
            prefixes=tuple(
                Prefix(name, prefix)
                for name, lan in zip(names, lans, strict=True)
                for prefix in list(lan.subnets(new_prefix=24))[:PREFIXES]
            ),
            gateways=tuple(
                _gateway(name, n * GATEWAYS + k, k) for n, name in enumerate(names) for k in range(GATEWAYS)
            ),
            rules=(
                *(
                    Rule(
                        f"{name}-by-{name}", Action(preference_add=20), Match(regions=(name,)), Viewer(regions=(name,))
                    )
                    for name in REGIONS
                ),
                Rule("dc-not-over-lte", Action(deny=True), Match(circuit_classes=("lte",)), Viewer(tags=("dc",))),
            ),
        )
    )


def _gateway(site: str, number: int, k: int) -> Gateway:
    uplinks = tuple(
        Uplink(name, f"{number * 2 + n:010x}", f"zt{n}", name, bandwidth=10**9 // (n * 9 + 1))
        for n, name in enumerate(("fiber", "lte"))
    )
    return Gateway(f"{site}-{k}", site, "hub" if number < 2 else "spoke", uplinks)
