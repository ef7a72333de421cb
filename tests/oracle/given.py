"""Documents for the tests of the oracle, written in a few words."""

from __future__ import annotations

from typing import Any

from tests.oracle.words import Announced, World, declared

ASN = 64512


def gateway(name: str, number: int, role: str = "spoke", *classes: str, **more: Any) -> dict[str, Any]:
    """Uplinks `number`, `number` + 1, ... at 10.42.0.NUMBER, one for each class; its site is its name's letters."""
    uplinks = [
        {
            "name": f"u{n}",
            "number": number + n,
            "node_id": f"{number + n:010x}",
            "interface": f"zt{n}",
            "circuit_class": circuit_class,
            "address": f"10.42.0.{number + n}",
        }
        for n, circuit_class in enumerate(classes or ("fiber",))
    ]
    return {"name": name, "site": name.rstrip("0123456789"), "role": role, "uplinks": uplinks} | more


def client(name: str, number: int, site: str, **more: Any) -> dict[str, Any]:
    basics = {"name": name, "site": site, "number": number, "address": f"10.42.0.{number}", "circuit_class": "fiber"}
    return basics | more


def document(*routers: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Sites `a`, `b`, `c` in eu, eu, us with 10.1.0.0/16, 10.2.0.0/16, 10.3.0.0/16; the first /24 is announced."""
    sites = [("a", "eu"), ("b", "eu"), ("c", "us")]
    return {
        "fabric": {"name": "demo", "asn": ASN, "segment": "10.42.0.0/16"} | more.pop("fabric", {}),
        "regions": more.pop("regions", [{"name": "eu"}, {"name": "us"}]),
        "sites": [{"name": name, "region": region, "number": 100 + n} for n, (name, region) in enumerate(sites)],
        "allocations": [
            *({"site": name, "prefix": f"10.{n}.0.0/16"} for n, (name, _) in enumerate(sites, 1)),
            *more.pop("allocations", []),
        ],
        "prefixes": [
            *({"site": name, "prefix": f"10.{n}.0.0/24"} for n, (name, _) in enumerate(sites, 1)),
            *more.pop("prefixes", []),
        ],
        "gateways": [router for router in routers if "role" in router],
        "clients": [router for router in routers if "role" not in router],
    } | more


def world(the_document: dict[str, Any], announced: dict[str, list[Announced]] | None = None, **more: Any) -> World:
    """The gateways announce what is declared; `announced` is what the clients do."""
    said = {name: tuple(routes) for name, routes in (announced or {}).items()}
    return World(the_document, declared(the_document) | said, **more)
