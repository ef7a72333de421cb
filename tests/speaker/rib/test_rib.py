"""The whole table: whatever happens in whatever order, it ends as the oracle says, and everybody was told so."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from ipaddress import ip_network
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speaker.plan import MAX_TIERS, AllocationPlan, ImportPlan, NextHopPlan
from speaker.rib.attributes import Attributes
from speaker.rib.export import ExportGroup
from speaker.rib.path import Path, PathSet, Source, SourceKind, Tiers, Update
from speaker.rib.pathset import PathSets
from speaker.rib.policy import DenyImport, HubImport, ImportPolicy, PeerImport, SpokeImport
from speaker.rib.prefix import Family, Key
from speaker.rib.reasons import PREFIX_NOT_ALLOCATED
from speaker.rib.rib import Rib
from speaker.rib.table import Counts, Table
from tests.speaker.rib import oracle
from tests.speaker.rib.given import FACTS, HUBS, KEYS, KEYS6, OWN_ID, PEERS, hop, key

V4, V6 = Family.IPV4, Family.IPV6
CLIENT, OTHER_CLIENT, PEER, OTHER_PEER = PEERS


def client_import(longest: int = 24) -> HubImport:
    hops = tuple(NextHopPlan(n, f"10.42.0.{n}", None, 100 + n % 2, (), 0) for n in (3, 4, 5))
    spaces = ("10.0.0.0/8", longest), ("192.168.0.0/16", 32), ("2001:db8::/32", 64)
    return HubImport(FACTS, imports=ImportPlan(hops, tuple(AllocationPlan(*space) for space in spaces)))


@cache
def policy_of(source: Source) -> ImportPolicy:
    kinds: dict[SourceKind, ImportPolicy] = {
        SourceKind.CLIENT: client_import(),
        SourceKind.PEER: PeerImport(FACTS),
        SourceKind.HUB: SpokeImport(FACTS),
    }
    return kinds[source.kind]


def rib_with(*sources: Source) -> Rib:
    rib = Rib(FACTS)
    for source in sources:
        rib.set_session(source, policy_of(source))
    return rib


def announced(keys: list[Key], *, path_id: int = 3, family: Family = V4, **attributes: object) -> Update:
    made = Attributes(**{"next_hop": hop(path_id)} | attributes)  # type: ignore[arg-type]
    return Update(announced=[(family, path_id, keys, made)])


def withdrawn(keys: list[Key], *, path_id: int = 3, family: Family = V4) -> Update:
    return Update(withdrawn=[(family, path_id, keys)])


def finish(rib: Rib, rows: int = 2) -> None:
    while rib.step(rows):
        pass


def held(rib: Rib, k: Key = KEYS[0], family: Family = V4) -> dict[tuple[str, int], str]:
    """(source, path id) -> "stale", a reason code, or ""."""
    paths = rib.lookup(family, k)
    return {(p.source.name, p.path_id): "stale" if p.stale else p.rejected for p in paths}


def test_a_withdrawal_takes_one_path_id_of_one_source() -> None:
    rib = rib_with(CLIENT, OTHER_CLIENT)
    for source, number in ((CLIENT, 3), (CLIENT, 4), (OTHER_CLIENT, 3)):
        rib.receive(source, announced([KEYS[0]], path_id=number))
    rib.receive(CLIENT, withdrawn([KEYS[0], KEYS[1]]))
    assert held(rib) == {("client-a", 4): "", ("client-b", 3): ""}
    rib.receive(CLIENT, withdrawn([KEYS[0]], path_id=4))
    rib.receive(OTHER_CLIENT, withdrawn([KEYS[0]]))
    assert rib.lookup(V4, KEYS[0]) == ()
    assert rib.size(V4) == 0


def test_a_prefix_in_both_parts_of_an_update_is_announced() -> None:
    rib = rib_with(CLIENT)
    update = announced([KEYS[0]])
    update.withdrawn = withdrawn([KEYS[0]]).withdrawn
    rib.receive(CLIENT, update)
    assert held(rib) == {("client-a", 3): ""}


def test_a_refused_path_replaces_the_accepted_one_and_is_not_used() -> None:
    rib = rib_with(CLIENT)
    rib.receive(CLIENT, announced([KEYS[0]]))
    assert rib.desired(V4, KEYS[0]) is not None
    rib.receive(CLIENT, announced([KEYS[0]], next_hop=hop(9)))
    assert held(rib) == {("client-a", 3): "next-hop-not-yours"}
    assert rib.desired(V4, KEYS[0]) is None
    assert rib.counts(CLIENT, V4) == Counts(received=1, rejected=1)


def test_a_prefix_twice_in_one_update_counts_once() -> None:
    rib = rib_with(CLIENT)
    rib.receive(CLIENT, announced([KEYS[0], KEYS[0], KEYS[1]]))
    assert rib.counts(CLIENT, V4) == Counts(received=2, prefixes=2)
    assert sorted(k for _, k, _, _ in rib.changes(100)) == sorted(KEYS[:2])


def test_graceful_restart_keeps_what_is_announced_again_and_purges_the_rest_at_end_of_rib() -> None:
    rib = rib_with(CLIENT, OTHER_CLIENT)
    for source in (CLIENT, OTHER_CLIENT):
        rib.receive(source, announced(list(KEYS)))
    rib.session_lost(CLIENT, keep=True)
    finish(rib)
    assert held(rib) == {("client-a", 3): "stale", ("client-b", 3): ""}
    assert rib.counts(CLIENT, V4).stale == len(KEYS)
    rib.receive(CLIENT, announced([KEYS[0]]))
    rib.receive(CLIENT, Update(end_of_rib=V4))
    finish(rib)
    assert held(rib) == {("client-a", 3): "", ("client-b", 3): ""}
    assert held(rib, KEYS[1]) == {("client-b", 3): ""}
    assert rib.counts(CLIENT, V4) == Counts(received=1, prefixes=1)


def test_end_of_rib_of_one_family_leaves_the_other_stale() -> None:
    rib = rib_with(HUBS[0])
    rib.receive(HUBS[0], announced([KEYS[0]]))
    rib.receive(HUBS[0], announced([KEYS6[0]], family=V6, next_hop=bytes.fromhex("fd420042") + bytes(11) + b"\3"))
    rib.session_lost(HUBS[0], keep=True)
    rib.end_of_rib(HUBS[0], V4)
    finish(rib)
    assert rib.size(V4) == 0
    assert held(rib, KEYS6[0], V6) == {("hub-a", 3): "stale"}


def test_stale_paths_are_used_and_told() -> None:
    rib = rib_with(CLIENT)
    rib.receive(CLIENT, announced([KEYS[0]]))
    before = rib.desired(V4, KEYS[0])
    rib.take(100)
    rib.session_lost(CLIENT, keep=True)
    finish(rib)
    assert rib.desired(V4, KEYS[0]) is before is not None
    changes = rib.take(100)
    assert rib.routes(changes) == []
    assert all(not b.withdrawn and not b.announced for b in rib.batches(ExportGroup(SourceKind.PEER), changes))


def test_a_second_loss_before_end_of_rib_keeps_what_was_stale() -> None:
    rib = rib_with(CLIENT)
    rib.receive(CLIENT, announced([KEYS[0]]))
    for _ in range(2):
        rib.session_lost(CLIENT, keep=True)
        finish(rib)
        rib.set_session(CLIENT, policy_of(CLIENT))
    assert held(rib) == {("client-a", 3): "stale"}


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_what_is_announced_while_a_mark_is_on_its_way_is_fresh(rows: int) -> None:
    """The pass has not begun, or stands before, behind or at the key."""
    for fresh in KEYS:
        rib = rib_with(CLIENT, OTHER_CLIENT)
        for source, number in ((CLIENT, 3), (CLIENT, 4), (OTHER_CLIENT, 3)):
            rib.receive(source, announced(list(KEYS), path_id=number))
        rib.session_lost(CLIENT, keep=True)
        if rows:
            rib.step(rows)
        rib.receive(CLIENT, announced([fresh]))
        finish(rib)
        for k in KEYS:
            state = "" if k == fresh else "stale"
            assert held(rib, k) == {("client-a", 3): state, ("client-a", 4): "stale", ("client-b", 3): ""}


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_what_is_announced_while_a_purge_is_on_its_way_stays(rows: int) -> None:
    for fresh in KEYS:
        rib = rib_with(CLIENT)
        rib.receive(CLIENT, announced(list(KEYS)))
        rib.session_lost(CLIENT, keep=False)
        if rows:
            rib.step(rows)
        rib.receive(CLIENT, announced([fresh]))
        finish(rib)
        assert [k for k, _ in rib.walk(V4)] == [fresh]


@pytest.mark.parametrize("between", [0, 1, 100])
@pytest.mark.parametrize("ended", [True, False])
def test_a_second_refresh_counts_from_its_own_beginning(between: int, ended: bool) -> None:
    rib = rib_with(CLIENT)
    rib.receive(CLIENT, announced(list(KEYS)))
    rib.refresh_begins(CLIENT, V4)
    rib.receive(CLIENT, announced([KEYS[0]]))  # In the first refresh; not repeated in the second.
    if ended:
        rib.refresh_ends(CLIENT, V4)
    if between:
        rib.step(between)
    rib.refresh_begins(CLIENT, V4)
    rib.receive(CLIENT, announced([KEYS[1]]))
    rib.refresh_ends(CLIENT, V4)
    finish(rib)
    assert [k for k, _ in rib.walk(V4)] == [KEYS[1]]


def test_many_losses_are_one_pass() -> None:
    rib = rib_with(*PEERS)
    for source in PEERS:
        rib.receive(source, announced(list(KEYS)))
    for source in PEERS:
        rib.session_lost(source, keep=False)
    assert rib.step(len(KEYS)) is False
    assert rib.size(V4) == 0


@pytest.mark.parametrize("way", ["notification", "forget", "another router id"])
def test_what_purges_at_once(way: str) -> None:
    rib = rib_with(CLIENT, OTHER_CLIENT)
    for source in (CLIENT, OTHER_CLIENT):
        rib.receive(source, announced(list(KEYS)))
    if way == "notification":
        rib.session_lost(CLIENT, keep=False)
    elif way == "forget":
        rib.forget(CLIENT)
    else:
        rib.set_session(replace(CLIENT, router_id=hop(99)), policy_of(CLIENT))
    finish(rib)
    assert all(held(rib, k) == {("client-b", 3): ""} for k in KEYS)
    assert rib.counts(CLIENT, V4) == Counts()


def test_who_has_gone_with_all_paths_leaves_no_counts_behind() -> None:
    """A client may come with another router id each time; the hub's memory must not remember all of them."""
    rib = rib_with()
    for number in range(5):
        client = replace(CLIENT, router_id=bytes((10, 42, 1, number)))
        rib.set_session(client, policy_of(CLIENT))
        rib.receive(client, announced([KEYS[0]]))
        finish(rib)
    assert list(rib._tables[V4].counts) == [client]
    rib.forget(client)
    finish(rib)
    assert not rib._tables[V4].counts


def test_updates_of_a_stranger_are_a_bug_of_the_caller() -> None:
    rib = rib_with(CLIENT)
    rib.forget(CLIENT)
    with pytest.raises(LookupError, match="client-a"):
        rib.receive(CLIENT, announced([KEYS[0]]))


def test_a_new_policy_judges_what_was_sent_before() -> None:
    rib = rib_with(CLIENT, OTHER_CLIENT)
    for source in (CLIENT, OTHER_CLIENT):
        rib.receive(source, announced(list(KEYS)))
    rib.policy_changed(CLIENT, client_import(longest=16))
    finish(rib)
    assert held(rib) == {("client-a", 3): "more-specific-than-allowed", ("client-b", 3): ""}
    assert rib.counts(CLIENT, V4).rejected == 2  # 10.2.0.0/16 and 192.168.7.0/26 stay.
    rib.session_lost(CLIENT, keep=True)
    rib.policy_changed(CLIENT, client_import())
    finish(rib)
    assert held(rib)["client-a", 3] == "stale"
    assert rib.counts(CLIENT, V4) == Counts(received=4, rejected=0, stale=4, prefixes=4)


def test_a_policy_that_was_replaced_judges_nothing_any_more() -> None:
    rib = rib_with(CLIENT)
    rib.receive(CLIENT, announced(list(KEYS)))
    rib.policy_changed(CLIENT, client_import(longest=25))
    rib.step(1)
    rib.policy_changed(CLIENT, DenyImport(FACTS))
    rib.receive(CLIENT, announced([KEYS[3]]))
    for _ in range(10):
        rib.step(1)
        assert held(rib, KEYS[3]) == {("client-a", 3): "denied"}
    assert rib.counts(CLIENT, V4) == Counts(received=4, rejected=4)


def test_a_revoked_peer_loses_everything_by_policy_before_its_session_ends() -> None:
    rib = rib_with(CLIENT)
    rib.receive(CLIENT, announced(list(KEYS)))
    rib.take(100)
    rib.policy_changed(CLIENT, DenyImport(FACTS))
    finish(rib)
    changes = rib.take(100)
    ((_, tiers, keys),) = rib.routes(changes)
    assert (tiers, sorted(keys)) == (None, sorted(KEYS))
    (batch,) = rib.batches(ExportGroup(SourceKind.PEER), changes)
    assert [(path_id, sorted(keys)) for path_id, keys in batch.withdrawn] == [(3, sorted(KEYS))]


def test_an_equal_policy_is_no_change() -> None:
    rib = rib_with(CLIENT)
    rib.receive(CLIENT, announced(list(KEYS)))
    rib.policy_changed(CLIENT, client_import())
    assert not rib.pending


def test_a_lan_that_is_plugged_in_takes_its_prefix_from_the_fabric_and_gives_it_back() -> None:
    rib = rib_with(HUBS[0])
    rib.receive(HUBS[0], announced(list(KEYS)))
    rib.take(100)
    more = replace(FACTS, connected=FACTS.connected | {ip_network("10.1.0.0/23")})
    rib.policy_changed(HUBS[0], SpokeImport(more))
    finish(rib)
    ((_, tiers, keys),) = rib.routes(rib.take(100))
    assert (tiers, sorted(keys)) == (None, sorted(KEYS[:2]))
    rib.policy_changed(HUBS[0], SpokeImport(FACTS))
    finish(rib)
    ((_, tiers, keys),) = rib.routes(rib.take(100))
    assert tiers is not None
    assert sorted(keys) == sorted(KEYS[:2])


def test_a_hub_reflects_a_connected_prefix_and_does_not_route_it() -> None:
    rib = rib_with(CLIENT)
    rib.receive(CLIENT, announced([key("10.9.8.0/24")]))
    changes = rib.take(100)
    assert rib.routes(changes) == []
    (batch,) = rib.batches(ExportGroup(SourceKind.CLIENT), changes)
    assert [keys for _, _, keys in batch.announced] == [[key("10.9.8.0/24")]]


def test_the_copy_of_a_second_hub_is_no_news_for_the_kernel() -> None:
    rib = rib_with(*HUBS)
    rib.receive(HUBS[0], announced(list(KEYS), originator_id=hop(3)))
    assert len(rib.routes(rib.take(100))) == 1
    rib.receive(HUBS[1], announced(list(KEYS), originator_id=hop(3)))
    assert rib.routes(rib.take(100)) == []
    rib.session_lost(HUBS[0], keep=False)
    finish(rib)
    assert rib.routes(rib.take(100)) == []
    assert rib.desired(V4, KEYS[0]) is not None


def test_changes_come_oldest_first_and_in_portions() -> None:
    rib = rib_with(CLIENT)
    for k in KEYS:
        rib.receive(CLIENT, announced([k]))
    assert [k for _, k, _, _ in rib.changes(3)] == list(KEYS[:3])
    assert rib.changed == 1
    assert [k for _, k, _, _ in rib.changes(3)] == [KEYS[3]]
    assert rib.changes(3) == []


def test_a_portion_may_end_within_an_update() -> None:
    rib = rib_with(CLIENT)
    rib.receive(CLIENT, announced(list(KEYS[:3])))
    rib.receive(CLIENT, announced([KEYS[3], KEYS[2]], med=1))
    assert [[(k, len(old)) for _, k, old, _ in rib.changes(2)] for _ in range(4)] == [
        [(KEYS[0], 0), (KEYS[1], 0)],
        [(KEYS[2], 0), (KEYS[3], 0)],
        [],  # KEYS[2] again: told already as it is.
        [],
    ]


def test_a_change_that_was_undone_is_not_told() -> None:
    rib = rib_with(CLIENT)
    rib.receive(CLIENT, announced([KEYS[0]]))
    rib.receive(CLIENT, withdrawn([KEYS[0]]))
    assert rib.take(100) == []


def test_other_facts_about_the_same_router() -> None:
    rib = rib_with(*HUBS)
    for number in (3, 4):
        rib.receive(HUBS[0], announced([KEYS[0]], path_id=number))
    rib.take(100)
    assert rib.router_changed(replace(FACTS, connected=frozenset())) is False
    assert rib.router_changed(replace(FACTS, max_paths=1)) is True
    (changes,) = rib.everything(V4)
    ((_, tiers, _),) = rib.routes(changes)
    assert tiers is not None
    assert [len(tier) for tier in tiers] == [1, 1]
    with pytest.raises(ValueError, match="new Rib"):
        rib.router_changed(replace(FACTS, router_id=hop(9)))


# Sequences of events, against the model


@dataclass(frozen=True)
class Event:
    what: str
    source: Source
    family: Family = V4
    keys: tuple[Key, ...] = ()
    path_id: int = 0
    attributes: Attributes | None = None


contents = st.builds(
    Attributes,
    next_hop=st.sampled_from([hop(n) for n in (3, 4, 9)]),
    med=st.sampled_from((None, 1)),
    originator_id=st.sampled_from((None, None, hop(7))),
    communities=st.sampled_from(((), (), (0xFFFFFF02,))),
)
some_keys = st.lists(st.sampled_from(KEYS), min_size=1, max_size=4).map(tuple)
sources = st.sampled_from(PEERS)
path_ids = st.integers(3, 4)
announcements = st.builds(
    Event, what=st.just("announce"), source=sources, keys=some_keys, path_id=path_ids, attributes=contents
)
withdrawals = st.builds(Event, what=st.just("withdraw"), source=sources, keys=some_keys, path_id=path_ids)
orders = st.builds(Event, what=st.sampled_from(("lost", "notification", "BoRR", "EoRR", "EoR")), source=sources)
histories = st.lists(st.one_of(announcements, announcements, announcements, withdrawals, orders), max_size=25)


def happen(rib: Rib, event: Event) -> None:
    if event.attributes is not None:
        rib.receive(event.source, Update(announced=[(event.family, event.path_id, list(event.keys), event.attributes)]))
    elif event.what == "withdraw":
        rib.receive(event.source, withdrawn(list(event.keys), path_id=event.path_id))
    elif event.what in ("lost", "notification"):
        rib.session_lost(event.source, keep=event.what == "lost")
    elif event.what == "BoRR":
        rib.refresh_begins(event.source, event.family)
    elif event.what == "EoRR":
        rib.refresh_ends(event.source, event.family)
    else:
        rib.end_of_rib(event.source, event.family)


def imagine(model: oracle.Model, event: Event) -> None:
    places = [(event.source, event.family, k, event.path_id) for k in event.keys]
    for place in places:
        if event.attributes is not None:
            model.announce(place, event.attributes)
        else:
            model.withdraw(place)
    if event.what in ("lost", "BoRR"):
        model.mark(event.source, event.family)
    elif event.what in ("notification", "EoRR", "EoR"):
        model.purge(event.source, event.family, only_stale=event.what != "notification")


def rows_of(model: oracle.Model) -> dict[Key, PathSet]:
    """What the table must hold: import policy has tests of its own, so it is used here."""
    rows: dict[Key, list[Path]] = {}
    for (source, family, k, path_id), (attributes, stale) in model.held.items():
        policy = policy_of(source)
        ((reason, _, marks),) = policy.verdicts(family, [k])
        rows.setdefault(k, []).append(replace(policy.path(source, path_id, attributes, reason, marks), stale=stale))
    return {k: tuple(sorted(paths, key=lambda p: (p.source.address, p.path_id))) for k, paths in rows.items()}


def counts_of(rows: dict[Key, PathSet], source: Source) -> Counts:
    mine = [path for paths in rows.values() for path in paths if path.source == source]
    accepted = [k for k, paths in rows.items() if any(p.source == source and not p.rejected for p in paths)]
    prefixes = len(accepted) if source.kind is SourceKind.CLIENT else 0
    return Counts(len(mine), sum(bool(p.rejected) for p in mine), sum(p.stale for p in mine), prefixes)


GROUPS = [ExportGroup(kind, add_path) for kind in (SourceKind.CLIENT, SourceKind.PEER) for add_path in (True, False)]


@dataclass
class Listeners:
    """A kernel and a neighbour per group, who know only what they were told."""

    rib: Rib
    kernel: dict[Key, Tiers] = field(default_factory=dict)
    neighbours: dict[ExportGroup, dict[tuple[Key, int], Attributes]] = field(
        default_factory=lambda: {group: {} for group in GROUPS}
    )

    def listen(self, limit: int) -> None:
        changes = self.rib.take(limit)
        keys = [k for change in changes for k in change.keys]
        assert len(keys) == len(set(keys)) <= limit
        for _, tiers, routed in self.rib.routes(changes):
            for k in routed:
                if tiers is None:
                    del self.kernel[k]  # Fails for a route that it never had.
                else:
                    self.kernel[k] = tiers
        for group, view in self.neighbours.items():
            for batch in self.rib.batches(group, changes):
                for path_id, gone in batch.withdrawn:
                    for k in gone:
                        del view[k, path_id]
                for path_id, attributes, told in batch.announced:
                    view.update({(k, path_id): attributes for k in told})

    def check(self, rows: dict[Key, PathSet]) -> None:
        routed = {k: [{m.next_hop: m.weight for m in tier} for tier in tiers] for k, tiers in self.kernel.items()}
        expected = {k: oracle.tiers(paths, FACTS.max_paths, MAX_TIERS) for k, paths in rows.items()}
        assert routed == {k: tiers for k, tiers in expected.items() if tiers}
        for group, view in self.neighbours.items():
            assert view == {
                (k, path_id): sent
                for k, paths in rows.items()
                for path_id, sent in oracle.told(paths, group.kind, group.add_path, OWN_ID).items()
            }


@pytest.mark.slow
@settings(max_examples=150)
@given(history=histories, seed=st.integers(0, 1000), tight=st.booleans())
def test_any_history_ends_as_the_model_says_and_everybody_was_told(
    history: list[Event], seed: int, tight: bool
) -> None:
    """Slices of sweeps and portions of changes fall anywhere between the events; memos and log may be tiny."""
    chance = Random(seed)
    rib, model = rib_with(*PEERS), oracle.Model()
    if tight:
        rib._tables[V4] = Table(V4, PathSets(limit=2), log_limit=5)
    listeners = Listeners(rib)
    for event in history:
        happen(rib, event)
        imagine(model, event)
        if chance.random() < 0.4:
            rib.step(chance.randint(1, 3))
        if chance.random() < 0.4:
            listeners.listen(chance.randint(1, 4))
    finish(rib, rows=1)
    while rib.changed:
        listeners.listen(3)
    rows = rows_of(model)
    assert dict(rib.walk(V4)) == rows
    for source in PEERS:
        assert rib.counts(source, V4) == counts_of(rows, source)
    listeners.check(rows)


def split(history: list[Event], chance: Random) -> list[Event]:
    """Every prefix in an UPDATE of its own."""
    del chance
    return [replace(event, keys=(k,)) for event in history for k in event.keys]


def duplicated(history: list[Event], chance: Random) -> list[Event]:
    return [again for event in history for again in [event] * chance.randint(1, 3)]


def squashed(history: list[Event], chance: Random) -> list[Event]:
    """Of all that a source says about one (prefix, path id), only the last."""
    last = {(e.source, e.path_id, e.keys): e for e in split(history, chance)}
    return list(last.values())


def shuffled(history: list[Event], chance: Random) -> list[Event]:
    """Different peers in any order; what one peer says keeps its order."""
    queues = [[e for e in history if e.source == source] for source in PEERS]
    turns = [index for index, queue in enumerate(queues) for _ in queue]
    chance.shuffle(turns)
    taken: list[Iterator[Event]] = [iter(queue) for queue in queues]
    return [next(taken[index]) for index in turns]


@pytest.mark.parametrize("changed", [split, duplicated, squashed, shuffled], ids=lambda f: f.__name__)
@given(history=st.lists(st.one_of(announcements, withdrawals), max_size=15), seed=st.integers(0, 1000))
def test_the_same_news_otherwise_ends_in_the_same_table(changed, history: list[Event], seed: int) -> None:  # type: ignore[no-untyped-def]
    ends = []
    for events in (history, changed(history, Random(seed))):
        rib = rib_with(*PEERS)
        for event in events:
            happen(rib, event)
        ends.append(dict(rib.walk(V4)))
    assert ends[0] == ends[1]


def test_a_dump_and_the_changes_taken_meanwhile_end_as_the_table_is() -> None:
    rib = rib_with(CLIENT)
    rib.receive(CLIENT, announced(list(KEYS)))
    rib.take(100)
    view: dict[tuple[Key, int], Attributes] = {}
    group = ExportGroup(SourceKind.CLIENT)

    def tell(changes: list) -> None:  # type: ignore[type-arg]
        for batch in rib.batches(group, changes):
            for path_id, gone in batch.withdrawn:
                for k in gone:
                    view.pop((k, path_id), None)
            for path_id, sent, keys in batch.announced:
                view.update({(k, path_id): sent for k in keys})

    for number, changes in enumerate(rib.everything(V4, rows=1)):
        tell(changes)
        if number == 1:  # One that was told, one that was not yet, and a new one.
            rib.receive(CLIENT, withdrawn([KEYS[0], KEYS[3]]))
            rib.receive(CLIENT, announced([key("10.7.0.0/24")], path_id=4))
            tell(rib.take(100))
    assert {k for k, _ in view} == {k for k, _ in rib.walk(V4)} == {KEYS[1], KEYS[2], key("10.7.0.0/24")}


def test_sweeps_that_wait_are_bounded() -> None:
    rib = rib_with(CLIENT)
    rib.receive(CLIENT, announced(list(KEYS)))
    for _ in range(100):
        rib.session_lost(CLIENT, keep=True)
        rib.end_of_rib(CLIENT, V4)
        rib.refresh_begins(CLIENT, V4)
    waiting = rib._tables[V4].sweeps._waiting[CLIENT]
    assert len(waiting) <= 5
    finish(rib)
    assert rib.size(V4) == 0


def test_a_log_that_nobody_reads_is_compacted_to_one_change_a_key() -> None:
    rib = rib_with(CLIENT)
    rib._tables[V4] = Table(V4, PathSets(), log_limit=10)
    for number in range(100):
        rib.receive(CLIENT, announced([KEYS[0]], med=number))
        rib.receive(CLIENT, announced([KEYS[1]], med=number))
        rib.receive(CLIENT, withdrawn([KEYS[1]]))
    assert len(rib._tables[V4]._log) <= 11
    ((_, k, old, (path,)),) = rib.changes(1000)
    assert (k, old, path.attributes.med) == (KEYS[0], (), 99)


def test_rejected_paths_are_shown_with_their_reason() -> None:
    rib = rib_with(CLIENT)
    rib.receive(CLIENT, announced([key("172.16.0.0/24")]))
    ((path,),) = (paths for _, paths in rib.walk(V4))
    assert path.rejected == PREFIX_NOT_ALLOCATED
    assert rib.decide((path,)).best is None
