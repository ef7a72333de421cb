"""What is known of next hops: learnt from updates, forgotten with their source, bounded."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from speaker.rib.hops import Hop, Hops
from speaker.rib.path import Source, Update
from speaker.rib.policy import SpokeImport
from speaker.rib.prefix import Family
from speaker.rib.rib import Rib
from tests.speaker.rib.given import ASN, FACTS, HUBS, KEYS, hop, path
from tests.speaker.rib.test_rib import announced, withdrawn

A, B = HUBS
RELAYED = ((ASN, 4, 3), (ASN, 6, int.from_bytes(hop(31), "big")))


def rib_with(*sources: Source) -> Rib:
    rib = Rib(FACTS)
    for source in sources:
        rib.set_session(source, SpokeImport(FACTS))
    return rib


def said(number: int, **attributes: Any) -> Update:
    return announced([KEYS[0]], path_id=number, **attributes)


def test_an_update_tells_uplink_and_relays() -> None:
    rib = rib_with(A)
    rib.receive(A, said(3, large_communities=RELAYED))
    rib.receive(A, said(4, large_communities=((ASN, 7, 5), (65001, 6, 9))))
    assert set(rib.hops) == {
        Hop(hop(3), 3, frozenset({hop(31)}), frozenset()),
        Hop(hop(4), 4, frozenset(), frozenset({bytes((0, 0, 0, 5))})),
    }


def test_the_last_update_counts_and_the_same_again_is_no_change() -> None:
    rib = rib_with(A)
    rib.receive(A, said(3, large_communities=RELAYED))
    version = rib.hops.version
    rib.receive(A, said(3, large_communities=RELAYED))
    assert rib.hops.version == version
    rib.receive(A, said(3))
    assert set(rib.hops) == {Hop(hop(3), 3)}
    assert rib.hops.version > version


def test_a_renumbered_uplink_has_one_address() -> None:
    rib = rib_with(A)
    rib.receive(A, said(3))
    rib.receive(A, said(3, next_hop=hop(9)))
    assert set(rib.hops) == {Hop(hop(9), 3)}


def test_what_is_refused_is_not_known() -> None:
    rib = rib_with(A)
    rib.receive(A, said(3, next_hop=bytes((192, 0, 2, 1))))
    assert set(rib.hops) == set()


def test_it_goes_with_its_source() -> None:
    rib = rib_with(A, B)
    rib.receive(A, said(3))
    rib.receive(B, said(4))
    rib.session_lost(A, keep=True)
    assert set(rib.hops) == {Hop(hop(3), 3), Hop(hop(4), 4)}
    rib.session_lost(A, keep=False)
    assert set(rib.hops) == {Hop(hop(4), 4)}
    rib.forget(B)
    assert set(rib.hops) == set()


def test_a_refresh_that_does_not_repeat_it_ends_it() -> None:
    rib = rib_with(A)
    rib.receive(A, said(3))
    rib.receive(A, said(4))
    rib.refresh_begins(A, Family.IPV4)
    rib.receive(A, said(4))  # The last path before the refresh is the first one in it.
    rib.refresh_ends(A, Family.IPV6)
    assert {known.uplink for known in rib.hops} == {3, 4}
    rib.refresh_ends(A, Family.IPV4)
    assert {known.uplink for known in rib.hops} == {4}
    rib.receive(A, withdrawn([KEYS[0]], path_id=4))
    assert {known.uplink for known in rib.hops} == {4}, "stated: until the next refresh"


def test_it_is_bounded() -> None:
    hops = Hops(ASN, limit=2)
    for number in (3, 4, 5):
        hops.note(Family.IPV4, path(A, number))
    assert {known.uplink for known in hops} == {3, 4}
    hops.note(Family.IPV4, replace(path(A, 4), attributes=path(A, 9).attributes))
    assert {known.next_hop for known in hops} == {hop(3), hop(9)}
    hops.forget(A)
    hops.note(Family.IPV4, path(B, 5))
    assert {known.uplink for known in hops} == {5}
