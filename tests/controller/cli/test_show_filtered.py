"""`show filtered`: numbers from the reports, paths from the gateway itself."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from speaker.report import SessionReport
from tests.controller.cli.conftest import Leyline
from tests.controller.cli.running import RunningController, Speaker
from tests.controller.cli.test_inventory_commands import lines
from tests.controller.cli.test_show import ROUTE

WORDS = "no allocation of the peer's site contains the prefix"
STOLEN = {
    **ROUTE,
    "from": "legacy",
    "best": False,
    "rejected": "prefix-not-allocated",
    "reason": WORDS,
    "communities": ["64512:9:4"],
    "overruled": ["LOCAL_PREF 4294967295"],
}


@pytest.fixture
def hub(running: RunningController, declared: Leyline) -> Iterator[Speaker]:
    assert declared.home
    speaker = Speaker(running, "hub-1")
    yield speaker
    speaker.close()


def reports(hub: Speaker, **reasons: dict[str, int]) -> None:
    """Peer -> reasons."""
    hub.report(
        sessions=tuple(
            SessionReport(peer, "10.42.0.9", "up", time.time(), "", True, {}, {}, {}, reasons=each, warning="many")
            for peer, each in reasons.items()
        )
    )


def body(*rows: dict[str, Any], **changed: Any) -> dict[str, Any]:
    return {"filtered": list(rows), "total": len(rows), "truncated": False, "counts": [], "unkept": {}, **changed}


def test_numbers_by_peer_and_reason_without_asking(declared: Leyline, hub: Speaker) -> None:
    reports(hub, legacy={"default-route": 1, "over-limit": 70_000}, berlin={"prefix-not-allocated": 2}, paris={})
    assert [row[:4] for row in lines(declared("show", "filtered").stdout)] == [
        ["gateway", "peer", "rejected", "paths"],
        ["hub-1", "legacy", "default-route", "1"],
        ["hub-1", "legacy", "over-limit", "70000"],
        ["hub-1", "berlin", "prefix-not-allocated", "2"],
    ]
    found = json.loads(declared("show", "filtered", "--peer", "legacy", "--reason", "over-limit", "--json").stdout)
    assert [(each["paths"], each["warning"], each["silent"]) for each in found] == [(70_000, "many", False)]


def test_routes_to_its_own_site_are_shown_on_demand_only(declared: Leyline, hub: Speaker) -> None:
    reports(hub, legacy={"own-originator-id": 3, "connected": 1})
    done = declared("show", "filtered")
    assert (done.stdout, done.stderr) == ("", "no gateway reports that it refuses anything\n")
    assert "3" in lines(declared("show", "filtered", "--reason", "own-originator-id").stdout)[1]


def test_paths_are_asked_of_the_gateway(declared: Leyline, hub: Speaker) -> None:
    thread: Any = hub.answer_one(body(STOLEN))
    done = declared("show", "filtered", "hub-1", "--peer", "legacy", "--limit", "5")
    thread.join()
    assert (thread.asked.kind, thread.asked.arguments) == ("filtered", {"peer": "legacy", "reason": "", "limit": "5"})
    assert done.exit_code == 0, done.output
    header, row = done.stdout.splitlines()
    assert header.split() == ["prefix", "next", "hop", "from", "rejected", "reason", "communities", "overruled"]
    for words in ("10.2.1.0/24", "legacy", "prefix-not-allocated", WORDS, "64512:9:4", "LOCAL_PREF 4294967295"):
        assert words in row


def test_what_is_not_shown_is_counted(declared: Leyline, hub: Speaker) -> None:
    answer = body(STOLEN, total=9, truncated=True, unkept={"legacy": 100_020})
    hub.answer_one(answer)
    assert declared("show", "filtered", "hub-1").stderr.splitlines() == [
        "1 of 9 paths; --limit, --peer or --reason shows others",
        "100020 more refused announcements of legacy were counted only",
    ]
    hub.answer_one(answer)
    assert json.loads(declared("show", "filtered", "hub-1", "--json").stdout) == answer


def test_nothing_is_refused(declared: Leyline, hub: Speaker) -> None:
    hub.answer_one(body())
    done = declared("show", "filtered", "hub-1")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "hub-1 refuses nothing of this\n")


def test_routes_say_what_a_hub_did_not_take_a_clients_word_for(declared: Leyline, hub: Speaker) -> None:
    hub.answer_one({"routes": [{**STOLEN, "rejected": ""}], "total": 1, "truncated": False})
    assert declared("show", "routes", "--gateway", "hub-1").stdout.rstrip().endswith("overruled: LOCAL_PREF 4294967295")
