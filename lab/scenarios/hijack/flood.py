"""Rounds of 200,000 prefixes that nobody may announce; and what they cost the hubs and everybody else.

What is measured is measured inside the flood: before and after each legal change the hubs' count of what they heard
from the rogue is read, and only changes between which it moved at every hub count.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lab.expect import Run
from lab.scenarios.hijack import attacks
from lab.scenarios.hijack.attacker import Attacker
from lab.scenarios.hijack.attacks import FILLING, LEGAL, LEGALS, SHARED
from lab.stack import Stack
from lab.watch import RouteWatch

JUNK = 200_000
ROUNDS = 12
FLOOD_SECONDS = 120.0
PAUSE_SECONDS = 0.5
"""From one legal change to the next."""
MOST_CHANGES = 100
CONVERGE_SECONDS = 10.0
"""0.3 to 5 s on two cores, which rogue, hubs, controller and all the others share."""
PATIENCE_SECONDS = 20.0
LEAST_CHANGES = 5
"""Inside the flood."""
MOST_MEGABYTES = 100.0
"""That a hub's agent may grow by: it keeps 100,000 refused paths, and counts the others."""
MOST_LAG_MS = 3000.0
"""99.9th percentile over the last three minutes, the start on a busy machine included."""

Heard = dict[str, int]
"""Hub -> announcements of the rogue that it has taken in: it only grows, for what is not kept is counted each time."""


@dataclass
class Tide:
    """The flood as the hubs see it: round after round, the next one when every hub has taken in the last."""

    stack: Stack
    rogue: Attacker
    hubs: Iterable[str]
    waves: Sequence[str]  # Made before: who makes one meanwhile has none to send.
    rounds: int = 0
    ends: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        for wave in self.waves:
            if self.ends.is_set():
                break
            self.rogue.flood(wave)
            self.rounds += 1
            while not self.has_come_to(self.rounds) and not self.ends.wait(0.1):
                pass

    def heard(self) -> Heard:
        return {hub: heard(self.stack, hub) for hub in self.hubs}

    def has_come_to(self, rounds: int) -> bool:
        """Have the hubs taken in so many whole rounds?"""
        return min(self.heard().values()) >= JUNK * rounds


@dataclass
class Measured:
    """Of legal changes elsewhere, meanwhile."""

    changed: list[str] = field(default_factory=list)
    taken: list[float] = field(default_factory=list)  # Seconds, of those inside the flood.
    during: list[Heard] = field(default_factory=list)  # How much of the flood came while they were made.
    beside: int = 0  # Changes during which nothing came.
    lags: list[float] = field(default_factory=list)


def flood(
    run: Run, stack: Stack, rogue: Attacker, watch: RouteWatch, hubs: Mapping[str, str], spokes: Iterable[str]
) -> list[str]:
    """Returns the prefixes that were legally changed meanwhile."""
    run.step(
        f"attack: {JUNK:,} junk prefixes, again and again, half of them nobody's, half more than the site may have"
    )
    waves = [wave(rogue, number) for number in range(ROUNDS)]
    before = {hub: peak_megabytes(stack, hub, reset=True) for hub in hubs}
    begun = time.monotonic()
    rogue.announce(LEGALS[1])
    arrives(run, watch, LEGAL[1], begun, [*hubs, *spokes])
    begun = time.monotonic()
    tide = Tide(stack, rogue, list(hubs), waves)
    told = threading.Thread(target=tide.run)
    told.start()
    try:
        found = measured(run, tide, watch, [*hubs, *spokes])
    finally:
        tide.ends.set()
        told.join()
    run.wait_until("the hubs have taken in all of it", lambda: tide.has_come_to(tide.rounds), FLOOD_SECONDS, tide.heard)
    arrives(run, watch, LEGAL[0], begun, [*hubs, *spokes])
    run.figure("flood_seconds", time.monotonic() - begun)
    run.figure("flood_prefixes", tide.rounds * JUNK)
    run.figure("changes_while_flooded", len(found.taken))
    run.figure("changes_beside_the_flood", found.beside)
    run.figure("slowest_change_seconds", max(found.taken))
    run.expect(
        f"during each of {len(found.taken)} legal changes at berlin more of the flood came to every hub",
        len(found.taken) >= LEAST_CHANGES and all(min(came.values()) > 0 for came in found.during),
        found.during,
    )
    run.expect(
        f"each of them arrives everywhere within {CONVERGE_SECONDS:g} s",
        max(found.taken) < CONVERGE_SECONDS, found.taken,
    )  # fmt: skip
    run.figure("hub_loop_lag_ms", max(found.lags))
    run.expect(
        f"the hubs' event loops are less than {MOST_LAG_MS:g} ms late", max(found.lags) < MOST_LAG_MS, found.lags
    )
    for hub in hubs:
        costs(run, stack, hub, before[hub])
    return found.changed


def wave(rogue: Attacker, number: int) -> str:
    """Each has other prefixes, or all that was refused before would only be said again."""
    first = [] if number else [LEGAL[0]]  # The last one that the site may have.
    return rogue.wave(attacks.ADDRESS, attacks.NUMBER, [*first, *attacks.junk(JUNK, number)])


def measured(run: Run, tide: Tide, watch: RouteWatch, gateways: list[str]) -> Measured:
    """Until the hubs have all of the first round, and enough changes were made while more of it came."""
    found, begun = Measured(), time.monotonic()
    others = [name for name in gateways if name != "berlin-1"]  # It is attached to what is new.
    while len(found.taken) < LEAST_CHANGES or not tide.has_come_to(1):
        asked = time.monotonic()
        if asked - begun > FLOOD_SECONDS or len(found.changed) == MOST_CHANGES:
            run.require(f"{LEAST_CHANGES} changes fall inside the flood", False, found)
        found.lags += [tide.stack.report(hub).get("loop_lag_ms", 0.0) for hub in tide.hubs]
        before = tide.heard()
        found.changed.append(f"10.1.{len(found.changed) + 1}.0/24")
        seconds = converges(tide.stack, watch, found.changed[-1], others)
        after = tide.heard()
        came = {hub: after[hub] - before[hub] for hub in tide.hubs}
        if min(came.values()) > 0:
            found.taken.append(seconds)
            found.during.append(came)
        else:
            found.beside += 1
        time.sleep(max(0.0, PAUSE_SECONDS - (time.monotonic() - asked)))
    return found


def costs(run: Run, stack: Stack, hub: str, before: Mapping[str, float]) -> None:
    """Memory; and that the hub says how it stands with the rogue."""
    grown = {name: now - before[name] for name, now in peak_megabytes(stack, hub).items()}
    for name, megabytes in grown.items():
        run.figure(f"{hub.replace('-', '_')}_{name}_megabytes_more", megabytes)
    run.expect(f"{hub} needs at most {MOST_MEGABYTES:g} MB more", max(grown.values()) < MOST_MEGABYTES, grown)
    found = session(stack, hub)
    run.expect(
        f"{hub}: the rogue has as many prefixes as it may, and the report warns: {found['warning']}",
        found["prefixes"] == found["limit"] == len((SHARED, *FILLING, *LEGAL)) and found["warning"], found,
    )  # fmt: skip


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


def heard(stack: Stack, hub: str) -> int:
    """How much the hub has taken in of what the rogue announces; 0 while it does not answer."""
    mine = (each for each in stack.report(hub).get("sessions", ()) if each["peer"] == "rogue")
    return sum(sum(each["received"].values()) + each["unkept"] for each in mine)


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
