"""The attacks: what the rogue says, and what hubs must make of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address

from lab.scenarios.hijack.attacker import Route

NUMBER, ADDRESS, ADDRESS6 = 6, "10.42.0.6", "fd42:42::6"
"""Of the rogue, as the inventory has it; of what it steals from: paris-1."""
PARIS, PARIS_ADDRESS, HUB, HUB_ADDRESS = 4, "10.42.0.4", 1, "10.42.0.1"
SHARED = "10.3.0.0/24"
"""oslo's LAN, which the rogue may announce, too: worse than oslo-1, for it comes by lte."""
LEGAL = ("10.3.200.0/24", "fd10:3:0:200::/64")
"""Announced with every attack, and taken."""
FILLING = tuple(f"10.3.{number}.0/24" for number in range(100, 117))
"""With these, SHARED and LEGAL the rogue announces as many prefixes as its site may."""
FABRIC = 64512
OPERATORS = "65000:42"
"""A community that is nobody's but the operator's: it passes."""

MOST_JUNK = 25
"""Rounds of 200,000 that fit between 20.0.0.0 and 100.0.0.0."""

Refusals = frozenset[tuple[str, str]]  # prefix, reason code


def announced(
    *prefixes: str, hop: str = ADDRESS, path_id: int = NUMBER, preference: int = 100, more: str = ""
) -> Route:
    attributes = f"next-hop {hop} origin igp local-preference {preference} community [ {OPERATORS} ] {more}"
    return Route(prefixes, path_id, attributes.strip())


HONEST = announced(SHARED)
LEGALS = (announced(LEGAL[0]), announced(LEGAL[1], hop=ADDRESS6))


@dataclass(frozen=True)
class Attack:
    name: str
    routes: tuple[Route, ...]
    refused: Refusals = frozenset()
    overruled: frozenset[str] = frozenset()
    """What the hub does not take its word for, of SHARED."""
    withdrawn: tuple[Route, ...] = ()
    """Said in its place before: what is not the rogue's to withdraw."""

    @property
    def after(self) -> tuple[Route, ...]:
        """What is to be withdrawn when it is over."""
        return tuple(route for route in self.routes if route.prefixes != (SHARED,) or route.path_id != NUMBER)


def refusals(reason: str, *routes: Route) -> Refusals:
    return frozenset((prefix, reason) for route in routes for prefix in route.prefixes)


def attacks() -> Iterator[Attack]:
    """Those that are small."""
    foreign = (announced("10.2.0.0/24", "10.77.0.0/16"), announced("fd10:2::/64", hop=ADDRESS6))
    yield Attack("foreign prefix", foreign, refusals("prefix-not-allocated", *foreign))

    # The last one is of its own site, but of oslo-1's hosts: longer than the allocation allows.
    narrow = (announced("10.2.0.0/25", "10.2.0.10/32", "10.1.0.10/32"), announced("fd10:2::10/128", hop=ADDRESS6))
    narrower = announced("10.3.0.0/25")
    yield Attack(
        "more-specific", (*narrow, narrower),
        refusals("prefix-not-allocated", *narrow) | refusals("more-specific-than-allowed", narrower),
    )  # fmt: skip

    hops = (PARIS_ADDRESS, HUB_ADDRESS, "10.42.99.99", "172.20.0.2")
    thefts = tuple(announced(f"10.3.{number}.0/24", hop=hop) for number, hop in enumerate(hops, 7))
    yield Attack("foreign next hop", thefts, refusals("next-hop-not-yours", *thefts))

    origin = announced("10.3.7.0/24", more=f"originator-id {PARIS_ADDRESS}")
    reflected = announced("10.3.8.0/24", more="originator-id 10.42.0.99 cluster-list [ 10.42.0.98 ]")
    yield Attack("forged ORIGINATOR_ID", (origin, reflected), refusals("forged-originator-id", origin, reflected))

    theft = announced("10.2.0.0/24", path_id=PARIS)
    yield Attack(
        "forged path id", (announced(SHARED, path_id=PARIS), announced(SHARED, path_id=HUB), theft),
        refusals("prefix-not-allocated", theft), frozenset({f"path id {PARIS}", f"path id {HUB}"}), (theft,),
    )  # fmt: skip

    many = tuple(announced("10.2.0.0/24", path_id=path_id) for path_id in range(100, 140))
    yield Attack("many path ids", many, refusals("prefix-not-allocated", many[0]) | refusals("too-many-paths", many[0]))

    raised = announced(SHARED, preference=2**32 - 1)
    yield Attack("raised LOCAL_PREF", (raised,), overruled=frozenset({f"LOCAL_PREF {2**32 - 1}"}))

    # paris's site, its uplink; a relay, a service open to all, wide ECMP; another MAC address for the next hop, and
    # a hundred times the bandwidth.
    large = frozenset(f"{FABRIC}:{said}" for said in ("1:2", "2:7", "3:7", "4:4", "5:7", "6:171573249", "7:171573249"))
    large |= {f"{FABRIC}:8:2", f"{FABRIC}:9:1", f"{FABRIC}:10:64"}
    extended = frozenset({"0x0603aa0000000004", "0x4004fc004cbebc20"})
    words = f"large-community [ {' '.join(sorted(large))} ] extended-community [ {' '.join(sorted(extended))} ]"
    forged = announced(SHARED, more=words)
    yield Attack(
        "forged communities", (forged,), overruled=large | {f"extended {each}" for each in extended},
    )  # fmt: skip

    defaults = (announced("0.0.0.0/0"), announced("::/0", hop=ADDRESS6))
    halves = announced("0.0.0.0/1", "128.0.0.0/1")
    segment = announced("10.42.0.4/32")
    yield Attack(
        "default route", (*defaults, halves, segment),
        refusals("default-route", *defaults) | refusals("prefix-not-allocated", halves, segment),
    )  # fmt: skip


def junk(count: int, number: int = 0) -> list[str]:
    """So many prefixes, in turns by 1,000, other ones for each `number` below MOST_JUNK.

    Half are nobody's, half their own site's, beyond what that may announce; and nobody's too when those are spent.
    """
    half = count // 2
    excess_is_left = (number + 1) * half <= 1 << 19  # Prefixes of 28 bits in 10.128.0.0/9.
    block = number if excess_is_left else 2 * number
    foreign = [(20 << 24) + (block * half + each << 8) for each in range(half)]
    if excess_is_left:
        others, length = [(10 << 24) + (128 << 16) + (number * half + each << 4) for each in range(half)], 28
    else:
        others, length = [address + (half << 8) for address in foreign], 24
    parts = [(foreign[start : start + 1000], others[start : start + 1000]) for start in range(0, half, 1000)]
    return [
        f"{IPv4Address(address)}/{bits}"
        for both in parts
        for some, bits in zip(both, (24, length), strict=True)
        for address in some
    ]
