"""How much memory a receiving spoke takes with a million routes in its table and in its kernel: ours, FRR, BIRD.

One BIRD announces, the same for all three. Resident memory is read once the last route is in the kernel.
The ratios compare all processes of each: agent, ExaBGP and bridge; bgpd and zebra; bird.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench.announce import version_of_exabgp
from tests.bench.harness import Inside, Measured, alternate, emit, ratio, rss_mb, say, until, version_of
from tests.bench.players import FRR, TIMEOUT, Frr, Speaker, bird_config, bird_neighbour, bird_source, plan, session
from tests.bench.routes import Load
from tests.netns.namespaces import Namespace, pair

SOURCE, SINK = "10.42.0.1", "10.42.0.2"

Memory = Callable[[], dict[str, float]]


def bench() -> None:
    load = Load()
    with TemporaryDirectory() as directory:
        say("memory_1m: a spoke with all routes in table and kernel")
        starts = {"leyline": _leyline, "frr": _start_frr, "bird": _bird}
        measured = alternate({name: partial(_run, load, Path(directory), start) for name, start in starts.items()})
    ours, frr, bird = (sum(measured[name].rss_mb.values()) for name in ("leyline", "frr", "bird"))
    emit(
        bench="memory_1m",
        value=measured["leyline"].rss_mb["agent"],
        unit="MB",
        against=f"FRR {version_of(f'{FRR}/bgpd', '--version')} and BIRD {version_of('bird', '--version')}",
        all_value=round(ours, 1),
        frr_value=round(frr, 1),
        bird_value=round(bird, 1),
        ratio=ratio(frr, ours),
        ratio_bird=ratio(bird, ours),
        exabgp=version_of_exabgp(),
        routes=load.routes,
        attribute_sets=load.sets,
        rss_mb={name: dict(one.rss_mb) for name, one in measured.items()},
    )


def _run(load: Load, directory: Path, start: Callable[[Namespace, Path], Memory]) -> Measured:
    place = directory / f"{start.__name__}-{time.monotonic_ns()}"
    place.mkdir()
    with ExitStack() as stack:
        source, sink = stack.enter_context(pair("bench", [f"{SOURCE}/16"], [f"{SINK}/16"]))
        inside = stack.enter_context(Inside(sink))
        bird = bird_source(source, SOURCE, SINK, load, place)
        memory = start(sink, place)
        until(lambda: bird.established("peer"), 60, "BIRD's session", interval=0.2)
        idle = inside.kernel_routes()
        began = time.monotonic()
        bird.ask("enable load")
        full = until(lambda: inside.kernel_routes() >= idle + load.routes, TIMEOUT, "all routes in the kernel", 0.2)
        return Measured({"filled": full - began}, memory())


def _leyline(sink: Namespace, place: Path) -> Memory:
    speaker = Speaker.start(sink, plan("sink", SINK, (session(SINK, SOURCE),)), place)
    speaker.wait_up()
    return speaker.rss_mb


def _bird(sink: Namespace, place: Path) -> Memory:
    neighbour = bird_neighbour("peer", SINK, SOURCE, "export none;")
    bird = sink.bird(bird_config(SINK, neighbour, kernel=True), place / "sink")
    return lambda: {"bird": rss_mb(bird.process.pid)}


def _start_frr(sink: Namespace, place: Path) -> Memory:
    return Frr.start(sink, SINK, (SOURCE,), place / "sink").rss_mb
