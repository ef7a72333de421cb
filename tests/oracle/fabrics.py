"""Random fabrics for Hypothesis: an inventory as a document, what strangers announce, and who cannot talk to whom.

Hypothesis draws (and shrinks) the sizes and which features there are; chance does the rest, for a draw for each field
takes longer than all that is tested with it. A feature is a name in FEATURES; what is not drawn is not there.

Rules say MEDs that clients say, too: to be the same as what was there is no reason not to be told.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import strategies as st

from tests.oracle.words import Announced, Document, World, declared

ASN = 64512
FEATURES = (
    "ipv6",
    "drained",
    "clients",
    "anycast",
    "closed",
    "rules",
    "viewers",
    "ebgp",
    "max_paths",
    "underlay",
    "default",
    "blackhole",
    "cut",
    "connected",
    "limits",
    "deaths",
)

REGIONS = ("eu", "us", "ap")
TAGS = ("dc", "branch")
CLASSES = ("fiber", "broadband", "lte", "gold")
OPERATORS = ("65000:1", "65000:2", "65000:7:7")
NO_EXPORT, NO_ADVERTISE, GRACEFUL_SHUTDOWN, BLACKHOLE = "65535:65281", "65535:65282", "65535:0", "65535:666"


@dataclass(frozen=True)
class Size:
    sites: int
    hubs: int
    spokes: int
    clients: int
    rules: int


sizes = st.builds(
    Size,
    sites=st.integers(1, 6),
    hubs=st.integers(1, 3),
    spokes=st.integers(0, 5),
    clients=st.integers(0, 3),
    rules=st.integers(0, 6),
)


@st.composite
def worlds(draw: st.DrawFn) -> list[World]:
    """One fabric in three states that follow each other: same routers and sessions, other intent and announcements."""
    features = draw(st.frozensets(st.sampled_from(FEATURES)))
    size, seed = draw(sizes), draw(st.integers(0, 100_000))
    return worlds_of(random.Random(seed), size, features)


def worlds_of(chance: random.Random, size: Size, features: frozenset[str]) -> list[World]:
    routers = _routers(chance, size, features)
    cut = frozenset(
        (each["name"], hub["name"])
        for each in (*routers["gateways"], *routers["clients"])
        for hub in routers["gateways"]
        if "cut" in features and hub["role"] == "hub" and each.get("role") != "hub" and chance.random() < 0.2
    )
    plain = frozenset(each["name"] for each in routers["clients"] if chance.random() < 0.4)
    states = []
    for _ in range(3):
        document = routers | _intent(chance, routers, size, features)
        announced = declared(document) | _heard(chance, document)
        if "limits" in features:
            document = _limited(chance, document, announced, last=len(states) == 2)
        states.append(
            World(document, announced, cut=cut, without_add_path=plain, connected=_lans(chance, document, features))
        )
    if "deaths" in features:
        names = [each["name"] for each in (*routers["gateways"], *routers["clients"])]
        gone = frozenset(name for name in names[1:] if chance.random() < 0.25)
        states[2] = replace(states[2], down=gone)
    return states


def _lans(chance: random.Random, document: Document, features: frozenset[str]) -> dict[str, tuple[str, ...]]:
    if "connected" not in features:
        return {}
    return {each["name"]: (chance.choice(["10.100.0.0/16", "10.101.1.0/24"]),) for each in document["gateways"]}


def _limited(
    chance: random.Random, document: dict[str, Any], announced: Mapping[str, tuple[Announced, ...]], *, last: bool
) -> dict[str, Any]:
    """Which prefixes go beyond a limit depends on who came first, so in the last state none does: just."""
    most: dict[str, int] = {}
    for each in (*document["gateways"], *document["clients"]):
        count = len({route.prefix for route in announced[each["name"]]})
        most[each["site"]] = max(most.get(each["site"], 1), count)
    limits = {site: count if last else chance.randint(1, count) for site, count in most.items()}
    return document | {
        "sites": [each | {"max_prefixes": limits.get(each["name"], 0)} for each in document["sites"]],
    }


def _routers(chance: random.Random, size: Size, features: frozenset[str]) -> dict[str, Any]:
    numbers = iter(chance.sample(range(1, 100), 60))
    six = "ipv6" in features

    def attached() -> dict[str, Any]:
        number = next(numbers)
        found = {
            "number": number,
            "node_id": f"{number:010x}",
            "address": f"10.42.0.{number}",
            "circuit_class": chance.choice(CLASSES),
        }
        if six:
            found["address6"] = f"fd42:42::{number:x}"
        if chance.random() < 0.2:
            found["preference"] = chance.choice([7, 150])
        return found

    def site() -> str:
        return f"s{chance.randrange(size.sites)}"

    return {
        "gateways": [
            {
                "name": f"g{n}",
                "site": site(),
                "role": "hub" if n < size.hubs else "spoke",
                "uplinks": [
                    {"name": f"u{k}", "interface": f"zt{k}"} | attached() for k in range(chance.choice([1, 1, 2, 3]))
                ],
            }
            for n in range(size.hubs + size.spokes)
        ],
        "clients": [
            {"name": f"c{n}", "site": site()}
            | attached()
            | ({"asn": chance.choice([65001, 65002])} if "ebgp" in features and chance.random() < 0.7 else {})
            for n in range(size.clients if "clients" in features else 0)
        ],
    }


def _intent(chance: random.Random, routers: dict[str, Any], size: Size, features: frozenset[str]) -> dict[str, Any]:
    """The rest of the document: everything that may change while sessions stay up."""
    six = "ipv6" in features
    anycast = [n for n in range(size.sites) if "anycast" in features and chance.random() < 0.6]
    allocations = [{"site": f"s{n}", "prefix": f"10.{100 + n}.0.0/16"} for n in range(size.sites)]
    allocations += [{"site": f"s{n}", "prefix": "10.200.0.0/16", "anycast": True} for n in anycast]
    prefixes = [{"site": f"s{n}", "prefix": f"10.{100 + n}.{k}.0/24"} for n in range(size.sites) for k in (0, 1)]
    prefixes += [{"site": f"s{n}", "prefix": f"10.200.{k}.0/24"} for n in anycast for k in (0, 1)]
    if "default" in features:
        sites = [n for n in range(size.sites) if chance.random() < 0.5]
        allocations += [{"site": f"s{n}", "prefix": "0.0.0.0/0", "anycast": True} for n in sites]
        prefixes += [{"site": f"s{n}", "prefix": "0.0.0.0/0"} for n in sites]
    if six:
        allocations += [{"site": f"s{n}", "prefix": f"fd00:{n + 1:x}::/32"} for n in range(size.sites)]
        prefixes += [{"site": f"s{n}", "prefix": f"fd00:{n + 1:x}::/64"} for n in range(size.sites)]
    fabric: dict[str, Any] = {"name": "demo", "asn": ASN, "segment": "10.42.0.0/16"}
    if six:
        fabric["segment6"] = "fd42:42::/64"
    if "max_paths" in features:
        fabric["max_paths"] = chance.choice([1, 2, 3])
    if "underlay" in features:
        fabric["underlay"] = ["10.100.9.0/25", "10.101.9.0/24"]
    if "blackhole" in features:
        fabric["blackhole"] = True
    drained = {each["name"] for each in routers["gateways"] if "drained" in features and chance.random() < 0.3}
    return {
        "fabric": fabric,
        "regions": [{"name": name, "closed": "closed" in features and chance.random() < 0.3} for name in REGIONS],
        "circuit_classes": [{"name": "gold", "preference": 300}],
        "sites": [
            {
                "name": f"s{n}",
                "region": REGIONS[n * n % 3] if n else "eu",
                "number": 500 + n,
                "tags": [tag for tag in TAGS if chance.random() < 0.4],
            }
            for n in range(size.sites)
        ],
        "allocations": allocations,
        "prefixes": [each for each in prefixes if chance.random() < 0.6],
        "gateways": [each | {"drained": each["name"] in drained} for each in routers["gateways"]],
        "rules": [rule(chance, n, routers, size, features) for n in range(size.rules if "rules" in features else 0)],
    }


def rule(
    chance: random.Random, n: int, routers: dict[str, Any], size: Size, features: frozenset[str]
) -> dict[str, Any]:
    found: dict[str, Any] = {"name": f"r{n}", "order": chance.choice([10, 20]), "match": _match(chance, routers, size)}
    viewer = "viewers" in features and chance.random() < 0.6
    if viewer:
        found["viewer"] = _viewer(chance, size)
    found["action"] = _action(chance, viewer=viewer)
    return found


def _some(chance: random.Random, among: list[str]) -> list[str]:
    return chance.sample(among, chance.randint(1, min(2, len(among))))


def _match(chance: random.Random, routers: dict[str, Any], size: Size) -> dict[str, Any]:
    names = [each["name"] for each in (*routers["gateways"], *routers["clients"])]
    sites = [f"s{n}" for n in range(size.sites)]
    prefixes = ["10.0.0.0/8 le 32", "10.100.0.0/15 le 24", "10.200.0.0/16 ge 24", "10.101.0.0/24", "fd00::/16 le 64"]
    possible = {
        "sites": lambda: _some(chance, sites),
        "regions": lambda: _some(chance, list(REGIONS)),
        "tags": lambda: _some(chance, list(TAGS)),
        "gateways": lambda: _some(chance, names),
        "circuit_classes": lambda: _some(chance, list(CLASSES)),
        "prefixes": lambda: _some(chance, prefixes),
        "communities": lambda: _some(chance, list(OPERATORS)),
    }
    return {name: draw() for name, draw in possible.items() if chance.random() < 0.2}


def _viewer(chance: random.Random, size: Size) -> dict[str, Any]:
    name = chance.choice(["sites", "regions", "tags"])
    among = {"sites": [f"s{n}" for n in range(size.sites)], "regions": list(REGIONS), "tags": list(TAGS)}
    return {name: _some(chance, among[name])}


def _action(chance: random.Random, *, viewer: bool) -> dict[str, Any]:
    kind = chance.choice(["deny", "change", "change", "change", "change", "change"])
    if kind == "deny":
        return {"deny": True}
    possible: dict[str, Any] = {
        "preference": chance.choice([1, 60, 200, 5000]),
        "preference_add": chance.choice([-1000, -50, 50]),
        "add_communities": [chance.choice([*OPERATORS, NO_EXPORT, GRACEFUL_SHUTDOWN])],
        "remove_communities": [chance.choice(OPERATORS)],
        "max_paths": chance.choice([1, 2]),
        "last": True,
        "med": chance.choice([5, 1000, 2000]),
        "prepend": chance.choice([1, 3, 20]),
    }
    if not viewer:
        possible["region_only" if chance.random() < 0.5 else "open"] = True
    names = chance.sample(sorted(possible), chance.randint(1, 2))
    found = {name: possible[name] for name in names}
    if found.get("add_communities") == found.get("remove_communities"):
        found.pop("remove_communities", None)
    return found


def _heard(chance: random.Random, document: Document) -> dict[str, tuple[Announced, ...]]:
    """What strangers announce: mostly what they may, now and then what they may not."""
    found = {}
    for each in document["clients"]:
        n = int(each["site"][1:])
        good = [f"10.{100 + n}.{k}.0/24" for k in (5, 6)] + [f"10.{100 + n}.0.0/16", "10.200.0.0/24"]
        bad = [
            f"10.{100 + n}.7.0/25",
            f"10.{101 + n}.5.0/24",
            "0.0.0.0/0",
            f"10.{100 + n}.9.0/24",
            f"10.{100 + n}.8.8/32",
            "10.200.0.8/32",
        ]
        routes = [_route(chance, each, prefix) for prefix in chance.sample([*good, *bad], 3)]
        if each.get("address6") and chance.random() < 0.5:
            six = f"fd00:{n + 1:x}:0:5::/64"
            routes.append(replace(_route(chance, each, six), next_hop=each["address6"]))
        found[each["name"]] = tuple(routes)
    return found


def _route(chance: random.Random, client: dict[str, Any], prefix: str) -> Announced:
    asn = client.get("asn")
    as_path = chance.choice([(), (65009,), (65009, 65010)])
    if asn is not None and chance.random() < 0.9:
        as_path = (asn, *as_path)
    if chance.random() < 0.05:
        as_path = (*as_path, ASN)
    pool = [
        *OPERATORS,
        NO_EXPORT,
        NO_ADVERTISE,
        GRACEFUL_SHUTDOWN,
        BLACKHOLE,
        f"{ASN}:1:7",
        f"{ASN}:8:2",
        f"{ASN}:10:1",
        f"{ASN}:11:3",
        f"{ASN}:12:2",
    ]
    return Announced(
        prefix,
        as_path=as_path,
        origin=chance.choice([0, 0, 2]),
        med=chance.choice([None, 0, 5]),
        communities=frozenset(chance.sample(pool, chance.choice([0, 0, 1, 2]))),
        next_hop="10.42.0.200" if chance.random() < 0.05 else "",
        originator_id="10.42.0.200" if asn is None and chance.random() < 0.05 else "",
    )
