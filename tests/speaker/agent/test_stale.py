"""How long stale paths stay, on a virtual clock."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from speaker.agent.sessions import Session
from speaker.agent.stale import NO_LIVENESS, kept_families, over, restart_seconds, why_purge, without
from speaker.bgp.opens import GracefulRestart
from speaker.plan import AnnouncementPlan, SessionPlan, UplinkPlan
from speaker.rib.prefix import Family
from tests.speaker.agent.test_router import BERLIN, HUB, PARIS, plan, session

DAY = 86_400.0


class Clients:
    def __init__(self, *, dead: bool = False, left: bool = False) -> None:
        self._dead, self._left = dead, left

    def client_is_dead(self, session: SessionPlan) -> bool:  # noqa: ARG002
        return self._dead

    def client_has_left(self, session: SessionPlan) -> bool:  # noqa: ARG002
        return self._left


def lost(the_plan: SessionPlan, at: float = 0.0) -> Session:
    """Lost at this time; its restart time is 120 s."""
    return Session(the_plan, since=0.0, lost_at=at, stale_until=at + the_plan.restart_time)


def other_hub(*, up: bool, heard: bool) -> Session:
    return Session(session("10.42.0.9", "hub"), 0.0, up=up, heard={Family.IPV4} if heard else set())


@pytest.fixture(autouse=True)
def numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(plan.__globals__["NUMBERS"], "10.42.0.9", 9)


@pytest.mark.parametrize(("ours", "theirs", "kept"), [(120, 30, 30), (120, 300, 120), (120, 0, 0)])
def test_the_shorter_restart_time_holds(ours: int, theirs: int, kept: int) -> None:
    """RFC 4724 4.2: never longer than the peer said; ours is the upper bound."""
    said = GracefulRestart(False, theirs, frozenset(Family), frozenset())
    of_peer = Session(replace(session(HUB, "hub"), restart_time=ours), 0.0, graceful=said)
    assert restart_seconds(of_peer) == kept
    of_peer.moving = True
    assert restart_seconds(of_peer) == ours, "it is we who restart"


def test_without_graceful_restart_of_ours_nothing_is_kept() -> None:
    off = replace(session(HUB, "hub"), restart_time=0)
    said = GracefulRestart(False, 120, frozenset(Family), frozenset(Family))
    assert not kept_families(Session(off, 0.0, graceful=said))
    assert not kept_families(Session(off, 0.0, graceful=said, moving=True))


def test_nothing_is_stale() -> None:
    assert why_purge(Session(session(HUB, "hub"), 0.0), (), NO_LIVENESS, DAY, 1e9) == ""


def test_a_hubs_paths_go_when_another_hub_has_told_everything() -> None:
    gone = lost(session(HUB, "hub"))
    everybody = [gone, other_hub(up=True, heard=True)]
    assert why_purge(gone, everybody, NO_LIVENESS, DAY, 119.9) == ""
    assert why_purge(gone, everybody, NO_LIVENESS, DAY, 120.0)


@pytest.mark.parametrize("others", [[], [other_hub(up=False, heard=True)], [other_hub(up=True, heard=False)]])
def test_with_all_hubs_gone_paths_stay_for_a_day(others: list[Session]) -> None:
    gone = lost(session(HUB, "hub"))
    assert why_purge(gone, [gone, *others], NO_LIVENESS, DAY, DAY - 1) == ""
    assert why_purge(gone, [gone, *others], NO_LIVENESS, DAY, DAY)


def test_the_restart_time_is_the_least() -> None:
    gone = lost(session(HUB, "hub"))
    assert why_purge(gone, [gone], NO_LIVENESS, 10.0, 119.9) == ""
    assert why_purge(gone, [gone], NO_LIVENESS, 10.0, 120.0)


def test_a_dead_clients_paths_go_at_once() -> None:
    gone = lost(session(BERLIN, "client", 1))
    assert why_purge(gone, [gone], Clients(dead=True), DAY, 0.1)
    assert why_purge(gone, [gone], Clients(dead=False), DAY, 119.9) == ""
    assert why_purge(gone, [gone], Clients(dead=False), DAY, 120.0)
    gone.up = True
    assert why_purge(gone, [gone], Clients(dead=True), DAY, 0.1) == "", "BGP says that it lives"


def test_a_client_that_came_by_another_uplink_has_said_everything() -> None:
    gone = lost(session(BERLIN, "client", 1))
    second = replace(session(PARIS, "client", 1), peer=f"{gone.plan.peer}/lte", standby=True)
    other = Session(second, 0.0, up=True)
    assert why_purge(gone, [gone, other], NO_LIVENESS, DAY, 1.0) == ""
    other.heard = {Family.IPV4}
    assert why_purge(gone, [gone, other], NO_LIVENESS, DAY, 1.0)


def test_withdrawn_prefixes_are_left_out() -> None:
    whole = plan(BERLIN, [], ["10.1.1.0/24", "10.1.2.0/24"])
    assert without(whole, frozenset()) is whole
    (announcement,) = without(whole, frozenset({"10.1.1.0/24", "10.9.9.0/24"})).announcements
    assert announcement == AnnouncementPlan(("10.1.2.0/24",), ())


def test_nothing_is_announced_by_a_deaf_uplink() -> None:
    first = UplinkPlan(1, "main", "zt0", "10.42.0.1", None, "fiber", 200, 0)
    second = UplinkPlan(2, "lte", "zt1", "10.42.0.2", None, "lte", 100, 0)
    whole = replace(plan(BERLIN, []), uplinks=(first, second))
    assert over(whole, ()) is whole
    assert over(whole, {"zt0"}).uplinks == (second,)
