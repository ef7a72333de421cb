"""The agent's kernel side alone: `python -m tests.bench.installer ROUTES SETS HOPS`, started by install_200k.

Says how many seconds pass from the first wish to the last route in the kernel, next-hop objects included.
Runs in its own process inside the namespace, as the agent does, with the agent's writer thread.
"""

from __future__ import annotations

import asyncio
import gc
import socket
import sys
import time

from speaker.kernel.fib import Fib
from speaker.kernel.socket import LinuxKernel
from speaker.rib.path import Member, Tiers
from speaker.rib.prefix import Family, Key, key_of
from tests.bench.install import gateway_of
from tests.bench.routes import Load


async def install(load: Load, hops: int) -> float:
    kernel = LinuxKernel()
    fib = Fib(kernel, ["eth0"], segments=("10.42.0.0/16",))
    fib.set_link("eth0", socket.if_nametoindex("eth0"))
    await fib.adopt_async()
    wishes = _wishes(load, hops)
    began = time.monotonic()
    for tiers, keys in wishes:
        fib.want_many(Family.IPV4, keys, tiers)
    outcome = await fib.flush_async()
    seconds = time.monotonic() - began
    fib.close()
    kernel.close()
    if not outcome.converged or outcome.installed != load.routes:
        raise SystemExit(f"{outcome.installed} routes installed: {outcome.faults} {outcome.failed[:3]}")
    return seconds


def _wishes(load: Load, hops: int) -> list[tuple[Tiers, list[Key]]]:
    """As the decision hands them on: by path set, whose prefixes are neighbours."""
    from ipaddress import ip_address, ip_network

    groups: list[Tiers] = [((Member(ip_address(gateway_of(number, hops)).packed, 1),),) for number in range(load.sets)]
    return [(groups[number], [key_of(ip_network(text)) for text in block]) for number, block in load.blocks()]


if __name__ == "__main__":
    # As the agent's main does.
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    print(asyncio.run(install(Load(int(sys.argv[1]), int(sys.argv[2])), int(sys.argv[3]))), flush=True)
    sys.stdin.read()  # Its memory is looked at before it may go.
