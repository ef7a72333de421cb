"""One pass against the stateful fake, through the real adapter: whole, bounded, isolated, never empty."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import httpx2
import pytest

from controller.inventory.model import Allocation, Inventory, Prefix
from controller.zerotier import reconcile
from controller.zerotier.central import Central
from controller.zerotier.difference import THE_NETWORK, Pace
from controller.zerotier.port import MemberChange, NetworkChange
from controller.zerotier.reconcile import Summarise, one_pass
from controller.zerotier.selfhosted import SelfHosted
from controller.zerotier.state import (
    EVERY_SECONDS,
    FORGET_SECONDS,
    LONGEST_PAUSE_SECONDS,
    SOON_SECONDS,
    Failure,
    Pass,
    pause_after,
)
from controller.zerotier.summaries import ALL, Summaries, summaries
from tests.controller.zerotier import real
from tests.controller.zerotier.fake import FakeWorld
from tests.controller.zerotier.fake_central import FakeCentral
from tests.controller.zerotier.fake_http import Answer, Faulty, said, transport
from tests.controller.zerotier.segments import CONTROLLER, NETWORK, SEGMENT6, MemoryLedger, small, wanted


class Segment:
    """One inventory, one service, one ledger."""

    def __init__(self, inventory: Inventory | None = None) -> None:
        self.world = FakeWorld()
        self.node = self.world.node(CONTROLLER)
        self.faulty = Faulty(self.node)
        self.api = SelfHosted(
            "http://127.0.0.1:9993", "secret", NETWORK, transport=transport(self.faulty), sleep=lambda _seconds: None
        )
        self.ledger = MemoryLedger()
        self.inventory = inventory or small()
        self.clock = 0.0

    def pass_once(self, summarise: Summarise = lambda _routes: Summaries(), **given: Any) -> Pass:
        fabric = self.inventory.fabric
        assert fabric is not None
        declared = wanted(self.inventory)
        return one_pass(
            declared, fabric, self.api, self.ledger, lambda: self.clock, self.ledger.now, summarise, **given,
        )  # fmt: skip

    def without(self, *gateways: str) -> None:
        kept = tuple(each for each in self.inventory.gateways if each.name not in gateways)
        self.inventory = replace(self.inventory, gateways=kept)

    def member(self, node_id: str) -> dict[str, Any]:
        return self.controller.member(NETWORK, node_id) or {}

    @property
    def controller(self) -> Any:
        return self.node.controller

    @property
    def writes(self) -> list[tuple[str, str]]:
        return [each for each in self.faulty.asked if each[0] != "GET"]


@pytest.fixture
def segment() -> Segment:
    return Segment()


def test_from_nothing_to_everything_in_one_pass_and_the_second_writes_nothing(segment: Segment) -> None:
    first = segment.pass_once()
    assert (first.condition, first.written, first.members, first.error) == ("settled", 6, 5, "")
    network = segment.controller.network(NETWORK)
    assert (network["name"], network["mtu"], network["routes"]) == (
        "demo",
        1280,
        [{"target": "10.42.0.0/24", "via": None}],
    )
    assert segment.member("a000000001")["authorized"] is True
    assert segment.member("a000000001")["ipAssignments"] == ["10.42.0.3"]
    assert segment.ledger.known == {THE_NETWORK, *wanted(segment.inventory).members}
    writes = len(segment.writes)
    second = segment.pass_once()
    assert (second.condition, second.written, len(segment.writes)) == ("settled", 0, writes)


def test_the_order_is_leave_network_members(segment: Segment) -> None:
    segment.pass_once()
    segment.without("berlin-1")
    segment.inventory = replace(segment.inventory, fabric=replace(segment.inventory.fabric, mtu=1400))  # type: ignore[type-var]
    segment.controller.put_member(NETWORK, "a000000001", {"authorized": False})
    segment.faulty.asked.clear()
    assert segment.pass_once().condition == "settled"
    paths = list(dict.fromkeys(path.removeprefix(f"/controller/network/{NETWORK}") for _, path in segment.writes))
    assert paths == ["/member/a000000002", "/member/a000000003", "", "/member/a000000001"]


def test_who_is_no_longer_declared_is_out_and_forgotten(segment: Segment) -> None:
    segment.pass_once()
    segment.without("berlin-1")
    assert segment.pass_once().condition == "settled"
    for node_id in ("a000000002", "a000000003"):
        assert (segment.member(node_id)["authorized"], segment.member(node_id)["ipAssignments"]) == (False, [])
        assert node_id not in segment.ledger.known
    segment.controller.put_member(NETWORK, "a000000002", {"authorized": True})
    segment.pass_once()
    assert segment.member("a000000002")["authorized"] is True, "a stranger now, let in by somebody else"


def test_the_record_of_who_was_put_out_is_deleted_a_day_later(segment: Segment) -> None:
    segment.pass_once()
    segment.controller.put_member(NETWORK, "d000000001", {"authorized": True})
    segment.controller.put_member(NETWORK, "d000000001", {"authorized": False})
    segment.without("berlin-1")
    done = segment.pass_once()
    assert (done.condition, done.left) == ("settled", {"a000000002": 7.0, "a000000003": 7.0})
    segment.ledger.now += FORGET_SECONDS - 1
    assert segment.pass_once().written == 0
    segment.faulty.asked.clear()
    segment.ledger.now += 1
    done = segment.pass_once()
    assert [(method, path[-10:]) for method, path in segment.writes] == [
        ("DELETE", "a000000002"),
        ("DELETE", "a000000003"),
    ]
    assert (done.condition, done.written, done.left, segment.ledger.put_out) == ("settled", 2, {}, {})
    assert done.difference is not None
    assert [each.node_id for each in done.difference.strangers] == ["d000000001"], "put out by somebody else"
    segment.ledger.now += 10 * FORGET_SECONDS
    assert segment.pass_once().written == 0


def test_who_is_let_in_again_before_the_day_is_over_keeps_its_record(segment: Segment) -> None:
    """By its declaration, or by somebody else: then it is a stranger."""
    segment.pass_once()
    before = segment.inventory
    segment.without("berlin-1")
    segment.inventory = replace(segment.inventory, hosts=())
    assert set(segment.pass_once().left) == {"a000000002", "a000000003", "c000000001"}
    segment.controller.put_member(NETWORK, "c000000001", {"authorized": True})
    segment.inventory = replace(before, hosts=())
    done = segment.pass_once()
    assert (done.condition, done.left, segment.member("a000000002")["authorized"]) == ("settled", {}, True)
    segment.ledger.now += 2 * FORGET_SECONDS
    assert segment.pass_once().written == 0
    assert segment.member("c000000001")["authorized"] is True


def test_nobody_is_deleted_while_nothing_is_declared_or_before_it_is_seen_to_be_out(segment: Segment) -> None:
    segment.pass_once()
    segment.without("berlin-1")
    segment.faulty.behind = Lying(segment.node, "a000000002")
    assert segment.pass_once().left == {"a000000003": 7.0}
    segment.faulty.behind = segment.node
    segment.ledger.now += FORGET_SECONDS
    segment.inventory = replace(segment.inventory, gateways=(), clients=(), hosts=())
    segment.pass_once()
    assert segment.member("a000000002")["authorized"] is True
    assert segment.member("a000000003")["authorized"] is False


def test_rules_that_cannot_be_owned_at_central_hold_up_nothing_else() -> None:
    central = FakeCentral(per_second=1000)
    network = central.make_network("lonely_hopper")
    drop, tags = [{"type": "ACTION_DROP"}], [{"id": 7, "default": 0}]
    central.controller.put_network(network, {"rules": drop, "tags": tags})
    api = Central("secret", network, transport=transport(central), interval=0.0)
    inventory = small(network=network, segment_rules="owned")
    assert inventory.fabric is not None
    ledger = MemoryLedger([THE_NETWORK])
    done = one_pass(wanted(inventory), inventory.fabric, api, ledger, lambda: 0.0, 7.0)
    assert [each.object for each in done.failures] == [f"network {network}"]
    assert "segment_rules: checked" in done.failures[0].message
    stored = central.controller.network(network)
    assert stored is not None
    assert (stored["name"], stored["mtu"], stored["rules"], stored["tags"]) == ("demo", 1280, drop, tags)
    assert len(done.rules) > 0


def test_members_that_are_not_ours_are_left_alone_until_they_are_adopted(segment: Segment) -> None:
    segment.controller.put_network(NETWORK, {"name": "old", "routes": [{"target": "10.1.0.0/16", "via": "10.42.0.9"}]})
    segment.controller.put_member(NETWORK, "a000000001", {"authorized": True, "ipAssignments": ["10.42.0.99"]})
    segment.controller.put_member(NETWORK, "d000000001", {"authorized": True, "name": "printer"})
    before = [segment.controller.network(NETWORK), segment.member("a000000001"), segment.member("d000000001")]
    done = segment.pass_once()
    assert done.condition == "held"
    assert done.difference is not None
    assert done.difference.network_held == ("name", "routes")
    assert [each.node_id for each in done.difference.held] == ["a000000001"]
    assert [each.node_id for each in done.difference.strangers] == ["d000000001"]
    assert before == [segment.controller.network(NETWORK), segment.member("a000000001"), segment.member("d000000001")]
    segment.ledger.take([THE_NETWORK, "a000000001"])
    assert segment.pass_once().condition == "settled"
    assert segment.controller.network(NETWORK)["name"] == "demo"
    assert segment.member("a000000001")["ipAssignments"] == ["10.42.0.3"]
    assert segment.member("d000000001") == before[2]


def test_an_empty_declaration_puts_nobody_out(segment: Segment) -> None:
    segment.pass_once()
    segment.inventory = replace(segment.inventory, gateways=(), clients=(), hosts=())
    done = segment.pass_once()
    assert done.condition == "failing"
    assert "no member is declared; the 5 that Leyline let in stay" in done.failures[0].message
    assert segment.member("a000000001")["authorized"] is True
    assert len(segment.ledger.known) == 6


def test_one_bad_member_does_not_stop_the_rest(segment: Segment) -> None:
    """Its write is answered with nonsense, in place of whatever the service would have said."""
    segment.pass_once()
    for node_id in ("a000000001", "b000000001"):
        segment.controller.put_member(NETWORK, node_id, {"authorized": False})
    lies = Lying(segment.node, "a000000001")
    segment.faulty.behind = lies
    done = segment.pass_once()
    assert [each.object for each in done.failures] == ["uplink hub-1/u0"]
    assert "took authorised True and stores False" in done.failures[0].message
    assert done.condition == "failing"
    assert segment.member("b000000001")["authorized"] is True
    segment.faulty.behind = segment.node
    assert segment.pass_once().condition == "settled"


class Spoilt:
    """A service with records of members that cannot be read, until they are written."""

    def __init__(self, behind: Any, *node_ids: str) -> None:
        self.behind, self.node_ids = behind, {*node_ids}

    def answer(self, method: str, path: str, headers: Any, body: bytes) -> Any:
        told = self.behind.answer(method, path, headers, body)
        if method == "POST":
            self.node_ids.discard(path[-10:])
        if "/member" not in path or told.status != 200:
            return told
        document = json.loads(told.body)
        for each in document.get("data", [document]):
            if each["id"] in self.node_ids:
                each["ipAssignments"] = ["bogus"]
        return replace(told, body=json.dumps(document).encode())


def test_a_record_that_cannot_be_read_is_named_and_left_alone(segment: Segment) -> None:
    """Also when it is declared; the others are written, and nothing is taken or forgotten."""
    segment.pass_once()
    known = set(segment.ledger.known)
    segment.controller.put_member(NETWORK, "d000000001", {"authorized": True})
    segment.controller.put_member(NETWORK, "b000000001", {"authorized": False})
    segment.faulty.behind = Spoilt(segment.node, "a000000001", "c000000001", "d000000001")
    segment.ledger.drop("c000000001")
    segment.faulty.asked.clear()
    done = segment.pass_once()
    assert (done.condition, done.written, done.members, done.error) == ("held", 1, 6, "")
    assert [path[-10:] for _, path in segment.writes] == ["b000000001"]
    assert done.difference is not None
    labels = [(each.node_id, each.label) for each in done.difference.unreadable]
    assert labels == [("a000000001", "uplink hub-1/u0"), ("c000000001", "host nas"), ("d000000001", "")]
    assert all("bogus" in each.reason for each in done.difference.unreadable)
    assert segment.ledger.known == known - {"c000000001"}
    segment.faulty.behind = segment.node
    assert segment.pass_once().condition == "settled"


def test_a_member_that_must_leave_is_put_out_whatever_its_record_says(segment: Segment) -> None:
    segment.pass_once()
    segment.without("berlin-1")
    segment.faulty.behind = Spoilt(segment.node, "a000000002")
    done = segment.pass_once()
    assert (done.condition, segment.member("a000000002")["authorized"]) == ("settled", False)
    assert "a000000002" not in segment.ledger.known


STRANGERS = [f"d0000000{number:02}" for number in range(21)]


def test_who_must_leave_is_put_out_though_the_others_cannot_be_read(segment: Segment) -> None:
    """Whom Leyline let in is in the ledger, so nobody waits for a list that is mended some day."""
    segment.pass_once()
    for node_id in STRANGERS:
        segment.controller.put_member(NETWORK, node_id, {"authorized": True})
    segment.faulty.behind = Spoilt(segment.node, *STRANGERS)
    segment.without("berlin-1")
    segment.faulty.asked.clear()
    done = segment.pass_once()
    assert (done.condition, done.difference, done.written) == ("failing", None, 2)
    assert "bogus" in done.error
    assert [path[-10:] for _, path in segment.writes] == ["a000000002", "a000000003"]
    assert not any(segment.member(node_id)["authorized"] for node_id in ("a000000002", "a000000003"))
    assert not {"a000000002", "a000000003"} & segment.ledger.known
    assert segment.pass_once().written == 0
    segment.faulty.behind = segment.node
    assert segment.pass_once().condition == "settled"


def test_an_empty_declaration_puts_nobody_out_who_cannot_be_read_either(segment: Segment) -> None:
    segment.pass_once()
    for node_id in STRANGERS:
        segment.controller.put_member(NETWORK, node_id, {"authorized": True})
    segment.faulty.behind = Spoilt(segment.node, *STRANGERS)
    segment.inventory = replace(segment.inventory, gateways=(), clients=(), hosts=())
    assert (segment.pass_once().condition, segment.member("a000000002")["authorized"]) == ("failing", True)


class Lying:
    """Says yes to every write of one member, and stores nothing."""

    def __init__(self, behind: Any, node_id: str) -> None:
        self.behind, self.node_id = behind, node_id

    def answer(self, method: str, path: str, headers: Any, body: bytes) -> Any:
        method = "GET" if method == "POST" and path.endswith(self.node_id) else method
        return self.behind.answer(method, path, headers, body)


@pytest.mark.parametrize(
    "answer",
    [httpx2.ConnectError("no route"), said({}, 401), said({}, 500), said({}, 429)],
    ids=["unreachable", "unauthorised", "broken", "rate-limited"],
)
def test_a_service_that_fails_ends_the_pass_and_the_next_one_converges(segment: Segment, answer: Any) -> None:
    segment.faulty.instead(*[answer] * 9)
    done = segment.pass_once()
    assert done.condition == "failing"
    assert done.error
    assert done.difference is None
    assert segment.ledger.known == set()
    segment.faulty.faults.clear()
    assert segment.pass_once().condition == "settled"


@pytest.mark.parametrize("keep", range(1, 16))
def test_it_converges_wherever_it_was_interrupted(keep: int) -> None:
    """The service goes away in the middle of the pass, after so many requests."""
    segment = Segment()
    for _ in range(keep):
        segment.faulty.faults.append(lambda properly: properly())
    segment.faulty.instead(*[httpx2.ConnectError("gone")] * 9)
    segment.pass_once()
    segment.faulty.faults.clear()
    assert segment.pass_once().condition == "settled"
    assert segment.ledger.known == {THE_NETWORK, *wanted(segment.inventory).members}


def test_a_pass_is_bounded_in_writes_and_in_time(segment: Segment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconcile, "MAX_WRITES", 2)
    done = segment.pass_once()
    assert (done.written, done.condition) == (2, "busy")

    def slow(properly: Callable[[], Answer]) -> Answer:
        segment.clock = 99.0
        return properly()

    segment.faulty.faults.append(slow)
    assert segment.pass_once().written == 0
    segment.faulty.faults.clear()
    segment.clock = 0.0
    conditions = [segment.pass_once().condition for _ in range(3)]
    assert conditions == ["busy", "settled", "settled"]


def test_a_pass_ends_when_somebody_else_must_leave(segment: Segment) -> None:
    """Whoever it puts out by itself, or cannot put out, does not stop it."""
    segment.pass_once()
    for node_id in wanted(segment.inventory).members:
        segment.controller.put_member(NETWORK, node_id, {"name": "x"})
    segment.without("berlin-1")
    segment.faulty.behind = Lying(segment.node, "a000000003")

    def slow(properly: Callable[[], Answer]) -> Answer:
        segment.clock += 0.1
        return properly()

    segment.faulty.faults.extend([slow] * 99)
    before = frozenset({"a000000002", "a000000003"})
    done = segment.pass_once(leavers=lambda: before | {"b000000001"})
    assert (done.written, done.condition) == (1, "failing")
    assert segment.member("a000000002")["authorized"] is False
    assert segment.member("b000000001")["name"] == "x"
    assert segment.pass_once(leavers=lambda: before - {"a000000002"}).written == 3


def test_many_failing_objects_are_a_failing_service(segment: Segment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconcile, "MAX_FAILURES", 2)
    segment.pass_once()
    for node_id in wanted(segment.inventory).members:
        segment.controller.put_member(NETWORK, node_id, {"name": "x"})
    segment.faulty.behind = Lying(segment.node, "")
    assert len(segment.pass_once().failures) == 2


def test_rules_that_break_routing_are_said_and_left(segment: Segment) -> None:
    segment.pass_once()
    ipauth = {"type": "MATCH_CHARACTERISTICS", "mask": "1000000000000000", "not": True}
    rules = [ipauth, {"type": "ACTION_DROP"}, {"type": "ACTION_ACCEPT"}]
    segment.controller.put_network(NETWORK, {"rules": rules})
    done = segment.pass_once()
    assert [each.code for each in done.rules] == ["rules-no-ipauth", "rules-no-mpls"]
    assert done.condition == "settled"
    assert len(segment.controller.network(NETWORK)["rules"]) == 3
    segment.inventory = small(segment_rules="owned")
    done = segment.pass_once()
    assert (done.rules, segment.controller.network(NETWORK)["rules"][0]["type"]) == ((), "ACTION_ACCEPT")


def test_the_summaries_of_a_gateway_that_is_gone_go_and_come_back_by_another(segment: Segment) -> None:
    """Members never apply another via in place, so at no time has a route another one than before."""
    inventory = replace(
        segment.inventory,
        allocations=(Allocation("berlin", ip_network("10.1.0.0/16"), 24),),
        prefixes=(Prefix("berlin", ip_network("10.1.1.0/24"), gateways=("berlin-1", "hub-1")),),
    )
    seen = []
    for lost in ({}, {"berlin-1": frozenset({ALL})}, {"berlin-1": frozenset({ALL})}, {}):
        done = segment.pass_once(lambda routes, lost=lost: summaries(inventory, lost, routes))  # type: ignore[misc]
        routes = segment.controller.network(NETWORK)["routes"]
        seen.append((done.condition, [each["via"] for each in routes if each["via"]]))
    assert seen == [
        ("settled", ["10.42.0.1"]),
        ("busy", []),
        ("settled", ["10.42.0.3"]),
        ("settled", ["10.42.0.3"]),
    ]


def test_managed_routes_go_one_by_one_and_only_when_they_may(segment: Segment) -> None:
    """Adopted with routes of somebody else's: what is new comes at once, what goes takes its turn."""
    segment.pass_once()
    on_link = {"target": "10.42.0.0/24", "via": None}
    old = [{"target": f"10.{n}.0.0/16", "via": "10.42.0.9"} for n in range(3)]
    segment.controller.put_network(NETWORK, {"routes": [on_link, *old]})
    seen = []
    for removals in (0, 1, 0, 1, 1):
        done = segment.pass_once(pace=Pace(removals))
        left = [each["target"] for each in segment.controller.network(NETWORK)["routes"]]
        seen.append((len(left), len(done.removed), done.written, done.condition))
    assert seen == [(4, 0, 0, "busy"), (3, 1, 1, "busy"), (3, 0, 0, "busy"), (2, 1, 1, "busy"), (1, 1, 1, "settled")]
    assert left == ["10.42.0.0/24"]


def test_a_network_at_central_is_adopted_and_kept() -> None:
    central = FakeCentral(per_second=1000)
    network = central.make_network("lonely_hopper")
    api = Central("secret", network, transport=transport(central), interval=0.0)
    ledger = MemoryLedger()
    inventory = small(network=network, segment_rules="owned")
    assert inventory.fabric is not None

    def pass_once() -> Pass:
        assert inventory.fabric is not None
        return one_pass(wanted(inventory), inventory.fabric, api, ledger, lambda: 0.0, 7.0)

    held = pass_once()
    assert held.difference is not None
    assert (held.condition, held.error, held.difference.network_held) == ("held", "", ("name",))
    ledger.take([THE_NETWORK])
    assert (pass_once().condition, api.network().name) == ("settled", "demo")
    assert (pass_once().written, pass_once().condition) == (0, "settled")
    inventory = replace(inventory, hosts=())
    assert pass_once().condition == "settled"
    assert api.members()["c000000001"].authorised is False


@pytest.mark.zerotier
def test_a_real_controller_is_brought_to_what_is_declared_and_stays_so(tmp_path: Path) -> None:
    if reason := real.why_not():
        pytest.skip(reason)
    with real.running(tmp_path) as there:
        segment = Segment()
        network = f"{there.address}00beef"
        api = segment.api = SelfHosted(there.url, there.token, network)
        declared = small(network=network, segment6=SEGMENT6, segment_rules="owned", mtu=2800)
        segment.inventory = declared
        first, second = segment.pass_once(), segment.pass_once()
        assert (first.condition, first.error, first.failures, first.written) == ("settled", "", (), 6)
        assert (second.condition, second.written, second.members) == ("settled", 0, 5)
        assert first.rules == second.rules == ()
        api.write_network(NetworkChange(rules=({"type": "ACTION_DROP"},), mtu=1400))
        api.write_member("c000000001", MemberChange(addresses=()))
        assert (segment.pass_once().written, segment.pass_once().written) == (3, 0)
        segment.inventory = replace(declared, hosts=())
        assert segment.pass_once().condition == "settled"
        assert api.members()["c000000001"].authorised is False
        segment.ledger.now += FORGET_SECONDS
        assert (segment.pass_once().written, segment.pass_once().written) == (1, 0)
        assert "c000000001" not in api.members()


def test_when_the_next_pass_is_due() -> None:
    assert pause_after(Pass(0.0)) == SOON_SECONDS
    failing = Pass(0.0, failures=(Failure("a", "b"),))
    assert [pause_after(replace(failing, failed_in_a_row=n)) for n in (1, 2, 3, 50)] == [
        2.0,
        4.0,
        8.0,
        LONGEST_PAUSE_SECONDS,
    ]
    assert pause_after(replace(failing, error="slow down", after=1000.0)) == 1000.0
    assert pause_after(Segment().pass_once()) == EVERY_SECONDS
