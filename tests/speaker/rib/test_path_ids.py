"""How many paths of one prefix are taken of a client: path ids are 32 bits of its own choice (RFC 7911)."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.inventory.model import MAX_UPLINKS
from speaker.rib.limits import MOST_PATHS
from speaker.rib.path import Path
from speaker.rib.prefix import Family, Key
from speaker.rib.reasons import TOO_MANY_PATHS
from speaker.rib.rib import Rib
from tests.speaker.rib.test_limits import BAD, CLIENT, GOOD, JUNK, KEYS, OTHER, announce, finish, policy, withdraw

V4 = Family.IPV4
FLOOD = 2_000


def rib() -> Rib:
    rib = Rib(policy(0).facts)
    rib.set_session(CLIENT, policy(0))
    return rib


def paths(rib: Rib, key: Key) -> Sequence[Path]:
    return [path for path in rib.lookup(V4, key) if path.source == CLIENT]


def ids(rib: Rib, key: Key) -> list[int]:
    """Of what is accepted."""
    return [path.path_id for path in paths(rib, key) if not path.rejected]


def test_a_gateway_that_changes_all_its_uplinks_at_once_has_room_for_the_old_and_the_new() -> None:
    assert MOST_PATHS >= 2 * MAX_UPLINKS


def test_beyond_the_bound_one_path_is_kept_to_be_shown_with_its_reason_and_the_others_are_counted() -> None:
    table = rib()
    for path_id in range(FLOOD):
        announce(table, KEYS[0], path_id=path_id)
    assert ids(table, KEYS[0]) == list(range(MOST_PATHS))
    assert [path.path_id for path in paths(table, KEYS[0]) if path.rejected] == [MOST_PATHS]
    assert table.counts(CLIENT, V4).reasons == {TOO_MANY_PATHS: 1}
    assert table.limit_state(CLIENT).unkept == FLOOD - MOST_PATHS - 1


def test_refused_paths_are_bounded_too_and_never_in_the_way_of_a_good_one() -> None:
    table = rib()
    for path_id in range(FLOOD):
        announce(table, JUNK[0], KEYS[0], path_id=path_id, attributes=BAD)
    assert len(paths(table, JUNK[0])) == len(paths(table, KEYS[0])) == MOST_PATHS + 1
    announce(table, KEYS[0], path_id=FLOOD)
    assert ids(table, KEYS[0]) == [FLOOD]
    assert len(paths(table, KEYS[0])) <= MOST_PATHS + 1


def test_what_is_taken_may_change_and_another_client_has_its_own_room() -> None:
    table = rib()
    table.set_session(OTHER, policy(0))
    for path_id in range(FLOOD):
        announce(table, KEYS[0], path_id=path_id)
    announce(table, KEYS[0], path_id=3, attributes=BAD)
    announce(table, KEYS[0], path_id=3)
    assert ids(table, KEYS[0]) == list(range(MOST_PATHS))
    announce(table, KEYS[1], path_id=FLOOD)
    assert ids(table, KEYS[1]) == [FLOOD]


def test_it_is_asked_again_once_when_there_is_room_and_not_before() -> None:
    table = rib()
    for path_id in range(MOST_PATHS + 3):
        announce(table, KEYS[0], path_id=path_id)
    assert table.to_ask() == []
    withdraw(table, KEYS[0], path_id=MOST_PATHS)  # What was not taken.
    withdraw(table, KEYS[1], path_id=1)
    assert table.to_ask() == []
    withdraw(table, KEYS[0], path_id=1)
    assert (table.to_ask(), table.to_ask()) == ([CLIENT], [])
    table.refresh_begins(CLIENT, V4)
    for path_id in range(MOST_PATHS + 3):
        if path_id != 1:
            announce(table, KEYS[0], path_id=path_id)
    table.refresh_ends(CLIENT, V4)
    finish(table)
    assert ids(table, KEYS[0]) == [0, *range(2, MOST_PATHS + 1)]
    assert (table.to_ask(), table.limit_state(CLIENT).unkept) == ([], 1)


def test_who_comes_back_with_other_path_ids_is_not_kept_out_by_its_stale_paths() -> None:
    table = rib()
    for path_id in range(MOST_PATHS):
        announce(table, KEYS[0], path_id=path_id)
    table.session_lost(CLIENT, keep=True)
    finish(table)
    table.set_session(CLIENT, policy(0))
    for path_id in range(100, 100 + MOST_PATHS):
        announce(table, KEYS[0], path_id=path_id)
        assert len(ids(table, KEYS[0])) == MOST_PATHS
    table.end_of_rib(CLIENT, V4)
    finish(table)
    assert ids(table, KEYS[0]) == list(range(100, 100 + MOST_PATHS))
    assert table.limit_state(CLIENT).unkept == 0


says = st.tuples(
    st.sampled_from(("good", "good", "good", "bad", "withdraw", "lose", "end")),
    st.integers(0, 2),
    st.integers(0, MOST_PATHS + 4),
    st.integers(1, MOST_PATHS),
)


@pytest.mark.slow
@settings(max_examples=150)
@given(st.lists(says, max_size=12))
def test_whatever_a_client_says_it_never_has_more_and_a_good_path_is_only_missing_where_it_is_full(
    history: list[tuple[str, int, int, int]],
) -> None:
    table = rib()
    standing: dict[Key, dict[int, bool]] = {key: {} for key in KEYS[:3]}
    for what, which, start, number in history:
        key = KEYS[which]
        for path_id in range(start, start + number):
            if what == "withdraw":
                withdraw(table, key, path_id=path_id)
                standing[key].pop(path_id, None)
            elif what in {"good", "bad"}:
                announce(table, key, path_id=path_id, attributes=GOOD if what == "good" else BAD)
                standing[key][path_id] = what == "good"
        if what == "lose":
            table.session_lost(CLIENT, keep=True)
            table.set_session(CLIENT, policy(0))
            for ids_of in standing.values():
                ids_of.clear()
        elif what == "end":
            table.end_of_rib(CLIENT, V4)
        finish(table)
        asked = table.to_ask() == [CLIENT]
        for each, said in standing.items():
            good, found = {i for i, is_good in said.items() if is_good}, paths(table, each)
            fresh = {path.path_id for path in found if not path.rejected and not path.stale}
            assert len(found) <= MOST_PATHS + 1
            assert fresh <= good
            assert fresh == good or asked or len(fresh) == MOST_PATHS
        if asked:
            break  # It says everything again: that is another history.
