"""Reflection: RFC 4456 with ADD-PATH, one path per uplink."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speaker.plan import PolicyPlan, StepPlan
from speaker.rib.attributes import NO_ADVERTISE, NO_EXPORT, Attributes
from speaker.rib.export import Exporter, ExportGroup, View
from speaker.rib.path import Path, Source, SourceKind
from speaker.rib.prefix import Family
from speaker.rib.steps import CompiledPolicy
from speaker.rib.table import Change
from tests.speaker.rib import oracle
from tests.speaker.rib.given import FACTS, HUBS, KEYS, LOCAL, OWN_ID, PEERS, hop, path, paths_of

CLIENT, OTHER_CLIENT, PEER, OTHER_PEER = PEERS
KINDS = (SourceKind.CLIENT, SourceKind.PEER, SourceKind.HUB)


def exporter(kind: SourceKind, add_path: bool = True) -> Exporter:
    return Exporter(ExportGroup(kind, add_path), FACTS)


def told(kind: SourceKind, *paths: Path, add_path: bool = True) -> dict[int, Attributes]:
    return dict(exporter(kind, add_path).exports(paths))


WHO_IS_TOLD = [
    (LOCAL, {SourceKind.CLIENT, SourceKind.PEER, SourceKind.HUB}),
    (CLIENT, {SourceKind.CLIENT, SourceKind.PEER}),
    (PEER, {SourceKind.CLIENT}),
    (HUBS[0], set()),
]


@pytest.mark.parametrize(("source", "kinds"), WHO_IS_TOLD, ids=[source.name for source, _ in WHO_IS_TOLD])
def test_who_is_told(source: object, kinds: set[SourceKind]) -> None:
    one = path(source, 3)  # type: ignore[arg-type]
    assert {kind for kind in KINDS if told(kind, one)} == kinds
    assert {kind for kind in KINDS if told(kind, one, add_path=False)} == kinds


def test_a_clients_path_is_reflected_with_its_next_hop_unchanged() -> None:
    sent = told(SourceKind.PEER, path(CLIENT, 3, local_pref=150, large_communities=((64512, 1, 1),)))
    assert sent == {
        3: Attributes(
            next_hop=hop(3),
            local_pref=150,
            originator_id=CLIENT.router_id,
            cluster_list=(OWN_ID,),
            large_communities=((64512, 1, 1),),
        )
    }


def test_what_another_hub_put_on_it_stays() -> None:
    sent = told(SourceKind.CLIENT, path(PEER, 3, originator_id=hop(77), cluster_list=(hop(21),)))[3]
    assert sent.originator_id == hop(77)
    assert sent.cluster_list == (OWN_ID, hop(21))


def test_our_own_prefix_carries_our_name_to_those_below_and_beside_us_and_nothing_to_a_hub() -> None:
    own = path(LOCAL, 1, local_pref=200)
    for kind in (SourceKind.CLIENT, SourceKind.PEER):
        assert told(kind, own)[1] == replace(own.attributes, originator_id=OWN_ID)
    assert told(SourceKind.HUB, own)[1] == own.attributes


def test_the_clients_copy_goes_before_another_hubs_however_good() -> None:
    of_client, of_peer = path(CLIENT, 3, local_pref=0), path(PEER, 3, local_pref=900)
    assert told(SourceKind.CLIENT, of_peer, of_client)[3].local_pref == 0
    assert told(SourceKind.PEER, of_peer, of_client)[3].local_pref == 0


def test_when_only_another_hubs_copy_is_left_hubs_get_a_withdrawal_and_clients_the_copy() -> None:
    of_client, of_peer = path(CLIENT, 3), path(PEER, 3, originator_id=hop(11), cluster_list=(hop(21),))
    assert exporter(SourceKind.PEER).delta((of_client, of_peer), (of_peer,)) == ((3,), ())
    gone, announced = exporter(SourceKind.CLIENT).delta((of_client, of_peer), (of_peer,))
    assert gone == ()
    assert [(path_id, sent.cluster_list) for path_id, sent in announced] == [(3, (OWN_ID, hop(21)))]


def test_of_two_hubs_copies_the_better_one_is_told_once() -> None:
    copies = path(OTHER_PEER, 3, local_pref=100), path(PEER, 3, local_pref=50)
    assert {path_id: sent.local_pref for path_id, sent in told(SourceKind.CLIENT, *copies).items()} == {3: 100}


@pytest.mark.parametrize(("community", "passes"), [(NO_EXPORT, True), (NO_ADVERTISE, False)])
def test_well_known_communities(community: int, passes: bool) -> None:
    marked = path(CLIENT, 3, communities=(community,))
    for add_path in (True, False):
        assert bool(told(SourceKind.CLIENT, marked, add_path=add_path)) is passes
    assert bool(told(SourceKind.HUB, path(LOCAL, 3, communities=(community,)))) is passes


PLAIN, LABELLED = (64512, 6, 0x0A2A0001), (64512, 7, 0x0A2A0001)
NO_RULES, RULES = None, View(CompiledPolicy.of(PolicyPlan(1, (StepPlan("rule", preference_add=1),)), 64512))


@pytest.mark.parametrize(
    ("source", "kind", "view", "sees_otherwise", "told_of"),
    [
        (CLIENT, SourceKind.CLIENT, NO_RULES, False, (PLAIN, LABELLED)),
        (CLIENT, SourceKind.CLIENT, RULES, False, (PLAIN, LABELLED)),
        (CLIENT, SourceKind.CLIENT, NO_RULES, True, (LABELLED,)),
        (CLIENT, SourceKind.CLIENT, RULES, True, (LABELLED,)),
        (CLIENT, SourceKind.PEER, NO_RULES, False, (PLAIN, LABELLED)),
        (CLIENT, SourceKind.PEER, NO_RULES, True, (LABELLED,)),
        # Another hub's word: it has no rules of its own, or it would not have said so.
        (PEER, SourceKind.CLIENT, NO_RULES, False, (PLAIN, LABELLED)),
        (PEER, SourceKind.CLIENT, NO_RULES, True, (PLAIN, LABELLED)),
        (PEER, SourceKind.CLIENT, RULES, False, (LABELLED,)),
    ],
)
def test_a_relay_by_plain_ip_is_told_of_only_where_it_leads_to_the_path(
    source: Source, kind: SourceKind, view: View | None, sees_otherwise: bool, told_of: tuple[object, ...]
) -> None:
    group = ExportGroup(kind, view=view, sees_otherwise=sees_otherwise)
    one = path(source, 3, large_communities=((64512, 1, 1), PLAIN, LABELLED))
    ((_, sent),) = Exporter(group, FACTS).exports((one,))
    assert sent.large_communities == ((64512, 1, 1), *told_of)


def test_rejected_is_never_told_stale_and_withheld_are() -> None:
    one = path(CLIENT, 3)
    assert not told(SourceKind.CLIENT, replace(one, rejected="as-loop"))
    assert told(SourceKind.CLIENT, replace(one, stale=True)) == told(SourceKind.CLIENT, one)
    assert told(SourceKind.CLIENT, replace(one, withheld="connected")) == told(SourceKind.CLIENT, one)


def test_without_add_path_only_the_best_is_told_and_nothing_when_it_is_not_for_the_group() -> None:
    of_client, of_peer = path(CLIENT, 3, local_pref=100), path(PEER, 4, local_pref=200)
    assert {i: sent.next_hop for i, sent in told(SourceKind.CLIENT, of_client, of_peer, add_path=False).items()} == {
        0: hop(4)
    }
    assert told(SourceKind.PEER, of_client, of_peer, add_path=False) == {}


def test_going_stale_is_nothing_to_tell() -> None:
    one = path(CLIENT, 3)
    assert exporter(SourceKind.CLIENT).delta((one,), (replace(one, stale=True),)) == ((), ())


def test_batches_gather_keys_by_what_is_said_about_them() -> None:
    old, new = (path(CLIENT, 3), path(CLIENT, 4)), (path(CLIENT, 4), path(OTHER_CLIENT, 5))
    also = (path(OTHER_CLIENT, 5),)
    changes = [
        Change(Family.IPV4, old, new, [KEYS[0], KEYS[1]]),
        Change(Family.IPV4, (), also, [KEYS[2]]),
        Change(Family.IPV4, new, new, [KEYS[3]]),
    ]
    (batch,) = exporter(SourceKind.CLIENT).batches(changes)
    assert batch.family is Family.IPV4
    assert batch.withdrawn == [(3, [KEYS[0], KEYS[1]])]
    ((path_id, attributes, keys),) = batch.announced
    assert (path_id, attributes.next_hop, keys) == (5, hop(5), [KEYS[0], KEYS[1], KEYS[2]])


groups = st.builds(ExportGroup, kind=st.sampled_from(KINDS), add_path=st.booleans())


@given(paths=paths_of((LOCAL, *PEERS)), group=groups)
def test_agrees_with_the_oracle(paths: list[Path], group: ExportGroup) -> None:
    found = Exporter(group, FACTS).exports(tuple(paths))
    assert dict(found) == oracle.told(paths, group.kind, group.add_path, OWN_ID)
    assert [path_id for path_id, _ in found] == sorted(dict(found))


@given(old=paths_of((LOCAL, *PEERS)), new=paths_of((LOCAL, *PEERS)), group=groups)
def test_a_delta_leads_from_old_to_new_and_says_nothing_twice(
    old: list[Path], new: list[Path], group: ExportGroup
) -> None:
    talk = Exporter(group, FACTS)
    view = dict(talk.exports(tuple(old)))
    gone, announced = talk.delta(tuple(old), tuple(new))
    assert all(view.get(path_id) != sent for path_id, sent in announced)
    for path_id in gone:
        del view[path_id]
    view.update(announced)
    assert view == dict(talk.exports(tuple(new)))


@given(paths=paths_of(tuple(PEERS)), add_path=st.booleans())
def test_no_path_goes_from_a_non_client_to_a_non_client(paths: list[Path], add_path: bool) -> None:
    from_clients = [p for p in paths if p.source.kind is SourceKind.CLIENT]
    for path_id, sent in told(SourceKind.PEER, *paths, add_path=add_path).items():
        assert any(
            p.attributes.next_hop == sent.next_hop and path_id in (0, p.uplink) and not p.rejected for p in from_clients
        )
