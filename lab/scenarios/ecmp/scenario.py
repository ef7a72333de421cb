"""Several gateways of a site at once: their capacity adds up, by weight where declared, and a death moves only its own.

From cloud, which has one gateway, to plant, which has four of 100 Mbit/s, and to mine, which declares 300 and 100.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path

from lab.carriers import Carriers
from lab.cuts import Cuts
from lab.expect import Run
from lab.scenarios.ecmp.flows import Flows, share
from lab.speakers import PlannedSpeakers

INVENTORY = Path(__file__).parent / "inventory.yml"
PLANT = {f"plant-{number}": f"10.42.0.{2 + number}" for number in range(1, 5)}
MINE = {"mine-1": "10.42.0.7", "mine-2": "10.42.0.8"}
HOST_PLANT, HOST_MINE = "10.1.0.10", "10.2.0.10"
START_SECONDS = 30.0
LIVENESS_SECONDS = 15.0
CAPACITY_BITS = 400e6
ENOUGH = 0.9
TCP_FLOWS, TCP_SECONDS, WARM_SECONDS = 64, 8, 2
UDP_FLOWS = 5_000
WEIGHTS = 3.0
TOLERANCE = 0.1
WATCHED_FLOWS = 400
DEAD = "plant-2"
ROUND_SECONDS = 0.1
MOVED_SECONDS = 3.0
WITHDRAWN_SECONDS = 15.0


def scenario(run: Run) -> None:
    fabric = PlannedSpeakers(run, INVENTORY)
    run.step("start the speakers")
    fabric.start()
    fabric.wait_for_sessions(START_SECONDS)
    host = run.lab.node("host-cloud")
    for address in (HOST_PLANT, HOST_MINE):
        run.wait_until(f"host-cloud reaches {address}", lambda at=address: host.reaches(at), LIVENESS_SECONDS)  # type: ignore[misc]
    run.expect(
        f"cloud-1 uses all {len(PLANT)} gateways of plant", members(fabric, *PLANT.values()), fabric.report("cloud-1")
    )
    capacity(run)
    weights(run)
    death(run, fabric)


def members(fabric: PlannedSpeakers, *addresses: str) -> bool:
    """Does cloud-1's kernel have a group of exactly these next hops?"""
    node = fabric.node("cloud-1")
    rows = json.loads(node.out(["ip", "-N", "-j", "nexthop", "show"]))
    gateways = {row["id"]: row["gateway"] for row in rows if "gateway" in row}
    groups = [{gateways.get(member["id"]) for member in row["group"]} for row in rows if "group" in row]
    return set(addresses) in groups


def capacity(run: Run) -> None:
    run.step(f"{TCP_FLOWS} TCP flows from cloud to plant, {TCP_SECONDS} s")
    plant = run.lab.node("host-plant")
    server = plant.start("iperf3 -s", name="iperf3")
    run.wait_until(
        "iperf3 waits for connections", lambda: plant.out("ss -tlnH sport = :5201"), 10, server.log.read_text
    )
    client = f"iperf3 -c {HOST_PLANT} -P {TCP_FLOWS} -t {TCP_SECONDS} -O {WARM_SECONDS} --json"
    answer = json.loads(run.lab.node("host-cloud").out(client))
    server.kill()
    run.require("iperf3 has measured", "error" not in answer, answer.get("error"))
    rate = float(answer["end"]["sum_received"]["bits_per_second"])
    run.figure("capacity_unused_percent", 100 * (1 - rate / CAPACITY_BITS))
    run.expect(
        f"{rate / 1e6:.0f} Mbit/s of {CAPACITY_BITS / 1e6:.0f} arrive: at least {ENOUGH:.0%}",
        rate >= ENOUGH * CAPACITY_BITS, answer["end"]["sum_received"],
    )  # fmt: skip


def weights(run: Run) -> None:
    run.step(f"{UDP_FLOWS} UDP flows from cloud to mine, one packet each")
    source, target = run.lab.node("host-cloud"), run.lab.node("host-mine")
    seen = Carriers({name: (run.lab.node(name), "zt0") for name in MINE})
    with seen, Flows(source, target, HOST_MINE, UDP_FLOWS) as flows:
        flows.send()
        run.wait_until(
            f"mine's gateways have seen all {UDP_FLOWS}", lambda: len(seen.of_streams(HOST_MINE)) == UDP_FLOWS, 5,
            lambda: seen.counts(HOST_MINE),
        )  # fmt: skip
        counts = Counter(carriers[0] for carriers in seen.of_streams(HOST_MINE).values())
    ratio = counts["mine-1"] / max(counts["mine-2"], 1)
    run.figure("weights_off_percent", 100 * abs(ratio / WEIGHTS - 1))
    run.expect(
        f"{counts['mine-1']} and {counts['mine-2']} flows: {WEIGHTS:g} to 1 within {TOLERANCE:.0%}",
        abs(ratio / WEIGHTS - 1) <= TOLERANCE, counts,
    )  # fmt: skip


def death(run: Run, fabric: PlannedSpeakers) -> None:
    """One packet of each flow every tenth of a second, while a gateway is cut off, and until its path was withdrawn.

    BFD notices the death, and BGP after the hold time: neither may move a flow of the others.
    """
    run.step(f"{WATCHED_FLOWS} UDP flows from cloud to plant; {DEAD} is cut off meanwhile")
    source, target = run.lab.node("host-cloud"), run.lab.node("host-plant")
    run.wait_until(
        "cloud-1 has BFD up with all gateways of plant", lambda: not _without_bfd(fabric), LIVENESS_SECONDS,
        lambda: _without_bfd(fabric),
    )  # fmt: skip
    seen = Carriers({name: (run.lab.node(name), "zt0") for name in PLANT})
    with (
        Cuts(run.lab, ["segment", "lan-plant"]) as cuts,
        seen,
        Flows(source, target, HOST_PLANT, WATCHED_FLOWS) as flows,
    ):
        _rounds(flows, 1.0)
        before = {stream: carriers[-1] for stream, carriers in seen.of_streams(HOST_PLANT).items()}
        paths = _paths(fabric)
        cuts.node(DEAD)
        _rounds(flows, MOVED_SECONDS)
        noticed = seen.of_streams(HOST_PLANT)
        end = time.monotonic() + WITHDRAWN_SECONDS
        while _paths(fabric) >= paths and time.monotonic() < end:
            _rounds(flows, 5 * ROUND_SECONDS)
        run.expect(f"the hub has withdrawn the path of {DEAD}", _paths(fabric) < paths, fabric.report("cloud-1"))
        _rounds(flows, MOVED_SECONDS)
        after = seen.of_streams(HOST_PLANT)
    run.expect(f"all {WATCHED_FLOWS} flows were seen", len(before) == WATCHED_FLOWS, len(before))
    for name in PLANT:
        part = share(before.values(), name)
        run.expect(f"{name} carried {part:.0%} of them", 0.15 <= part <= 0.35, Counter(before.values()))
    moved = [stream for stream, carrier in before.items() if carrier != DEAD and after[stream] != [carrier]]
    stuck = [stream for stream, carrier in before.items() if carrier == DEAD and noticed[stream][-1] == DEAD]
    twice = [stream for stream, carrier in before.items() if carrier == DEAD and after[stream] != noticed[stream]]
    others = sum(carrier != DEAD for carrier in before.values())
    run.figure("flows_moved_without_need", len(moved))
    run.expect(f"none of the {others} flows of the others has moved", not moved and others, moved[:5])
    run.expect(f"all {WATCHED_FLOWS - others} flows of {DEAD} have another gateway", not stuck, stuck[:5])
    run.expect("and keep it when BGP knows too", not twice, twice[:5])


def _paths(fabric: PlannedSpeakers) -> int:
    """That cloud-1 has received."""
    sessions = fabric.report("cloud-1").get("sessions", ())
    return sum(number for session in sessions for number in session["received"].values())


def _without_bfd(fabric: PlannedSpeakers) -> list[str]:
    hops = {hop["address"]: hop["bfd"] for hop in fabric.report("cloud-1").get("next_hops", ())}
    return [f"{name}: BFD {hops.get(address)}" for name, address in PLANT.items() if hops.get(address) != "Up"]


def _rounds(flows: Flows, seconds: float) -> None:
    end = time.monotonic() + seconds
    while (now := time.monotonic()) < end:
        flows.send()
        time.sleep(max(0.0, now + ROUND_SECONDS - time.monotonic()))
