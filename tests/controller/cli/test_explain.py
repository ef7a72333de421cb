"""`leyline explain`: what is printed of a gateway that answers, and of one that is silent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from controller.api import board
from tests.controller.cli.conftest import Leyline
from tests.controller.cli.running import RunningController, Speaker

DOC = (Path(__file__).resolve().parents[3] / "docs" / "explain.md").read_text()

BAD_LINE = """
rules:
  - {name: backup-last, match: {circuit_classes: [lte]}, action: {preference_add: -30}}
"""
BERLIN_2 = """
gateways:
  - name: berlin-1
    site: berlin
    role: spoke
    uplinks:
      - {name: main, node_id: "a000000002", interface: zt0, circuit_class: fiber, bandwidth: 1G}
      - {name: backup, node_id: "a000000003", interface: zt1, circuit_class: lte}
"""


@pytest.fixture
def fabric(declared: Leyline) -> Leyline:
    """Berlin with a backup line that a rule makes worse."""
    for text in (BERLIN_2, BAD_LINE):
        done = declared("apply", declared.write("more.yml", text))
        assert done.exit_code == 0, done.output
    return declared


@pytest.fixture
def hub(fabric: Leyline, running: RunningController) -> Iterator[Speaker]:
    del fabric
    speaker = Speaker(running, "hub-1")
    speaker.report()
    yield speaker
    speaker.close()


def addresses(fabric: Leyline) -> tuple[str, str]:
    """Of berlin-1's uplinks."""
    exported = json.loads(fabric("export", "--format", "json").stdout)
    (berlin,) = (each for each in exported["gateways"] if each["name"] == "berlin-1")
    main, backup = (each["address"] for each in berlin["uplinks"])
    return main, backup


def live(main: str, backup: str) -> dict[str, Any]:
    """What hub-1 says while the main line is dead, so that the backup is used."""

    def path(hop: str, number: int, preference: int, **fate: Any) -> dict[str, Any]:
        return {
            "next_hop": hop,
            "from": "berlin-1",
            "path_id": number,
            "local_pref": preference,
            "as_path": "",
            "med": None,
            "communities": ["64512:1:1"],
            "stale": False,
            "rejected": "",
            "reason": "",
            "rules": [],
            "seen": {},
            "view_rules": [],
            "tier": 1,
            "step": "",
            "why": "",
            "beaten_by": "",
            "copy_of": "",
            **fate,
        }

    def member(hop: str, state: str) -> dict[str, Any]:
        return {"next_hop": hop, "weight": 1, "state": state, "interfaces": {"zt0": state}}

    way = {"interface": "zt0", "address": backup, "label": None, "weight": 1, "towards": [backup], "detour": False}
    beaten = {"tier": 2, "step": "LOCAL_PREF", "why": "LOCAL_PREF 70 is lower than 200"}
    route = {
        "prefix": "10.1.1.0/24",
        "what": "route",
        "text": "installed",
        "taken": True,
        "kernel": {"state": "group", "moving": False, "refused": "", "ways": [way]},
        "tiers": [[member(main, "dead")], [member(backup, "usable")]],
        "paths": [
            path(main, 2, 200),
            path(backup, 3, 70, rules=["backup-last"], beaten_by=f"{main} from berlin-1", **beaten),
        ],
        "paths_total": 2,
    }
    declared = {"prefix": "10.1.0.0/16", "what": "declared", "text": "declared space", "taken": False}
    verdict = {"what": "route", "prefix": "10.1.1.0/24", "text": "installed", "ways": [way]}
    return {"address": "10.1.1.7", "verdict": verdict, "prefixes": [route, declared], "truncated": False}


def test_all_of_it_is_printed(fabric: Leyline, hub: Speaker) -> None:
    thread = hub.answer_one(live(*addresses(fabric)))
    done = fabric("explain", "--from", "hub-1", "10.1.1.7")
    thread.join()
    assert done.exit_code == 0, done.output
    assert thread.asked.arguments == {"address": "10.1.1.7"}  # type: ignore[attr-defined]
    example = DOC.split("```text\n")[1].split("```")[0]
    assert example == "$ leyline explain --from hub-1 10.1.1.7\n" + done.stdout


def test_a_silent_gateway_is_explained_and_said_to_be_silent(fabric: Leyline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board, "ASK_SECONDS", 0.2)
    done = fabric("explain", "--from", "paris", "10.1.1.7")
    assert done.exit_code == 0, done.output
    assert "hub-1 does not answer, it does not poll this controller now: what follows is the intended" in done.stdout
    assert "intended: 10.1.1.0/24, over berlin-1/main" in done.stdout
    assert "differences" not in done.stdout


def test_json_is_the_controllers_answer(fabric: Leyline, hub: Speaker) -> None:
    said = live(*addresses(fabric))
    thread = hub.answer_one(said)
    done = fabric("explain", "--from", "hub-1", "10.1.1.7", "--json")
    thread.join()
    found = json.loads(done.stdout)
    assert found["gateways"][0]["live"] == said
    assert found["gateways"][0]["differences"] == [f"next hop berlin-1/main ({addresses(fabric)[0]}) does not answer"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--from", "berlim", "10.1.1.7"), 1, 'there is no site or gateway berlim; did you mean "berlin"?'),
        (("--from", "berlin", "10.1.1.0/24"), 1, "'10.1.1.0/24' is no address; write it like 10.1.0.7"),
        (("--from", "berlin", "10.1.1.7", "--tenant", "blue"), 1, "there is no tenant blue"),
        (("10.1.1.7",), 2, "Missing option '--from'"),
    ],
)
def test_what_makes_no_sense_is_said(fabric: Leyline, arguments: tuple[str, ...], code: int, words: str) -> None:
    done = fabric("explain", *arguments)
    assert done.exit_code == code
    assert words in done.stderr
