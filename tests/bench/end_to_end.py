"""A spoke announces, a hub reflects, another spoke's kernel has them all: Leyline, BIRD and FRR at the same job.

Three namespaces on one bridge. Hub and receiving spoke both put every route into their kernels, as
a Leyline hub does. The clock runs from the first long BGP segment that leaves the source to the last route
in (or out of) the receiving spoke's kernel. FRR's source is a BIRD, as FRR has no quick way to originate a million.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from speaker.plan import encode
from tests.bench.harness import Inside, Measured, alternate, emit, ratio, rss_mb, say, until, version_of
from tests.bench.players import (
    FRR,
    TIMEOUT,
    Frr,
    Speaker,
    announcing,
    bird_config,
    bird_neighbour,
    bird_source,
    plan,
    session,
)
from tests.bench.routes import Load
from tests.netns.namespaces import Namespace, segment

SOURCE, HUB, SINK = "10.42.0.1", "10.42.0.2", "10.42.0.3"

Members = dict[str, Namespace]


def bench() -> None:
    load = Load()
    with TemporaryDirectory() as directory:
        say("end_to_end_1m: spoke -> hub -> spoke's kernel")
        contestants = {
            "leyline": partial(_run, load, Path(directory), _start_leyline),
            "bird": partial(_run, load, Path(directory), _start_bird),
            "frr": partial(_run, load, Path(directory), _start_frr),
        }
        measured = alternate(contestants)
    ours, bird, frr = (measured[name].seconds for name in ("leyline", "bird", "frr"))
    emit(
        bench="end_to_end_1m",
        value=round(ours["announce"], 2),
        unit="s",
        against=f"FRR {version_of(f'{FRR}/bgpd', '--version')} and BIRD {version_of('bird', '--version')}",
        ratio=ratio(frr["announce"], ours["announce"]),
        ratio_bird=ratio(bird["announce"], ours["announce"]),
        withdraw_value=round(ours["withdraw"], 2),
        withdraw_ratio=ratio(frr["withdraw"], ours["withdraw"]),
        withdraw_ratio_bird=ratio(bird["withdraw"], ours["withdraw"]),
        frr_seconds={what: round(value, 2) for what, value in frr.items()},
        bird_seconds={what: round(value, 2) for what, value in bird.items()},
        routes=load.routes,
        attribute_sets=load.sets,
        rss_mb={name: dict(one.rss_mb) for name, one in measured.items()},
    )


@dataclass
class Job:
    """A running chain: how to announce and withdraw everything, and the memory of hub and receiving spoke in MB."""

    announce: Callable[[], object]
    withdraw: Callable[[], object]
    rss_mb: Callable[[], dict[str, float]]


def _run(load: Load, directory: Path, start: Callable[[Load, Members, Path], Job]) -> Measured:
    place = directory / f"{start.__name__}-{time.monotonic_ns()}"
    place.mkdir()
    addresses = {"source": [f"{SOURCE}/16"], "hub": [f"{HUB}/16"], "sink": [f"{SINK}/16"]}
    with ExitStack() as stack:
        members = stack.enter_context(segment("bench", addresses))
        source, sink = (stack.enter_context(Inside(members[name])) for name in ("source", "sink"))
        for member in members.values():
            member.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        job = start(load, members, place)
        idle = sink.kernel_routes()
        first = source.first_update("eth0")
        job.announce()
        begun = first.wait(TIMEOUT)
        full = until(lambda: sink.kernel_routes() >= idle + load.routes, TIMEOUT, "all routes in the kernel")
        memory = job.rss_mb()
        first = source.first_update("eth0")
        job.withdraw()
        gone_begun = first.wait(TIMEOUT)
        empty = until(lambda: sink.kernel_routes() <= idle, TIMEOUT, "no route left in the kernel")
    return Measured({"announce": full - begun, "withdraw": empty - gone_begun}, memory)


def _start_leyline(load: Load, members: Members, place: Path) -> Job:
    quiet = plan("source", SOURCE, (session(SOURCE, HUB),))
    hub = plan("hub", HUB, (session(HUB, SOURCE, client=True), session(HUB, SINK, client=True)))
    sink = plan("sink", SINK, (session(SINK, HUB),))
    speakers = {own.gateway: Speaker.start(members[own.gateway], own, place) for own in (quiet, hub, sink)}
    for speaker in speakers.values():
        speaker.wait_up()
    everything, nothing = encode(announcing(quiet, load)), encode(quiet)
    give = speakers["source"].give

    def memory() -> dict[str, float]:
        return {f"{what} {name}": mb for name in ("hub", "sink") for what, mb in speakers[name].rss_mb().items()}

    return Job(partial(give, everything), partial(give, nothing), memory)


def _start_bird(load: Load, members: Members, place: Path) -> Job:
    source = bird_source(members["source"], SOURCE, HUB, load, place)
    both = bird_neighbour("to_source", HUB, SOURCE, "export all;", "rr client;")
    both += bird_neighbour("to_sink", HUB, SINK, "export all;", "rr client;")
    hub = members["hub"].bird(bird_config(HUB, both, kernel=True), place / "hub")
    neighbour = bird_neighbour("peer", SINK, HUB, "export none;")
    sink = members["sink"].bird(bird_config(SINK, neighbour, kernel=True), place / "sink")
    until(lambda: sink.established("peer") and hub.established("to_source"), 60, "BIRD's sessions", interval=0.2)
    birds = {"bird hub": hub.process.pid, "bird sink": sink.process.pid}
    return Job(
        lambda: source.ask("enable load"),
        lambda: source.ask("disable load"),
        lambda: {name: rss_mb(pid) for name, pid in birds.items()},
    )


def _start_frr(load: Load, members: Members, place: Path) -> Job:
    source = bird_source(members["source"], SOURCE, HUB, load, place)
    hub = Frr.start(members["hub"], HUB, (SOURCE, SINK), place / "hub", reflector=True)
    sink = Frr.start(members["sink"], SINK, (HUB,), place / "sink")
    hub.wait_up(2)
    sink.wait_up(1)

    def memory() -> dict[str, float]:
        return {
            f"{what} {name}": mb for name, frr in (("hub", hub), ("sink", sink)) for what, mb in frr.rss_mb().items()
        }

    return Job(lambda: source.ask("enable load"), lambda: source.ask("disable load"), memory)
