"""A million routes leave for a BIRD: our agent and ExaBGP, or another BIRD, at the sending end.

The clock runs from the first long BGP segment on the wire until the receiving BIRD has counted the last
route. `told_seconds` runs from the order instead (SIGHUP with a new plan; `enable` of BIRD's static
protocol): it has in it what happens before the first byte.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from speaker import plan as p
from tests.bench.harness import Inside, Measured, alternate, emit, ratio, rss_mb, say, until, version_of
from tests.bench.players import (
    TIMEOUT,
    BirdTalk,
    Speaker,
    announcing,
    bird_config,
    bird_neighbour,
    bird_source,
    plan,
    session,
)
from tests.bench.routes import Load
from tests.netns.namespaces import Namespace, pair

SOURCE, SINK = "10.42.0.1", "10.42.0.2"

Give = Callable[[], object]
Memory = Callable[[], dict[str, float]]


def bench() -> None:
    load = Load()
    with TemporaryDirectory() as directory:
        say("announce_1m: agent -> ExaBGP -> BIRD, and BIRD -> BIRD")
        starts = {"leyline": _leyline, "bird": _bird}
        measured = alternate({name: partial(_run, load, Path(directory), start) for name, start in starts.items()})
    ours, theirs = measured["leyline"].seconds, measured["bird"].seconds
    emit(
        bench="announce_1m",
        value=round(load.routes / ours["wire"]),
        unit="routes/s",
        against=f"BIRD {version_of('bird', '--version')}",
        against_value=round(load.routes / theirs["wire"]),
        ratio=ratio(theirs["wire"], ours["wire"]),
        told_seconds={name: round(one.seconds["told"], 2) for name, one in measured.items()},
        ratio_told=ratio(theirs["told"], ours["told"]),
        exabgp=version_of_exabgp(),
        routes=load.routes,
        attribute_sets=load.sets,
        rss_mb={name: dict(one.rss_mb) for name, one in measured.items()},
    )


def version_of_exabgp() -> str:
    from exabgp.version import release

    return str(release)


def _run(load: Load, directory: Path, start: Callable[[Load, Namespace, Path], tuple[Give, Memory]]) -> Measured:
    place = directory / f"{start.__name__}-{time.monotonic_ns()}"
    place.mkdir()
    with ExitStack() as stack:
        source, sink = stack.enter_context(pair("bench", [f"{SOURCE}/16"], [f"{SINK}/16"]))
        inside = stack.enter_context(Inside(source))
        receiver = bird_config(SINK, bird_neighbour("peer", SINK, SOURCE, "export none;"))
        bird = sink.bird(receiver, place / "sink")
        talk = stack.enter_context(BirdTalk(bird))
        give, memory = start(load, source, place)
        until(lambda: bird.established("peer"), 60, "BIRD's session", interval=0.2)
        first = inside.first_update("eth0")
        told = time.monotonic()
        give()
        begun = first.wait(TIMEOUT)
        full = until(lambda: talk.imported() >= load.routes, TIMEOUT, "all routes in BIRD")
        return Measured({"wire": full - begun, "told": full - told}, memory() | {"receiver": rss_mb(bird.process.pid)})


def _leyline(load: Load, source: Namespace, place: Path) -> tuple[Give, Memory]:
    quiet = plan("source", SOURCE, (session(SOURCE, SINK),))
    speaker = Speaker.start(source, quiet, place)
    loud = p.encode(announcing(quiet, load))
    speaker.wait_up()
    return partial(speaker.give, loud), speaker.rss_mb


def _bird(load: Load, source: Namespace, place: Path) -> tuple[Give, Memory]:
    bird = bird_source(source, SOURCE, SINK, load, place)
    return lambda: bird.ask("enable load"), lambda: {"bird": rss_mb(bird.process.pid)}
