"""200,000 routes into a kernel: our FIB, and `ip -batch`, by gateway and by next-hop id.

The clock of `ip -batch` is its process's life, which begins with 2 ms of its own; ours runs from the first
wish until the kernel has answered for the last route, next-hop objects included. Each run has a new namespace.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench.harness import Inside, Measured, alternate, emit, ratio, rss_mb, say, version_of
from tests.bench.routes import Load
from tests.netns.namespaces import Failed, Namespace, pair

HOPS = 8
LOAD = Load(routes=200_000, sets=200)
NEXTHOP, GROUP = 100, 200
"""First ids of the next hops and groups that `ip` refers to."""


def gateway_of(number: int, hops: int = HOPS) -> str:
    """The gateway of the n-th attribute set."""
    return f"10.42.0.{10 + number % hops}"


def bench() -> None:
    with TemporaryDirectory() as directory:
        say("install_200k: the FIB, and ip -batch")
        files = {"ip": Path(directory) / "gateways", "ip nhid": Path(directory) / "nhids"}
        files["ip"].write_text(_batch(lambda number: f"via {gateway_of(number)}"))
        files["ip nhid"].write_text(_batch(lambda number: f"nhid {GROUP + number % HOPS}"))
        contestants: dict[str, Callable[[], Measured]] = {"leyline": partial(_run, _leyline)}
        contestants |= {name: partial(_run, partial(_ip, file)) for name, file in files.items()}
        measured = alternate(contestants)
    ours, gateways, nhids = (measured[name].seconds["install"] for name in ("leyline", "ip", "ip nhid"))
    emit(
        bench="install_200k",
        value=round(LOAD.routes / ours),
        unit="routes/s",
        against=f"ip -batch, iproute2 {version_of('ip', '-V')}",
        against_value=round(LOAD.routes / gateways),
        against_value_nhid=round(LOAD.routes / nhids),
        ratio=ratio(gateways, ours),
        ratio_nhid=ratio(nhids, ours),
        routes=LOAD.routes,
        next_hops=HOPS,
        rss_mb={name: dict(one.rss_mb) for name, one in measured.items()},
    )


def _batch(target: Callable[[int], str]) -> str:
    lines = []
    for number, block in LOAD.blocks():
        lines += [f"route add {prefix} {target(number)} metric 1000 proto 76" for prefix in block]
    return "\n".join([*lines, ""])


def _run(install: Callable[[Namespace], Measured]) -> Measured:
    with ExitStack() as stack:
        near, _ = stack.enter_context(pair("bench", ["10.42.0.1/16"], ["10.42.0.2/16"]))
        inside = stack.enter_context(Inside(near))
        near.run("sysctl", "-qw", "net.ipv4.nexthop_compat_mode=0")
        idle = inside.kernel_routes()
        measured = install(near)
        if inside.kernel_routes() != idle + LOAD.routes:
            raise Failed(f"{inside.kernel_routes() - idle} routes in the kernel, not {LOAD.routes}")
        return measured


def _leyline(near: Namespace) -> Measured:
    arguments = (str(LOAD.routes), str(LOAD.sets), str(HOPS))
    with subprocess.Popen(
        ["ip", "netns", "exec", near.name, sys.executable, "-m", "tests.bench.installer", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as installer:
        assert installer.stdout is not None
        said = installer.stdout.readline()
        if not said:
            raise Failed("the installer failed; its words are above")
        memory = rss_mb(installer.pid)
    return Measured({"install": float(said)}, {"agent": memory})


def _ip(file: Path, near: Namespace) -> Measured:
    for number in range(HOPS):
        near.run("ip", "nexthop", "add", "id", str(NEXTHOP + number), "via", gateway_of(number), "dev", "eth0")
        near.run("ip", "nexthop", "add", "id", str(GROUP + number), "group", str(NEXTHOP + number))
    began = time.monotonic()
    process = subprocess.Popen(["ip", "netns", "exec", near.name, "ip", "-batch", str(file)])
    _, status, usage = os.wait4(process.pid, 0)  # The only wait that tells how much memory it took.
    seconds = time.monotonic() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise Failed(f"ip -batch: exit {process.returncode}; its words are above")
    return Measured({"install": seconds}, {"ip": round(usage.ru_maxrss / 1024, 1)})
