"""Which sessions, which next hops are dead, and the ways around them."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any

import msgspec

from speaker.liveness import reach
from speaker.liveness.reach import Demand, Directory, Lingering, Via
from speaker.plan import (
    AllocationPlan,
    BfdPlan,
    ImportPlan,
    LivenessPlan,
    NextHopPlan,
    Plan,
    SessionPlan,
    UplinkPlan,
)
from speaker.rib.hops import Hop

WAN = BfdPlan(1000, 3)


def four(number: int) -> bytes:
    return ip_address(f"10.42.0.{number}").packed


def six(number: int) -> bytes:
    return ip_address(f"fd42::{number:x}").packed


def uplink(number: int, interface: str, bfd: BfdPlan | None = WAN) -> UplinkPlan:
    return UplinkPlan(number, interface, interface, f"10.42.0.{number}", f"fd42::{number:x}", "fiber", 200, 0, bfd)


def to_peer(own: int, peer: int, role: str, numbers: Sequence[int] = (), *, ours: bool = True) -> SessionPlan:
    hops = tuple(NextHopPlan(n, f"10.42.0.{n}", f"fd42::{n:x}", 200, (), 0) for n in numbers)
    return SessionPlan(
        peer=f"n{peer}",
        peer_role=role,  # type: ignore[arg-type]
        peer_asn=64512,
        peer_address=f"10.42.0.{peer}",
        local_address=f"10.42.0.{own}",
        passive=role == "client",
        families=("ipv4", "ipv6"),
        add_path=True,
        hold_time=9,
        restart_time=120,
        password="",
        imports=ImportPlan(hops, (AllocationPlan("20.0.0.0/8", 24),)) if role == "client" else None,
        peer_address6=f"fd42::{peer:x}",
        peer_is_ours=ours,
    )


def plan(role: str, uplinks: Sequence[UplinkPlan], sessions: Sequence[SessionPlan], **other: Any) -> Plan:
    values: dict[str, Any] = {
        "version": 3,
        "gateway": "g",
        "role": role,
        "asn": 64512,
        "router_id": uplinks[0].address,
        "segments": ("10.42.0.0/16", "fd42::/64"),
        "uplinks": tuple(uplinks),
        "announcements": (),
        "sessions": tuple(sessions),
        "rejects": (),
        "max_paths": 8,
    }
    return Plan(**values | other)


def spoke(*hops: Hop, uplinks: Sequence[UplinkPlan] | None = None, **other: Any) -> Directory:
    """Gateway 11 with hubs 1 and 2; `zt0` is the uplink 11, `zt1` 12."""
    own = uplinks or (uplink(11, "zt0"), uplink(12, "zt1"))
    return reach.directory(plan("spoke", own, [to_peer(11, 1, "hub"), to_peer(11, 2, "hub")], **other), hops)


def learnt(number: int, *relays: int) -> tuple[Hop, Hop]:
    hubs = frozenset(map(four, relays))
    return Hop(four(number), number, hubs), Hop(six(number), number, hubs)


BOTH = ("zt0", "zt1")
HUBS = frozenset((device, f"10.42.0.{hub}") for device in BOTH for hub in (1, 2))


def test_a_spoke_always_talks_to_its_hubs_over_each_uplink() -> None:
    known = spoke()
    assert known.always == HUBS
    assert known.accept == {"10.42.0.1", "10.42.0.2", "fd42::1", "fd42::2"}
    assert spoke(uplinks=(uplink(11, "zt0"), uplink(12, "zt1", None))).always == {
        ("zt0", "10.42.0.1"),
        ("zt0", "10.42.0.2"),
    }


def test_a_hub_always_talks_to_clients_that_are_ours_and_to_other_hubs() -> None:
    sessions = [
        to_peer(1, 11, "client", (11, 12)),
        to_peer(1, 21, "client", (21,), ours=False),
        to_peer(1, 2, "peer"),
    ]
    known = reach.directory(plan("hub", [uplink(1, "zt0"), uplink(3, "zt1")], sessions), ())
    assert known.always == {("zt0", "10.42.0.11"), ("zt0", "10.42.0.12"), ("zt0", "10.42.0.2")}
    assert {"10.42.0.12", "fd42::c", "10.42.0.21", "fd42::2"} <= known.accept
    assert reach.relayed(known, {("zt0", "10.42.0.12"), ("zt0", "10.42.0.2"), ("zt0", "10.42.0.21")}) == {12}


def test_use_starts_a_session_on_the_preferred_uplink_and_idleness_ends_it() -> None:
    known = spoke(*learnt(21), *learnt(22), liveness=LivenessPlan(idle_seconds=10))
    demand = Demand()
    installed = {four(21), six(21), four(22)}
    demand.note(known, {"10.42.0.21", "10.42.0.99"}, installed, 0.0)
    assert list(demand) == ["10.42.0.21"], "what no route uses is not asked for"
    assert reach.sessions(known, demand, (), installed, BOTH) == HUBS | {("zt0", "10.42.0.21")}
    assert reach.sessions(known, demand, (), installed, ("zt1",)) == HUBS | {("zt1", "10.42.0.21")}
    demand.note(known, {"fd42::15"}, installed, 5.0)
    assert list(demand) == ["10.42.0.21"], "one session decides for both families"
    demand.note(known, (), installed, 14.9)
    assert list(demand) == ["10.42.0.21"]
    demand.note(known, (), installed, 15.0)
    assert list(demand) == []


def test_nobody_can_tell_what_is_used() -> None:
    known = spoke(*learnt(21), *learnt(22), *learnt(23), liveness=LivenessPlan(max_sessions=2))
    demand = Demand()
    demand.note(known, None, {four(21), four(22), six(22), four(23)}, 0.0)
    assert len(list(demand)) == 2


def test_the_latest_used_ones_have_the_sessions() -> None:
    known = spoke(*learnt(21), *learnt(22), *learnt(23), liveness=LivenessPlan(max_sessions=2))
    demand, installed = Demand(), {four(21), four(22), four(23)}
    for now, number in enumerate((21, 22, 21, 23)):
        demand.note(known, {f"10.42.0.{number}"}, installed, float(now))
    assert list(demand) == ["10.42.0.21", "10.42.0.23"]


def test_when_the_first_uplink_is_dead_the_second_is_asked() -> None:
    known = spoke(*learnt(21))
    wanted = reach.sessions(known, ["10.42.0.21"], {("zt0", "10.42.0.21")}, {four(21)}, BOTH)
    assert wanted == HUBS | {("zt0", "10.42.0.21"), ("zt1", "10.42.0.21")}


def test_an_uplink_without_bfd_is_used_unasked() -> None:
    known = spoke(*learnt(21), uplinks=(uplink(11, "zt0", None), uplink(12, "zt1")))
    wanted = reach.sessions(known, ["10.42.0.21"], (), {four(21)}, BOTH)
    assert wanted == {("zt1", "10.42.0.1"), ("zt1", "10.42.0.2")}


def test_a_dead_pair_keeps_its_session_while_a_path_leads_there() -> None:
    dead = {("zt0", "10.42.0.21")}
    assert dead <= reach.sessions(spoke(*learnt(21)), (), dead, (), BOTH)
    assert dead <= reach.sessions(spoke(), (), dead, {four(21)}, BOTH)
    assert reach.sessions(spoke(), (), dead, (), BOTH) == HUBS


def test_one_session_decides_for_both_families() -> None:
    known = spoke(*learnt(21), Hop(six(22), 22))
    assert reach.dead_hops(known, [("zt0", "10.42.0.21")]) == {("zt0", four(21)), ("zt0", six(21))}
    assert reach.dead_hops(known, [("zt1", "10.42.0.1")]) == {("zt1", four(1)), ("zt1", six(1))}
    assert reach.dead_hops(known, [("zt0", "fd42::16")]) == {("zt0", six(22))}
    assert reach.dead_hops(known, [("zt0", "10.42.0.99")]) == {("zt0", four(99))}


def test_a_next_hop_lives_while_one_usable_interface_leads_there() -> None:
    known = spoke(*learnt(21))
    dead = reach.dead_hops(known, [("zt0", "10.42.0.21")])
    assert reach.lives(known, four(21), dead, BOTH)
    assert not reach.lives(known, four(21), dead, ("zt0",))
    assert not reach.lives(known, four(21), frozenset(), ())


def ways(
    known: Directory, up: Sequence[tuple[str, int]], *, labels: bool = False, plain: bool = True
) -> dict[bytes, tuple[Via, ...]]:
    dead = reach.dead_hops(known, [("zt0", "10.42.0.21")])
    pairs = {(device, f"10.42.0.{number}") for device, number in up}
    return reach.relays(known, dead, pairs, BOTH, labels=labels, plain=plain)


def test_a_detour_needs_a_hub_that_says_so_and_that_we_reach() -> None:
    known = spoke(*learnt(21, 1, 2), *learnt(22, 1))
    assert ways(known, [("zt0", 1), ("zt1", 2)]) == {
        four(21): (Via("zt0", four(1)), Via("zt1", four(2))),
        six(21): (Via("zt0", six(1)), Via("zt1", six(2))),
    }
    assert ways(known, [("zt1", 1)])[four(21)] == (Via("zt1", four(1)),)
    assert ways(known, []) == {}, "unknown is not up"
    assert ways(spoke(*learnt(21, 7)), [("zt0", 1)]) == {}, "another fabric's hub, or one that is not ours"


def test_what_two_sources_say_adds_up() -> None:
    known = spoke(*learnt(21, 1), *learnt(21, 2))
    assert ways(known, [("zt0", 1), ("zt0", 2)])[four(21)] == (Via("zt0", four(1)), Via("zt0", four(2)))


def test_a_relay_label_is_preferred_where_the_kernel_has_mpls() -> None:
    known = spoke(Hop(four(21), 21, frozenset({four(1), four(2)}), frozenset({four(1)})))
    up = [("zt0", 1), ("zt0", 2)]
    assert ways(known, up)[four(21)] == (Via("zt0", four(1)), Via("zt0", four(2)))
    assert ways(known, up, labels=True)[four(21)] == (Via("zt0", four(1), 16021), Via("zt0", four(2)))
    assert ways(known, up, labels=True, plain=False)[four(21)] == (Via("zt0", four(1), 16021),)
    assert ways(known, up, plain=False) == {}


def test_a_hubs_labels_lead_to_its_clients_by_a_way_that_lives() -> None:
    clients = [to_peer(1, 21, "client", [21, 22]), to_peer(1, 23, "client", [23]), to_peer(1, 2, "peer")]
    known = reach.directory(plan("hub", [uplink(1, "zt0"), uplink(3, "zt1")], clients), [])
    numbers = {21, 22, 2, 99}
    first = {21: ("zt0", "10.42.0.21"), 22: ("zt0", "10.42.0.22")}
    assert reach.relay_labels(known, frozenset(), BOTH, numbers) == first
    dead = frozenset({("zt0", four(21))})
    assert reach.relay_labels(known, dead, BOTH, numbers) == first | {21: ("zt1", "10.42.0.21")}
    assert reach.relay_labels(known, dead, ("zt0",), numbers) == first, "a flap moves no label"
    assert reach.relay_labels(known, dead, (), numbers) == {}


def test_a_hub_never_detours() -> None:
    known = spoke(*learnt(21, 1))
    as_hub = reach.directory(msgspec.structs.replace(known.plan, role="hub"), learnt(21, 1))
    assert ways(as_hub, [("zt0", 1)]) == {}


def test_lingering() -> None:
    lingering = Lingering(3.0)
    assert lingering.update({1, 2}, 0.0) == {1, 2}
    assert lingering.update({2}, 2.9) == {1, 2}
    assert lingering.update({2}, 3.0) == {2}
    assert lingering.update({1}, 4.0) == {1, 2}
    assert lingering.update({1}, 6.0) == {1}


def test_pairs_in_use_are_those_that_packets_go_by() -> None:
    known = spoke(Hop(four(21), 21), uplinks=(uplink(11, "zt0"), uplink(12, "zt1", None)))
    hubs = [("zt0", "10.42.0.1"), ("zt0", "10.42.0.2")]
    both = {"zt0", "zt1"}
    assert reach.in_use(known, ["10.42.0.21"], (), both) == [("zt0", "10.42.0.21"), *hubs]
    assert reach.in_use(known, ["10.42.0.21"], {("zt0", "10.42.0.21")}, both) == [("zt1", "10.42.0.21"), *hubs]
    without = [("zt1", remote) for remote in ("10.42.0.21", "10.42.0.1", "10.42.0.2")]
    assert reach.in_use(known, ["10.42.0.21"], (), {"zt1"}) == without, "without BFD too"
    assert reach.in_use(known, ["10.42.0.21"], (), ()) == []
    assert reach.in_use(known, ["10.42.0.1"], (), both) == hubs, "each once"
