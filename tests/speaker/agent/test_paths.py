"""From services and echoes to what is reported, and to what a relayed path costs."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from speaker.agent import paths as module
from speaker.agent.paths import Paths, Seen, addresses_of, read_nat
from speaker.liveness.damping import Pair
from speaker.liveness.echo import NoEchoes
from speaker.liveness.path_probes import Probe
from speaker.mac import mac_of
from speaker.plan import Plan
from speaker.report import PeerReport
from speaker.rib.hops import Hop
from speaker.state import StateDir
from speaker.zerotier.nat import DEPENDENT, INDEPENDENT, Nat
from speaker.zerotier.peers import Peer
from tests.speaker.agent.test_plans import fsyncs_in
from tests.speaker.doctor.given import NETWORK, PLAN, SESSION
from tests.speaker.zerotier.fake_service import FakeService, running

HUB_NODE, FAR_NODE = "5f8d869aea", "3a7d89a6af"
HUB, FAR = "10.42.0.1", "10.42.0.7"
MINE: Plan = replace(
    PLAN, sessions=(replace(SESSION, peer_node_id=HUB_NODE),), relayed_seconds=120, relayed_preference=-50
)
FAR_HOP = Hop(bytes([10, 42, 0, 7]), 7, mac=mac_of(FAR_NODE, NETWORK))
RELAYED = Peer(FAR_NODE, "LEAF", -1, -1, "", "1.14.1")
DIRECT = Peer(FAR_NODE, "LEAF", 3, 1, "192.0.2.7/9993", "1.14.1")


class Alive:
    """A liveness that knows two pairs."""

    def __init__(self) -> None:
        self.up: bool | None = True

    def in_use(self) -> list[Pair]:
        return [("zt0", HUB)]

    def ways(self) -> dict[int, Pair]:
        return {7: ("zt0", FAR)}

    def is_up(self, pair: Pair) -> bool | None:
        return self.up if pair == ("zt0", FAR) else None


class Clock:
    """In the place of both clocks of the module."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(module, "monotonic", lambda: self.now)
        monkeypatch.setattr(module, "time", lambda: 1e9 + self.now)


class Scene:
    def __init__(self, tmp_path: Path, homes: Sequence[tuple[str, Path]] = ()) -> None:
        self.moves: list[frozenset[int]] = []
        self.liveness = Alive()
        self.paths = Paths(
            StateDir(tmp_path), homes, self.liveness, [FAR_HOP], lambda: self.moves.append(self.paths.relayed)
        )
        self.paths.configure(MINE)

    def see(self, *peers: Peer, nat: str = INDEPENDENT, uplink: str = "main") -> tuple[PeerReport, ...]:
        asyncio.run(self.paths._take(MINE, {uplink: Seen(peers, nat)}))
        return self.paths.peers


def test_nodes_get_the_addresses_that_plan_and_paths_say() -> None:
    six = Hop(bytes([0xFD]) + bytes(14) + bytes([7]), 7, mac=mac_of(FAR_NODE, NETWORK))
    assert addresses_of(MINE, [six, FAR_HOP]) == {HUB_NODE: HUB, FAR_NODE: FAR}
    assert addresses_of(MINE, [six]) == {HUB_NODE: HUB, FAR_NODE: "fd00::7"}
    assert addresses_of(replace(MINE, permanent_neighbours=True), []) == {HUB_NODE: HUB}
    assert addresses_of(replace(MINE, network=""), [FAR_HOP]) == {}


def test_who_has_no_path_is_relayed_if_bfd_is_up(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    (report,) = scene.see(RELAYED)
    assert (report.address, report.uplink, report.state) == (FAR, "main", "relayed")
    scene.liveness.up = False
    assert scene.see(RELAYED)[0].state == "unknown"
    scene.liveness.up = None
    assert scene.see(RELAYED)[0].state == "unknown"
    scene.paths._probes.configure([("zt0", FAR)], {}, 0.0)
    (probe,) = scene.paths._probes.due(0.0)
    scene.paths._probes.answered(probe.pair, probe.sequence, 0.01, time.monotonic())
    assert scene.see(RELAYED)[0].state == "relayed", "our own echo came back"


def test_a_relayed_path_costs_after_its_time_and_says_so_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, scene = Clock(monkeypatch), Scene(tmp_path)
    for _ in range(30):
        scene.see(RELAYED)
        clock.now += 5
    assert scene.moves == [frozenset({7})]
    assert scene.paths._pairs() == [("zt0", FAR), ("zt0", HUB)], "whether it becomes direct is looked at first"
    for _ in range(30):
        scene.see(DIRECT)
        clock.now += 5
    assert scene.moves == [frozenset({7}), frozenset()]
    assert scene.paths._pairs() == [("zt0", HUB)]


def test_a_service_that_is_silent_moves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, scene = Clock(monkeypatch), Scene(tmp_path)
    for _ in range(30):
        scene.see(RELAYED)
        clock.now += 5
    for _ in range(1000):
        asyncio.run(scene.paths._take(MINE, {}))
        clock.now += 5
    assert (scene.paths.peers, scene.moves) == ((), [frozenset({7})])


def test_what_an_unknown_uplink_says_is_nobodys(tmp_path: Path) -> None:
    assert Scene(tmp_path).see(DIRECT, uplink="another") == ()


def test_the_nat_is_remembered_over_restarts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    syncs = fsyncs_in(monkeypatch)
    Scene(tmp_path).see(nat=INDEPENDENT)
    assert syncs
    assert threading.main_thread() not in syncs, "a slow disk does not stop the agent"
    scene = Scene(tmp_path)
    assert scene.paths.nat == {"main": Nat(INDEPENDENT)}
    scene.see(nat=DEPENDENT)
    again = Scene(tmp_path).paths.nat["main"]
    assert (again.kind, again.before, again.since > 1e9) == (DEPENDENT, INDEPENDENT, True)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"main": ["a"]}', '{"main": 7}'])
def test_a_broken_memory_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "nat.json"
    assert read_nat(path) == {}
    path.write_text(text)
    assert read_nat(path) == {}


def test_services_are_read_and_those_that_fail_are_left_out(tmp_path: Path) -> None:
    well, garbled = FakeService(tmp_path / "well"), FakeService(tmp_path / "garbled")
    garbled.peers = {"error": 500}
    homes = [("main", well.home), ("lte", garbled.home), ("sat", tmp_path / "nothing")]
    scene = Scene(tmp_path, homes)
    uplinks = tuple(replace(PLAN.uplinks[0], name=name) for name, _ in homes)
    with running(well), running(garbled):
        seen = scene.paths._read(replace(MINE, uplinks=uplinks))
    scene.paths.close()
    assert {uplink: (len(each.peers), each.nat) for uplink, each in seen.items()} == {"main": (5, "none")}


def test_probes_that_may_not_be_sent_are_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(_: Probe) -> None:
        raise NoEchoes("not permitted")

    async def whole() -> None:
        scene = Scene(tmp_path)
        monkeypatch.setattr(scene.paths._echoes, "send", forbidden)
        running = asyncio.create_task(scene.paths._probe())
        await asyncio.sleep(0.2)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert scene.paths.measured == ()

    asyncio.run(whole())


def test_probes_that_the_kernel_refuses_are_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: Probe) -> None:
        raise OSError(101, "Network is unreachable")

    async def whole() -> None:
        scene = Scene(tmp_path)
        monkeypatch.setattr(scene.paths._echoes, "send", refused)
        running = asyncio.create_task(scene.paths._probe())
        await asyncio.sleep(0.2)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        (report,) = scene.paths.measured
        assert (report.address, report.uplink, report.loss) == (HUB, "main", 1.0)

    asyncio.run(whole())
