"""Trains of packets and cuts in a real lab: what is cut stops, in the direction that is cut, and is told nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import labs, topology
from lab.cuts import Cuts, links
from lab.labs import LabError
from lab.loss import told
from lab.pings import FLOOD_SECONDS, PingTrain
from lab.udp import UdpTrain, one_way
from tests.lab.test_labs import wait_until

pytestmark = pytest.mark.root
PLAIN = Path(__file__).parent / "labs" / "plain.clab.yml"
EAST, WEST = "10.9.1.2", "10.9.2.2"


@pytest.fixture
def lab() -> Iterator[labs.Lab]:
    name = f"lab-cut-{os.getpid()}"
    try:
        yield labs.up(topology.read(PLAIN, {}, name))
    finally:
        labs.down(name)


@pytest.fixture
def cuts(lab: labs.Lab) -> Iterator[Cuts]:
    with Cuts(lab, ["segment"]) as cuts:
        yield cuts


def carrier(lab: labs.Lab, node: str) -> bool:
    return "NO-CARRIER" not in lab.node(node).out("ip link show zt0")


def test_a_flood_keeps_its_millisecond_and_one_way_counters_know_the_direction(lab: labs.Lab) -> None:
    east, west = lab.node("host-east"), lab.node("host-west")
    pings = PingTrain([east.pings(WEST, "ping")], FLOOD_SECONDS)
    counters = UdpTrain([one_way(east, west, WEST, "there"), one_way(west, east, EAST, "back")])
    wait_until("packets come", lambda: pings.answered() > 300 and counters.answered("back") > 300)
    lab.node("west").run(f"ip route add unreachable {EAST}")
    cut = time.monotonic()
    wait_until("the way back is closed", lambda: counters.unreachable("back"))
    lab.node("west").run(f"ip route del unreachable {EAST}")
    healed = time.monotonic()
    before = counters.answered("back")
    wait_until("and open again", lambda: counters.answered("back") > before + 100)
    tallies = {**pings.finish(), **counters.finish()}
    assert tallies["there"].lost == 0
    for name in ("ping", "back"):
        tally = tallies[name]
        (window,) = tally.windows
        assert window.lost > 1, told(tallies)
        assert tally.recovered
        assert window.start <= cut
        assert window.end <= healed + 0.05
        assert 0.8 <= tally.sent / ((tally.times[-1] - tally.times[0]) * 1000) <= 1.01
        assert tally.stall_ms < 100
    assert tallies["back"].unreachable_after(0) is not None
    assert tallies["there"].unreachable == tallies["ping"].unreachable == ()


def test_a_loop_is_told_as_time_exceeded(lab: labs.Lab) -> None:
    for router, other in (("east", "10.9.0.2"), ("west", "10.9.0.1")):
        lab.node(router).run(f"ip route add 10.9.7.0/24 via {other}")
    train = PingTrain([lab.node("host-east").pings("10.9.7.7", "loop")], FLOOD_SECONDS)
    wait_until("the loop is told", train.expired)
    assert train.finish()["loop"].expired > 0


def test_a_cut_pair_is_silent_both_ways_keeps_its_carrier_and_heals(lab: labs.Lab, cuts: Cuts) -> None:
    pair = cuts.mac("east:zt0"), cuts.mac("west:zt0")
    host = lab.node("host-east")
    assert host.reaches(WEST)
    cuts.pair(pair)
    assert not host.reaches(WEST, count=1, seconds=0.3)
    assert cuts.dropped() > 0
    assert carrier(lab, "east")
    cuts.only(("02:00:00:00:00:01", pair[1]))
    assert host.reaches(WEST)
    cuts.only(pair)
    assert not host.reaches(WEST, count=1, seconds=0.3)
    cuts.heal_pair(pair)
    assert host.reaches(WEST)


def test_a_cut_uplink_lets_no_broadcast_through_either(lab: labs.Lab, cuts: Cuts) -> None:
    cuts.uplink("west:zt0")
    east = lab.node("east")
    east.run("ip neighbour flush dev zt0")
    assert not lab.node("host-east").reaches(WEST, count=1, seconds=0.3)
    assert "lladdr" not in east.out("ip neighbour show 10.9.0.2")
    assert carrier(lab, "west")
    cuts.heal_uplink("west:zt0")
    wait_until("it is back", lambda: lab.node("host-east").reaches(WEST, count=1, seconds=0.5))


BOX = """
name: x
topology:
  defaults: {kind: linux, network-mode: none, image: 'debian:12.11'}
  groups:
    switch:
      exec: [ip link add br0 type bridge, ip link set br0 up, ip link set eth1 master br0, ip link set eth2 master br0]
  nodes:
    one: {group: switch}
    two: {group: switch}
    box: {exec: [ip address add 10.1.0.1/24 dev a, ip address add 10.2.0.1/24 dev b]}
    near: {exec: [ip address add 10.1.0.2/24 dev a]}
    far: {exec: [ip address add 10.2.0.2/24 dev b]}
  links:
    - endpoints: ["one:eth1", "box:a"]
    - endpoints: ["one:eth2", "near:a"]
    - endpoints: ["two:eth1", "box:b"]
    - endpoints: ["two:eth2", "far:b"]
"""


def test_power_off_cuts_on_all_switches_at_once_and_kills_and_power_on_connects_again() -> None:
    name = f"lab-power-{os.getpid()}"
    try:
        lab = labs.up(topology.parse(BOX, Path("x"), {}, name))
        box, near = lab.node("box"), lab.node("near")
        process, stranger = box.start("sleep 1000"), near.start("sleep 1000")
        flows = {"near": (near, "10.1.0.1"), "far": (lab.node("far"), "10.2.0.1")}
        with Cuts(lab, ["one", "two"]) as cuts:
            train = PingTrain([node.pings(to, end) for end, (node, to) in flows.items()], FLOOD_SECONDS)
            wait_until("answers", lambda: min(map(train.answered, flows)) > 100)
            at = cuts.power_off("box")
            cut = time.monotonic()
            assert process.wait(5)
            assert stranger.alive()
            box.run("ip route add 10.9.0.0/24 via 10.1.0.2 proto 76")
            cuts.power_on("box")
            before = train.answered()
            wait_until("answers again", lambda: train.answered() > before + 200)
            tallies = train.finish()
            assert box.out("ip route show proto 76") == ""
        starts = [tallies[end].windows[0].start for end in flows]
        assert all(at - 0.01 <= start <= cut for start in starts), told(tallies)
        assert all(tally.recovered for tally in tallies.values())
    finally:
        labs.down(name)


def test_only_what_is_plugged_into_a_switch_can_be_cut(cuts: Cuts) -> None:
    with pytest.raises(LabError, match="west:eth1 is plugged into host-west:eth1, which is none of segment"):
        cuts.node("west")


def test_a_pulled_cable_takes_the_carrier_and_is_put_back_at_the_end(lab: labs.Lab) -> None:
    with Cuts(lab, ["segment"]) as cuts:
        cuts.pull("west:zt0")
        wait_until("the carrier is gone", lambda: not carrier(lab, "west"))
        assert carrier(lab, "east")
    wait_until("the carrier is back", lambda: carrier(lab, "west"))
    assert links(lab)["west:zt0"] == "segment:eth2"
