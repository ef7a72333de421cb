"""Recorded answers of `GET /peer`, and what may not be concluded from them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speaker.report import MAX_PEERS
from speaker.zerotier.peers import Peer, PeersUnreadable, PeerWatch, read_peers

RECORDED = Path(__file__).parents[2] / "controller" / "zerotier" / "recorded"
CLOCK = 1795301128228  # Of the /status that was recorded with the list.
RELAYED_CLOCK = 1795302737000  # Just after the latest packet in the other list.


def recorded(name: str) -> Any:
    return json.loads((RECORDED / name).read_text())


def by_node(name: str, clock: int) -> dict[str, Peer]:
    return {peer.node_id: peer for peer in read_peers(recorded(name), clock)}


def test_the_freshest_path_of_a_peer_counts() -> None:
    peers = by_node("member_GET_peer_list.json", CLOCK)
    assert list(peers) == ["53fe91125f", "5f8d869aea", "61d5d0a78e", "bd26c2797f", "d7220f3940"]
    physical = "192.0.2.21/9994"
    assert peers["5f8d869aea"] == Peer("5f8d869aea", "LEAF", 2.0, 2.501, physical, "1.14.1", alive=(physical,))
    root = peers["bd26c2797f"]  # One of its two paths was last heard 212 s ago.
    assert (root.root, root.silent_seconds, root.state(None)) == (True, 2.501, "direct")
    assert root.alive == (root.physical,)


def test_all_paths_that_live_are_known() -> None:
    one = recorded("member_GET_peer_one.json")
    path = one["paths"][0]
    one["paths"] = [path, {**path, "address": "10.9.0.7/9993", "lastReceive": path["lastReceive"] - 5000}]
    (peer,) = read_peers([one], path["lastReceive"] + 14_001)
    assert (peer.physical, peer.alive) == (path["address"], (path["address"],))
    (peer,) = read_peers([one], path["lastReceive"] + 14_000)
    assert peer.alive == tuple(sorted((path["address"], "10.9.0.7/9993")))
    (peer,) = read_peers([{**one, "tunneled": True}], path["lastReceive"])
    assert peer.alive == ()


def test_a_path_that_zerotier_calls_active_and_preferred_is_dead_after_19_s() -> None:
    latest = 1795301125727
    (peer,) = read_peers([recorded("member_GET_peer_one.json")], latest + 19_000)
    assert (peer.heard, peer.state(None), peer.state(True)) == (True, "direct", "direct")
    (peer,) = read_peers([recorded("member_GET_peer_one.json")], latest + 19_001)
    assert peer.latency_ms == 2, "which it keeps, and which says nothing"
    assert (peer.heard, peer.state(None), peer.state(True), peer.state(False)) == (False, *["unknown"] * 3)


def test_without_paths_it_is_relayed_only_if_somebody_got_through() -> None:
    peers = by_node("member_GET_peer_list_one_relayed.json", RELAYED_CLOCK)
    peer = peers["3a7d89a6af"]
    assert (peer.latency_ms, peer.silent_seconds, peer.physical) == (-1, -1, "")
    assert [peer.state(carries) for carries in (True, False, None)] == ["relayed", "unknown", "unknown"]
    assert {each.state(True) for name, each in peers.items() if name != "3a7d89a6af"} == {"direct"}


def test_bonded_peers_are_read_like_others() -> None:
    (peer,) = read_peers([recorded("member_GET_peer_one_bonded.json")], 1795303683700)
    assert (peer.state(None), peer.latency_ms, peer.silent_seconds) == ("direct", 0, 0.058)


def test_through_the_tcp_relay_is_relayed() -> None:
    (peer,) = read_peers([{**recorded("member_GET_peer_one.json"), "tunneled": True}], 1795301125727)
    assert [peer.state(carries) for carries in (True, None)] == ["relayed", "unknown"]


def test_a_clock_behind_the_packets_makes_no_negative_age() -> None:
    (peer,) = read_peers([recorded("member_GET_peer_one.json")], 0)
    assert peer.silent_seconds == 0


@pytest.mark.parametrize("answer", [{}, None, "<html>", {"error": 500}])
def test_what_is_no_list_is_refused(answer: object) -> None:
    with pytest.raises(PeersUnreadable, match="is this a ZeroTier service"):
        read_peers(answer, CLOCK)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
peer_like = st.fixed_dictionaries(
    {"address": json_values},
    optional={
        "paths": st.lists(st.fixed_dictionaries({"lastReceive": json_values, "address": json_values}), max_size=3),
        "latency": json_values,
        "role": json_values,
        "version": json_values,
        "tunneled": json_values,
    },
)


@given(st.lists(json_values | peer_like, max_size=6))
def test_junk_in_a_list_costs_that_peer_only(junk: list[Any]) -> None:
    good = recorded("member_GET_peer_one.json")
    peers = read_peers([*junk, good], CLOCK)
    assert "5f8d869aea" in {peer.node_id for peer in peers}


NAMES = {"3a7d89a6af": "10.42.0.5", "456efad81a": "10.42.0.1"}


def test_a_report_says_since_when() -> None:
    watch = PeerWatch()
    peers = {"main": read_peers(recorded("member_GET_peer_list_one_relayed.json"), RELAYED_CLOCK)}
    carries = {("main", "10.42.0.5"): True}
    first = watch.look(peers, NAMES, lambda *pair: carries.get(pair), 100.0)
    assert [(each.node_id, each.state, each.since) for each in first][:2] == [
        ("3a7d89a6af", "relayed", 100.0),
        ("456efad81a", "direct", 100.0),
    ]
    again = watch.look(peers, NAMES, lambda *pair: carries.get(pair), 160.0)
    assert (again[0].state, again[0].since) == ("relayed", 100.0)
    carries.clear()
    lost = watch.look(peers, NAMES, lambda *pair: carries.get(pair), 170.0)
    assert (lost[0].node_id, lost[0].state, lost[0].since) == ("3a7d89a6af", "unknown", 170.0)


def test_members_come_before_who_is_no_member_and_only_so_many() -> None:
    strangers = [Peer(f"{number:010x}", "LEAF", -1, -1, "", "1.14.1") for number in range(MAX_PEERS)]
    member = Peer("ffffffffff", "LEAF", 3, 1, "192.0.2.1/9993", "1.14.1")
    reports = PeerWatch().look({"main": [*strangers, member]}, {"ffffffffff": "10.42.0.9"}, lambda *_: None, 1.0)
    assert len(reports) == MAX_PEERS
    assert (reports[0].address, reports[0].state) == ("10.42.0.9", "direct")


def test_where_a_path_led_is_not_told_of_one_that_is_not_in_use() -> None:
    dead = Peer("3a7d89a6af", "LEAF", 3, 100, "192.0.2.1/9993", "1.14.1")
    (report,) = PeerWatch().look({"main": [dead]}, NAMES, lambda *_: True, 1.0)
    assert (report.state, report.physical, report.silent_seconds) == ("unknown", "", 100)
