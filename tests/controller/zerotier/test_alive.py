"""Who leads nowhere: silence alone proves nothing."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from controller.zerotier.alive import Heard, gone
from controller.zerotier.summaries import ALL
from speaker.report import KernelReport, LanReport, Report, SessionReport
from tests.controller.zerotier.segments import small

INVENTORY = small()
NOW = 1000.0
EVERY = {"berlin-1": frozenset({ALL})}


def heard(gateway: str, *sessions: SessionReport, at: float = NOW, lans: tuple[LanReport, ...] = ()) -> Heard:
    kernel = KernelReport({}, 0, 0, 0, "", {})
    return Heard(at, Report(1, gateway, "", (), "", "", 0.0, at, True, sessions, (), kernel, lans=lans))


def session(peer: str, state: Literal["up", "down", "standby"], since: float = 900.0) -> SessionReport:
    nothing: dict[str, int] = {}
    return SessionReport(peer, "", state, since, "", False, nothing, nothing, nothing)


def found(**reports: Heard) -> Any:
    return gone(INVENTORY, {name.replace("_", "-"): each for name, each in reports.items()}, NOW)


def test_silence_alone_proves_nothing() -> None:
    assert found() == {}
    assert found(berlin_1=heard("berlin-1", at=0.0)) == {}
    assert found(hub_1=heard("hub-1")) == {}, "a hub that does not know it"
    assert found(hub_1=heard("hub-1", session("berlin-1", "down"), at=0.0)) == {}, "a hub that is silent itself"


def test_silent_and_lost_by_every_hub() -> None:
    assert found(hub_1=heard("hub-1", session("berlin-1", "down"))) == EVERY
    assert found(hub_1=heard("hub-1", session("berlin-1", "down", 995.0))) == {}
    assert found(hub_1=heard("hub-1", session("berlin-1", "down"), session("berlin-1", "up"))) == {}


def test_who_is_heard_is_there_whatever_hubs_say() -> None:
    assert found(hub_1=heard("hub-1", session("berlin-1", "down")), berlin_1=heard("berlin-1")) == {}


@pytest.mark.parametrize(("age", "lost"), [(14.0, {}), (16.0, EVERY)])
def test_one_report_may_be_late(age: float, lost: dict[str, Any]) -> None:
    """They come every ten seconds; hubs say as well that it is gone, so the second one is not waited for."""
    down = heard("hub-1", session("berlin-1", "down"))
    assert found(hub_1=down, berlin_1=heard("berlin-1", at=NOW - age)) == lost


def test_a_lan_that_is_dead() -> None:
    lans = (LanReport("10.1.1.0/24", "lan0", False, "no answer"), LanReport("10.1.2.0/24", "lan1", True, ""))
    assert found(berlin_1=heard("berlin-1", lans=lans)) == {"berlin-1": frozenset({"10.1.1.0/24"})}
