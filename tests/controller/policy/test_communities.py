"""Large communities: the table, and what a path carries."""

from __future__ import annotations

from pathlib import Path

from controller.inventory.model import Site
from controller.policy.communities import of_path, of_site, table
from tests.controller.golden import compare

BERLIN = Site("berlin", "eu", 7, tags=("dc",))


def test_golden_table_of_communities() -> None:
    compare(Path(__file__).parents[3] / "docs" / "communities.md", table())


def test_a_sites_prefixes() -> None:
    assert of_site(64512, BERLIN, 7) == ("64512:1:7", "64512:2:2033977518", "64512:5:2498989246")


def test_a_path_through_an_uplink() -> None:
    assert of_path(64512, BERLIN, 7, "fiber", 3) == (
        "64512:1:7",
        "64512:2:2033977518",
        "64512:3:2074893765",
        "64512:4:3",
        "64512:5:2498989246",
    )
