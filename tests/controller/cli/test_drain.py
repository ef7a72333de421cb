"""`drain` waits for the gateway's own word; `undrain`; `show liveness` and `show lans`."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from controller.client.drain import Watch
from controller.client.show_liveness import MOST_NEXT_HOPS
from speaker import plan
from speaker.report import (
    MAX_NEXT_HOPS,
    NO_PLAN,
    Answer,
    KernelReport,
    LanReport,
    NextHopReport,
    Report,
    decode_envelope,
    encode,
)
from tests.controller.cli.conftest import Leyline
from tests.controller.cli.running import RunningController, Speaker
from tests.controller.cli.test_inventory_commands import lines

# The watch, pure.


def said(at: float, **changed: Any) -> dict[str, Any]:
    return {"reported_at": at, "drained": True, "plan_digest": "d", "forwarded": 0, "forwarded_pps": 0.0, **changed}


@pytest.mark.parametrize(
    ("reports", "done"),
    [
        ([said(0), said(2), said(4)], True),
        ([said(0), said(2)], False),  # The first one is no proof.
        ([said(0), said(0), said(1), said(1.9)], False),  # The same report again is no second one.
        ([said(0), None, said(2), None, said(4)], True),
        ([said(0), said(2), said(4, forwarded_pps=900.0), said(6)], False),
        ([said(0), said(2, drained=False), said(4, drained=False), said(6)], False),
        ([said(0), said(2, plan_digest="old"), said(4, plan_digest="old"), said(6)], False),
        ([{"reported_at": at, "plan_digest": "d"} for at in (0, 2, 4)], False),  # A speaker that knows of no drain.
        # The counter between two reports is fresher than the rate that the gateway counted.
        ([said(0, forwarded=90), said(2, forwarded=99, forwarded_pps=900.0), said(4, forwarded=108)], True),
        ([said(0, forwarded=90), said(2, forwarded=100), said(4, forwarded=110)], False),
        ([said(0, forwarded=90), said(10, forwarded=139), said(20, forwarded=188)], True),
        # A gateway that has rebooted counts from the start.
        ([said(0, forwarded=900), said(2, forwarded=10, forwarded_pps=50.0), said(4, forwarded=10)], False),
    ],
)
def test_near_zero_in_two_reports_in_a_row_under_the_plan(reports: list[dict[str, Any] | None], done: bool) -> None:
    watch = Watch("d")
    for report in reports:
        watch.see(report)
    assert watch.done == done


def test_the_watch_says_how_far_it_is() -> None:
    watch = Watch("d")
    assert watch.said() == "it was never heard"
    watch.see(said(1, drained=False, plan_error="unknown field x"))
    assert watch.said() == "it refuses the plan: unknown field x"
    watch.see(said(3, drained=False))
    assert watch.said() == "it has not taken the plan yet"
    watch.see(said(5, forwarded_pps=340.4))
    assert watch.said() == "it still forwards 340 packets/s"


def test_the_client_knows_how_many_next_hops_a_report_has() -> None:
    assert MOST_NEXT_HOPS == MAX_NEXT_HOPS


# With a controller, and a gateway that forwards.


class Forwarding:
    """A gateway that takes its plans, and whose traffic goes once it is drained, if `lets_go`."""

    def __init__(self, speaker: Speaker) -> None:
        self.speaker = speaker
        self.lets_go = True
        self.plan: plan.Plan | None = None
        self.digest = ""
        self.packets = 1000
        self.asked = 0
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.work)

    def work(self) -> None:
        while not self.stopped.is_set():
            found = self.speaker.http.get("/plan", params={"wait": 1}, headers={"If-None-Match": f'"{self.digest}"'})
            if found.status_code == 304:
                continue
            envelope = decode_envelope(found.raise_for_status().content)
            if envelope.plan != NO_PLAN:
                self.plan, self.digest = plan.decode(bytes(envelope.plan)), envelope.digest
            for ask in envelope.asks:
                self.asked += 1
                self.packets += 0 if self.plan is not None and self.plan.drained and self.lets_go else 340
                self.speaker.http.post(
                    "/answers", content=encode(Answer(ask.id, True, self.report()))
                ).raise_for_status()

    def report(self) -> Report:
        now = time.time()
        drained = self.plan is not None and self.plan.drained
        kernel = KernelReport({}, 0, 0, 0, "", {})
        hop = NextHopReport(
            "10.42.0.1", "zt0", "down", now - 300, "no BFD packet for 3000 ms", 2, "Down", 3000.0, "hub-2"
        )
        return Report(
            1, self.speaker.name, "0.1.0", (1, 2), self.digest, "", now, now, True, (), (), kernel, drained,
            next_hops=(hop,), lans=(LanReport("10.1.1.0/24", "eth1", False, "no carrier"),), forwarded=self.packets,
        )  # fmt: skip


@pytest.fixture
def berlin(running: RunningController, declared: Leyline) -> Iterator[Forwarding]:
    """The gateway berlin-1, which `declared` has declared."""
    assert declared.home
    speaker = Speaker(running, "berlin-1")
    forwarding = Forwarding(speaker)
    forwarding.thread.start()
    yield forwarding
    forwarding.stopped.set()
    forwarding.thread.join()
    speaker.close()


def second_gateway(declared: Leyline) -> None:
    uplink = '{name: main, node_id: "a000000003", interface: zt0, circuit_class: fiber}'
    text = f"gateways:\n  - {{name: berlin-2, site: berlin, role: spoke, uplinks: [{uplink}]}}\n"
    assert declared("apply", declared.write("more.yml", text)).exit_code == 0


def test_drain_waits_until_the_gateway_is_empty(declared: Leyline, berlin: Forwarding) -> None:
    second_gateway(declared)
    done = declared("drain", "berlin-1")
    assert (done.exit_code, done.stderr) == (0, ""), done.output
    assert done.stdout.splitlines() == [
        "berlin-1 is declared drained: revision 3; 2 gateways with a new plan",
        "drained: 0 packets/s, safe to switch off",
    ]
    assert berlin.plan is not None
    assert berlin.plan.drained
    row = lines(declared("show", "gateways", "--site", "berlin").stdout)[1]
    assert row[:6] == ["berlin-1", "berlin", "spoke", "never", "heard,", "drained"]
    again = declared("drain", "berlin-1")
    assert "berlin-1 is drained already; nothing was changed, the fabric stays at revision 3" in again.stdout
    assert again.exit_code == 0
    back = declared("undrain", "berlin-1")
    assert back.stdout == "berlin-1 takes traffic again: revision 4; 2 gateways with a new plan\n"
    assert declared("undrain", "berlin-1").stdout.startswith("berlin-1 is not drained; nothing was changed")


def test_a_gateway_that_keeps_forwarding_is_said_with_its_rate(declared: Leyline, berlin: Forwarding) -> None:
    berlin.lets_go = False
    done = declared("drain", "berlin-1", "--timeout", "4", "--json")
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    assert (found["drained"], found["in_force"], found["done"]) == (True, True, False)
    assert 100 < found["forwarded_pps"] < 700
    assert "it still forwards" in done.stderr
    assert "leyline undrain berlin-1 ends it" in done.stderr
    assert done.stderr.startswith("Warning: no other undrained gateway announces 10.1.1.0/24: this traffic keeps")


def test_a_terminal_shows_what_still_flows(declared: Leyline, berlin: Forwarding) -> None:
    berlin.lets_go = False
    code, seen = declared.on_terminal("drain", "berlin-1", "--timeout", "5", answers={})
    assert code == 1
    assert re.search(r"berlin-1: it still forwards \d+ packets/s; \d s left", seen), seen


def test_who_interrupts_the_waiting_is_told_what_stays(declared: Leyline, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("controller.client.drain._look", interrupted)
    done = declared("drain", "berlin-1")
    assert done.exit_code == 130
    assert "leyline undrain berlin-1 ends it; until then it stays declared so" in done.stderr


def test_the_only_gateway_of_a_site_is_drained_with_a_warning(declared: Leyline, berlin: Forwarding) -> None:
    done = declared("drain", "berlin-1", "--json")
    assert (done.exit_code, json.loads(done.stdout)["done"]) == (0, True)
    assert len(json.loads(done.stdout)["warnings"]) == 1
    assert berlin.asked >= 2
    assert declared("drain", "berlin-1").stdout.endswith("drained: 0 packets/s, but the warning above holds\n")


def test_not_to_wait(declared: Leyline) -> None:
    done = declared("drain", "hub-1", "--no-wait", "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["changes"] == [
        {"action": "change", "object": "gateway hub-1", "fields": {"drained": [None, True]}}
    ]
    assert "no other hub is undrained" in done.stderr


def test_a_gateway_that_was_never_heard(declared: Leyline) -> None:
    done = declared("drain", "berlin-1", "--timeout", "1")
    assert done.exit_code == 1
    assert "berlin-1 is not drained: it was never heard" in done.stderr


def test_the_last_report_stands_in_for_a_gateway_that_does_not_answer(
    declared: Leyline, running: RunningController
) -> None:
    speaker = Speaker(running, "berlin-1")
    assert declared("drain", "berlin-1", "--no-wait").exit_code == 0
    speaker.report(drained=True, forwarded_pps=77.0)
    done = declared("drain", "berlin-1", "--timeout", "1")
    speaker.close()
    assert done.exit_code == 1
    assert "it still forwards 77 packets/s" in done.stderr


def test_somebody_undrains_it_meanwhile(declared: Leyline, berlin: Forwarding) -> None:
    berlin.lets_go = False
    other = threading.Timer(2, lambda: declared("undrain", "berlin-1"))
    started = time.monotonic()
    other.start()
    done = declared("drain", "berlin-1", "--timeout", "60")
    other.join()
    assert (done.exit_code, time.monotonic() - started < 30) == (1, True)
    assert "somebody has undrained it" in done.stderr


@pytest.mark.parametrize("verb", ["drain", "undrain"])
def test_a_name_that_is_not_known(declared: Leyline, verb: str) -> None:
    done = declared(verb, "berlin-7")
    assert done.exit_code == 1
    assert 'there is no gateway berlin-7; did you mean "berlin-1"?' in done.stderr


def test_what_is_drained_is_exported_and_applied_again(declared: Leyline) -> None:
    declared("drain", "hub-1", "--no-wait")
    text = declared("export").stdout
    assert "    drained: true\n" in text
    again = declared("apply", declared.write("export.yml", text))
    assert "nothing to change" in again.stdout
    assert "nothing to change" in declared("apply", str(declared.home / "inventory.yml")).stdout


def test_liveness_of_a_gateway_is_asked_now(declared: Leyline, berlin: Forwarding) -> None:
    assert declared("show", "liveness").stderr == "no gateway reports a next hop\n"
    shown = declared("show", "liveness", "berlin-1").stdout.splitlines()
    assert lines(shown[1])[0] == [
        *("berlin-1", "10.42.0.1", "zt0", "down", "5", "min", "Down", "3000", "ms", "2", "hub-2", "0", "s"),
        *("no", "BFD", "packet", "for", "3000", "ms"),
    ]
    (found,) = json.loads(declared("show", "liveness", "berlin-1", "--json").stdout)
    assert (found["gateway"], found["state"], found["silent"]) == ("berlin-1", "down", False)
    assert lines(declared("show", "lans", "berlin-1").stdout)[1] == [
        *("berlin-1", "10.1.1.0/24", "eth1", "withdrawn", "0", "s", "no", "carrier")
    ]
    assert berlin.asked == 3


def test_liveness_of_all_is_what_they_reported(declared: Leyline, running: RunningController) -> None:
    speaker = Speaker(running, "berlin-1")
    hops = tuple(
        NextHopReport(f"10.42.9.{n % 250}", "zt0", "unknown", 0.0, "", 0, "", 0.0, "") for n in range(MAX_NEXT_HOPS)
    )
    speaker.report(next_hops=hops)
    done = declared("show", "liveness")
    assert lines(done.stdout)[1][:-2] == ["berlin-1", "10.42.9.0", "zt0", "unknown", "-", "-", "0", "-"]
    assert "berlin-1 reports 1,000 next hops at most" in done.stderr
    running.age_reports(100)
    assert "silent" in declared("show", "liveness").stdout
    # One that is named and does not answer: its last report, after five seconds.
    assert "silent" in declared("show", "liveness", "berlin-1").stdout
    assert declared("show", "lans").stderr == "no gateway reports a watched LAN\n"
    assert declared("show", "liveness", "berlin-9").exit_code == 1
    speaker.close()
