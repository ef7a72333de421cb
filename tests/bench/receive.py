"""A million routes come from a BIRD: into our Adj-RIB-In, decided, or into another BIRD's table.

The clock runs from the first long BGP segment on the wire until the receiver has the last route. No kernel on
either side (install_200k and end_to_end_1m have it): tests/bench/receiver.py says what of ours takes part.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from speaker import plan as p
from speaker.bgp.exabgp.config import render
from speaker.state import StateDir
from tests.bench.announce import version_of_exabgp
from tests.bench.harness import Inside, Measured, alternate, children_of, emit, ratio, rss_mb, say, until, version_of
from tests.bench.players import TIMEOUT, BirdTalk, bird_config, bird_neighbour, bird_source, plan, session
from tests.bench.routes import Load
from tests.netns.namespaces import Failed, Namespace, pair

SOURCE, SINK = "10.42.0.1", "10.42.0.2"

Full = Callable[[], float]
Memory = Callable[[], dict[str, float]]


def bench() -> None:
    load = Load()
    with TemporaryDirectory() as directory:
        say("receive_1m: BIRD -> ExaBGP -> Adj-RIB-In, and BIRD -> BIRD")
        starts = {"leyline": _leyline, "bird": _bird}
        measured = alternate({name: partial(_run, load, Path(directory), start) for name, start in starts.items()})
    ours, theirs = measured["leyline"].seconds["receive"], measured["bird"].seconds["receive"]
    emit(
        bench="receive_1m",
        value=round(load.routes / ours),
        unit="routes/s",
        against=f"BIRD {version_of('bird', '--version')}",
        against_value=round(load.routes / theirs),
        ratio=ratio(theirs, ours),
        exabgp=version_of_exabgp(),
        routes=load.routes,
        attribute_sets=load.sets,
        rss_mb={name: dict(one.rss_mb) for name, one in measured.items()},
    )


def _run(
    load: Load, directory: Path, start: Callable[[Load, Namespace, Path, ExitStack], tuple[Full, Memory]]
) -> Measured:
    place = directory / f"{start.__name__}-{time.monotonic_ns()}"
    place.mkdir()
    with ExitStack() as stack:
        source, sink = stack.enter_context(pair("bench", [f"{SOURCE}/16"], [f"{SINK}/16"]))
        inside = stack.enter_context(Inside(source))
        bird = bird_source(source, SOURCE, SINK, load, place)
        full, memory = start(load, sink, place, stack)
        until(lambda: bird.established("peer"), 60, "BIRD's session", interval=0.2)
        first = inside.first_update("eth0")
        bird.ask("enable load")
        begun = first.wait(TIMEOUT)
        return Measured({"receive": full() - begun}, memory() | {"source": rss_mb(bird.process.pid)})


def _bird(load: Load, sink: Namespace, place: Path, stack: ExitStack) -> tuple[Full, Memory]:
    bird = sink.bird(bird_config(SINK, bird_neighbour("peer", SINK, SOURCE, "export none;")), place / "sink")
    talk = stack.enter_context(BirdTalk(bird))

    def full() -> float:
        return until(lambda: talk.imported() >= load.routes, TIMEOUT, "all routes in BIRD")

    return full, lambda: {"bird": rss_mb(bird.process.pid)}


def _leyline(load: Load, sink: Namespace, place: Path, stack: ExitStack) -> tuple[Full, Memory]:
    own = plan("sink", SINK, (session(SINK, SOURCE),))
    state = StateDir(place / "state")
    state.prepare()
    state.exabgp_config.write_text(render(own, str(state.bridge), sys.executable))
    file = place / "plan.json"
    file.write_bytes(p.encode(own))
    with (place / "exabgp.log").open("wb") as log:
        exabgp = sink.start(sys.executable, "-m", "speaker.bgp.exabgp.launcher", str(state.exabgp_config), output=log)
    command = (sys.executable, "-m", "tests.bench.receiver", str(file), str(state.root), str(load.routes))
    receiver = stack.enter_context(
        subprocess.Popen(
            ["ip", "netns", "exec", sink.name, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
    )
    stack.callback(receiver.kill)
    said = receiver.stdout
    assert said is not None
    if said.readline() != "up\n":
        raise Failed(f"the receiver has no session\n{(place / 'exabgp.log').read_text()}")

    def memory() -> dict[str, float]:
        engine, *bridge = children_of(exabgp.pid)
        return {"agent": rss_mb(receiver.pid), "exabgp": rss_mb(engine), "bridge": sum(map(rss_mb, bridge))}

    return lambda: float(said.readline()), memory
