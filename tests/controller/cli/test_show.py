"""`show`: declared things from the controller, state from reports, routes from the gateway itself."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from controller.client.show import state_of
from speaker.report import SessionReport
from tests.controller.cli.conftest import Leyline
from tests.controller.cli.running import RunningController, Speaker
from tests.controller.cli.test_inventory_commands import lines

ROUTE = {
    "prefix": "10.2.1.0/24",
    "family": "ipv4",
    "best": True,
    "next_hop": "10.42.0.2",
    "from": "hub-1",
    "path_id": 2,
    "local_pref": 200,
    "as_path": "",
    "communities": ["64512:1:2", "64512:2:1"],
    "stale": False,
    "rejected": "",
    "installed": True,
}


@pytest.fixture
def berlin(running: RunningController, declared: Leyline) -> Iterator[Speaker]:
    """The speaker of berlin-1, which `declared` has declared."""
    assert declared.home
    speaker = Speaker(running, "berlin-1")
    yield speaker
    speaker.close()


def test_sites(declared: Leyline) -> None:
    shown = lines(declared("show", "sites").stdout)
    assert shown == [
        ["site", "number", "region", "provider", "tags", "gateways"],
        ["berlin", "1", "eu", "dc", "berlin-1"],
        ["paris", "2", "eu", "hub-1"],
    ]
    assert [each["name"] for each in json.loads(declared("show", "sites", "--json").stdout)] == ["berlin", "paris"]


def test_nothing_declared_is_said_beside_the_output(admin: Leyline) -> None:
    for what, said in (("sites", "there are no sites"), ("gateways", "there are no gateways")):
        done = admin("show", what)
        assert (done.exit_code, done.stdout, done.stderr) == (0, "", said + "\n")
    assert json.loads(admin("show", "prefixes", "--json").stdout) == []


def test_prefixes(declared: Leyline) -> None:
    assert lines(declared("show", "prefixes", "--site", "berlin").stdout)[1:] == [
        ["berlin", "10.1.1.0/24", "global", "all", "of", "the", "site"]
    ]
    assert len(json.loads(declared("show", "prefixes", "--json").stdout)) == 2


def test_all_pages_of_prefixes_are_shown(declared: Leyline) -> None:
    many = [f"  - {{site: berlin, prefix: 10.1.{n >> 4}.{(n & 15) * 16}/28}}" for n in range(1001)]
    allocation = "allocations:\n  - {site: berlin, prefix: 10.1.0.0/16, longest: 28}\nprefixes:\n"
    assert declared("apply", declared.write("many.yml", allocation + "\n".join(many))).exit_code == 0
    shown = declared("show", "prefixes").stdout.splitlines()
    assert len(shown) == 1 + 1001 + 2
    assert len(set(shown)) == len(shown)


def test_revisions(declared: Leyline) -> None:
    path = declared.write("part.yml", "regions:\n  - {name: us}\n")
    assert declared("apply", path).exit_code == 0
    shown = lines(declared("show", "revisions").stdout)
    assert [row[0] for row in shown] == ["revision", "2", "1"]
    assert "admin" in shown[1]
    assert "apply" in shown[1]
    only = json.loads(declared("show", "revisions", "--last", "1", "--json").stdout)
    assert [each["revision"] for each in only] == [2]


def test_gateways_before_the_first_report(declared: Leyline) -> None:
    assert declared("gateway", "token", "hub-1").exit_code == 0
    assert lines(declared("show", "gateways").stdout)[1:] == [
        ["berlin-1", "berlin", "spoke", "no", "token", "-", "-", "-", "-"],
        ["hub-1", "paris", "hub", "never", "heard", "-", "-", "-", "-"],
    ]


def test_gateways_that_report(declared: Leyline, berlin: Speaker) -> None:
    berlin.report()
    row = lines(declared("show", "gateways", "--site", "berlin").stdout)[1]
    assert row[:4] == ["berlin-1", "berlin", "spoke", "ok"]
    assert row[-3:] == ["1/1", "6", "0.1.0"]
    found = json.loads(declared("show", "gateways", "--site", "berlin", "--json").stdout)
    assert (found[0]["state"], found[0]["report"]["kernel"]["routes"]) == ("ok", {"ipv4": 6, "ipv6": 0})


def status(**changed: Any) -> dict[str, Any]:
    """A gateway that does well, but for what is changed. Heard at 1000 s."""
    report = {"plan_error": "", "sessions": [{"state": "up"}], "converged": True, **changed.pop("report", {})}
    base = {"report": report, "received_at": "1970-01-01T00:16:40Z", "in_force": True, "token": {"state": "usable"}}
    return {**base, **changed}


@pytest.mark.parametrize(
    ("found", "now", "state"),
    [
        (status(), 1000.0, "ok"),
        (status(), 1030.0, "ok"),
        (status(), 1030.5, "silent"),
        (status(report={"converged": False}), 1000.0, "converging"),
        (status(in_force=False), 1000.0, "plan pending"),
        (status(in_force=False, report={"plan_error": "unknown field x"}), 1000.0, "plan refused: unknown field x"),
        (status(report={"sessions": [{"state": "down"}, {"state": "up"}]}), 1000.0, "1 session down"),
        ({**status(), "report": None}, 1000.0, "never heard"),
        ({**status(token={"state": "revoked"}), "report": None}, 1000.0, "no token"),
        (status(drained=False), 1000.0, "ok"),
        (status(drained=True), 1000.0, "drained"),
        (status(drained=True, in_force=False), 1000.0, "plan pending, drained"),
        (status(drained=True), 1030.5, "silent, drained"),
    ],
)
def test_the_gravest_thing_is_the_state(found: dict[str, Any], now: float, state: str) -> None:
    assert state_of(found, now) == state


def test_sessions(declared: Leyline, berlin: Speaker) -> None:
    now = time.time()
    down = SessionReport(
        "hub-2", "10.42.0.9", "down", now - 7200, "hold time expired\x1b[2J", True, {}, {}, {"ipv6": 3}
    )
    up = SessionReport("hub-1", "10.42.0.1", "up", now - 300, "", True, {"ipv4": 7, "ipv6": 2}, {"ipv4": 1}, {})
    berlin.report(sessions=(up, down))
    shown = declared("show", "sessions").stdout.splitlines()
    assert lines(shown[1])[0][:12] == [
        "berlin-1",
        "hub-1",
        "10.42.0.1",
        "up",
        "5",
        "min",
        "7",
        "+",
        "2",
        "v6",
        "1",
        "0",
    ]
    assert "0 + 3 v6" in shown[2]
    assert "hold time expired\ufffd[2J" in shown[2]
    found = json.loads(declared("show", "sessions", "--gateway", "berlin-1", "--json").stdout)
    assert [(each["gateway"], each["peer"], each["silent"]) for each in found] == [
        ("berlin-1", "hub-1", False),
        ("berlin-1", "hub-2", False),
    ]
    assert declared("show", "sessions", "--gateway", "hub-1").stderr == "no gateway has reported a session yet\n"


def test_a_silent_gateway_is_marked(declared: Leyline, berlin: Speaker, running: RunningController) -> None:
    berlin.report()
    running.age_reports(5 * 60 + 5)
    assert "silent" in declared("show", "gateways").stdout
    assert "5 min, silent" in declared("show", "sessions").stdout
    assert json.loads(declared("show", "sessions", "--json").stdout)[0]["silent"] is True


def test_sessions_of_a_gateway_that_is_not_there(declared: Leyline) -> None:
    done = declared("show", "sessions", "--gateway", "berlin-7")
    assert done.exit_code == 1
    assert "there is no gateway berlin-7" in done.stderr


# routes


def test_routes_are_asked_of_the_gateway(declared: Leyline, berlin: Speaker) -> None:
    lost = {**ROUTE, "best": False, "installed": False, "next_hop": "10.42.0.3", "stale": True}
    bad = {**ROUTE, "best": False, "installed": False, "rejected": "prefix-not-allocated"}
    thread: Any = berlin.answer_one({"routes": [ROUTE, lost, bad], "total": 3, "truncated": False})
    done = declared("show", "routes", "--gateway", "berlin-1", "--family", "ipv4", "--limit", "50", "10.2.1.0/24")
    thread.join()
    assert (thread.asked.kind, thread.asked.arguments) == (
        "routes",
        {"family": "ipv4", "prefix": "10.2.1.0/24", "limit": "50"},
    )
    assert done.exit_code == 0, done.output
    shown = done.stdout.splitlines()
    assert lines(shown[1])[0] == [">*", "10.2.1.0/24", "10.42.0.2", "hub-1", "2", "200", "64512:1:2", "64512:2:1"]
    assert shown[2].endswith("stale")
    assert shown[3].endswith("rejected: prefix-not-allocated")


def test_routes_as_json_and_cut_off(declared: Leyline, berlin: Speaker) -> None:
    body = {"routes": [ROUTE], "total": 9, "truncated": True}
    berlin.answer_one(body)
    assert json.loads(declared("show", "routes", "--gateway", "berlin-1", "--json").stdout) == body
    berlin.answer_one(body)
    assert "1 of 9 paths" in declared("show", "routes", "--gateway", "berlin-1").stderr


def test_no_routes(declared: Leyline, berlin: Speaker) -> None:
    berlin.answer_one({"routes": [], "total": 0, "truncated": False})
    done = declared("show", "routes", "--gateway", "berlin-1", "10.9.0.0/16")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "berlin-1 has no route to 10.9.0.0/16\n")


def test_a_gateway_that_cannot_answer_says_why(declared: Leyline, berlin: Speaker) -> None:
    berlin.answer_one({"error": "unknown kind"}, ok=False)
    done = declared("show", "routes", "--gateway", "berlin-1")
    assert (done.exit_code, done.stderr) == (1, "Error: berlin-1: unknown kind\n")


def test_a_gateway_that_is_silent_is_exit_code_4(declared: Leyline) -> None:
    done = declared("show", "routes", "--gateway", "berlin-1")
    assert done.exit_code == 4
    assert "berlin-1 did not answer" in done.stderr


def test_a_prefix_with_host_bits_is_wrong_usage(declared: Leyline) -> None:
    done = declared("show", "routes", "--gateway", "berlin-1", "10.1.2.3/24")
    assert done.exit_code == 2
    assert "'10.1.2.3/24' is no prefix" in done.stderr
