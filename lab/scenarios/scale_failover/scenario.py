"""The same gateway cut with 1,000 and with 500,000 routes behind it: the time to move does not depend on them.

Both gateways of berlin announce everything. The one that carries the traffic is cut off, on the segment and in its
LAN at once, while its interfaces keep carrier. Half a million prefixes come as a plan file does, past the controller.
"""

from __future__ import annotations

import os
import statistics
import time
from ipaddress import IPv4Network
from pathlib import Path

from msgspec.structs import replace

from lab.cuts import Cuts
from lab.expect import Run
from lab.loss import told, worst_ms
from lab.pings import FLOOD_SECONDS, PingTrain
from lab.speakers import PlannedSpeakers
from speaker.plan import AnnouncementPlan, Plan

INVENTORY = Path(__file__).parent / "inventory.yml"
FEW, MANY = 1_000, 500_000
ROUNDS = 3
RATIO = 1.5
WINDOW_MS = 400.0
"""Of a gateway cut, with timers of 100 ms x 3 and VRRP adverts of 100 ms."""
START_SECONDS = 30.0
FEED_SECONDS = 120.0
BACK_SECONDS = 30.0
MOVED_SECONDS = 5.0
TOLD_SECONDS = 5.0
"""Until the last of half a million routes says unreachable: after 1.1 to 2.4 s on a quiet machine of two cores."""
SAMPLES, FIRST_SOURCE = 8, 101
SPACE = IPv4Network("20.0.0.0/8")
LENGTH = 28
TARGETS = ("10.1.0.10", "20.0.0.1")
"""In the site's LAN, and in the first of the many prefixes."""
CUT, FIRST_USED = "berlin-1", "10.42.0.2"


def scenario(run: Run) -> None:
    fabric = PlannedSpeakers(run, INVENTORY)
    run.step("start the speakers, each with its plan in a file; there is no controller")
    fabric.start()
    fabric.wait_for_sessions(START_SECONDS)
    with Cuts(run.lab, ["segment", "lan-berlin"]) as cuts:
        windows = {}
        for routes in (FEW, MANY):
            announce(fabric, routes)
            windows[routes] = [cut(fabric, cuts, routes) for _ in range(ROUNDS)]
            run.figure(f"window_ms_{routes}", statistics.median(windows[routes]))
            run.figure(f"worst_window_ms_{routes}", max(windows[routes]))
        nobody_left(fabric, cuts)
    for routes, measured in windows.items():
        median = statistics.median(measured)
        run.expect(
            f"{routes} routes: the loss window is at most {WINDOW_MS:g} ms (median of {ROUNDS})",
            median <= WINDOW_MS, f"{measured}",
        )  # fmt: skip
    ratio = statistics.median(windows[MANY]) / statistics.median(windows[FEW])
    run.figure("ratio", ratio)
    run.expect(f"with {MANY} routes it takes at most {RATIO} times as long as with {FEW}", ratio <= RATIO, windows)


def announce(fabric: PlannedSpeakers, count: int) -> None:
    """Both gateways of berlin announce `count` prefixes beside their LAN; until paris forwards to all of them."""
    run = fabric.run
    run.step(f"berlin's two gateways announce {count} prefixes")
    found = tuple(prefixes(count))
    begun = time.monotonic()
    for gateway in ("berlin-1", "berlin-2"):
        fabric.give(gateway, announcing(fabric.plans[gateway], found))
    run.wait_until(
        f"paris-1's kernel has {count} routes more", lambda: fabric.prefixes("paris-1") >= count, FEED_SECONDS,
        lambda: f"{fabric.prefixes('paris-1')} prefixes\n{fabric.unsettled()}",
    )  # fmt: skip
    run.figure(f"announced_seconds_{count}", time.monotonic() - begun)
    fabric.wait_for_sessions(FEED_SECONDS)


def announcing(plan: Plan, found: tuple[str, ...]) -> Plan:
    """`plan` with what it announces of 10.0.0.0/8 as before, and `found`."""
    lan = next(one for one in plan.announcements if any(prefix.startswith("10.") for prefix in one.prefixes))
    return replace(plan, announcements=(lan, AnnouncementPlan(found, lan.large_communities)))


def prefixes(count: int) -> list[str]:
    """The first `count` of SPACE, side by side."""
    base, step = int(SPACE.network_address), 1 << (32 - LENGTH)
    return [str(IPv4Network((base + number * step, LENGTH))) for number in range(count)]


def cut(fabric: PlannedSpeakers, cuts: Cuts, routes: int) -> float:
    """Cut the gateway in use off; the loss window in ms, from paris to berlin and back. Healed again afterwards."""
    run, host = fabric.run, fabric.run.lab.node("host-paris")
    before = fabric.prefixes("paris-1")
    train = PingTrain([host.pings(target) for target in TARGETS], FLOOD_SECONDS)
    try:
        run.wait_until("pings are answered", lambda: all(map(train.answered, train.names)), BACK_SECONDS)
        run.wait_until(
            f"{CUT} is in use, and looked after by BFD", lambda: in_use(fabric), BACK_SECONDS,
            lambda: f"{fabric.next_hop('paris-1', FIRST_USED)}\n{fabric.unsettled()}",
        )  # fmt: skip
        run.step(f"{CUT} is cut off, with {routes} routes behind it")
        at = cuts.node(CUT)
        answered = train.answered()
        run.wait_until("pings are answered again", lambda: train.answered() > answered + 1000, MOVED_SECONDS)
        kept = fabric.prefixes("paris-1")
    finally:
        tallies = train.finish()
        cuts.heal()
    window = worst_ms(tallies, at)
    run.step(f"loss window {window:.0f} ms\n{told(tallies)}")
    run.expect("the cut was felt, and got over", window > 0 and all(t.recovered for t in tallies.values()), tallies)
    run.expect(f"paris-1 has all of its {before} prefixes all the while", kept == before, f"{kept}")
    return window


def nobody_left(fabric: PlannedSpeakers, cuts: Cuts) -> None:
    """Both gateways are cut off: whoever sends to any of the many prefixes is told soon, and not left in the dark."""
    run, host = fabric.run, fabric.run.lab.node("host-paris")
    run.step(f"all of berlin is cut off, with {MANY} routes behind it")
    flows = []
    for number, prefix in enumerate(prefixes(MANY)[:: MANY // SAMPLES]):
        # The kernel tells one source once a second: every sample has its own.
        source = f"10.2.0.{FIRST_SOURCE + number}"
        host.run(f"ip address add {source}/24 dev eth1")
        flows.append(host.pings(str(IPv4Network(prefix)[1]), prefix, source))
    run.wait_until(f"{CUT} is in use", lambda: in_use(fabric), BACK_SECONDS)
    # The cuts before made the hub say of every path that it no longer relays to its next hop, and that it does again.
    run.wait_until("the agents have come to rest", lambda: at_rest(fabric), FEED_SECONDS)
    train = PingTrain(flows, FLOOD_SECONDS)
    try:
        run.wait_until("the first is answered", lambda: train.answered(flows[0].name) > 100, MOVED_SECONDS)
        at = min(cuts.node(gateway) for gateway in ("berlin-1", "berlin-2"))
        run.wait_until(
            "every source is told that its target is unreachable", lambda: all(map(train.unreachable, train.names)),
            TOLD_SECONDS, lambda: {name: train.unreachable(name) for name in train.names}, at,
            patience=4 * TOLD_SECONDS,
        )  # fmt: skip
    finally:
        tallies = train.finish()
        cuts.heal()
    told_after = [seconds for tally in tallies.values() if (seconds := tally.unreachable_after(at)) is not None]
    run.step("told after " + ", ".join(f"{seconds:.2f}" for seconds in sorted(told_after)) + " s")
    run.figure(f"unreachable_{MANY}_routes_median_seconds", statistics.median(told_after))
    run.figure(f"unreachable_{MANY}_routes_seconds", max(told_after))


def at_rest(fabric: PlannedSpeakers) -> bool:
    """Do hub and paris use less than a fifth of a processor, over a second?"""
    clocks = [Path(f"/proc/{fabric.process(name, 'agent').pid}/stat") for name in ("hub-1", "paris-1")]

    def ticks() -> list[int]:
        return [sum(map(int, clock.read_text().rpartition(")")[2].split()[11:13])) for clock in clocks]

    before, end = ticks(), time.monotonic() + 1
    while time.monotonic() < end:
        time.sleep(0.05)
    return all(after - earlier < os.sysconf("SC_CLK_TCK") / 5 for earlier, after in zip(before, ticks(), strict=True))


def in_use(fabric: PlannedSpeakers) -> bool:
    hop = fabric.next_hop("paris-1", FIRST_USED)
    back = fabric.next_hop(CUT, "10.42.0.4")
    return all(one.get("bfd") == "Up" and one.get("state") == "up" for one in (hop, back))
