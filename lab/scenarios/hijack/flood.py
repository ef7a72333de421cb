"""200,000 prefixes that nobody may announce, at once; and what they cost the hubs and everybody else."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from lab.expect import Run
from lab.scenarios.hijack import attacks
from lab.scenarios.hijack.attacker import Attacker
from lab.scenarios.hijack.attacks import FILLING, LEGAL, LEGALS, SHARED
from lab.stack import Stack
from lab.watch import RouteWatch

JUNK = 200_000
FLOOD_SECONDS = 120.0
PAUSE_SECONDS = 1.0
"""From one legal change to the next."""
MOST_CHANGES = 200
CONVERGE_SECONDS = 2.0
PATIENCE_SECONDS = 20.0
LEAST_CHANGES = 5
MOST_MEGABYTES = 100.0
"""That a hub's agent may grow by: it keeps 100,000 refused paths, and counts the others."""
MOST_LAG_MS = 3000.0
"""99.9th percentile over the last three minutes, the start on a busy machine included."""


def flood(
    run: Run, stack: Stack, rogue: Attacker, watch: RouteWatch, hubs: Mapping[str, str], spokes: Iterable[str]
) -> list[str]:
    """Returns the prefixes that were legally changed meanwhile."""
    run.step(f"attack: {JUNK:,} junk prefixes, half of them nobody's, half beyond what the site may announce")
    before = {hub: peak_megabytes(stack, hub, reset=True) for hub in hubs}
    begun = time.monotonic()
    rogue.announce(LEGALS[1])
    arrives(run, watch, LEGAL[1], begun, [*hubs, *spokes])
    prefixes = [LEGAL[0], *attacks.junk(JUNK)]  # The first is the last one that the site may have.
    begun = time.monotonic()
    told = threading.Thread(target=rogue.flood, args=(attacks.ADDRESS, attacks.NUMBER, prefixes))
    told.start()
    taken: list[float] = []
    lags: list[float] = []
    changed: list[str] = []
    while not all(heard(stack, hub) for hub in hubs) or len(changed) < LEAST_CHANGES:
        if time.monotonic() - begun > FLOOD_SECONDS:
            run.require(
                f"the hubs have heard it all within {FLOOD_SECONDS:g} s", False, [session(stack, hub) for hub in hubs]
            )
        lags += [stack.report(hub).get("loop_lag_ms", 0.0) for hub in hubs]
        if time.monotonic() - begun > PAUSE_SECONDS * len(changed) and len(changed) < MOST_CHANGES:
            changed.append(f"10.1.{len(changed) + 1}.0/24")
            taken.append(
                converges(stack, watch, changed[-1], [*hubs, *(name for name in spokes if name != "berlin-1")])
            )
        time.sleep(0.2)
    told.join()
    arrives(run, watch, LEGAL[0], begun, [*hubs, *spokes])
    run.figure("flood_seconds", time.monotonic() - begun)
    run.figure("changes_while_flooded", len(changed))
    run.figure("slowest_change_seconds", max(taken))
    run.expect(
        f"each of {len(taken)} legal changes at berlin arrives everywhere within {CONVERGE_SECONDS:g} s meanwhile",
        max(taken) < CONVERGE_SECONDS, taken,
    )  # fmt: skip
    run.figure("hub_loop_lag_ms", max(lags))
    run.expect(f"the hubs' event loops are less than {MOST_LAG_MS:g} ms late", max(lags) < MOST_LAG_MS, lags)
    for hub in hubs:
        grown = {name: now - before[hub][name] for name, now in peak_megabytes(stack, hub).items()}
        for name, megabytes in grown.items():
            run.figure(f"{hub.replace('-', '_')}_{name}_megabytes_more", megabytes)
        run.expect(f"{hub} needs at most {MOST_MEGABYTES:g} MB more", max(grown.values()) < MOST_MEGABYTES, grown)
        found = session(stack, hub)
        run.expect(
            f"{hub}: the rogue has as many prefixes as it may, and the report warns: {found['warning']}",
            found["prefixes"] == found["limit"] == len((SHARED, *FILLING, *LEGAL)) and found["warning"], found,
        )  # fmt: skip
    return changed


def arrives(run: Run, watch: RouteWatch, prefix: str, since: float, gateways: list[str]) -> None:
    what = f"{prefix}, which is legal, arrives at every gateway"
    run.wait_until(what, lambda: watch.latest(prefix, "add", since).keys() >= set(gateways), 10)


def converges(stack: Stack, watch: RouteWatch, prefix: str, gateways: list[str]) -> float:
    """Seconds from the moment that the operator gives a new prefix of berlin's until it is in all kernels."""
    since = time.monotonic()
    stack.rest.post("/prefixes", {"site": "berlin", "prefix": prefix})
    while time.monotonic() < since + PATIENCE_SECONDS:
        found = watch.latest(prefix, "add", since)
        if found.keys() >= set(gateways):
            return max(found[name] for name in gateways) - since
        time.sleep(0.02)
    return PATIENCE_SECONDS


def session(stack: Stack, hub: str) -> dict[str, object]:
    return next(dict(each) for each in stack.report(hub)["sessions"] if each["peer"] == "rogue")


def heard(stack: Stack, hub: str) -> bool:
    """Has the hub taken in all that the rogue says?"""
    found = next(each for each in stack.report(hub)["sessions"] if each["peer"] == "rogue")
    return bool(sum(found["received"].values()) + found["unkept"] >= JUNK)


def peak_megabytes(stack: Stack, hub: str, *, reset: bool = False) -> dict[str, float]:
    """The most memory that the hub's agent and ExaBGP had, since it was `reset` to what they have."""
    found = {}
    for name in ("agent", "exabgp"):
        process = Path(f"/proc/{stack.process(hub, name).pid}")
        if reset:
            (process / "clear_refs").write_text("5")
        peak = re.search(r"VmHWM:\s+(\d+)", (process / "status").read_text())
        found[name] = int(peak[1]) / 1024 if peak else 0.0
    return found
