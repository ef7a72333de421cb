"""The fabric that scenarios break, and the model of what can still be delivered."""

from __future__ import annotations

import json
import os
from itertools import combinations, permutations
from pathlib import Path

import pytest

from controller.inventory.yaml import check_yaml
from lab import topology
from lab.failover.fabric import SITES, UPLINKS, inventory, more_prefixes, overlay, sites_of
from lab.failover.world import SWITCHES, TOPOLOGY
from lab.scenarios.detour_matrix.scenario import HUBS, SPOKES, delivered, drawn
from lab.scenarios.detour_matrix.scenario import Path as Broken


@pytest.mark.parametrize("bfd", ["fast", "normal", {"interval_ms": 50, "multiplier": 4}], ids=str)
@pytest.mark.parametrize("gateways", [tuple(UPLINKS), ("hub-1", "paris-1", "oslo-1")], ids=len)
def test_the_inventory_is_sound(bfd: object, gateways: tuple[str, ...], tmp_path: Path) -> None:
    file = tmp_path / "inventory.yml"
    file.write_text(json.dumps(inventory(gateways, bfd, 998 if "oslo-1" in gateways else 0, hold_time=3)))
    found, findings = check_yaml([file])
    assert (found is not None, list(findings)) == (True, [])


def test_a_thousand_prefixes_stand_behind_oslo() -> None:
    declared = inventory(tuple(UPLINKS), "fast", 998)["prefixes"]
    assert sum(prefix["site"] == "oslo" for prefix in declared) == 1000
    assert len(set(more_prefixes(998))) == 998
    assert sites_of(["hub-1", "lima-1", "berlin-2"]) == ["berlin", "lima"]


def test_every_node_hangs_on_switches_alone_with_the_addresses_of_the_inventory() -> None:
    wanted = topology.read(Path(TOPOLOGY), {k: v for k, v in os.environ.items() if k != "LEYLINE_LAB_NAME"})
    ends = [(link.a, link.b) for link in wanted.links]
    assert all((a.node in SWITCHES) != (b.node in SWITCHES) for a, b in ends)
    for gateway, (site, uplinks) in UPLINKS.items():
        text = "\n".join(" ".join(words) for words in wanted.node(gateway).exec)
        for interface in uplinks:
            assert f"ip address add {overlay(gateway, interface)}/16 dev {interface}" in text
            assert f"ip address add {overlay(gateway, interface, 6)}/64 dev {interface}" in text
        assert site not in SITES or f"ip address add 10.{SITES[site]}.0.{gateway[-1]}/24 dev lan0" in text


def broken(*pairs: tuple[str, str]) -> set[Broken]:
    return {frozenset(pair) for pair in pairs}


def test_a_broken_direct_path_is_got_round_by_a_hub_that_both_reach() -> None:
    direct = ("paris-1", "oslo-1")
    assert delivered(*direct, broken())
    assert delivered(*direct, broken(direct, ("paris-1", "hub-1")))
    assert not delivered(*direct, broken(direct, ("paris-1", "hub-1"), ("oslo-1", "hub-2")))
    assert not delivered(*direct, broken(direct, ("paris-1", "hub-1"), ("paris-1", "hub-2")))
    assert delivered(*direct, broken(("paris-1", "hub-1"), ("paris-1", "hub-2"), ("hub-1", "hub-2")))


def test_what_reaches_in_one_direction_reaches_in_the_other() -> None:
    paths = [frozenset(pair) for pair in combinations((*HUBS, *SPOKES), 2)]
    for each in combinations(paths, 3):
        assert all(delivered(a, b, each) == delivered(b, a, each) for a, b in combinations(SPOKES, 2))


def test_the_drawn_combinations_are_the_same_every_time_and_of_all_kinds() -> None:
    found = drawn()
    assert len(found) == 30
    assert found == drawn()
    outcomes = [[delivered(a, b, paths) for a, b in permutations(SPOKES, 2)] for paths in found]
    detours = [
        sum(frozenset((a, b)) in paths and delivered(a, b, paths) for a, b in combinations(SPOKES, 2))
        for paths in found
    ]
    assert sum(not all(each) for each in outcomes) >= 5, "combinations that leave somebody out"
    assert sum(map(bool, detours)) >= 20, "combinations that need a hub"
