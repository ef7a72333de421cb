"""What the API says of the segment: during an outage what was known stays, with its age."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from controller.segment_status import as_answer
from controller.zerotier.difference import Conflict, Difference, Held
from controller.zerotier.port import MemberState, Service
from controller.zerotier.rules_check import RulesFinding
from controller.zerotier.state import FORGET_SECONDS, Failure, Pass
from tests.controller.zerotier.segments import small, wanted

WANTED = wanted(small())
ADDRESS = WANTED.members["a000000001"].addresses[0]
LEFT = Difference(
    network=None,
    network_held=("name",),
    members={},
    leaving=(),
    takes=frozenset(),
    held=(Held("c000000001", "host nas", ("name",)),),
    conflicts=(Conflict("uplink hub-1/u0", ADDRESS, "d000000001"),),
    strangers=(MemberState("d000000001", True, (ADDRESS,)),),
)
READ = Pass(
    100.0,
    Service("self-hosted", "http://127.0.0.1:9993", "1.14.1"),
    difference=LEFT,
    failures=(Failure("host nas", "not stored"),),
    rules=(RulesFinding("rules-no-arp", "ARP is dropped."),),
    members=6,
)
OUTAGE = Pass(200.0, error="no answer")
OF_THE_SERVICE = ("service", "failures", "rules", "summaries", "pending", "held", "conflicts", "strangers", "read_at")


def of(answer: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: answer[name] for name in names}


def test_what_was_read_stays_beside_the_error() -> None:
    before = as_answer(READ, WANTED, {})
    assert (before["read_at"], before["strangers"]["total"], before["members"]["in_service"]) == (100.0, 1, 6)
    during = as_answer(OUTAGE, WANTED, before)
    assert of(during, *OF_THE_SERVICE) == of(before, *OF_THE_SERVICE)
    assert of(during, "condition", "error", "written") == {"condition": "failing", "error": "no answer", "written": 0}
    assert (during["members"]["declared"], during["members"]["in_service"]) == (5, None)
    again = as_answer(replace(OUTAGE, at=300.0), WANTED, during)
    assert of(again, *OF_THE_SERVICE) == of(before, *OF_THE_SERVICE)
    after = as_answer(replace(READ, at=400.0, difference=replace(LEFT, held=()), rules=()), WANTED, again)
    assert (after["read_at"], after["held"]["total"], after["rules"]) == (400.0, 0, [])


def test_when_the_record_of_who_was_put_out_is_deleted_is_said() -> None:
    out = MemberState("e000000001", deauthorised_at=50.0)
    done = replace(READ, difference=replace(LEFT, strangers=(*LEFT.strangers, out)), left={"e000000001": 60.0})
    listed = as_answer(done, WANTED, {})["strangers"]["items"]
    assert [each["deleted_at"] for each in listed] == [None, 60.0 + FORGET_SECONDS]


def test_what_was_never_read_is_not_said() -> None:
    never = as_answer(OUTAGE, WANTED, {})
    assert (never["read_at"], never["service"], never["members"]["in_service"]) == (None, None, None)
    assert not {"held", "conflicts", "strangers", "pending"} & never.keys()
    assert (never["rules"], never["failures"]["total"]) == ([], 0)


def test_when_the_next_pass_is_due_and_failures_make_it_later() -> None:
    assert as_answer(replace(READ, failures=()), WANTED, {})["next_pass"] == 160.0
    seen = []
    for failed in (1, 2, 3):
        answer = as_answer(replace(OUTAGE, failed_in_a_row=failed), WANTED, {})
        seen.append((answer["failed_in_a_row"], answer["next_pass"]))
    assert seen == [(1, 202.0), (2, 204.0), (3, 208.0)]
    assert as_answer(replace(OUTAGE, after=40.0, failed_in_a_row=1), WANTED, {})["next_pass"] == 240.0
