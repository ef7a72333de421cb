"""The ask `routes`: what is in the tables, as the operator and the doctor read it."""

from __future__ import annotations

from speaker.agent.answers import answer
from speaker.report import Ask
from speaker.rib.path import SourceKind
from speaker.rib.policy import SpokeImport
from tests.speaker.agent.test_explain import Gateway
from tests.speaker.agent.test_router import HUB, plan
from tests.speaker.rib.given import peer


def test_a_gateway_may_be_called_local_and_its_routes_are_installed_all_the_same() -> None:
    gateway, hub = Gateway(), peer("local", SourceKind.HUB, 33)
    gateway.rib.set_session(hub, SpokeImport(gateway.rib.router))
    gateway.rib.originate(plan(HUB, (), ["10.7.0.0/24"]))
    gateway.hear("10.1.1.0/24", 3, source=hub)
    said = answer(Ask("1", "routes", {}, 0.0), gateway.rib, gateway.fib).body["routes"]
    assert {route["prefix"]: route["installed"] for route in said} == {"10.1.1.0/24": True, "10.7.0.0/24": False}
