"""One client's 10,000 routes, reflected to 200 others: our hub (agent and ExaBGP), and BIRD.

The crowd of clients (tests/bench/crowd.py) is one process and the same for both. The clock runs from the
announcer's first UPDATE until the last of the 200 has all routes. Both hubs put the routes into their kernels too.
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

from tests.bench.announce import version_of_exabgp
from tests.bench.crowd import client_address
from tests.bench.harness import Measured, alternate, emit, ratio, rss_mb, say, version_of
from tests.bench.players import Speaker, bird_config, bird_neighbour, plan, session
from tests.bench.routes import Load
from tests.netns.namespaces import Failed, Namespace, pair

HUB, ANNOUNCER = "10.42.0.2", "10.42.0.1"
CLIENTS = 200
LOAD = Load(routes=10_000, sets=10)

Memory = Callable[[], dict[str, float]]


def bench() -> None:
    with TemporaryDirectory() as directory:
        say(f"reflect_200x10k: {LOAD.routes} routes of one client to {CLIENTS} others")
        starts = {"leyline": _leyline, "bird": _bird}
        measured = alternate({name: partial(_run, Path(directory), start) for name, start in starts.items()})
    ours, theirs = measured["leyline"].seconds["reflect"], measured["bird"].seconds["reflect"]
    emit(
        bench="reflect_200x10k",
        value=round(ours, 2),
        unit="s",
        against=f"BIRD {version_of('bird', '--version')}",
        against_value=round(theirs, 2),
        ratio=ratio(theirs, ours),
        exabgp=version_of_exabgp(),
        routes=LOAD.routes,
        attribute_sets=LOAD.sets,
        clients=CLIENTS,
        rss_mb={name: dict(one.rss_mb) for name, one in measured.items()},
    )


def _run(directory: Path, start: Callable[[Namespace, list[str], Path], Memory]) -> Measured:
    place = directory / f"{start.__name__}-{time.monotonic_ns()}"
    place.mkdir()
    peers = [ANNOUNCER, *map(client_address, range(CLIENTS))]
    with ExitStack() as stack:
        hub, crowd = stack.enter_context(pair("bench", [f"{HUB}/16"], [f"{ANNOUNCER}/16"]))
        crowd.run("ip", "-batch", "-", stdin="".join(f"address add {peer}/16 dev eth0\n" for peer in peers[1:]))
        memory = start(hub, peers, place)
        arguments = (HUB, ANNOUNCER, str(CLIENTS), str(LOAD.routes), str(LOAD.sets))
        clients = stack.enter_context(
            subprocess.Popen(
                ["ip", "netns", "exec", crowd.name, sys.executable, "-m", "tests.bench.crowd", *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        stack.callback(clients.kill)
        assert clients.stdin is not None
        assert clients.stdout is not None
        if clients.stdout.readline() != "up\n":
            raise Failed("the clients have no sessions; their words are above")
        clients.stdin.write("go\n")
        clients.stdin.flush()
        said = clients.stdout.readline()
        if not said:
            raise Failed("not every client was told everything; their words are above")
        return Measured({"reflect": float(said)}, memory())


def _leyline(hub: Namespace, peers: list[str], place: Path) -> Memory:
    own = plan("hub", HUB, tuple(session(HUB, peer, client=True) for peer in peers))
    speaker = Speaker.start(hub, own, place)
    return speaker.rss_mb


def _bird(hub: Namespace, peers: list[str], place: Path) -> Memory:
    neighbours = (
        bird_neighbour(f"client{number}", HUB, peer, "export all;", "rr client; passive;")
        for number, peer in enumerate(peers)
    )
    bird = hub.bird(bird_config(HUB, "".join(neighbours), kernel=True), place / "hub")
    return lambda: {"bird": rss_mb(bird.process.pid)}
