"""Large communities: the table, and what a path carries."""

from __future__ import annotations

from pathlib import Path

from controller.inventory.model import Site
from controller.policy.communities import MOST_PATHS, REASON, REASONS, WELL_KNOWN, of_path, of_site, table
from speaker.rib import attributes, communities
from speaker.rib.reasons import REASON_NUMBERS
from speaker.rib.reasons import REASONS as SPEAKERS_REASONS
from tests.controller.golden import compare

BERLIN = Site("berlin", "eu", 7, tags=("dc",))


def test_golden_table_of_communities() -> None:
    compare(Path(__file__).parents[3] / "docs" / "communities.md", table())


def test_a_reason_has_the_speakers_number_and_words() -> None:
    """The controller may not import the routing table, so it has a table of its own."""
    assert {number: (code, SPEAKERS_REASONS[code]) for code, number in REASON_NUMBERS.items()} == REASONS
    assert (REASON, MOST_PATHS) == (communities.REASON, communities.MAX_PATHS)


def test_well_known_communities_are_the_speakers() -> None:
    for name, (text, _, _) in WELL_KNOWN.items():
        high, low = map(int, text.split(":"))
        module = attributes if hasattr(attributes, name) else communities
        assert getattr(module, name) == high << 16 | low, name


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
