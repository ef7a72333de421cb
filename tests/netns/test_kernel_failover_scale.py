"""What a failover costs on a real kernel, with few and with many routes behind the next hop, and beside other work."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address

import pytest

from speaker.kernel.fib import Fib
from speaker.kernel.port import Fault
from speaker.kernel.sysctls import apply_sysctls
from speaker.rib.path import Tiers
from speaker.rib.prefix import Family
from tests.netns.kernel_world import LinuxWorld, linux_world
from tests.speaker.kernel.world import via

pytestmark = [pytest.mark.root, pytest.mark.slow]

MANY, FEW = 500_000, 1_000
A, AB, TIERED = via("10.42.0.2"), via("10.42.0.2", "10.42.0.3"), (*via("10.42.0.2"), *via("10.42.0.3"))


@pytest.fixture(autouse=True)
def as_the_agent_s_main_does() -> Iterator[None]:
    thresholds = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    yield
    gc.set_threshold(*thresholds)
    gc.unfreeze()


@pytest.fixture
def world() -> Iterator[LinuxWorld]:
    with linux_world("kernelscale") as world:
        apply_sysctls(["eth0"])
        yield world


def keys(number: int) -> list[bytes]:
    """/24s from 20.0.0.0 on."""
    return [bytes([24, 20 + (n >> 16), n >> 8 & 255, n & 255]) for n in range(number)]


def dead(*addresses: str) -> frozenset[tuple[str, bytes]]:
    return frozenset(("eth0", ip_address(address).packed) for address in addresses)


@dataclass
class Lag:
    """The longest time that the loop had no turn, in seconds."""

    worst: float = 0.0

    async def watch(self) -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.001)
            self.worst = max(self.worst, time.perf_counter() - before - 0.001)


class Watch:
    """Of a FIB: when its kernel last answered for a change of next-hop objects, and how many messages that was."""

    def __init__(self, world: LinuxWorld) -> None:
        self.answered = 0.0
        self.submits = 0
        submit = world.kernel.submit

        def noted(messages: bytes) -> list[Fault]:
            faults = submit(messages)
            if int.from_bytes(messages[4:6], "little") in (104, 105):
                self.answered = time.perf_counter()
                self.submits += 1
            return faults

        world.kernel.submit = noted  # type: ignore[method-assign]


async def with_lag(work: Callable[[], Awaitable[None]]) -> float:
    lag = Lag()
    task = asyncio.create_task(lag.watch())
    await work()
    task.cancel()
    return lag.worst


async def fail(fib: Fib, watch: Watch, *addresses: str) -> float:
    """Seconds until the kernel answered for it; the flush is over then, too."""
    watch.submits = 0
    started = time.perf_counter()
    fib.set_liveness(dead(*addresses), {})
    outcome = await fib.flush_async()
    assert outcome.converged, outcome
    return watch.answered - started


@pytest.mark.parametrize("tiers", [pytest.param(AB, id="survivor"), pytest.param(TIERED, id="next tier")])
def test_time_does_not_depend_on_the_routes(
    world: LinuxWorld, tiers: Tiers, capsys: pytest.CaptureFixture[str]
) -> None:
    fib, watch = world.fib(), Watch(world)
    fib.set_may_remove(True)

    async def scenario() -> dict[int, float]:
        found = {}
        for number in (FEW, MANY):
            fib.want_many(Family.IPV4, keys(number), tiers)
            await fib.flush_async()
            times = []
            for _ in range(11):
                times.append(await fail(fib, watch, "10.42.0.2"))
                assert watch.submits == 1
                assert set(map(tuple, world.sample().values())) == {("10.42.0.3",)}
                await fail(fib, watch)
            found[number] = sorted(times)[5]
        return found

    found = asyncio.run(scenario())
    fib.close()
    with capsys.disabled():
        print(
            f"\nfailover, median: {1000 * found[FEW]:.1f} ms with {FEW} routes, {1000 * found[MANY]:.1f} ms with {MANY}"
            f" (x {found[MANY] / found[FEW]:.2f})"
        )
    assert found[MANY] < 0.05


def test_a_failover_while_routes_go_in(world: LinuxWorld, capsys: pytest.CaptureFixture[str]) -> None:
    fib, watch = world.fib(), Watch(world)
    fib.want_many(Family.IPV4, keys(1), AB)
    fib.flush()
    times: list[float] = []

    async def scenario() -> float:
        fib.want_many(Family.IPV4, keys(MANY), AB)
        flush = asyncio.create_task(fib.flush_async())

        async def fail_again_and_again() -> None:
            while not flush.done():
                await asyncio.sleep(0.05)
                if flush.done():
                    break
                started, watch.answered = time.perf_counter(), 0.0
                fib.set_liveness(dead("10.42.0.2") if len(times) % 2 == 0 else frozenset(), {})
                while not watch.answered:
                    await asyncio.sleep(0.001)
                times.append(watch.answered - started)

        lag = await with_lag(fail_again_and_again)
        assert (await flush).installed == MANY - 1
        return lag

    lag = asyncio.run(scenario())
    fib.close()
    with capsys.disabled():
        median = sorted(times)[len(times) // 2]
        print(
            f"\nfailover while {MANY} routes go in: {len(times)} times, median {1000 * median:.0f} ms,"
            f" worst {1000 * max(times):.0f} ms; loop held {1000 * lag:.0f} ms at most"
        )
    assert len(times) > 10
    assert max(times) < 1


def test_a_failover_while_the_kernel_is_read(world: LinuxWorld, capsys: pytest.CaptureFixture[str]) -> None:
    fib, watch = world.fib(), Watch(world)
    fib.want_many(Family.IPV4, keys(MANY), TIERED)
    fib.flush()
    times: list[float] = []

    async def scenario() -> tuple[float, float]:
        began = time.perf_counter()
        audit = asyncio.create_task(fib.audit_async())

        async def fail_again_and_again() -> None:
            while not audit.done():
                await asyncio.sleep(0.1)
                if audit.done():
                    break
                started, watch.answered = time.perf_counter(), 0.0
                fib.set_liveness(dead("10.42.0.2") if len(times) % 2 == 0 else frozenset(), {})
                while not watch.answered:
                    await asyncio.sleep(0.001)
                times.append(watch.answered - started)

        lag = await with_lag(fail_again_and_again)
        assert await audit == 0
        return lag, time.perf_counter() - began

    lag, seconds = asyncio.run(scenario())
    fib.close()
    with capsys.disabled():
        print(
            f"\nfailover while {MANY} routes are read ({seconds:.1f} s): {len(times)} times, worst"
            f" {1000 * max(times):.0f} ms; loop held {1000 * lag:.0f} ms at most"
        )
    assert max(times) < 1


def test_nobody_left(world: LinuxWorld, capsys: pytest.CaptureFixture[str]) -> None:
    fib, watch = world.fib(), Watch(world)
    fib.want_many(Family.IPV4, keys(MANY), A)
    fib.flush()
    figures: dict[str, float] = {}

    async def scenario() -> None:
        for name, gone in (("out", ["10.42.0.2"]), ("back", [])):

            async def move(name: str = name, gone: list[str] = gone) -> None:
                began = time.perf_counter()
                figures[name + ", next hop"] = await fail(fib, watch, *gone)
                figures[name] = time.perf_counter() - began

            figures[name + ", loop"] = await with_lag(move)
            assert set(map(tuple, world.sample().values())) == ({()} if gone else {("10.42.0.2",)})

    asyncio.run(scenario())
    fib.close()
    with capsys.disabled():
        print(f"\n{MANY} routes of a void group: " + ", ".join(f"{k} {1000 * v:.0f} ms" for k, v in figures.items()))
    assert figures["out"] < 10  # 2.4 s when nobody else needs the machine.
    assert fib.audit() == 0
