"""`python -m tests.oracle < QUESTION`: the oracle for those who may not import it, as scenarios of the lab may not.

QUESTION is JSON: {"document": ..., "announced": {"client": [{"prefix": ..., "as_path": [...]}]}}. Gateways announce
what the document declares, and what `announced` has for them beside that. The answer is `Expected` as JSON.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Any

from tests.oracle.tables import expected
from tests.oracle.words import Announced, Expected, World, declared


def asked(question: dict[str, Any]) -> World:
    announced = declared(question["document"])
    for name, routes in question["announced"].items():
        announced[name] = announced.get(name, ()) + tuple(_announced(each) for each in routes)
    return World(question["document"], announced)


def _announced(fields: dict[str, Any]) -> Announced:
    as_path, communities = tuple(fields.get("as_path", ())), frozenset(fields.get("communities", ()))
    return Announced(**(fields | {"as_path": as_path, "communities": communities}))


def answer(found: Expected) -> dict[str, Any]:
    """Sets become sorted lists."""
    kernels = {
        name: {prefix: [sorted(tier) for tier in tiers] for prefix, tiers in routes.items()}
        for name, routes in found.kernels.items()
    }
    tables = {
        client: {
            hub: [
                asdict(each) | {"communities": sorted(each.communities)}
                for each in sorted(told, key=lambda each: (each.prefix, each.path_id))
            ]
            for hub, told in hubs.items()
        }
        for client, hubs in found.tables.items()
    }
    return {"kernels": kernels, "tables": tables}


if __name__ == "__main__":
    json.dump(answer(expected(asked(json.load(sys.stdin)))), sys.stdout)
