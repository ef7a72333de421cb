"""How much of a client is taken: accepted prefixes up to its limit, refused paths up to a bound."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speaker.plan import AllocationPlan, ImportPlan, NextHopPlan
from speaker.rib.attributes import Attributes
from speaker.rib.limits import LimitState
from speaker.rib.path import Update
from speaker.rib.policy import HubImport
from speaker.rib.prefix import Family, Key
from speaker.rib.rib import Rib
from tests.speaker.rib.given import FACTS, PEERS, hop, key

CLIENT, OTHER, PEER, _ = PEERS
V4, V6 = Family.IPV4, Family.IPV6
KEYS = tuple(key(f"10.1.{number}.0/24") for number in range(8))
JUNK = tuple(key(f"172.16.{number}.0/24") for number in range(8))
HOP6 = bytes.fromhex("fd420042") + bytes(11) + b"\3"
GOOD, BAD = Attributes(hop(3)), Attributes(hop(9))


def policy(limit: int, allocation: str = "10.0.0.0/8") -> HubImport:
    hops = NextHopPlan(3, "10.42.0.3", "fd42:42::3", 200, (), 0), NextHopPlan(4, "10.42.0.4", None, 100, (), 0)
    allocations = AllocationPlan(allocation, 24), AllocationPlan("2001:db8::/32", 64)
    return HubImport(FACTS, imports=ImportPlan(hops, allocations, limit))


def rib_with(limit: int, most_filtered: int = 100) -> Rib:
    rib = Rib(FACTS, most_filtered=most_filtered)
    rib.set_session(CLIENT, policy(limit))
    return rib


def announce(rib: Rib, *keys: Key, path_id: int = 3, attributes: Attributes = GOOD, family: Family = V4) -> None:
    rib.receive(CLIENT, Update(announced=[(family, path_id, list(keys), attributes)]))


def withdraw(rib: Rib, *keys: Key, path_id: int = 3) -> None:
    rib.receive(CLIENT, Update(withdrawn=[(V4, path_id, list(keys))]))


def finish(rib: Rib, rows: int = 2) -> None:
    while rib.step(rows):
        pass


def accepted(rib: Rib) -> list[Key]:
    return sorted(k for family in Family for k, paths in rib.walk(family) if any(not p.rejected for p in paths))


def over_limit(rib: Rib) -> list[Key]:
    return sorted(k for f in Family for k, paths in rib.walk(f) if any(p.rejected == "over-limit" for p in paths))


def test_what_is_beyond_the_limit_is_kept_as_filtered_and_used_by_nobody() -> None:
    rib = rib_with(limit=2)
    announce(rib, *KEYS[:3])
    assert (accepted(rib), over_limit(rib)) == (list(KEYS[:2]), [KEYS[2]])
    assert rib.desired(V4, KEYS[2]) is None
    assert rib.limit_state(CLIENT) == LimitState(limit=2, prefixes=2, waiting=1, unkept=0)
    assert not rib.pending


def test_whoever_has_waited_longest_is_admitted_when_room_comes_and_new_ones_go_behind() -> None:
    rib = rib_with(limit=2)
    announce(rib, *KEYS[:4])
    withdraw(rib, KEYS[0])
    announce(rib, KEYS[5])  # Before the slice that fills the room.
    finish(rib)
    assert (accepted(rib), over_limit(rib)) == ([KEYS[1], KEYS[2]], [KEYS[3], KEYS[5]])
    withdraw(rib, KEYS[1], KEYS[2])
    finish(rib)
    assert (accepted(rib), over_limit(rib)) == ([KEYS[3], KEYS[5]], [])
    assert not rib.pending


def test_a_prefix_over_two_uplinks_counts_once_and_both_families_count_together() -> None:
    rib = rib_with(limit=2)
    announce(rib, KEYS[0])
    announce(rib, key("2001:db8:1::/64"), family=V6, attributes=Attributes(HOP6))
    announce(rib, KEYS[0], path_id=4, attributes=Attributes(hop(4)))
    assert over_limit(rib) == []
    announce(rib, KEYS[1], path_id=4, attributes=Attributes(hop(4)))
    assert over_limit(rib) == [KEYS[1]]
    withdraw(rib, KEYS[0])
    assert not rib.pending
    withdraw(rib, KEYS[0], path_id=4)
    finish(rib)
    assert (accepted(rib), over_limit(rib)) == ([KEYS[1], key("2001:db8:1::/64")], [])


def test_what_a_client_holds_may_change_at_its_limit() -> None:
    rib = rib_with(limit=1)
    announce(rib, KEYS[0])
    announce(rib, KEYS[0], attributes=Attributes(hop(3), med=7))
    assert (accepted(rib), over_limit(rib)) == ([KEYS[0]], [])


def test_another_client_and_another_hub_have_limits_of_their_own_or_none() -> None:
    rib = rib_with(limit=1)
    rib.set_session(OTHER, policy(0))
    announce(rib, *KEYS[:2])
    rib.receive(OTHER, Update(announced=[(V4, 3, list(KEYS), GOOD)]))
    assert accepted(rib) == list(KEYS)
    assert over_limit(rib) == [KEYS[1]]
    assert rib.limit_state(OTHER) == LimitState(0, len(KEYS), 0, 0)


def test_a_lower_limit_puts_out_the_latest_and_a_higher_one_takes_them_back() -> None:
    rib = rib_with(limit=5)
    announce(rib, *KEYS)
    rib.policy_changed(CLIENT, policy(2))
    finish(rib, rows=3)
    assert (accepted(rib), over_limit(rib)) == (list(KEYS[:2]), list(KEYS[2:]))
    rib.policy_changed(CLIENT, policy(3))
    finish(rib)
    assert accepted(rib) == list(KEYS[:3])
    rib.policy_changed(CLIENT, policy(0))
    finish(rib)
    assert accepted(rib) == list(KEYS)
    assert rib.limit_state(CLIENT) == LimitState(0, len(KEYS), 0, 0)


def test_what_a_new_policy_allows_waits_for_room_unless_its_prefix_is_counted_already() -> None:
    rib = rib_with(limit=2)
    narrow = HubImport(FACTS, imports=ImportPlan(policy(2).imports.next_hops[:1], policy(2).imports.allocations, 2))
    rib.set_session(CLIENT, narrow)
    announce(rib, *KEYS[:2])
    announce(rib, KEYS[0], KEYS[2], path_id=4, attributes=Attributes(hop(4)))  # Not its uplink, says the plan.
    rib.policy_changed(CLIENT, policy(2))
    finish(rib)
    assert [path.rejected for path in rib.lookup(V4, KEYS[0])] == ["", ""]
    assert [path.rejected for path in rib.lookup(V4, KEYS[2])] == ["over-limit"]
    withdraw(rib, KEYS[1])
    finish(rib)
    assert accepted(rib) == [KEYS[0], KEYS[2]]


def test_refused_paths_are_kept_up_to_a_bound_and_then_counted_only() -> None:
    rib = rib_with(limit=0, most_filtered=3)
    announce(rib, *JUNK)
    announce(rib, *JUNK, attributes=Attributes(hop(3), med=1))
    assert rib.size(V4) == rib.counts(CLIENT, V4).rejected == 3
    assert rib.limit_state(CLIENT).unkept == 10
    announce(rib, *KEYS)
    assert accepted(rib) == list(KEYS)
    assert rib.to_ask() == []


def test_an_accepted_path_goes_when_what_replaces_it_is_refused_and_cannot_be_kept() -> None:
    rib = rib_with(limit=0, most_filtered=1)
    announce(rib, *KEYS[:3])
    announce(rib, *KEYS[:3], attributes=BAD)
    assert (accepted(rib), rib.size(V4)) == ([], 1)


def test_what_was_not_kept_is_asked_for_once_when_it_may_be_accepted() -> None:
    rib = rib_with(limit=1, most_filtered=1)
    announce(rib, *KEYS[:4])
    assert (accepted(rib), over_limit(rib)) == ([KEYS[0]], [KEYS[1]])
    assert (rib.limit_state(CLIENT).unkept, rib.to_ask()) == (2, [])
    withdraw(rib, KEYS[0])
    finish(rib)
    assert rib.to_ask() == []
    withdraw(rib, KEYS[1])
    assert (rib.to_ask(), rib.to_ask()) == ([CLIENT], [])
    announce(rib, *JUNK[:3])
    rib.policy_changed(CLIENT, policy(1, "172.16.0.0/12"))
    finish(rib)
    assert (rib.to_ask(), rib.to_ask()) == ([CLIENT], [])


def test_a_session_that_ends_takes_those_that_wait_with_it() -> None:
    rib = rib_with(limit=1)
    announce(rib, *KEYS)
    rib.session_lost(CLIENT, keep=False)
    finish(rib)
    assert rib.size(V4) == 0
    assert rib.limit_state(CLIENT) == LimitState(1, 0, 0, 0)
    announce(rib, KEYS[7])
    assert accepted(rib) == [KEYS[7]]


def test_a_restart_keeps_those_that_come_again_and_their_order() -> None:
    rib = rib_with(limit=2)
    announce(rib, *KEYS[:4])
    rib.session_lost(CLIENT, keep=True)
    finish(rib)
    rib.set_session(CLIENT, policy(2))
    announce(rib, *KEYS[1:4])
    rib.receive(CLIENT, Update(end_of_rib=V4))
    finish(rib)
    assert (accepted(rib), over_limit(rib)) == ([KEYS[1], KEYS[2]], [KEYS[3]])
    assert not any(path.stale for _, paths in rib.walk(V4) for path in paths)


events = st.lists(
    st.tuples(
        st.sampled_from(("good", "good", "bad", "withdraw")),
        st.lists(st.sampled_from(KEYS[:6]), min_size=1, max_size=4),
        st.sampled_from((3, 4)),
    ),
    max_size=14,
)


@pytest.mark.slow
@settings(max_examples=200)
@given(events, st.integers(1, 4), st.integers(0, 1000))
def test_the_first_that_stand_announced_are_accepted_whenever_the_slices_come(
    history: list[tuple[str, list[Key], int]], limit: int, seed: int
) -> None:
    chance = Random(seed)
    rib = rib_with(limit)
    standing: dict[Key, set[int]] = {}
    for what, keys, path_id in history:
        if what == "withdraw":
            withdraw(rib, *keys, path_id=path_id)
        else:
            announce(rib, *keys, path_id=path_id, attributes=GOOD if what == "good" else BAD)
        for k in keys:
            if what == "good":
                standing.setdefault(k, set()).add(path_id)
            elif k in standing:
                standing[k].discard(path_id)
                if not standing[k]:
                    del standing[k]
        if chance.random() < 0.5:
            rib.step(chance.randint(1, 2))
        assert rib.limit_state(CLIENT).prefixes <= limit
    finish(rib, rows=1)
    assert accepted(rib) == sorted(list(standing)[:limit])
    assert over_limit(rib) == sorted(list(standing)[limit:])
    assert rib.limit_state(CLIENT) == LimitState(limit, min(limit, len(standing)), max(0, len(standing) - limit), 0)
