"""`leyline doctor` against a real controller, and a gateway that examines itself."""

from __future__ import annotations

import json

from speaker.report import PathProbeReport, PeerReport, SessionReport
from tests.controller.cli.conftest import Leyline
from tests.controller.cli.running import RunningController, Speaker


def heard(running: RunningController) -> list[Speaker]:
    """Both gateways of the inventory report that all is well."""
    found = [Speaker(running, "berlin-1"), Speaker(running, "hub-1")]
    for speaker in found:
        speaker.report()
    return found


def test_gateways_that_were_never_heard(declared: Leyline) -> None:
    done = declared("doctor")
    assert done.exit_code == 1
    assert done.stdout.count("no token lets it in") == 2
    assert "2 errors, 0 warnings" in done.stderr


def test_all_is_well(running: RunningController, declared: Leyline) -> None:
    speakers = heard(running)
    done = declared("doctor")
    assert (done.exit_code, done.stdout) == (0, ""), done.stdout
    assert "0 errors, 0 warnings" in done.stderr
    for speaker in speakers:
        speaker.close()


def test_what_gateways_report_is_found(running: RunningController, declared: Leyline) -> None:
    berlin, hub = heard(running)
    down = SessionReport("hub-1", "10.42.0.1", "down", 1.0, "hold timer expired", True, {}, {}, {})
    berlin.report(sessions=(down,))
    done = declared("doctor", "--json")
    said = json.loads(done.stdout)
    assert done.exit_code == 1
    assert [(each["check"], each["where"]) for each in said["findings"]] == [("sessions", "berlin-1 with hub-1")]
    assert said["unread"] == {}
    for speaker in (berlin, hub):
        speaker.close()


def test_paths_over_the_segment_itself_and_into_other_sites_are_found(
    running: RunningController, declared: Leyline
) -> None:
    berlin, hub = heard(running)
    document = json.loads(declared("export", "--format", "json").stdout)
    (gateway,) = [each for each in document["gateways"] if each["name"] == "hub-1"]
    node_id, address = "a1b2c3d4e5", gateway["uplinks"][0]["address"]
    for physical, level, words in (
        (f"{address}/9993", "error", "over itself"),
        ("10.2.0.7/9993", "warning", "inside 10.2.0.0/16 of site paris"),
    ):
        peer = PeerReport(node_id, address, "main", "direct", 2.0, 1.0, 0.0, "1.14.1", physical)
        berlin.report(peers=(peer,))
        (found,) = json.loads(declared("doctor", "--json").stdout)["findings"]
        assert (found["check"], found["level"]) == ("overlay-loop", level)
        assert words in found["what"]
    for speaker in (berlin, hub):
        speaker.close()


def test_a_gateway_that_is_named_examines_itself(running: RunningController, declared: Leyline) -> None:
    berlin, hub = heard(running)
    finding = {"level": "warning", "check": "clock", "where": "clock", "what": "nobody keeps it right", "fix": "chrony"}
    thread = berlin.answer_one({"findings": [finding], "unread": {"routes": "too many"}})
    done = declared("doctor", "--gateway", "berlin-1")
    thread.join()
    assert thread.asked.kind == "doctor"  # type: ignore[attr-defined]
    assert done.exit_code == 0
    assert "berlin-1: clock" in done.stdout
    assert "not looked at: berlin-1: routes: too many" in done.stderr
    for speaker in (berlin, hub):
        speaker.close()


def test_a_gateway_that_does_not_answer_is_told_and_one_that_is_none_refused(
    running: RunningController, declared: Leyline
) -> None:
    speakers = heard(running)
    done = declared("doctor", "--gateway", "berlin-1")
    assert done.exit_code == 0
    assert "not looked at: berlin-1: " in done.stderr
    assert declared("doctor", "--gateway", "nobody").exit_code == 1
    for speaker in speakers:
        speaker.close()


def test_paths_are_shown_with_names(running: RunningController, declared: Leyline) -> None:
    berlin, hub = heard(running)
    (gateway,) = [
        each
        for each in json.loads(declared("export", "--format", "json").stdout)["gateways"]
        if each["name"] == "hub-1"
    ]
    address = gateway["uplinks"][0]["address"]
    member = PeerReport(gateway["uplinks"][0]["node_id"], address, "main", "direct", 7.5, 1.0, 0.0, "1.14.1", "")
    berlin.report(paths=(PathProbeReport(address, "main", 12.3, 20.0, 0.25, 1280, 60),), peers=(member,))
    shown = declared("show", "paths")
    assert shown.exit_code == 0, shown.output
    headers, row = shown.stdout.splitlines()
    assert row[headers.index("latency") :].startswith("7.5 ms")
    assert "hub-1/main" in row
    assert "12.3 ms" in row
    assert "25% of the echoes are lost" in row
    matrix = declared("show", "paths", "--matrix")
    (row,) = matrix.stdout.splitlines()[1:]
    assert row.split()[:4] == ["berlin", "paris", "berlin-1/main", "hub-1/main"]
    assert json.loads(declared("show", "paths", "--matrix", "--json").stdout)[0]["loss"] == 0.25
    assert json.loads(declared("show", "paths", "hub-1", "--json").stdout) == []
    assert declared("show", "paths", "--matrix", "hub-1").exit_code == 2
    for speaker in (berlin, hub):
        speaker.close()
