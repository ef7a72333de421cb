"""The main job: every prefix everywhere, every host reaches every other, and no packet crosses a hub or leaks."""

from __future__ import annotations

from itertools import permutations

from lab.compare import difference
from lab.scenarios.fabric.prefixes import SITES
from lab.scenarios.fabric.world import CLIENT_ADDRESSES, World

UNKNOWN = {4: "10.2.77.1", 6: "fd10:2:0:ff77::1"}
"""Inside what paris was allocated, but announced by nobody."""


def main_path(world: World) -> None:
    tables(world)
    all_reach_all(world)
    paths(world)
    nothing_leaks(world)
    hubs_stay_idle(world)
    summary(world)


def tables(world: World) -> None:
    """FRR's and BIRD's own tables; the kernels were compared when the fabric started."""
    world.run.step("FRR and BIRD, which are not ours, have learnt the same")
    for name, table in world.tables().items():
        problem = difference(world.expected(name), table)
        world.run.expect(f"{name}'s own table holds every prefix with every originating uplink", not problem, problem)


def all_reach_all(world: World) -> None:
    run = world.run
    run.step("every host pings every other one, IPv4 and IPv6")
    pairs = [(a, b, version) for a, b in permutations(SITES, 2) for version in (4, 6)]
    silent = [
        f"{a} to {b}, IPv{version}" for a, b, version in pairs
        if not world.host(a).reaches(world.host_address(b, version))
    ]  # fmt: skip
    run.expect(f"all {len(pairs)} pairs of hosts reach each other", not silent, "\n".join(silent))
    clients = [address for addresses in CLIENT_ADDRESSES.values() for address in addresses]
    silent_clients = [f"{a} to {to}" for a in SITES for to in clients if not world.host(a).reaches(to)]
    run.expect("every host reaches the networks behind FRR and BIRD", not silent_clients, "\n".join(silent_clients))
    run.figure("hosts_silent_pairs", len(silent))


def paths(world: World) -> None:
    """Own gateway, far gateway, host. Of a site with two gateways either may be the far one."""
    run = world.run
    run.step("traceroute: own gateway, far gateway, host; never a hub")
    rows = []
    for a, b in permutations(SITES, 2):
        for version in (4, 6):
            path = world.host(a).traceroute(world.host_address(b, version))
            own = f"10.{SITES[a]}.0.1" if version == 4 else f"fd10:{SITES[a]}::1"
            far = world.facts.next_hops(b, "0.0.0.0/0" if version == 4 else "::/0")
            good = len(path) == 3 and path[0] == own and path[1] in far and path[2] == world.host_address(b, version)
            if not good or version == 4:
                rows.append((a, b, " -> ".join(path), good))
    bad = [f"{a} to {b}: {path}" for a, b, path, good in rows if not good]
    run.expect("every path is own gateway, far gateway, host", not bad, "\n".join(bad))
    shown = [row[:3] for row in rows if row[0] in ("berlin", "lima")]
    run.table("paths (traceroute)", ("from", "to", "hops"), shown)


def nothing_leaks(world: World) -> None:
    run = world.run
    run.step("what nobody announces is unreachable, and does not leave by the default route")
    before = world.counter("internet", "private")
    for version, address in UNKNOWN.items():
        answer = world.host("berlin").run(f"ping -n -c 2 -i 0.2 -W 1 {address}", check=False).stdout
        run.expect(f"IPv{version}: the host is told that {address} is unreachable", "nreachable" in answer, answer)
    leaked = world.counter("internet", "private")
    run.expect("no private packet has left by the default route, since the lab began", leaked == 0, f"{leaked} packets")
    run.figure("leaked_packets", leaked)
    # The counter can count: a public address does leave, a private one would be seen the same way.
    world.node("oslo-1").run("ip route add 10.99.0.0/24 via 172.20.0.1")
    world.node("oslo-1").run("ping -n -c 2 -i 0.2 -W 1 10.99.0.1", check=False)
    world.node("oslo-1").run("ip route del 10.99.0.0/24")
    shown = world.counter("internet", "private")
    run.expect(
        "the counter does see a private packet that is sent there on purpose", shown > before, f"{shown} packets"
    )
    world.node("internet").run("nft reset counter inet lab private")


def hubs_stay_idle(world: World) -> None:
    run = world.run
    run.step("data past the hubs: their forward counters stay 0, and rise when the path is forced through one")
    idle = {hub: world.counter(hub, "forwarded") for hub in world.facts.hubs()}
    for hub, count in idle.items():
        run.expect(f"{hub} has forwarded no packet", count == 0, f"{count} packets")
        run.figure(f"{hub.replace('-', '_')}_forwarded", count)
    gateway, target = world.node("berlin-1"), world.host_address("lima")
    hub = world.facts.gateway("hub-1").addresses[0]
    gateway.run(f"ip route add {target}/32 via {hub} metric 1")
    reached = world.host("berlin").run(f"ping -n -q -c 20 -i 0.01 -W 1 {target}", check=False).returncode == 0
    gateway.run(f"ip route del {target}/32 via {hub} metric 1")
    forced = world.counter("hub-1", "forwarded")
    run.expect("forced through hub-1, the packets are counted there", reached and forced >= 20, f"{forced} packets")
    world.node("hub-1").run("nft reset counter inet lab forwarded")
    world.host("berlin").run(f"ping -n -q -c 20 -i 0.01 -W 1 {target}")
    after = world.counter("hub-1", "forwarded")
    run.expect("and no longer, once the forced route is gone", after == 0, f"{after} packets")
    rows = [(name, idle[name], forced if name == "hub-1" else "-", after if name == "hub-1" else "-") for name in idle]
    run.table(
        "packets forwarded by the hubs", ("hub", "all the time", "with a path forced through it", "afterwards"), rows
    )


def summary(world: World) -> None:
    rows = []
    for name in world.routers:
        actual = world.actual(name)
        four = sum("." in prefix for prefix in actual)
        wide = sum(len(hops) > 1 for hops in actual.values())
        rows.append((name, four, len(actual) - four, wide))
    world.run.table("routes in the kernel", ("router", "IPv4", "IPv6", "of these over two uplinks"), rows)
    reach = [
        (
            site,
            ", ".join(
                other for other in SITES if other != site and world.host(site).reaches(world.host_address(other))
            ),
        )
        for site in SITES
    ]
    world.run.table("hosts that reach each other", ("host of", "reaches the hosts of"), reach)
