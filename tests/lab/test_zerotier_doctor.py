"""The pieces of the scenario `zerotier-doctor` that need no ZeroTier: the stand-in service, and what is expected."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from controller.inventory.yaml import check_yaml
from controller.zerotier.port import NoController
from controller.zerotier.selfhosted import SelfHosted
from lab.scenarios.zerotier_doctor import stand_in, world
from lab.scenarios.zerotier_doctor.boxes import announce_the_underlay, declare_the_underlay
from lab.scenarios.zerotier_doctor.doctors import EVERYBODY, FABRIC, Expected, Finding
from lab.scenarios.zerotier_doctor.fault import command_of
from lab.scenarios.zerotier_doctor.scenario import ROUNDS
from lab.scenarios.zerotier_doctor.world import GATEWAYS, DoctorWorld
from tests.controller.zerotier.fake import FakeWorld
from tests.controller.zerotier.fake_http import served

NETWORK = "53fe91125f00abcd"
WORLD = SimpleNamespace(
    network=NETWORK,
    interface="zt0",
    overlay=dict.fromkeys(GATEWAYS, "10.42.0.1"),
    node_id=lambda name: f"node id of {name}",
)


@pytest.fixture
def stood_in() -> Iterator[Callable[[dict[str, Any]], SelfHosted]]:
    """Who talks to a stand-in for a ZeroTier service with a network of MTU 1400."""
    node = FakeWorld().node(NETWORK[:10])
    assert node.controller is not None
    node.controller.put_network(NETWORK, {"mtu": 1400})
    processes: list[subprocess.Popen[bytes]] = []
    with served(node) as real:

        def start(how: dict[str, Any]) -> SelfHosted:
            with closing(socket.create_server(("127.0.0.1", 0))) as free:
                port = free.getsockname()[1]
            words = [str(port), real.rstrip("/").rpartition(":")[2], json.dumps(how)]
            processes.append(subprocess.Popen([sys.executable, stand_in.__file__, *words], stderr=subprocess.DEVNULL))
            return SelfHosted(f"http://127.0.0.1:{port}", node.token, NETWORK)

        yield start
        for process in processes:
            process.kill()
            process.wait()


@pytest.mark.root
def test_the_stand_in_is_a_service_without_a_controller(stood_in: Callable[[dict[str, Any]], SelfHosted]) -> None:
    with pytest.raises(NoController, match="node without a controller"):
        stood_in({"controller": False}).describe()


@pytest.mark.root
def test_the_stand_in_lies_about_the_network(stood_in: Callable[[dict[str, Any]], SelfHosted]) -> None:
    service = stood_in({"network": {"mtu": 1280}})
    assert service.describe().address == NETWORK[:10]
    assert service.network().mtu == 1280
    assert stood_in({}).network().mtu == 1400


def test_a_finding_is_known_by_parts_of_its_texts() -> None:
    finding = Finding("error", "mtu", "uplink main", "an MTU of 1400", "ip link set dev zt0 mtu 1280, and find out")
    assert Expected("berlin-1", "mtu", "uplink", "of 1400", "ip link").fits(finding)
    for other in ("address", "uplink", "of 1400", "ip link"), ("mtu", "uplink", "of 1500", "ip link"):
        assert not Expected("berlin-1", *other).fits(finding)
    assert command_of(finding) == "ip link set dev zt0 mtu 1280"


def expected() -> list[Expected]:
    return [each for faults in ROUNDS for fault in faults for each in fault.expected(cast(DoctorWorld, WORLD))]


def test_what_has_to_be_recognised_is_made() -> None:
    """`nat` would take two minutes of relaying; the clock is this machine's."""
    assert {each.who for each in expected()} == {*EVERYBODY}
    assert {each.check for each in expected() if each.who != FABRIC} == {
        "agent", "sessions", "exabgp", "service", "udp-blocked", "address", "mtu", "overlay-loop", "network-rules",
        "kernel-routes", "sysctls", "rp-filter", "firewall", "forwarding", "keys",
    }  # fmt: skip
    assert {"segment", "network-rules", "address", "delivery", "keys", "sessions"} <= {
        each.check for each in expected() if each.who == FABRIC
    }


def test_no_fault_is_made_twice_or_looked_for_by_the_finding_of_another() -> None:
    names = [fault.name for faults in ROUNDS for fault in faults]
    assert len(set(names)) == len(names)
    for faults in ROUNDS:
        wanted = [each for fault in faults for each in fault.expected(cast(DoctorWorld, WORLD))]
        assert len(set(wanted)) == len(wanted)


def test_what_is_declared_is_sound_with_space_on_the_underlay_and_without_it(tmp_path: Path) -> None:
    """Or the fault could not be made, and not be undone as the finding says."""
    declared = world.document(NETWORK)
    there = cast(DoctorWorld, SimpleNamespace(document=declared, declare=lambda: None))
    file = tmp_path / "inventory.yml"
    undo = Finding("error", "overlay-loop", "", "", "add 192.0.2.22 to the fabric's underlay, so that none does")
    changes: list[Callable[[], None]] = [
        lambda: announce_the_underlay(there),
        lambda: declare_the_underlay(there, [undo]),
    ]
    for change in changes:
        change()
        file.write_text(json.dumps(declared))
        _, findings = check_yaml([file])
        assert findings == []
    assert declared["fabric"]["underlay"] == ["192.0.2.22/32"]
