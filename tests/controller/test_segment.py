"""What passes over the segment know of each other: managed routes go at a pace, and a gateway that goes is noticed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from ipaddress import ip_network
from typing import Any, cast

import pytest

from controller.inventory.model import Allocation, Inventory, Prefix
from controller.segment import Segment
from controller.store.segment import StoredStatus
from controller.store.store import Store, StoredReport
from controller.zerotier.selfhosted import SelfHosted
from controller.zerotier.state import REMOVAL_SECONDS, Pass, rest_seconds
from speaker.report import encode
from tests.controller.zerotier.fake import FakeWorld
from tests.controller.zerotier.fake_http import transport
from tests.controller.zerotier.segments import CONTROLLER, NETWORK, MemoryLedger, small, wanted
from tests.controller.zerotier.test_alive import heard, session

ROUTED = replace(
    small(),
    allocations=(Allocation("berlin", ip_network("10.1.0.0/16"), 24),),
    prefixes=(Prefix("berlin", ip_network("10.1.1.0/24"), gateways=("berlin-1", "hub-1")),),
)


@dataclass
class FakeStore:
    """As much of Store as passes ask for."""

    inventory: Inventory
    kept: dict[str, StoredReport] = field(default_factory=dict)
    asked: int = 0
    database: None = None

    def state(self) -> FakeStore:
        return self

    def reports(self) -> dict[str, StoredReport]:
        self.asked += 1
        return self.kept


class FakeMemory(MemoryLedger):
    """The ledger of any network; a pass is never alone with another one."""

    @contextmanager
    def alone(self) -> Iterator[bool]:
        yield True

    def owned(self, _network: str = "") -> frozenset[str]:
        return super().owned()

    def take(self, _network: str, node_ids: Any = (), _now: float = 0.0) -> None:  # type: ignore[override]
        super().take(node_ids)

    def left(self, _network: str = "") -> Mapping[str, float]:
        return super().left()

    def leave(self, _network: str, node_id: str = "", _now: float = 0.0) -> None:  # type: ignore[override]
        super().leave(node_id)

    def drop(self, _network: str, node_id: str = "") -> None:  # type: ignore[override]
        super().drop(node_id)

    def __init__(self) -> None:
        super().__init__()
        self.stored: StoredStatus | None = None

    def save_status(self, _network: str, body: bytes, at: float, *, settled: bool) -> None:
        self.stored = StoredStatus(at, at if settled else None, body)

    def status(self, _network: str) -> StoredStatus | None:
        return self.stored


class World:
    """A segment, its service, and a clock."""

    def __init__(self, inventory: Inventory = ROUTED) -> None:
        self.now = 1000.0
        self.node = FakeWorld().node(CONTROLLER)
        self.store = FakeStore(inventory)
        api = SelfHosted(
            "http://127.0.0.1:9993", "secret", NETWORK, transport=transport(self.node), sleep=lambda _seconds: None
        )
        self.connect = lambda _network: api
        self.memory = FakeMemory()
        self.segment = self.another()

    def another(self) -> Segment:
        """Another controller of the same database, or this one after a restart."""
        segment = Segment(cast("Store", self.store), self.connect, now=lambda: self.now)
        segment.memory = cast("Any", self.memory)
        return segment

    def routes(self) -> list[str]:
        assert self.node.controller is not None
        network = self.node.controller.network(NETWORK)
        assert network is not None
        return [f"{each['target']} {each['via']}" for each in network["routes"] if each["via"]]

    def pass_at(self, now: float) -> Pass:
        self.now = now
        return self.segment.synchronise()

    def says(self, gateway: str, **fields: Any) -> None:
        one = heard(gateway, *fields.pop("sessions", ()), at=self.now, **fields)
        self.store.kept[gateway] = StoredReport(one.at, encode(one.report))


@pytest.fixture
def world() -> World:
    return World()


def test_managed_routes_go_one_at_a_time_with_a_pause_between(world: World) -> None:
    """However often somebody asks for a pass."""
    world.pass_at(0.0)
    assert world.node.controller is not None
    old = [{"target": f"10.9{n}.0.0/16", "via": "10.42.0.9"} for n in range(3)]
    kept = world.node.controller.network(NETWORK)
    assert kept is not None
    world.node.controller.put_network(NETWORK, {"routes": [*kept["routes"], *old]})
    seen = []
    for at in (10.0, 10.5, 10.0 + REMOVAL_SECONDS, 11.0 + REMOVAL_SECONDS, 10.0 + 2 * REMOVAL_SECONDS):
        done = world.pass_at(at)
        seen.append((len(world.routes()), len(done.removed), done.condition))
    assert seen == [(3, 1, "busy"), (3, 0, "busy"), (2, 1, "busy"), (2, 0, "busy"), (1, 1, "settled")]


def test_what_is_left_to_be_written_is_due_whoever_asked_for_the_pass(world: World) -> None:
    world.pass_at(0.0)
    assert not world.segment.due()
    assert world.node.controller is not None
    old = [{"target": f"10.9{n}.0.0/16", "via": "10.42.0.9"} for n in range(2)]
    world.node.controller.put_network(NETWORK, {"routes": old})
    assert world.pass_at(10.0).condition == "busy"
    assert world.segment.due()


def test_a_clock_that_is_put_back_stops_nothing(world: World) -> None:
    world.pass_at(9000.0)
    assert world.node.controller is not None
    for now, target in ((9000.0, "10.98.0.0/16"), (10.0, "10.99.0.0/16")):
        world.node.controller.put_network(NETWORK, {"routes": [{"target": target, "via": "10.42.0.9"}]})
        assert world.pass_at(now).removed == (ip_network(target),)


def moved(world: World) -> float:
    """10.1.0.0/16 was by way of berlin-1, which dies: the first controller takes it away. -> how long it rests."""
    world.says("berlin-1")
    world.pass_at(1000.0)
    assert world.routes() == ["10.1.0.0/16 10.42.0.1"]
    world.now = 1100.0
    world.says("hub-1", sessions=(session("berlin-1", "down", 1001.0),))
    world.pass_at(1100.0)
    assert world.routes() == []
    return rest_seconds(len(wanted(ROUTED).members))


def test_a_route_that_moves_rests_whichever_controller_looks_next(world: World) -> None:
    """Members that are told only the end of it keep the dead gateway until their ZeroTier restarts."""
    rest = moved(world)
    for later in (0.5, 1.5, rest - 0.1):
        world.segment = world.another()
        assert world.pass_at(1100.0 + later).condition == "busy"
        assert world.routes() == [], later
    world.segment = world.another()
    assert world.pass_at(1100.1 + rest).condition == "settled"
    assert world.routes() == ["10.1.0.0/16 10.42.0.3"]


def test_controllers_whose_clocks_differ_let_a_route_rest(world: World) -> None:
    moved(world)
    world.segment = world.another()
    world.pass_at(1098.0)
    assert world.routes() == []


def test_routes_go_one_at_a_time_whichever_controller_looks_next(world: World) -> None:
    world.pass_at(0.0)
    assert world.node.controller is not None
    old = [{"target": f"10.9{n}.0.0/16", "via": "10.42.0.9"} for n in range(2)]
    world.node.controller.put_network(NETWORK, {"routes": old})
    assert len(world.pass_at(10.0).removed) == 1
    world.segment = world.another()
    assert world.pass_at(10.5).removed == ()
    assert len(world.pass_at(10.0 + REMOVAL_SECONDS).removed) == 1


def test_a_controller_that_dies_in_the_middle_of_a_pass_has_left_word(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is noted before it is written that a route goes."""
    world.says("berlin-1")
    world.pass_at(1000.0)
    world.now = 1100.0
    world.says("hub-1", sessions=(session("berlin-1", "down", 1001.0),))
    monkeypatch.setattr("controller.segment.as_answer", lambda *_: pytest.fail("killed"))
    with pytest.raises(pytest.fail.Exception):
        world.pass_at(1100.0)
    monkeypatch.undo()
    assert world.routes() == []
    world.segment = world.another()
    world.pass_at(1101.0)
    assert world.routes() == []
    assert "resting" not in world.segment.status(), "that is for controllers"


def test_a_first_pass_that_takes_routes_away_is_none_yet(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.pass_at(1000.0)
    world.memory.stored = None
    assert world.node.controller is not None
    world.node.controller.put_network(NETWORK, {"routes": [{"target": "10.99.0.0/16", "via": "10.42.0.9"}]})
    monkeypatch.setattr("controller.segment.as_answer", lambda *_: pytest.fail("killed"))
    with pytest.raises(pytest.fail.Exception):
        world.pass_at(1010.0)
    assert world.memory.stored is not None
    status = world.segment.status()
    assert (status["condition"], "last_pass" in status) == ("waiting", False)


def test_who_must_leave_is_known_without_asking_the_service(world: World) -> None:
    assert not world.segment.must_leave(), "nobody was let in"
    world.pass_at(1000.0)
    assert not world.segment.must_leave()
    world.store.inventory = replace(ROUTED, hosts=())
    assert world.segment.must_leave()
    world.pass_at(1001.0)
    assert not world.segment.must_leave()
    world.store.inventory = replace(ROUTED, gateways=(), clients=(), hosts=())
    assert not world.segment.must_leave(), "an empty declaration puts nobody out"
    world.store.inventory = replace(ROUTED, hosts=(), clients=())
    world.segment._connect = None
    assert not world.segment.must_leave()


def test_a_gateway_that_goes_or_comes_back_is_noticed_once(world: World) -> None:
    world.says("berlin-1")
    world.pass_at(1000.0)
    assert not world.segment.due()
    world.now = 1100.0
    world.says("hub-1", sessions=(session("berlin-1", "down", 1001.0),))
    assert world.segment.due()
    assert world.routes() == ["10.1.0.0/16 10.42.0.1"]
    world.pass_at(1100.0)
    rest = rest_seconds(len(wanted(ROUTED).members))
    for later in (1.0, 4.0, rest - 0.1):
        assert world.pass_at(1100.0 + later).condition == "busy"
        assert world.routes() == []
    assert world.pass_at(1100.1 + rest).condition == "settled"
    assert not world.segment.due()
    assert world.routes() == ["10.1.0.0/16 10.42.0.3"]
    world.says("berlin-1")
    assert world.segment.due()


@pytest.mark.parametrize("why", ["no hosts", "nobody keeps it", "nothing yet"])
def test_nobody_is_watched_where_nothing_would_move(why: str) -> None:
    world = World(replace(ROUTED, hosts=()) if why == "no hosts" else ROUTED)
    if why == "nobody keeps it":
        world.segment._connect = None
    elif why == "no hosts":
        world.pass_at(1000.0)
    world.store.asked = 0
    assert not world.segment.due()
    assert world.store.asked == 0
