"""The rogue of the scenario `hijack`: a stock ExaBGP reads its configuration, and all that it is to say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lab.scenarios.hijack import attacks
from lab.scenarios.hijack.attacker import ENVIRONMENT, NEIGHBOR, PREFIXES_A_LINE, configuration
from lab.scenarios.hijack.attacks import ADDRESS, FABRIC, HONEST, LEGALS

HUBS = ("10.42.0.1", "10.42.0.2")


def neighbors() -> str:
    return "".join(NEIGHBOR.format(hub=hub, address=ADDRESS, asn=FABRIC, fabric=FABRIC) for hub in HUBS)


def test_a_stock_exabgp_takes_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "attacker.conf").write_text(configuration("/run/attacker.sh", neighbors()))
    exabgp = Path(sys.executable).with_name("exabgp")
    done = subprocess.run(
        [exabgp, "validate", "-nrv", tmp_path / "attacker.conf"], capture_output=True, text=True, env=ENVIRONMENT,
        timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    said = " ".join((done.stdout + done.stderr).split())
    for hub in HUBS:
        assert f"neighbor {hub}" in said


SAID = [(each.name, route) for each in attacks.attacks() for route in (*each.routes, *each.withdrawn)]
SAID += [("legal", each) for each in (HONEST, *LEGALS)]
PARSER = """
import sys
from exabgp.configuration.configuration import Configuration
from exabgp.environment import getenv
from exabgp.logger import log
log.init(getenv())
found = Configuration([])
for line in sys.stdin:
    action, words = line.split(" ", 1)  # As its API does, of what follows the name of a command.
    found.static.clear()
    read = found.partial("static", words)
    found.scope.to_context()
    print("|".join(change.extensive() for change in found.scope.pop_routes()) if read else found.error)
"""


def test_a_stock_exabgp_understands_what_the_rogue_says() -> None:
    """Every prefix with its path id and next hop, and everything that is forged."""
    lines = [line for _, route in SAID for line in route.lines("announce")]
    done = subprocess.run(
        [sys.executable, "-c", PARSER], input="".join(lines), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    read = done.stdout.splitlines()
    assert len(read) == len(SAID)
    for (name, route), changes in zip(SAID, read, strict=True):
        routes = changes.split("|")
        assert len(routes) == len(route.prefixes), (name, changes)
        hop = route.attributes.split()[1]
        for prefix, each in zip(route.prefixes, routes, strict=True):
            assert each.startswith(f"{prefix} path-information 0.0.0.{route.path_id} next-hop {hop}"), (name, each)
            for word in ("originator-id", "cluster-list", "large-community", "extended-community"):
                assert (word in each) == (word in route.attributes), (name, each)


def test_many_prefixes_take_several_lines() -> None:
    many = attacks.announced(*(f"10.3.{n}.0/24" for n in range(PREFIXES_A_LINE + 1)))
    first, second = many.lines("withdraw")
    assert first.startswith("withdraw attributes next-hop 10.42.0.6 ")
    assert (first.count("/24"), second.count("/24")) == (PREFIXES_A_LINE, 1)


@pytest.mark.slow
def test_every_round_of_junk_is_new_and_nobodys() -> None:
    count = 200_000
    seen: set[str] = set()
    for number in (0, 1, 4, 5, 6, attacks.MOST_JUNK - 1):
        found = attacks.junk(count, number)
        assert len(found) == len(set(found)) == count
        assert seen.isdisjoint(found)
        seen.update(found)
        assert {prefix.partition(".")[0] for prefix in found} <= {"10", *map(str, range(20, 100))}
        assert all(prefix.endswith("/24") or prefix.startswith("10.") for prefix in found)
