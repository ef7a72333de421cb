"""How long one prefix more takes in a fabric of 2,000 gateways and 100,000 prefixes, until its gateways are woken.

From the operator's change, through checks, compile and the commit on SQLite, to the moment when the plans that moved
can be fetched; `fetch_ms` is what a poll of each of them then costs. The ratio is against the bound of 100 ms.
"""

from __future__ import annotations

import time
from ipaddress import IPv4Network
from tempfile import TemporaryDirectory

from controller.inventory.merge import merge
from controller.inventory.model import Inventory, Prefix
from controller.service import Controller, Moved, Wanted
from controller.store.engine import Database
from controller.store.migrate import migrate
from controller.store.store import Store
from tests.bench.compiling import GATEWAYS, PREFIXES, fabric, peak_mb
from tests.bench.harness import emit, ratio, say

CHANGES = 20
BOUND_SECONDS = 0.1


def bench() -> None:
    """One prefix more: from the operator's change to committed plans, and from the commit to the woken gateways."""
    say(f"republish_2000: one prefix more, {CHANGES} times, {GATEWAYS} gateways, {PREFIXES} prefixes, SQLite")
    with TemporaryDirectory() as directory:
        database = Database(f"sqlite:///{directory}/bench.db")
        migrate(database)
        told: list[tuple[float, Moved]] = []
        controller = Controller(Store(database), lambda moved: told.append((time.perf_counter(), moved)))
        inventory = fabric()
        controller.change(lambda _: Wanted(inventory), actor="bench", action="put", subject="fabric")
        seconds, cpu, after_commit = [], [], []
        for n in range(CHANGES):
            new = Prefix("s77", IPv4Network(((100 << 24) + (77 << 16) + ((120 + n) << 8), 24)))
            started, worked = time.perf_counter(), time.process_time()
            controller.change(
                lambda state, new=new: Wanted(merge(state.inventory, Inventory(prefixes=(new,)))),  # type: ignore[misc]
                actor="bench",
                action="put",
                subject=new.label,
            )
            told_at, moved = told[-1]
            seconds.append(told_at - started)
            cpu.append(time.process_time() - worked)
            asked = time.perf_counter()
            assert set(moved.digests) == {"g77", "g1077"}
            for name, digest in moved.digests.items():
                plan = controller.store.plan(name)
                assert plan is not None
                assert plan.digest == digest
            after_commit.append(time.perf_counter() - asked)
        database.close()
    emit(
        bench="republish_2000",
        value=round(1000 * middle(seconds), 1),
        unit="ms",
        against=f"bound of {1000 * BOUND_SECONDS:.0f} ms",
        ratio=ratio(BOUND_SECONDS, middle(seconds)),
        cpu_ms=round(1000 * middle(cpu), 1),
        worst_ms=round(1000 * max(seconds), 1),
        fetch_ms=round(1000 * middle(after_commit), 2),
        peak_mb=peak_mb(),
        gateways=GATEWAYS,
        prefixes=PREFIXES,
    )


def middle(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]
