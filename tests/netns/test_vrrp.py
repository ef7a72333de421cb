"""First hops by two real keepaliveds: two routers and a host on one LAN.

Both routers have the same address on `lo`; the host reaches it through its first hop, and counts every 2 ms.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from speaker.liveness.keepalived import DRAINED, NOT_FORWARDING, PROCESS, Keepalived
from speaker.plan import FirstHopPlan
from speaker.state import StateDir
from tests.netns.namespaces import Failed, Namespace, segment, wait_until

pytestmark = pytest.mark.root

LAN, LAN6 = "10.1.0.0/24", "fd01::/64"
FIRST_HOPS = {4: "10.1.0.254", 6: "fd01::fe"}
SERVICES = {4: "192.0.2.1", 6: "2001:db8::1"}
ADVERT_MS = 100
MASTER_DOWN = 3.1 * ADVERT_MS / 1000  # RFC 9568 6.1, the skew at these priorities included.
PING_MS = 2
FAMILIES = (4, 6)


class Router:
    def __init__(self, namespace: Namespace, priority: int, state: StateDir) -> None:
        self.namespace = namespace
        self.priority = priority
        self.state = state
        self.keepalived = Keepalived(state)
        self.log = state.root / "log"
        state.prepare()
        namespace.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        for version, bits in ((4, 32), (6, 128)):
            namespace.run("ip", "address", "add", f"{SERVICES[version]}/{bits}", "dev", "lo")

    def apply(self, prefixes: tuple[str, ...] = (LAN, LAN6)) -> tuple[str, ...]:
        addresses = {LAN: FIRST_HOPS[4], LAN6: FIRST_HOPS[6]}
        plans = [FirstHopPlan(prefix, addresses[prefix], 10, self.priority, ADVERT_MS) for prefix in prefixes]
        return self.keepalived.apply(plans, {LAN: "eth0", LAN6: "eth0"})

    def start(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            command = (sys.executable, "-m", "controller.cli", "speaker", "keepalived")
            return self.namespace.start(*command, "--state-dir", str(self.state.root), output=log)

    def holds(self, version: int) -> bool:
        return f" {FIRST_HOPS[version]}/" in self.namespace.run("ip", "address", "show", "dev", "eth0")

    def pids(self) -> list[int]:
        """keepalived and its child."""
        main = int(self.state.pid_file(PROCESS).read_text())
        return [main, *map(int, Path(f"/proc/{main}/task/{main}/children").read_text().split())]

    def kill(self) -> None:
        """Both at once: a child that outlives its parent for a moment takes its addresses away."""
        pids = self.pids()
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in pids:
                os.kill(pid, number)

    def power_off(self) -> None:
        self.kill()
        self.namespace.run("ip", "link", "set", "eth0", "down")


class World:
    def __init__(self, one: Router, two: Router, host: Namespace) -> None:
        self.one = one
        self.two = two
        self.host = host

    def until(self, holder: Router) -> float:
        other = self.two if holder is self.one else self.one
        return wait_until(
            lambda: all(holder.holds(version) and not other.holds(version) for version in FAMILIES), 15, self.evidence
        )

    def evidence(self) -> str:
        return "\n".join(router.log.read_text(errors="replace")[-3000:] for router in (self.one, self.two))


class Pings:
    """Two floods, one per family."""

    def __init__(self, host: Namespace, place: Path, seconds: float) -> None:
        self.files = {version: place / f"ping{version}" for version in FAMILIES}
        self.processes = []
        for version, file in self.files.items():
            with file.open("wb") as output:
                command = ("ping", "-n", "-D", "-i", str(PING_MS / 1000), "-w", str(seconds), SERVICES[version])
                self.processes.append(host.start(*command, output=output))
        wait_until(lambda: all(self._answers(version) for version in FAMILIES), 5, "no ping was answered")

    def _answers(self, version: int) -> list[tuple[float, int]]:
        text = self.files[version].read_text()
        return [(float(at), int(number)) for at, number in re.findall(r"\[([\d.]+)\] .*icmp_seq=(\d+) .*time=", text)]

    def lost(self) -> dict[int, int]:
        """family -> echoes without an answer. Waits for the end."""
        for process in self.processes:
            process.wait(60)
        found = {}
        for version, file in self.files.items():
            sent, received = re.findall(r"(\d+) packets transmitted, (\d+) received", file.read_text())[0]
            found[version] = int(sent) - int(received)
        return found

    def windows_ms(self) -> dict[int, float]:
        """family -> the longest time without an answer. Waits for the end."""
        self.lost()
        found = {}
        for version in FAMILIES:
            times = [at for at, _ in self._answers(version)]
            found[version] = 1e3 * max(later - at for at, later in pairwise(times))
        return found


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    numbers = {"one": 1, "two": 2, "host": 10}
    members: dict[str, Sequence[str]] = {name: (f"10.1.0.{n}/24", f"fd01::{n}/64") for name, n in numbers.items()}
    with segment("vrrp", members) as namespaces:
        host = namespaces["host"]
        for version, address in FIRST_HOPS.items():
            host.run("ip", f"-{version}", "route", "add", "default", "via", address)
        one = Router(namespaces["one"], 250, StateDir(tmp_path / "one"))
        two = Router(namespaces["two"], 249, StateDir(tmp_path / "two"))
        world = World(one, two, host)
        for router in (one, two):
            assert router.apply() == ()
            assert router.keepalived.set_weight(0) == ""
            router.start()
        world.until(one)
        wait_until(lambda: not host.run("ip", "-6", "address", "show", "tentative"), 15)
        yield world


@pytest.mark.parametrize("version", FAMILIES)
def test_a_host_pings_its_first_hop(world: World, version: int) -> None:
    assert " 0% packet loss" in world.host.run("ping", "-n", "-c", "2", "-i", "0.1", FIRST_HOPS[version], check=False)


def test_keepalived_takes_the_file_without_a_complaint(world: World) -> None:
    world.one.namespace.run("keepalived", "--config-test", "--use-file", str(world.one.state.keepalived_config))
    text = world.one.log.read_text()
    assert "MASTER" in text
    for word in ("Unknown", "WARNING", "ignoring", "(Line"):
        assert word not in text, text


def test_the_other_router_takes_over_when_the_first_one_dies(world: World, tmp_path: Path) -> None:
    pings = Pings(world.host, tmp_path, 4)
    started = time.monotonic()
    world.one.power_off()
    wait_until(lambda: world.two.holds(4) and world.two.holds(6), 10, world.evidence, interval=0.01)
    took = time.monotonic() - started
    windows = pings.windows_ms()
    print(f"\nmaster killed: moved after {took * 1e3:.0f} ms; longest silence {windows} ms")
    assert took < 3 * MASTER_DOWN
    assert all(window < 1e3 * 3 * MASTER_DOWN for window in windows.values()), windows


def test_the_other_router_takes_over_when_the_lan_cable_is_pulled(world: World, tmp_path: Path) -> None:
    pings = Pings(world.host, tmp_path, 4)
    world.one.namespace.run("ip", "link", "set", "eth0", "down")
    wait_until(lambda: world.two.holds(4) and world.two.holds(6), 10, world.evidence)
    windows = pings.windows_ms()
    print(f"\ncable pulled: longest silence {windows} ms")
    assert all(window < 1e3 * 3 * MASTER_DOWN for window in windows.values()), windows
    world.one.namespace.run("ip", "address", "replace", "fd01::1/64", "dev", "eth0", "nodad")
    world.one.namespace.run("ip", "link", "set", "eth0", "up")
    wait_until(lambda: world.one.holds(4) and not world.two.holds(4), 15, world.evidence)


def test_not_one_ping_is_lost_when_the_weight_moves_the_first_hop_and_back(world: World, tmp_path: Path) -> None:
    pings = Pings(world.host, tmp_path, 5)
    started = time.monotonic()
    world.one.keepalived.set_weight(DRAINED)
    world.until(world.two)
    there = time.monotonic() - started
    world.one.keepalived.set_weight(0)
    world.until(world.one)
    lost = pings.lost()
    print(f"\nweight {DRAINED}: moved after {there * 1e3:.0f} ms, lost {lost}")
    assert lost == {4: 0, 6: 0}


def test_the_better_of_two_that_do_not_forward_keeps_the_first_hop(world: World) -> None:
    world.two.keepalived.set_weight(NOT_FORWARDING)
    world.one.keepalived.set_weight(NOT_FORWARDING)
    wait_until(
        lambda: "to 149" in world.two.log.read_text() and "to 150" in world.one.log.read_text(), 5, world.evidence
    )
    world.until(world.one)
    world.one.keepalived.set_weight(DRAINED)
    world.until(world.two)


def test_a_killed_keepalived_that_comes_back_takes_up_what_it_left(world: World) -> None:
    world.one.kill()
    wait_until(lambda: world.two.holds(4) and world.two.holds(6), 10, world.evidence)
    assert world.one.holds(4), "nobody took the address from it"
    world.one.start()
    world.until(world.one)


def test_a_first_hop_that_goes_leaves_the_other_one_alone(world: World, tmp_path: Path) -> None:
    pings = Pings(world.host, tmp_path, 3)
    before = world.one.pids()[0]
    for router in (world.one, world.two):
        router.apply((LAN,))
    wait_until(lambda: not world.one.holds(6) and not world.two.holds(6), 10, world.evidence)
    assert world.one.holds(4)
    assert world.one.pids()[0] == before
    assert pings.lost()[4] == 0


def test_keepalived_ends_with_the_last_first_hop(world: World, tmp_path: Path) -> None:
    pings = Pings(world.host, tmp_path, 3)
    main = world.one.pids()[0]
    assert world.one.apply(()) == ()
    world.until(world.two)
    wait_until(lambda: not _runs(main), 10, "keepalived still runs")
    assert all(window < 1e3 * MASTER_DOWN for window in pings.windows_ms().values()), "it said that it goes"


def test_without_a_configuration_the_command_says_what_is_missing(world: World, tmp_path: Path) -> None:
    command = (sys.executable, "-m", "controller.cli", "speaker", "keepalived", "--state-dir", str(tmp_path / "new"))
    with pytest.raises(Failed, match="once its plan has first hops"):
        world.host.run(*command)


def _runs(pid: int) -> bool:
    try:
        return "zombie" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
