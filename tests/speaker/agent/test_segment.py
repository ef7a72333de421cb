"""The agent's side of ZeroTier: several services, their files, their moons, and what is said when one fails."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from ipaddress import ip_interface
from pathlib import Path
from typing import Any

import pytest

from speaker.agent import local_conf
from speaker.agent.local_conf import Box
from speaker.agent.segment import SegmentSide
from speaker.plan import AnnouncementPlan, MoonPlan, MoonSeedPlan, Plan, UplinkPlan
from speaker.zerotier.keep_out import Interfaces
from tests.speaker.agent.test_neighbours import NETWORK, plan
from tests.speaker.zerotier.fake_service import FakeService, running
from tests.speaker.zerotier.test_moons import IDTOOL

pytestmark = pytest.mark.slow  # Two services over HTTP for each test.

NODES = ("a000000001", "a000000002")
WORLD = f"000000{NODES[0]}"


class OneBox(Box):
    """A WAN, a LAN, and what the two services hold."""

    def __init__(self) -> None:
        self.ways = frozenset({"wan"})
        self.addresses = {
            "wan": ["203.0.113.5/24"], "lan0": ["10.1.1.1/24"], "zt1": ["10.42.0.9/16"], "zt2": ["10.42.0.10/16"],
        }  # fmt: skip
        self.broken = False

    def interfaces(self) -> Interfaces:
        if self.broken:
            raise OSError(1, "not now")
        return {name: [ip_interface(text) for text in each] for name, each in self.addresses.items()}

    def ways_to(self, addresses: Sequence[str]) -> frozenset[str]:  # noqa: ARG002
        return self.ways


class World:
    def __init__(self, place: Path, stack: ExitStack) -> None:
        self.place = place
        self.box = OneBox()
        self.fakes = [FakeService(place / f"home{n}") for n in (1, 2)]
        for number, (fake, node) in enumerate(zip(self.fakes, NODES, strict=True), 1):
            fake.status |= {"address": node, "publicIdentity": f"{node}:0:ab"}
            fake.authorise(NETWORK, f"10.42.0.{8 + number}/16", interface=f"zt{number}")
            stack.enter_context(running(fake))
        self.idtool = place / "zerotier-idtool"
        self.idtool.write_text(IDTOOL)
        self.idtool.chmod(0o755)
        self.side = self.agent()

    def agent(self, *names: str) -> SegmentSide:
        homes = [(name, fake.home) for name, fake in zip(names or ("", ""), self.fakes, strict=False)]
        return SegmentSide(homes, self.place / "orbits.json", lambda: None, self.box, str(self.idtool))

    def problems(self, plan: Plan) -> list[str]:
        return [report.problem for report in self.side.look(plan)]

    def config(self, index: int = 0) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.fakes[index].home / "local.conf").read_text())
        return found


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr("speaker.zerotier.service.MANAGED_PAUSE_SECONDS", 0.0)  # A service in memory forgets nothing.
    with ExitStack() as stack:
        yield World(tmp_path, stack)


def two(**fields: Any) -> Plan:
    """Two uplinks, each with a service of its own."""
    uplinks = tuple(
        UplinkPlan(n, f"u{n}", f"zt{n}", f"10.42.0.{8 + n}", None, "fiber", 200, 0, node_id=node)
        for n, node in enumerate(NODES, 1)
    )
    values = {"uplinks": uplinks, "announcements": (AnnouncementPlan(("10.1.1.0/24",), ()),)}
    return plan(**values | fields)


def test_each_uplink_has_its_service_whatever_the_order_of_homes(world: World) -> None:
    world.fakes.reverse()
    world.side = world.agent()
    assert world.problems(two()) == ["", ""]
    assert [(each.uplink, each.node_id, each.status) for each in world.side.look(two())] == [
        ("u1", NODES[0], "OK"),
        ("u2", NODES[1], "OK"),
    ]
    assert {name: service.home for name, service in world.side.services().items()} == {
        "u1": world.fakes[1].home,
        "u2": world.fakes[0].home,
    }


def test_an_uplink_without_a_service_says_how_to_name_it(world: World) -> None:
    world.side = world.agent("u1")
    assert world.problems(two())[1] == "no ZeroTier service here is node a000000002: name its home by --zerotier-home"
    world.fakes.pop(0)
    world.side = world.agent("")
    assert "is node a000000002; the inventory says a000000001: correct one of them" in world.problems(two())[0]


def test_an_interface_that_is_not_there_has_lost_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """zerotier-one is starting again, and has not made it yet."""
    monkeypatch.setattr("speaker.zerotier.service.LOST_SECONDS", 0.0)
    assert world.problems(two()) == ["", ""]
    before = len(world.fakes[0].log)
    del world.box.addresses["zt1"]
    for _ in range(3):
        assert world.problems(two()) == ["", ""]
    assert f"POST /network/{NETWORK}" not in world.fakes[0].log[before:]


def test_one_service_that_is_gone_leaves_the_other_alone(world: World) -> None:
    assert world.problems(two()) == ["", ""]
    world.fakes[0].breakage = 500, b"broken"
    first, second = world.problems(two())
    assert "answered with 500" in first
    assert second == ""
    assert set(world.side.services()) == {"u2"}
    world.fakes[0].breakage = None
    assert world.problems(two()) == ["", ""]


def test_local_conf_is_written_once_beside_what_is_there(world: World) -> None:
    path = world.fakes[0].home / "local.conf"
    path.write_text('{"settings": {"primaryPort": 9993}}')
    world.side.look(two())
    assert world.config()["settings"] == {"primaryPort": 9993, "interfacePrefixBlacklist": ["lan0"]}
    assert world.config()["physical"] == {
        prefix: {"blacklist": True} for prefix in ("10.1.1.0/24", "10.42.0.0/16", "fd42::/64")
    }
    before = path.stat().st_mtime_ns
    world.side.look(two())
    assert path.stat().st_mtime_ns == before


def test_a_file_that_is_broken_is_left_and_named(world: World) -> None:
    path = world.fakes[0].home / "local.conf"
    path.write_text("{ // mine")
    assert "is no JSON" in world.problems(two())[0]
    assert path.read_text() == "{ // mine"


def test_without_a_way_out_the_file_stays_as_it_is(world: World) -> None:
    world.side.look(two())
    before = world.config()
    world.box.ways = frozenset()
    assert "no way out" in world.problems(two())[0]
    assert world.config() == before


def test_a_kernel_that_cannot_be_read_changes_nothing(world: World) -> None:
    world.side.look(two())
    before = world.config()
    world.box.broken = True
    assert "local.conf was not written" in world.problems(two())[0]
    assert world.config() == before
    assert not any("DELETE" in each for each in world.fakes[0].log)


def test_a_service_that_overlooks_the_file_is_shown_it_again_and_then_to_be_restarted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads the file when that is at most 10 s old at one of its looks, and these are a bit more than 10 s apart."""
    assert world.problems(two()) == ["", ""]
    file = world.fakes[0].home / "local.conf"
    text, now = file.read_text(), file.stat().st_mtime
    monkeypatch.setattr(local_conf, "time", lambda: now)
    now += 20
    assert world.problems(two()) == ["", ""], "it reads the file within ten seconds or so"
    now += 20
    assert world.problems(two()) == ["", ""]
    assert (file.stat().st_mtime, file.read_text()) == (now, text), "as new, and the same"
    now += 20
    assert world.problems(two()) == ["", ""]
    now += 20
    assert "local.conf is not in force: restart zerotier-one when it suits" in world.problems(two())[0]
    assert file.stat().st_mtime == now - 40, "once is enough"
    world.fakes[0].status["config"] = world.config()
    assert world.problems(two())[0] == ""


def test_what_zerotier_still_uses_when_the_file_is_in_force_is_named(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path that it has stays as long as packets come by it; `bind` is stronger than what it is to keep out of."""
    assert world.problems(two()) == ["", ""]
    fake, now = world.fakes[0], (world.fakes[0].home / "local.conf").stat().st_mtime
    monkeypatch.setattr(local_conf, "time", lambda: now)
    listening = [*fake.status["config"]["settings"]["listeningOn"], "10.1.1.1/9993", "203.0.113.5/9993"]
    fake.status["config"] = {**world.config(), "settings": {**world.config()["settings"], "listeningOn": listening}}
    peer = fake.peers[0]
    latest = max(path["lastReceive"] for path in peer["paths"])
    peer["paths"].append({"address": "10.42.0.77/9993", "lastReceive": latest - 1})
    fake.status["clock"] = latest
    now += 59
    assert world.problems(two())[0] == "", "sockets are closed within 30 s, and a path is dead 19 s later"
    now += 2
    first, second = world.problems(two())
    assert "it listens on 10.1.1.1/9993, which is reached through the fabric: take it out of `bind`" in first
    assert f"its path to {peer['address']} at 10.42.0.77/9993 leads over the fabric: restart zerotier-one" in first
    assert second == ""


ODD: tuple[Any, ...] = (
    None, 5, "x", [], {}, [{}], [5], [None], {"address": NODES[0]}, {"nwid": NETWORK}, [{"nwid": NETWORK}],
    {"address": NODES[0], "config": 5, "online": "yes", "clock": "now"},
    {"address": NODES[0], "config": {"settings": 5, "physical": []}, "publicIdentity": None},
    {"nwid": NETWORK, "assignedAddresses": 5, "mtu": "big", "portDeviceName": None, "status": None},
    {"nwid": NETWORK, "assignedAddresses": [None, {}, "x"], "status": "OK", "allowManaged": True},
    {"id": WORLD, "roots": 5}, [{"id": WORLD, "roots": [5, {"stableEndpoints": 7}]}], [{"id": "short"}],
    [{"address": 5}], [{"address": NODES[1], "role": "PLANET", "paths": [{"address": 5, "lastReceive": "x"}]}],
)  # fmt: skip


@pytest.mark.parametrize("path", ["/status", f"/network/{NETWORK}", "/peer", "/moon"])
@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_odd_answers_are_reported_and_nothing_else_stops(world: World, path: str, odd: Any) -> None:
    """The other service goes on, and all is well when the answers are."""
    plan = two(moon=MoonSeedPlan("home", "u1", ("203.0.113.5/9993",)))
    fake = world.fakes[0]
    good = fake.answer
    fake.answer = lambda *asked: (200, odd) if asked[1] == path else good(*asked)  # type: ignore[method-assign]
    assert len(world.side.look(plan)) == 2
    assert world.side.look(plan)[1].problem == ""
    fake.answer = good  # type: ignore[method-assign]
    world.side.look(plan)
    assert world.problems(plan) == ["", ""]


def test_roots_that_are_nowhere_are_passed_over(world: World) -> None:
    for peer in world.fakes[0].peers:
        peer |= {"role": "PLANET"}
        for path in peer["paths"]:
            path["address"] = "nowhere/9993"
    assert world.problems(two()) == ["", ""]


def test_a_moon_is_made_where_it_is_declared_and_its_world_reported(world: World) -> None:
    made = two(moon=MoonSeedPlan("home", "u1", ("203.0.113.5/9993",)))
    assert world.problems(made) == ["", ""]
    assert (world.side.moon_world, set(world.fakes[0].moons), set(world.fakes[1].moons)) == (WORLD, {WORLD}, set())
    assert world.problems(two()) == ["", ""]
    assert (world.side.moon_world, world.fakes[0].moons) == ("", {})


def test_moons_are_orbited_by_every_service_and_let_go_after_a_restart_too(world: World) -> None:
    moon = MoonPlan("home", "000000deadbeef42", "deadbeef42")
    assert "has not come yet" in world.problems(two(orbit=(moon,)))[0]
    for fake in world.fakes:
        assert fake.waiting == {moon.world: moon.seed}
        fake.moons[moon.world] = {"id": moon.world, "roots": []}
    world.side = world.agent()
    assert world.problems(two(orbit=(moon,))) == ["", ""]
    world.side = world.agent()
    assert world.problems(two()) == ["", ""]
    assert [fake.moons for fake in world.fakes] == [{}, {}]


def test_a_moon_whose_answer_was_lost_is_ours_all_the_same(world: World) -> None:
    """The service orbits it and we never hear so: nobody else would ever let it go."""
    moon = MoonPlan("home", "000000deadbeef42", "deadbeef42")
    fake = world.fakes[0]
    answer = fake.answer

    def lost(method: str, path: str, token: str, body: bytes) -> tuple[int, Any]:
        said = answer(method, path, token, body)
        if method == "POST" and path.startswith("/moon/"):
            fake.moons[moon.world] = {"id": moon.world, "roots": []}
            return 500, {}
        return said

    fake.answer = lost  # type: ignore[method-assign]
    assert "answered with 500" in world.problems(two(orbit=(moon,)))[0]
    fake.answer = answer  # type: ignore[method-assign]
    world.side = world.agent()
    assert world.problems(two(orbit=(moon,)))[0] == ""
    assert world.problems(two()) == ["", ""]
    assert fake.moons == {}


def test_what_failed_at_a_moon_is_said_and_the_rest_goes_on(world: World) -> None:
    world.idtool.unlink()
    made = two(moon=MoonSeedPlan("home", "u1", ("203.0.113.5/9993",)))
    first, second = world.problems(made)
    assert "is not installed" in first
    assert second == ""
    assert world.side.moon_world == ""


async def settled(side: SegmentSide, wanted: int) -> None:
    running = asyncio.create_task(side.run())
    try:
        async with asyncio.timeout(10):
            while len(side.reports) != wanted:
                await asyncio.sleep(0.01)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def test_a_segment_of_somebody_else_is_left_alone(world: World) -> None:
    world.side.configure(two())
    asyncio.run(settled(world.side, 2))
    assert len(world.side.services()) == 2
    for fake in world.fakes:
        fake.log.clear()
    world.side.configure(two(network="", version=3))
    asyncio.run(settled(world.side, 0))
    assert world.side.services() == {}
    assert [fake.log for fake in world.fakes] == [[], []]
