"""What must be, from the independent oracle in tests/oracle, which is asked as a process.

The lab may not import tests, and needs an answer in the middle of a run, about the inventory as it is then: so a test
that hands in expectations would not do, and `leyline lab run te` works wherever the source tree is.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from lab.labs import LabError

ROOT = Path(__file__).parents[3]
SECONDS = 60.0

RELAYS = (6, 7)
"""Functions of the fabric's large communities that follow liveness: of these the oracle does not speak."""

Tiers = tuple[frozenset[str], ...]


class Told(NamedTuple):
    """A route as it stands in the table of a router that is not ours."""

    hub: str
    prefix: str
    next_hop: str
    as_path: tuple[int, ...]
    med: int | None
    local_pref: int | None  # None over eBGP.
    origin: int
    communities: frozenset[str]  # "AS:value" and "AS:function:value", but for those that follow liveness: see RELAYS.


@dataclass(frozen=True)
class Expected:
    kernels: Mapping[str, Mapping[str, Tiers]]  # Gateway -> prefix -> next hops of the best set, of the next best, ...
    tables: Mapping[str, frozenset[Told]]  # Client -> what both hubs told it.

    def kernel(self, gateway: str, dead: Collection[str] = ()) -> dict[str, frozenset[str]]:
        """prefix -> next hops, while those in `dead` do not answer. Without any there is no route to forward by."""
        found = {}
        for prefix, tiers in self.kernels[gateway].items():
            alive = [left for tier in tiers if (left := tier.difference(dead))]
            if alive:
                found[prefix] = alive[0]
        return found


def expected(document: Mapping[str, Any], announced: Mapping[str, list[dict[str, Any]]]) -> Expected:
    """Of this inventory, and of what clients and LAN routers announce. Raises LabError when there is no oracle."""
    if not (ROOT / "tests/oracle").is_dir():
        raise LabError(f"this scenario asks the oracle in {ROOT}/tests, so it needs the source tree")
    question = json.dumps({"document": document, "announced": announced})
    done = subprocess.run(
        [sys.executable, "-m", "tests.oracle"], cwd=ROOT, input=question,
        capture_output=True, text=True, check=False, timeout=SECONDS,
    )  # fmt: skip
    if done.returncode != 0:
        raise LabError(f"the oracle fails: {done.stderr[-2000:]}")
    answer = json.loads(done.stdout)
    return Expected(
        {
            gateway: {prefix: tuple(map(frozenset, tiers)) for prefix, tiers in routes.items()}
            for gateway, routes in answer["kernels"].items()
        },
        {
            client: frozenset(_told(hub, each) for hub, routes in hubs.items() for each in routes)
            for client, hubs in answer["tables"].items()
        },
    )


def _told(hub: str, each: Mapping[str, Any]) -> Told:
    as_path = tuple(each["as_path"])
    communities = frozenset(each["communities"])
    return Told(
        hub, each["prefix"], each["next_hop"], as_path, each["med"], each["local_pref"], each["origin"], communities
    )
