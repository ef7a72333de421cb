"""How long the plans of 2,000 gateways with 100,000 prefixes take, with rules, a closed region and an anycast prefix.

There is nothing to compare with that does the same; the ratio is against the bound of five seconds.
"""

from __future__ import annotations

import resource
import time
from ipaddress import IPv4Network

from controller.inventory.allocate import allocate
from controller.inventory.checks import check
from controller.inventory.model import (
    Action,
    Allocation,
    CircuitClass,
    Fabric,
    Gateway,
    Inventory,
    Match,
    Prefix,
    PrefixMatch,
    Region,
    Rule,
    Site,
    Uplink,
    Viewer,
)
from controller.policy.compile import compile_plans
from speaker.plan import Plan, encode
from tests.bench.harness import Measured, alternate, emit, ratio, say

SITES, GATEWAYS, HUBS, PREFIXES = 1_000, 2_000, 2, 100_000
BOUND_SECONDS = 5.0
CLASSES = ("fiber", "lte", "satellite")
REGIONS = ("eu", "us", "ap")
ANYCAST = IPv4Network("10.99.0.0/24")

RULES = (
    Rule("eu-by-eu", Action(preference_add=50), Match(regions=("eu",)), Viewer(regions=("eu",)), 10),
    Rule("dc-first", Action(preference_add=20), Match(tags=("dc",)), order=20),
    Rule("never-satellite", Action(deny=True), Match(circuit_classes=("satellite",)), Viewer(tags=("finance",)), 30),
    Rule(
        "labs", Action(region_only=True), Match(prefixes=(PrefixMatch(IPv4Network("100.0.0.0/8"), 24, 24),)), order=40
    ),
)


def fabric() -> Inventory:
    """Allocated and sound. BFD is off: at a packet a second a hub may not have 2,000 gateways."""
    return allocate(
        Inventory(
            fabric=Fabric("bench", 64512, IPv4Network("10.42.0.0/16")),
            regions=tuple(Region(name, closed=name == "ap") for name in REGIONS),
            circuit_classes=tuple(CircuitClass(name, 200 - 50 * n, "off") for n, name in enumerate(CLASSES)),
            sites=tuple(
                Site(f"s{n}", REGIONS[n % 3], tags=("dc",) if n % 10 == 0 else ("finance",) if n % 10 == 1 else ())
                for n in range(SITES)
            ),
            allocations=(
                *(Allocation(f"s{n}", _space(n), 24) for n in range(SITES)),
                *(Allocation(f"s{n}", ANYCAST, 24, anycast=True) for n in range(3)),
            ),
            prefixes=tuple(_prefix(n, k) for n in range(SITES) for k in range(PREFIXES // SITES)),
            gateways=tuple(
                Gateway(
                    f"g{n}",
                    f"s{n % SITES}",
                    "hub" if n < HUBS else "spoke",
                    (Uplink("main", f"{n:010x}", "zt0", CLASSES[n % 3]),),
                )
                for n in range(GATEWAYS)
            ),
            rules=RULES,
        )
    )


def _space(site: int) -> IPv4Network:
    return IPv4Network(((100 << 24) + (site << 16), 16))


def _prefix(site: int, number: int) -> Prefix:
    return Prefix(f"s{site}", IPv4Network(((100 << 24) + (site << 16) + (number << 8), 24)))


def bench() -> None:
    """Inventory -> the bytes of every plan, and the checks before it."""
    inventory = fabric()
    plans: dict[str, Plan] = {}

    def run() -> Measured:
        nonlocal plans
        started, worked = time.perf_counter(), time.process_time()
        findings = check(inventory)
        checked = time.perf_counter()
        plans = compile_plans(inventory)
        compiled = time.perf_counter()
        octets = sum(len(encode(plan)) for plan in plans.values())
        encoded = time.perf_counter()
        assert not findings, findings[:3]
        assert octets
        return Measured(
            {
                "checked": checked - started,
                "compiled": compiled - checked,
                "encoded": encoded - compiled,
                "cpu": time.process_time() - worked,
            },
            {"peak": peak_mb()},
        )

    say(f"compile_2000: {GATEWAYS} gateways, {PREFIXES} prefixes, {len(RULES)} rules")
    ours = alternate({"leyline": run})["leyline"]
    value = ours.seconds["compiled"] + ours.seconds["encoded"]
    emit(
        bench="compile_2000",
        value=round(value, 2),
        unit="s",
        against=f"bound of {BOUND_SECONDS:.0f} s",
        ratio=ratio(BOUND_SECONDS, value),
        all_cpu_seconds=round(ours.seconds["cpu"], 2),
        check_seconds=round(ours.seconds["checked"], 2),
        largest_plan_octets=max(len(encode(plan)) for plan in plans.values()),
        peak_mb=ours.rss_mb["peak"],
        gateways=GATEWAYS,
        prefixes=PREFIXES,
    )


def peak_mb() -> float:
    """Of this process so far."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)
