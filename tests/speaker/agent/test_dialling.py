"""From which uplink a hub is dialled: the first one, another one when that is dead, and never back without need."""

from __future__ import annotations

from pathlib import Path
from time import time

import msgspec
import pytest

from speaker.agent.dialling import addresses, dialled, in_force
from speaker.agent.sessions import Session, Sessions
from speaker.agent.stale import NO_LIVENESS, why_purge
from speaker.bgp.exabgp.config import render
from speaker.plan import Plan, SessionPlan
from speaker.rib.prefix import Family
from tests.speaker.agent.test_plans import a_plan

HUB = "10.42.0.9"
FIRST, SECOND, THIRD = "10.42.0.1", "10.42.0.2", "10.42.0.3"


def a_session(**fields: object) -> SessionPlan:
    session = SessionPlan(
        peer="hub-1",
        peer_role="hub",
        peer_asn=64512,
        peer_address=HUB,
        local_address=FIRST,
        passive=False,
        families=("ipv4",),
        add_path=True,
        hold_time=9,
        restart_time=120,
        password="",
        imports=None,
        local_fallbacks=(SECOND, THIRD),
    )
    return msgspec.structs.replace(session, **fields)


def with_sessions(*sessions: SessionPlan) -> Plan:
    return msgspec.structs.replace(a_plan(), sessions=sessions)


@pytest.mark.parametrize(
    ("now", "dead", "expected"),
    [
        ({}, set(), FIRST),
        ({}, {FIRST}, SECOND),
        ({}, {FIRST, SECOND}, THIRD),
        ({HUB: SECOND}, set(), SECOND),  # It works: going back would cost a reset.
        ({HUB: SECOND}, {SECOND}, FIRST),
        ({HUB: SECOND}, {FIRST, SECOND}, THIRD),
        ({HUB: SECOND}, {FIRST, SECOND, THIRD}, SECOND),
        ({HUB: "10.42.0.77"}, set(), FIRST),  # An address that the gateway had once.
    ],
)
def test_the_uplink_to_dial_from(now: dict[str, str], dead: set[str], expected: str) -> None:
    plan = dialled(with_sessions(a_session()), now, lambda local, peer: peer == HUB and local in dead)
    assert addresses(plan) == {HUB: expected}


def test_without_another_uplink_the_plan_stays_as_it_is() -> None:
    plan = with_sessions(a_session(local_fallbacks=()))
    assert dialled(plan, {HUB: SECOND}, lambda _local, _peer: True) == plan


def test_a_restarted_agent_finds_where_exabgp_dials_from(tmp_path: Path) -> None:
    plan = with_sessions(a_session(local_address=SECOND), a_session(peer="hub-2", peer_address="10.42.0.8"))
    config = tmp_path / "exabgp.conf"
    config.write_text(render(plan, "/run/bridge", "/usr/bin/python3"))
    assert in_force(config) == {HUB: SECOND, "10.42.0.8": FIRST}


def test_without_a_configuration_nothing_is_in_force(tmp_path: Path) -> None:
    assert in_force(tmp_path / "exabgp.conf") == {}


def a_client(name: str, address: str, standby: bool = False) -> SessionPlan:
    return a_session(peer=name, peer_role="client", peer_address=address, standby=standby, local_fallbacks=())


def test_a_gateway_is_heard_by_whichever_session_it_comes() -> None:
    sessions = Sessions()
    sessions.set_plan(with_sessions(a_client("lima-1", FIRST), a_client("lima-1/lte", SECOND, standby=True)), time())
    assert not sessions.all_heard(("client",))
    standby = sessions.get(SECOND)
    assert standby is not None
    assert standby.reason == "standby, for when the first uplink is dead"
    standby.heard.add(Family.IPV4)
    assert sessions.all_heard(("client",))


class Left:
    """A client that has stopped its BFD, too."""

    def client_is_dead(self, session: SessionPlan) -> bool:
        assert session.peer == "lima-1"
        return False

    def client_has_left(self, session: SessionPlan) -> bool:
        assert session.peer == "lima-1"
        return True


def test_a_gateway_that_shut_down_does_not_keep_its_paths_for_the_whole_restart_time() -> None:
    lost = Session(a_client("lima-1", FIRST), since=0.0, stale_until=120.0, lost_at=0.0)
    assert why_purge(lost, [lost], Left(), 86_400.0, 9.0) == ""
    assert "not come back" in why_purge(lost, [lost], Left(), 86_400.0, 10.0)
    assert why_purge(lost, [lost], NO_LIVENESS, 86_400.0, 10.0) == ""


def test_what_is_stale_goes_when_the_gateway_has_told_everything_from_another_uplink() -> None:
    lost = Session(a_client("lima-1", FIRST), since=0.0, stale_until=120.0, lost_at=0.0)
    other = Session(a_client("lima-1/lte", SECOND, standby=True), since=0.0, up=True)
    stranger = Session(a_client("lima-2", THIRD), since=0.0, up=True, heard={Family.IPV4})
    everybody = [lost, other, stranger]
    assert why_purge(lost, everybody, NO_LIVENESS, 86_400.0, 1.0) == ""
    other.heard.add(Family.IPV4)
    assert "another session" in why_purge(lost, everybody, NO_LIVENESS, 86_400.0, 1.0)
