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

    def save_status(self, *_: Any, **__: Any) -> None:
        pass

    def status(self, _network: str) -> None:
        return None


class World:
    """A segment, its service, and a clock."""

    def __init__(self, inventory: Inventory = ROUTED) -> None:
        self.now = 1000.0
        self.node = FakeWorld().node(CONTROLLER)
        self.store = FakeStore(inventory)
        api = SelfHosted(
            "http://127.0.0.1:9993", "secret", NETWORK, transport=transport(self.node), sleep=lambda _seconds: None
        )
        self.segment = Segment(cast("Store", self.store), lambda _network: api, now=lambda: self.now)
        self.segment.memory = cast("Any", FakeMemory())

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
    world.segment._removed = {ip_network("10.98.0.0/16"): 9000.0}
    assert world.node.controller is not None
    world.node.controller.put_network(NETWORK, {"routes": [{"target": "10.99.0.0/16", "via": "10.42.0.9"}]})
    assert world.pass_at(10.0).removed == (ip_network("10.99.0.0/16"),)


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
