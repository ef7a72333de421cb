"""RFC 4271 9.1.2.2, RFC 4456 9, multipath and tiers."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speaker.plan import MAX_TIERS
from speaker.rib.attributes import AS_CONFED_SEQUENCE, AS_SEQUENCE, AS_SET, Attributes
from speaker.rib.communities import BLACKHOLE
from speaker.rib.decision import Decider, decide
from speaker.rib.path import Member, Path, SourceKind
from tests.speaker.rib import oracle
from tests.speaker.rib.given import ASN, HUBS, LOCAL, PEERS, bandwidth, hop, path, paths_of, peer

A, B = HUBS
SEQUENCE = AS_SEQUENCE


def best_hops(*paths: Path) -> set[bytes]:
    return {member.next_hop for member in decide(paths, 8).tiers[0]}


STEPS = [
    ("higher LOCAL_PREF", {"local_pref": 200}, {"local_pref": 100}),
    ("absent LOCAL_PREF is 100", {}, {"local_pref": 99}),
    ("LOCAL_PREF before AS_PATH", {"local_pref": 200, "as_path": ((SEQUENCE, (1, 2)),)}, {"local_pref": 100}),
    ("shorter AS_PATH", {"as_path": ((SEQUENCE, (1,)),)}, {"as_path": ((SEQUENCE, (2, 3)),)}),
    ("an AS_SET counts once", {"as_path": ((AS_SET, (1, 2, 3)),)}, {"as_path": ((SEQUENCE, (4, 5)),)}),
    ("AS_PATH before ORIGIN", {"origin": 2}, {"as_path": ((SEQUENCE, (1,)),)}),
    ("lower ORIGIN", {"origin": 0}, {"origin": 1}),
    ("ORIGIN before MED", {"origin": 0, "med": 10}, {"origin": 1, "med": 5}),
    ("lower MED of one AS", {"med": 5}, {"med": 10}),
    ("absent MED is 0", {}, {"med": 1}),
]


@pytest.mark.parametrize(("better", "worse"), [case[1:] for case in STEPS], ids=[case[0] for case in STEPS])
def test_a_step_decides(better: dict[str, Any], worse: dict[str, Any]) -> None:
    # The loser would win every later tie-break.
    decision = decide((path(B, 9, **better), path(A, 3, **worse)), 8)
    assert decision.best is not None
    assert decision.best.attributes.next_hop == hop(9)
    assert decision.tiers == ((Member(hop(9), 1),), (Member(hop(3), 1),))


def test_med_says_nothing_between_two_ases() -> None:
    one = path(A, 3, med=5, as_path=((SEQUENCE, (65001,)),))
    other = path(A, 4, med=10, as_path=((SEQUENCE, (65002,)),))
    assert best_hops(one, other) == {hop(3), hop(4)}


def test_med_does_not_depend_on_the_order_of_arrival() -> None:
    """The classic: pairwise comparison in the order of arrival gives three different results."""
    paths = [
        path(A, 5, med=10, as_path=((SEQUENCE, (65001,)),)),
        path(A, 4, med=0, as_path=((SEQUENCE, (65002,)),)),
        path(A, 3, med=5, as_path=((SEQUENCE, (65001,)),)),
    ]
    for seed in range(6):
        random.Random(seed).shuffle(paths)
        assert best_hops(*paths) == {hop(3), hop(4)}


def test_the_neighbour_as_is_the_first_outside_our_confederation() -> None:
    inside = (AS_CONFED_SEQUENCE, (65100,))
    one = path(A, 3, med=5, as_path=(inside, (SEQUENCE, (65001,))))
    other = path(A, 4, med=10, as_path=(inside, (SEQUENCE, (65002,))))
    same = path(A, 5, med=10, as_path=((SEQUENCE, (65001,)),))
    assert best_hops(one, other, same) == {hop(3), hop(4)}


TIES = [
    ("lower router id", path(peer("x", SourceKind.HUB, 31), 9), path(peer("w", SourceKind.HUB, 32), 3)),
    ("ORIGINATOR_ID is the router id", path(B, 9, originator_id=hop(3)), path(A, 3, originator_id=hop(4))),
    (
        "shorter CLUSTER_LIST",
        path(B, 9, originator_id=hop(3), cluster_list=(hop(1),)),
        path(A, 3, originator_id=hop(3), cluster_list=(hop(1), hop(2))),
    ),
    ("lower peer address", path(A, 9, originator_id=hop(3)), path(B, 3, originator_id=hop(3))),
    ("lower path id", path(A, 3), path(A, 9)),
]


@pytest.mark.parametrize(("first", "second"), [case[1:] for case in TIES], ids=[case[0] for case in TIES])
def test_a_tie_is_broken_for_the_best_path_only(first: Path, second: Path) -> None:
    decision = decide((second, first), 8)
    assert decision.best == first
    assert decision.multipath == (first, second)
    assert len(decision.tiers) == 1


def test_copies_from_two_hubs_are_one_member_and_their_weight_is_not_added() -> None:
    copies = [path(h, 3, originator_id=hop(3), extended_communities=(bandwidth(1e6),)) for h in HUBS]
    other = path(A, 4, originator_id=hop(4), extended_communities=(bandwidth(2e6),))
    assert decide((*copies, other), 8).tiers == ((Member(hop(3), 128), Member(hop(4), 255)),)


def test_of_two_copies_the_better_one_says_the_bandwidth() -> None:
    copies = [
        path(h, 3, originator_id=hop(3), extended_communities=(bandwidth(width),))
        for h, width in zip(HUBS, (1e6, 9e6), strict=True)
    ]
    other = path(A, 4, originator_id=hop(4), extended_communities=(bandwidth(2e6),))
    assert decide((*copies, other), 8).tiers == ((Member(hop(3), 128), Member(hop(4), 255)),)


@pytest.mark.parametrize(
    ("widths", "weights"),
    [
        ((1e9, 1e8), (255, 26)),
        ((1e9, 1.0), (255, 1)),
        ((1e9, 1e9), (1, 1)),
        ((1e9, None), (1, 1)),
        ((1e9, 0.0), (1, 1)),
        ((1e9, float("inf")), (1, 1)),
        ((1e9, float("nan")), (1, 1)),
        ((1e9, -5.0), (1, 1)),
    ],
)
def test_weights_come_from_link_bandwidth_if_every_member_has_it(
    widths: tuple[float | None, float | None], weights: tuple[int, int]
) -> None:
    paths = [
        path(A, number, extended_communities=() if width is None else (bandwidth(width),))
        for number, width in zip((3, 4), widths, strict=True)
    ]
    assert tuple(member.weight for member in decide(paths, 8).tiers[0]) == weights


def test_more_next_hops_than_max_paths_go_to_the_next_tier() -> None:
    paths = [path(A, number) for number in (6, 5, 4, 3)]
    assert decide(paths, 3).tiers == (tuple(Member(hop(n), 1) for n in (3, 4, 5)), (Member(hop(6), 1),))


def test_tiers_share_no_next_hop_and_are_bounded() -> None:
    good = [path(A, number, local_pref=1000 - number) for number in range(3, 10)]
    again = [path(B, number, local_pref=1) for number in range(3, 10)]
    found = decide([*good, *again], 8).tiers
    assert found == tuple((Member(hop(n), 1),) for n in (3, 4, 5, 6))
    assert len(found) == MAX_TIERS


def test_our_own_prefix_beats_all_and_has_no_tiers() -> None:
    own = path(LOCAL, 9, local_pref=0)
    decision = decide((path(A, 3, local_pref=500), own), 8)
    assert decision.best == own
    assert decision.tiers == ()


def test_rejected_is_out_stale_is_in() -> None:
    stale = Path(A, 3, 3, path(A, 3).attributes, stale=True)
    rejected = Path(B, 4, 4, path(B, 4, local_pref=900).attributes, rejected="as-loop")
    assert best_hops(stale, rejected) == {hop(3)}
    assert decide((rejected,), 8).best is None
    assert decide((), 8).tiers == ()


def test_a_withheld_path_may_be_told_but_makes_no_route() -> None:
    withheld = Path(A, 3, 3, path(A, 3).attributes, withheld="connected")
    decision = decide((withheld,), 8)
    assert decision.best == withheld
    assert decision.tiers == ()


@given(paths=paths_of((LOCAL, *PEERS, *HUBS)), max_paths=st.integers(1, 4), seed=st.integers(0, 99))
def test_agrees_with_the_oracle_in_any_order(paths: list[Path], max_paths: int, seed: int) -> None:
    shuffled = random.Random(seed).sample(paths, len(paths))
    decision = decide(shuffled, max_paths)
    assert decision.best == oracle.best(paths)
    found = [{member.next_hop: member.weight for member in tier} for tier in decision.tiers]
    assert found == oracle.tiers(paths, max_paths, MAX_TIERS)
    assert all(list(tier) == sorted(tier, key=lambda member: member.next_hop) for tier in decision.tiers)
    assert {p.attributes.next_hop for p in decision.multipath if decision.tiers} == {*(found[0] if found else ())}


WIDTHS = [
    ("nobody says anything", ((), ()), 4),
    ("the least that is said", (((ASN, 10, 3),), ((ASN, 10, 2),)), 2),
    ("one says it for all", (((ASN, 10, 1),), ()), 1),
    ("never more than the gateway can", (((ASN, 10, 9),), ()), 4),
    ("another AS", (((ASN + 1, 10, 1),), ()), 4),
    ("another function", (((ASN, 9, 1),), ()), 4),
    ("0 says nothing", (((ASN, 10, 0),), ()), 4),
]


@pytest.mark.parametrize(("said", "width"), [case[1:] for case in WIDTHS], ids=[case[0] for case in WIDTHS])
def test_communities_limit_how_many_paths_are_used_at_once(said: Any, width: int) -> None:
    first, second = said
    paths = path(A, 3, large_communities=first), path(A, 4, large_communities=second), *(path(A, n) for n in (5, 6, 7))
    assert len(decide(paths, 4, ASN).tiers[0]) == width


def test_only_those_of_the_best_set_limit_it() -> None:
    worse = path(A, 5, local_pref=50, large_communities=((ASN, 10, 1),)), path(A, 6, local_pref=50)
    found = decide((path(A, 3), path(A, 4), *worse), 8, ASN)
    assert [len(tier) for tier in found.tiers] == [2, 1, 1]


def test_a_blackhole_is_a_route_without_next_hop_where_it_is_honoured() -> None:
    hole = path(A, 3, communities=(BLACKHOLE,))
    found = decide((hole, path(A, 4)), 8, blackhole=True)
    assert (found.best, found.tiers, found.discard, found.route) == (hole, (), True, ())
    assert decide((hole, path(A, 4, local_pref=200)), 8, blackhole=True).route == (
        (Member(hop(4), 1),),
        (Member(hop(3), 1),),
    )
    assert decide((hole,), 8).route == ((Member(hop(3), 1),),)
    withheld = replace(hole, withheld="connected")
    assert decide((withheld,), 8, blackhole=True).route is None
    assert decide((path(LOCAL, 3, communities=(BLACKHOLE,)),), 8, blackhole=True).route is None


def test_with_a_view_paths_are_decided_as_they_look_and_named_as_they_are() -> None:
    far, near, hidden, own = path(A, 3, local_pref=300), path(B, 4), path(A, 5, local_pref=900), path(LOCAL, 6)

    def view(seen: Path) -> Attributes | None:
        if seen is hidden:
            return None
        return replace(seen.attributes, local_pref=400) if seen is near else seen.attributes

    decider = Decider(8, view=view)
    decision = decider((far, near, hidden))
    assert decision.best is near
    assert decision.multipath == (near,)
    assert decision.tiers == ((Member(hop(4), 1),), (Member(hop(3), 1),))
    assert decider((hidden,)).best is None
    assert Decider(8, view=lambda _: None)((own,)).best is own


def test_equal_tiers_are_one_object() -> None:
    decider = Decider(8)
    one, two = (path(A, 3),), (path(A, 3, med=7),)
    assert decider(one).tiers is decider(two).tiers
