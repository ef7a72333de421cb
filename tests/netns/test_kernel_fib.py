"""The FIB on a real kernel: adoption, lost interfaces, read-back by `ip`, strangers beside us."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from speaker.kernel.fib import Fib
from speaker.kernel.links import LinkWatch
from speaker.kernel.sysctls import apply_sysctls
from speaker.rib.prefix import Family
from tests.netns.kernel_world import LinuxWorld, linux_world
from tests.netns.namespaces import veth, wait_until
from tests.speaker.kernel.world import SEGMENTS, via, want

pytestmark = pytest.mark.root

A, B = via("10.42.0.2"), via("10.42.0.2", "10.42.0.3", weight=5)
A6 = via("fd42:42::2")


@pytest.fixture
def world() -> Iterator[LinuxWorld]:
    with linux_world() as world:
        yield world


def keys(number: int) -> list[bytes]:
    """/24s from 20.0.0.0 on."""
    return [bytes([24, 20 + (n >> 16), n >> 8 & 255, n & 255]) for n in range(number)]


def test_ip_reads_what_we_wrote(world: LinuxWorld) -> None:
    fib = world.fib()
    fib.want_rejects(["10.1.0.0/16", "2001:db8::/32"])
    want(fib, "10.1.1.0/24", A)
    want(fib, "10.1.2.0/24", B)
    want(fib, "10.1.3.0/24", ())
    want(fib, "2001:db8:1::/48", A6)
    outcome = fib.flush()
    assert outcome.converged, outcome

    nexthops = {n["id"]: n for n in world.ip("nexthop")}
    assert {n["protocol"] for n in nexthops.values()} == {"76"}
    assert {n["gateway"] for n in nexthops.values() if "gateway" in n} == {"10.42.0.2", "10.42.0.3", "fd42:42::2"}
    assert all(0x4C000000 <= id_ < 0x4D000000 for id_ in nexthops)

    routes = {(r["dst"], r["metric"]): r for r in world.ip("route", "show", "proto", "76")}
    assert set(routes) == {("10.1.0.0/16", 4999), ("10.1.1.0/24", 1000), ("10.1.2.0/24", 1000), ("10.1.3.0/24", 1000)}
    assert routes["10.1.0.0/16", 4999]["type"] == routes["10.1.3.0/24", 1000]["type"] == "7"
    weighted = nexthops[routes["10.1.2.0/24", 1000]["nhid"]]["group"]
    assert [(nexthops[m["id"]]["gateway"], m["weight"]) for m in weighted] == [("10.42.0.2", 5), ("10.42.0.3", 5)]
    routes6 = {(r["dst"], r["metric"]) for r in world.ip("-6", "route", "show", "proto", "76")}
    assert routes6 == {("2001:db8::/32", 4999), ("2001:db8:1::/48", 1000)}
    assert fib.audit() == 0


@pytest.mark.parametrize(
    ("change", "differences"),
    [
        pytest.param("route del 10.1.1.0/24 metric 1000", 1, id="absent"),
        pytest.param("-6 route del 2001:db8:1::/48 metric 1000", 1, id="absent, IPv6"),
        pytest.param("route add unreachable 10.66.0.0/16 metric 1000 proto 76", 1, id="extra"),
        pytest.param("route add 10.66.0.0/16 via 10.42.0.9 metric 50 proto 76", 1, id="extra, at a metric of its own"),
        pytest.param("route replace 10.1.1.0/24 via 10.42.0.9 metric 1000 proto 76", 1, id="modified"),
        pytest.param("route replace unreachable 10.1.1.0/24 metric 1000 proto 76", 1, id="modified to a reject"),
        pytest.param("-6 route replace 2001:db8:1::/48 via fd42:42::9 metric 1000 proto 76", 1, id="modified, IPv6"),
        pytest.param("-6 route append 2001:db8:1::/48 dev lo metric 1000 proto 76", 1, id="a second beside ours"),
        pytest.param("nexthop flush proto 76", 8, id="all objects gone, and the routes with them"),
    ],
)
def test_what_somebody_did_to_ours_is_repaired(world: LinuxWorld, change: str, differences: int) -> None:
    fib = world.fib()
    fib.set_may_remove(True)
    want(fib, "10.1.1.0/24", A)
    want(fib, "10.1.2.0/24", B)
    want(fib, "2001:db8:1::/48", A6)
    assert fib.flush().converged
    world.near.run("ip", *["route", "add", "unreachable", "10.7.0.0/16", "proto", "static", "metric", "20"])
    before = (world.routes(), world.routes(Family.IPV6))

    world.near.run("ip", *change.split())
    found = fib.audit()
    assert (world.routes(), world.routes(Family.IPV6)) == before
    assert fib.audit() == 0
    assert found >= differences
    assert world.foreign() == {("10.7.0.0/16", 20)}


def test_foreign_routes_stay(world: LinuxWorld) -> None:
    world.add_foreign("10.1.1.0/24", 1000)
    world.add_foreign("2001:db8:1::/48", 1000)
    world.near.run("ip", "nexthop", "add", "id", "7", "via", "10.42.0.9", "dev", "eth0", "proto", "static")
    fib = world.fib()
    fib.set_may_remove(True)
    want(fib, "10.1.1.0/24", A)
    want(fib, "2001:db8:1::/48", A6)
    want(fib, "10.1.2.0/24", A)
    assert fib.flush().failures == 2
    fib.audit()
    want(fib, "10.1.1.0/24", None)
    want(fib, "2001:db8:1::/48", None)
    fib.flush()
    assert world.foreign() == {("10.1.1.0/24", 1000), ("2001:db8:1::/48", 1000)}
    assert {n["id"] for n in world.ip("nexthop") if n["protocol"] == "4"} == {7}
    assert set(world.routes()) == {("10.1.2.0/24", 1000)}


# A restart


@contextmanager
def pings(world: LinuxWorld, target: str) -> Iterator[Callable[[], str]]:
    """Pings to `target` 5 ms apart meanwhile; the function ends them and returns ping's summary line."""
    process = subprocess.Popen(
        ["ip", "netns", "exec", world.near.name, "ping", "-i", "0.005", "-W", "1", "-q", target],
        stdout=subprocess.PIPE,
        text=True,
    )

    def summary() -> str:
        process.send_signal(2)
        output, _ = process.communicate(timeout=10)
        return next(line for line in output.splitlines() if "transmitted" in line)

    try:
        yield summary
    finally:
        process.kill()
        process.wait()


def test_restart_adopts_without_a_route_going_or_a_ping_lost(world: LinuxWorld, tmp_path: Path) -> None:
    apply_sysctls(["eth0"])
    world.far.run("ip", "address", "add", "20.0.0.1/32", "dev", "lo")
    before = world.fib()
    before.want_rejects(["20.0.0.0/8"])
    before.want_many(Family.IPV4, keys(5000), A)
    want(before, "10.1.2.0/24", B)
    assert before.flush().converged

    monitor_file = tmp_path / "monitor"
    with monitor_file.open("wb") as output, pings(world, "20.0.0.1") as summary:
        monitor = world.near.start("ip", "monitor", "route", "nexthop", output=output)
        want_marker(world, monitor_file, "10.250.0.0/24")
        for _ in range(10):
            after = world.fib()
            after.want_rejects(["20.0.0.0/8"])
            after.want_many(Family.IPV4, keys(5000)[:-1], via("10.42.0.2"))
            want(after, "10.1.2.0/24", via("10.42.0.2", "10.42.0.3", weight=5))
            after.flush()
        want_marker(world, monitor_file, "10.251.0.0/24")
        assert "Deleted" not in monitor_file.read_text()
        assert "proto 76" not in monitor_file.read_text()

        after.set_may_remove(True)
        after.flush()
        want_marker(world, monitor_file, "10.252.0.0/24")
        world.near.stop(monitor)
        gone = [line for line in monitor_file.read_text().splitlines() if line.startswith("Deleted")]
        assert len(gone) == 1
        assert gone[0].startswith("Deleted 20.19.135.0/24 ")  # The one that nobody wanted any more.
        line = summary()
    transmitted, received = (int(part.split()[0]) for part in line.split(", ")[:2])
    assert transmitted > 30
    assert received >= transmitted - 1, line  # The last one may be under way.


def want_marker(world: LinuxWorld, file: Path, prefix: str) -> None:
    """A foreign route, seen by the monitor: everything before it has been seen too."""
    for metric in range(200):  # The same one twice would be no event.
        world.near.run("ip", "route", "add", "unreachable", prefix, "proto", "static", "metric", str(metric))
        if prefix in file.read_text():
            return
    raise AssertionError(f"the monitor never told of {prefix}: {file.read_text()}")


# Interfaces


class Gateway:
    """The little of an agent that keeps a FIB and its interfaces together."""

    def __init__(self, world: LinuxWorld) -> None:
        self.fib = Fib(world.kernel, ["eth0"], segments=SEGMENTS)
        self.fib.set_may_remove(True)
        self.moved = asyncio.Event()
        self.watch = LinkWatch(["eth0"], self._changed, self._lost)
        self.changes: list[tuple[str, int | None]] = []
        self.losses = 0

    def _changed(self, name: str, index: int | None) -> None:
        self.changes.append((name, index))
        self.fib.set_link(name, index)
        self.moved.set()

    def _lost(self) -> None:
        self.losses += 1
        self.fib.suspect()
        self.moved.set()

    async def run(self, body: Callable[[], Awaitable[None]]) -> None:
        self.watch.start()
        await self.fib.adopt_async()
        task = asyncio.create_task(self._flush_for_ever())
        try:
            await body()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            self.watch.close()
            self.fib.close()

    async def _flush_for_ever(self) -> None:
        while True:
            await self.moved.wait()
            self.moved.clear()
            await self.fib.flush_async()


def give_interface(world: LinuxWorld) -> None:
    veth(
        world.near,
        "eth0",
        ["10.42.0.1/16", "fd42:42::1/64"],
        world.far,
        "eth0",
        ["10.42.0.2/16", "fd42:42::2/64"],
    )


@pytest.mark.parametrize(
    ("lose", "give"),
    [
        pytest.param(lambda w: w.near.run("ip", "link", "del", "eth0"), give_interface, id="deleted and made again"),
        pytest.param(
            lambda w: w.near.run("ip", "link", "set", "eth0", "down"),
            lambda w: w.near.run("ip", "link", "set", "eth0", "up"),
            id="down and up",
        ),
        pytest.param(
            lambda w: w.far.run("ip", "link", "set", "eth0", "down"),
            lambda w: w.far.run("ip", "link", "set", "eth0", "up"),
            id="carrier lost and back",
        ),
    ],
)
def test_interface_taken_and_given_back(
    world: LinuxWorld, lose: Callable[[LinuxWorld], None], give: Callable[[LinuxWorld], None]
) -> None:
    gateway = Gateway(world)
    number = 5000

    async def installed() -> int:
        return sum(len(chunk) for chunk in world.kernel.routes(Family.IPV4))

    async def until(predicate: Callable[[], bool], what: str) -> float:
        started = time.monotonic()
        while not predicate():
            assert time.monotonic() - started < 20, f"{what}: {gateway.changes} {gateway.fib.counts()}"
            await asyncio.sleep(0.005)
        return time.monotonic() - started

    async def body() -> None:
        fib = gateway.fib
        fib.want_rejects(["20.0.0.0/8"])
        fib.want_many(Family.IPV4, keys(number), A)
        want(fib, "2001:db8:1::/48", A6)
        gateway.moved.set()
        await until(lambda: fib.counts() == {"ipv4": number, "ipv6": 1} and not fib_busy(fib), "first time")
        await asyncio.to_thread(lose, world)
        await until(lambda: fib.counts() == {"ipv4": 0, "ipv6": 0}, "loss seen")
        assert "20.0.0.0/8" in world.near.run("ip", "route", "show", "proto", "76")
        give(world)
        started = time.monotonic()
        await until(
            lambda: len(world.near.run("ip", "route", "show", "proto", "76").splitlines()) == number + 1, "back"
        )
        seconds = time.monotonic() - started
        print(f"{number} routes back {seconds:.2f} s after the interface")
        assert seconds < 2
        await until(lambda: fib.counts() == {"ipv4": number, "ipv6": 1} and not fib_busy(fib), "IPv6 back")

    asyncio.run(gateway.run(body))
    assert gateway.fib.audit() == 0
    assert gateway.fib.refused == 0


def fib_busy(fib: Fib) -> bool:
    return fib.busy


def test_links_are_told_in_order_and_strangers_are_not(world: LinuxWorld) -> None:
    gateway = Gateway(world)
    index = world.index

    async def body() -> None:
        for command in (
            "link add br0 type bridge",
            "link set eth0 master br0",
            "link set eth0 nomaster",  # RTM_DELLINK of the bridge's family: the interface is still there.
            "link set eth0 down",
            "link set eth0 up",
            "link set eth0 down",
            "link set eth0 name eth9",
            "link set eth9 up",
            "link set eth9 name eth0",
            "link set eth0 up",
        ):
            await asyncio.to_thread(world.near.run, "ip", *command.split())
        await asyncio.to_thread(wait_until, lambda: gateway.watch.usable == {"eth0": index}, 5)

    asyncio.run(gateway.run(body))
    changes = [index for name, index in gateway.changes]
    assert {name for name, _ in gateway.changes} == {"eth0"}
    squashed = [b for a, b in zip([0, *changes], changes, strict=False) if a != b]
    assert squashed == [index, None, index, None, index]


def test_lost_events_lead_to_a_reading(world: LinuxWorld) -> None:
    gateway = Gateway(world)

    async def body() -> None:
        want(gateway.fib, "10.1.1.0/24", A)
        assert (await gateway.fib.flush_async()).converged
        assert gateway.watch._socket is not None
        gateway.watch._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        # The loop does not read meanwhile, and the end looks like the beginning: only the loss itself tells.
        world.near.run("ip", "-batch", "-", stdin="link set eth0 down\nlink set eth0 up\n" * 20)
        while not gateway.losses or gateway.fib.counts() != {"ipv4": 1, "ipv6": 0} or fib_busy(gateway.fib):
            await asyncio.sleep(0.01)
        while set(world.routes()) != {("10.1.1.0/24", 1000)}:
            gateway.moved.set()
            await asyncio.sleep(0.05)

    asyncio.run(asyncio.wait_for(gateway.run(body), 20))
    assert gateway.fib.audit() == 0


def test_watching_other_interfaces(world: LinuxWorld) -> None:
    gateway = Gateway(world)

    async def body() -> None:
        veth(world.near, "eth7", [], world.far, "eth7", [])
        gateway.changes.clear()
        while 7 not in {int(name[3]) for name, up in gateway.watch._known.values() if up and name.startswith("eth")}:
            await asyncio.sleep(0)
        gateway.watch.watch(["eth7"])

    asyncio.run(asyncio.wait_for(gateway.run(body), 20))
    assert [(name, index is not None) for name, index in gateway.changes] == [("eth0", False), ("eth7", True)]


# Speed


def test_install_rate(world: LinuxWorld, capsys: pytest.CaptureFixture[str]) -> None:
    apply_sysctls(["eth0"])
    number = 200_000
    fib = world.fib()
    fib.set_may_remove(True)
    wanted = keys(number)
    groups = [via(f"10.42.0.{n}", f"10.42.1.{n}") for n in range(2, 202)]
    for offset, tiers in enumerate(groups):
        fib.want_many(Family.IPV4, wanted[offset :: len(groups)], tiers)
    started = time.perf_counter()
    outcome = fib.flush()
    seconds = time.perf_counter() - started
    assert outcome.converged
    assert outcome.installed == number
    started = time.perf_counter()
    assert fib.audit() == 0
    audit_seconds = time.perf_counter() - started
    with capsys.disabled():
        print(f"\n{number} routes in {seconds:.2f} s = {number / seconds:,.0f}/s; read back in {audit_seconds:.2f} s")
