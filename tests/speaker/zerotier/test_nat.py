from __future__ import annotations

import json
from pathlib import Path

import pytest

from speaker.zerotier.nat import DEPENDENT, INDEPENDENT, OPEN, UNSEEN, Nat, kind_of, noted

RECORDED = Path(__file__).parents[2] / "controller" / "zerotier" / "recorded"
LISTENING = ("10.0.0.5/9993", "10.0.0.5/21234")


def test_a_node_that_is_seen_as_it_is_has_no_nat() -> None:
    settings = json.loads((RECORDED / "member_GET_status.json").read_text())["config"]["settings"]
    assert kind_of(settings["listeningOn"], settings["surfaceAddresses"]) == OPEN


@pytest.mark.parametrize(
    ("surface", "kind"),
    [
        ((), UNSEEN),
        (("198.51.100.7/9993",), INDEPENDENT),
        (("198.51.100.7/40001", "198.51.100.7/40002"), INDEPENDENT),
        (("198.51.100.7/40001", "198.51.100.7/40002", "198.51.100.7/40003"), DEPENDENT),
        (("198.51.100.7/40001", "198.51.100.8/40002", "198.51.100.9/40003"), INDEPENDENT),
        (("10.0.0.5/9993", "198.51.100.7/40001"), INDEPENDENT),
    ],
)
def test_more_outer_ports_than_local_ones_depend_on_the_destination(surface: tuple[str, ...], kind: str) -> None:
    assert kind_of(LISTENING, surface) == kind


def test_a_change_is_remembered_and_not_seeing_is_none() -> None:
    first = noted(None, UNSEEN, 1.0)
    known = noted(first, INDEPENDENT, 2.0)
    assert (first, known) == (Nat(UNSEEN), Nat(INDEPENDENT))
    assert noted(known, UNSEEN, 3.0) == noted(known, INDEPENDENT, 4.0) == known
    changed = noted(known, DEPENDENT, 5.0)
    assert changed == Nat(DEPENDENT, INDEPENDENT, 5.0)
    assert noted(changed, DEPENDENT, 9.0) == changed
