"""Large communities: the table, and what a path carries."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.inventory.model import Site
from controller.policy.communities import MOST_PATHS, REASON, REASONS, WELL_KNOWN, of_path, of_site, table
from speaker.plan import AllocationPlan, ImportPlan, NextHopPlan
from speaker.rib import attributes, communities
from speaker.rib.export import ExportGroup
from speaker.rib.path import SourceKind, Update
from speaker.rib.policy import HubImport
from speaker.rib.prefix import Family
from speaker.rib.reasons import REASON_NUMBERS
from speaker.rib.reasons import REASONS as SPEAKERS_REASONS
from speaker.rib.rib import Rib
from tests.controller.golden import compare
from tests.speaker.rib.given import FACTS, PEERS, hop, key

CLIENT = PEERS[0]
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


@pytest.mark.parametrize("name", [name for name in dir(attributes) if name.startswith("NO_")])
def test_what_is_said_of_those_of_rfc_1997_is_what_a_hub_does(name: str) -> None:
    imports = ImportPlan((NextHopPlan(3, "10.42.0.3", None, 200, (), 0),), (AllocationPlan("10.1.0.0/16", 24),))
    hub, prefix = Rib(FACTS), key("10.1.1.0/24")
    hub.set_session(CLIENT, HubImport(FACTS, imports=imports))
    heard = attributes.Attributes(hop(3), communities=(getattr(attributes, name),))
    hub.receive(CLIENT, Update(announced=[(Family.IPV4, 3, [prefix], heard)]))
    changes = hub.take(9)
    told = [bool(hub.batches(ExportGroup(SourceKind.CLIENT, ebgp=ebgp), changes)) for ebgp in (False, True)]
    assert hub.desired(Family.IPV4, prefix)
    effects = {
        (True, False): "not told to eBGP clients",
        (False, False): "told to nobody: the hubs that hear it use it themselves",
    }
    assert WELL_KNOWN[name][2] == effects[told[0], told[1]]


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
