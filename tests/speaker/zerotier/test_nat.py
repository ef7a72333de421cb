from __future__ import annotations

import json
from pathlib import Path

import pytest

from speaker.zerotier.nat import DEPENDENT, INDEPENDENT, OPEN, UNSEEN, Nat, kind_of, noted

RECORDED = Path(__file__).parents[2] / "controller" / "zerotier" / "recorded"
LISTENING = ("10.0.0.5/9993", "10.0.0.5/21234")


ROOTS = ("192.0.2.1/9993", "192.0.2.2/9993")


def test_a_node_that_is_seen_as_it_is_has_no_nat() -> None:
    settings = json.loads((RECORDED / "member_GET_status.json").read_text())["config"]["settings"]
    assert kind_of(settings["listeningOn"], settings["surfaceAddresses"], ROOTS[:1]) == OPEN
    assert kind_of(settings["listeningOn"], settings["surfaceAddresses"], ()) == UNSEEN, "neighbours on a LAN say so"


@pytest.mark.parametrize(
    ("surface", "kind"),
    [
        ((), UNSEEN),
        (("198.51.100.7/9993",), INDEPENDENT),
        (("198.51.100.7/40001", "198.51.100.7/40002"), INDEPENDENT),
        (("198.51.100.7/40001", "198.51.100.7/40002", "198.51.100.7/40003"), DEPENDENT),
        (("198.51.100.7/40001", "198.51.100.8/40001", "198.51.100.9/40001"), DEPENDENT),
        (("10.0.0.5/9993", "198.51.100.7/40001"), INDEPENDENT),
        (("2001:db8::5/9993", "198.51.100.7/40001"), UNSEEN),
    ],
    ids=[
        "unseen",
        "same port",
        "a port each",
        "more ports",
        "a pool of addresses",
        "one socket is open",
        "other family",
    ],
)
def test_more_outer_ports_than_local_ones_depend_on_the_destination(surface: tuple[str, ...], kind: str) -> None:
    assert kind_of(LISTENING, surface, ROOTS) == kind


TWO = ("192.168.1.2/9993", "192.168.1.3/9993")


@pytest.mark.parametrize(
    ("ports", "kind"), [((40001,), INDEPENDENT), ((40001, 40002), UNSEEN), ((40001, 40002, 40003), DEPENDENT)]
)
def test_local_addresses_behind_one_nat_have_an_outer_port_each(ports: tuple[int, ...], kind: str) -> None:
    """Whether both get out there nobody says: two outer ports may be of both, or of one for each destination."""
    assert kind_of(TWO, [f"198.51.100.7/{port}" for port in ports], ROOTS) == kind


@pytest.mark.parametrize(
    ("roots", "kind"),
    [
        ((), UNSEEN),
        (("192.0.2.1/9993",), UNSEEN),
        (("192.0.2.1/9993", "192.0.2.1/443"), UNSEEN),
        (("192.0.2.1/9993", "2001:db8::1/9993"), UNSEEN),
        (ROOTS, INDEPENDENT),
    ],
)
def test_one_root_alone_cannot_tell(roots: tuple[str, ...], kind: str) -> None:
    """Three ports in, three ports out: a symmetric NAT looks the same to it."""
    assert kind_of(LISTENING, ("198.51.100.7/40001", "198.51.100.7/40002"), roots) == kind


def test_a_change_is_remembered_and_not_seeing_is_none() -> None:
    first = noted(None, UNSEEN, 1.0)
    known = noted(first, INDEPENDENT, 2.0)
    assert (first, known) == (Nat(UNSEEN), Nat(INDEPENDENT))
    assert noted(known, UNSEEN, 3.0) == noted(known, INDEPENDENT, 4.0) == known
    changed = noted(known, DEPENDENT, 5.0)
    assert changed == Nat(DEPENDENT, INDEPENDENT, 5.0)
    assert noted(changed, DEPENDENT, 9.0) == changed
