"""What an eBGP client is told: RFC 7947, and RFC 4271 5.1 for what does not cross the border."""

from __future__ import annotations

from dataclasses import replace

import pytest

from speaker.plan import PolicyPlan, StepPlan
from speaker.rib.attributes import (
    AS_CONFED_SEQUENCE,
    AS_SEQUENCE,
    AS_SET,
    NO_ADVERTISE,
    NO_EXPORT,
    NO_EXPORT_SUBCONFED,
    AsSegment,
    Attributes,
)
from speaker.rib.communities import RULED_MED, RULED_PREPEND
from speaker.rib.export import Exporter, ExportGroup, View
from speaker.rib.path import Path, Source, SourceKind
from speaker.rib.steps import CompiledPolicy
from tests.speaker.rib.given import ASN, FACTS, HUBS, LOCAL, PEERS, bandwidth, hop, path

CLIENT, OTHER_CLIENT, PEER, _ = PEERS
THEIRS = ((AS_SEQUENCE, (65001, 65003)),)


def told(
    *paths: Path, add_path: bool = True, own: frozenset[int] = frozenset(), outside: frozenset[int] = frozenset()
) -> dict[int, Attributes]:
    return dict(Exporter(ExportGroup(SourceKind.CLIENT, add_path, None, True, own, outside), FACTS).exports(paths))


def test_a_path_of_the_fabric_gets_its_as_once_and_a_med_instead_of_preference() -> None:
    inside = path(
        CLIENT, 3, local_pref=200, originator_id=hop(9), cluster_list=(hop(8),), large_communities=((1, 2, 3),)
    )
    assert told(inside) == {
        3: Attributes(
            next_hop=hop(3), as_path=((AS_SEQUENCE, (ASN,)),), med=2**32 - 201, large_communities=((1, 2, 3),)
        )
    }


@pytest.mark.parametrize("source", [LOCAL, CLIENT, PEER], ids=lambda source: source.name)
def test_whoever_it_was_learnt_from(source: object) -> None:
    assert told(path(source, 3))[3].as_path == ((AS_SEQUENCE, (ASN,)),)  # type: ignore[arg-type]


def test_nothing_of_a_hub_that_reflects_to_us() -> None:
    assert told(path(HUBS[0], 3)) == {}


@pytest.mark.parametrize("source", [CLIENT, PEER], ids=lambda source: source.name)
def test_the_as_path_of_another_ebgp_client_is_not_touched(source: Source) -> None:
    assert told(path(source, 3, as_path=THEIRS), outside=frozenset({3}))[3].as_path == THEIRS


def test_what_came_in_behind_a_gateway_leaves_with_the_fabrics_as_in_front() -> None:
    """A gateway's LAN peer, or an eBGP neighbour of an iBGP client: loops through the fabric must be seen."""
    inside = path(CLIENT, 3, as_path=THEIRS)
    assert told(inside, outside=frozenset({4}))[3].as_path == ((AS_SEQUENCE, (ASN, 65001, 65003)),)
    further = path(CLIENT, 3, as_path=THEIRS, large_communities=((ASN, RULED_PREPEND, 2),))
    assert told(further)[3].as_path == ((AS_SEQUENCE, (ASN, ASN, ASN, 65001, 65003)),)


@pytest.mark.parametrize(
    "theirs", [((AS_SET, (65001, 65003)),), ((AS_SEQUENCE, (65001,) * 255),)], ids=["set", "full segment"]
)
def test_where_it_does_not_fit_into_the_first_segment_it_has_one_of_its_own(theirs: tuple[AsSegment, ...]) -> None:
    assert told(path(CLIENT, 3, as_path=theirs))[3].as_path == ((AS_SEQUENCE, (ASN,)), *theirs)


def test_confederations_end_at_the_border() -> None:
    inside = ((AS_CONFED_SEQUENCE, (65100,)),)
    assert told(path(CLIENT, 3, as_path=(*inside, *THEIRS)), outside=frozenset({3}))[3].as_path == THEIRS
    assert told(path(CLIENT, 3, as_path=inside))[3].as_path == ((AS_SEQUENCE, (ASN,)),)


def test_the_better_path_has_the_lower_med_and_no_preference_is_the_usual_one() -> None:
    meds = {
        number: sent.med
        for number, sent in told(path(CLIENT, 3, local_pref=0), path(PEER, 4), path(CLIENT, 5, local_pref=150)).items()
    }
    assert meds == {3: 2**32 - 1, 4: 2**32 - 101, 5: 2**32 - 151}


def test_a_clients_own_med_is_no_rule() -> None:
    received = Attributes(next_hop=hop(3), med=7)
    as_received = replace(path(CLIENT, 3, med=7), received=received)
    assert told(as_received)[3].med == 2**32 - 101
    assert told(replace(as_received, source=PEER))[3].med == 2**32 - 101
    assert told(path(CLIENT, 3, med=7))[3].med == 2**32 - 101


@pytest.mark.parametrize("source", [LOCAL, CLIENT, PEER], ids=lambda source: source.name)
@pytest.mark.parametrize("clients_own", [None, 7, 50])
def test_what_rules_at_import_say_is_told_by_every_hub(source: Source, clients_own: int | None) -> None:
    """Also where a client had said the same: before, that was taken for no rule at all."""
    said = ((ASN, RULED_MED, 50), (ASN, RULED_PREPEND, 1))
    received = Attributes(next_hop=hop(3), med=clients_own)
    ruled = replace(path(source, 3, med=50, large_communities=said), received=received)
    sent = told(ruled)[3]
    assert (sent.med, sent.as_path) == (50, ((AS_SEQUENCE, (ASN, ASN)),))


def test_of_what_several_say_the_least_counts_and_others_communities_say_nothing() -> None:
    said = ((ASN, RULED_MED, 9), (ASN, RULED_MED, 8), (ASN, RULED_PREPEND, 99), (65009, RULED_MED, 1))
    sent = told(path(PEER, 3, large_communities=said))[3]
    assert (sent.med, sent.as_path) == (8, ((AS_SEQUENCE, (ASN,) * 33),))


def test_a_viewers_rule_comes_after_those_at_import() -> None:
    policy = CompiledPolicy.of(PolicyPlan(1, (StepPlan("far", med=5, prepend=1),)), ASN)
    group = ExportGroup(SourceKind.CLIENT, True, View(policy), True)
    said = ((ASN, RULED_MED, 9), (ASN, RULED_PREPEND, 1))
    (sent,) = dict(Exporter(group, FACTS).exports((path(PEER, 3, large_communities=said),))).values()
    assert (sent.med, sent.as_path) == (5, ((AS_SEQUENCE, (ASN,) * 3),))


@pytest.mark.parametrize("community", [NO_EXPORT, NO_ADVERTISE, NO_EXPORT_SUBCONFED])
@pytest.mark.parametrize("add_path", [True, False])
def test_what_shall_not_leave_is_not_told_and_hides_nothing(community: int, add_path: bool) -> None:
    marked, plain = path(CLIENT, 3, local_pref=200, communities=(community,)), path(OTHER_CLIENT, 4)
    assert told(marked, add_path=add_path) == {}
    assert [sent.next_hop for sent in told(marked, plain, add_path=add_path).values()] == [hop(4)]


@pytest.mark.parametrize("add_path", [True, False])
def test_its_own_paths_are_not_told_back_and_hide_nothing(add_path: bool) -> None:
    own, other = path(CLIENT, 11, local_pref=200), path(OTHER_CLIENT, 12)
    by_way_of_a_hub = path(PEER, 11, local_pref=200, originator_id=hop(11))
    for mine in (own, by_way_of_a_hub):
        assert told(mine, add_path=add_path, own=frozenset({11})) == {}
        found = told(mine, other, add_path=add_path, own=frozenset({11}))
        assert [sent.next_hop for sent in found.values()] == [hop(12)]


def test_extended_communities_that_are_not_transitive_stay_inside() -> None:
    target = b"\0\2ABCDEF"
    assert told(path(CLIENT, 3, extended_communities=(bandwidth(1e6), target)))[3].extended_communities == (target,)


def test_without_add_path_our_own_prefix_is_a_path_like_others() -> None:
    """It is the first choice of our kernel only."""
    assert told(path(LOCAL, 1, local_pref=50), path(CLIENT, 3, local_pref=60), add_path=False)[0].next_hop == hop(3)
