"""Faults of one gateway, by its own administrator, and of the underlay that it stands in."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Sequence

from lab.scenarios.zerotier.world import host_address
from lab.scenarios.zerotier_doctor.doctors import FABRIC, Expected, Finding
from lab.scenarios.zerotier_doctor.fault import Change, Fault, as_told, by_itself, do
from lab.scenarios.zerotier_doctor.world import MTU, PHYSICAL, WRONG_MTU, DoctorWorld
from lab.zerotier import HOME, PORT

PARIS = PHYSICAL["paris-1"]
UNDERLAY = f"add {PARIS} to the fabric's underlay"
LOOK_SECONDS = 2.0

# What a gateway's own administrator can do


def baseline(gateway: str, hook: str, rules: str = "") -> Change:
    chain = f"chain {hook} {{ type filter hook {hook} priority filter; {rules} }}"

    def make(world: DoctorWorld) -> None:
        world.node(gateway).run(["nft", "-f", "-"], stdin=f"table inet baseline {{ {chain}\n}}")

    return make


HUB_FORWARDS_NOTHING = Fault(
    "segment_to_segment",
    "hub-1 gets a baseline firewall that forwards nothing",
    baseline("hub-1", "forward", "policy drop;"),
    lambda world: [
        Expected("hub-1", "forwarding", "nftables inet baseline forward", f"{world.interface} to {world.interface} is",
                 "nft insert rule inet baseline forward"),
    ],
    as_told("hub-1"),
)  # fmt: skip
HUB_TAKES_NO_BGP = Fault(
    "session_down",
    "hub-1 gets a baseline firewall that lets no BGP in",
    baseline("hub-1", "input", "tcp dport 179 drop;"),
    lambda _world: [
        Expected(
            "hub-1", "firewall", "nftables inet baseline input", "BGP from berlin-1 is dropped", "nft insert rule"
        ),
        Expected("hub-1", "sessions", "session with paris-1", "down: ", "TCP 179"),
        Expected("berlin-1", "sessions", "session with hub-1", "down: ", "TCP 179"),
        Expected(FABRIC, "sessions", "paris-1 with hub-1", "down: ", "firewall"),
    ],
    lambda world, findings: as_told("hub-1")(world, [each for each in findings if each.check == "firewall"]),
)
NO_FORWARDING = Fault(
    "sysctls",
    "paris-1 forwards no IPv4 any more",
    lambda world: do(world, "paris-1", "sysctl -w net.ipv4.ip_forward=0"),
    lambda _world: [
        Expected("paris-1", "sysctls", "net.ipv4.ip_forward", "is 0, should be 1", "sysctl -w net.ipv4.ip_forward=1"),
    ],
    as_told("paris-1"),
)
STRICT = Fault(
    "rp_filter",
    "paris-1 gets a strict reverse path filter",
    lambda world: do(
        world, "paris-1", f"sysctl -w net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.{world.interface}.rp_filter=1"
    ),
    lambda world: [
        Expected("paris-1", "rp-filter", world.interface, "strict reverse path filter", "sysctl -w"),
    ],
    as_told("paris-1"),
)
INTERFACE_MTU = Fault(
    "interface_mtu",
    f"the interface of paris-1 gets an MTU of {WRONG_MTU} by hand",
    lambda world: do(world, "paris-1", f"ip link set dev {world.interface} mtu {WRONG_MTU}"),
    lambda world: [
        Expected("paris-1", "mtu", "uplink", f"{world.interface} has an MTU of {WRONG_MTU}, and the plan says {MTU}",
                 f"ip link set dev {world.interface} mtu {MTU}"),
    ],
    as_told("paris-1"),
)  # fmt: skip
ROUTES = Fault(
    "kernel_routes",
    "berlin-1 loses the route to paris, and gets one of protocol 76 that nobody has decided",
    lambda world: do(
        world, "berlin-1",
        "ip route del 10.2.0.0/24 proto 76; "
        f"ip route add 10.99.0.0/24 via {world.overlay['hub-1']} proto 76 metric 1000",
    ),
    lambda _world: [
        Expected("berlin-1", "kernel-routes", "routes", "10.2.0.0/24: not in the kernel", "within a minute"),
        Expected("berlin-1", "kernel-routes", "routes", "10.99.0.0/24: in the kernel, and nobody", "within a minute"),
    ],
    by_itself,
)  # fmt: skip
FOREIGN_ROUTE = Fault(
    "foreign_route",
    "somebody on paris-1 sets a route to berlin with a metric of 10",
    lambda world: do(world, "paris-1", f"ip route add 10.1.0.0/24 via {world.overlay['hub-1']} metric 10"),
    lambda _world: [
        Expected(
            "paris-1", "kernel-routes", "routes", "10.1.0.0/24: a route of protocol 3", "ip route del 10.1.0.0/24"
        ),
    ],
    as_told("paris-1"),
)


def kill_the_speaker(world: DoctorWorld) -> None:
    """With its supervisor, or it would be back within a second."""
    processes = [world.stack.process("paris-1", name) for name in ("agent", "exabgp", "bfd")]
    for process in (world.stack.speakers["paris-1"], *processes):
        process.kill(signal.SIGKILL)
    for process in processes:
        process.wait(5)


def start_the_speaker(world: DoctorWorld, _findings: Sequence[Finding]) -> None:
    world.stack.launch("paris-1", ["--zerotier-home", HOME])


SPEAKER_GONE = Fault(
    "speaker_gone",
    "every process of the speaker of paris-1 is killed",
    kill_the_speaker,
    lambda _world: [
        Expected("paris-1", "agent", "agent", "does the agent run", "start it"),
        Expected("paris-1", "exabgp", "exabgp", "does not run", "start leyline-exabgp"),
        Expected("paris-1", "exabgp", "bfd", "does not run", "start leyline-bfd"),
    ],
    start_the_speaker,
)


# The underlay


def block_udp(world: DoctorWorld) -> None:
    """All of it: of a service's two ports the second would be left, and the others' second ones."""
    rules = "".join(f"ip {end} {PHYSICAL['berlin-1']} meta l4proto udp drop; " for end in ("saddr", "daddr"))
    chain = f"chain forward {{ type filter hook forward priority filter; {rules} }}"
    world.node("underlay").run(["nft", "-f", "-"], stdin=f"table inet provider {{\n{chain}\n}}")


UDP_BLOCKED = Fault(
    "udp_blocked",
    f"the provider of berlin-1 drops UDP, that to and from {PORT} as well",
    block_udp,
    lambda _world: [
        Expected(
            "berlin-1", "udp-blocked", "uplink", "nobody has been heard for", f"let UDP {PORT} out, and its answers in"
        ),
    ],
    lambda world, _: do(world, "underlay", "nft delete table inet provider"),
)


def empty_local_conf(world: DoctorWorld) -> None:
    """Just after the agent has looked at it, which it does with a new plan, too: so it stays for half a minute."""
    before = world.stack.report("paris-1").get("plan_digest")
    world.document["prefixes"].append({"site": "paris", "prefix": "10.2.1.0/24"})
    world.declare()
    world.run.wait_until(
        "paris-1 has a new plan", lambda: world.stack.report("paris-1").get("plan_digest") not in (None, before), 20
    )
    time.sleep(LOOK_SECONDS)
    world.services["paris-1"].path("local.conf").write_text("{}")


LOCAL_CONF = Fault(
    "local_conf",
    "local.conf of paris-1 is emptied by hand",
    empty_local_conf,
    lambda _world: [
        Expected("paris-1", "overlay-loop", "uplink", "may use the LAN interfaces lan0", "speaker writes local.conf"),
    ],
    by_itself,
)


def announce_the_underlay(world: DoctorWorld) -> None:
    """Declared space has a route to `unreachable` beneath all others, on every gateway."""
    mine = {"site": "paris", "prefix": "192.0.2.20/30"}
    world.document["allocations"].append({**mine, "longest": 30})
    world.document["prefixes"].append(mine)
    world.declare()


def declare_the_underlay(world: DoctorWorld, findings: Sequence[Finding]) -> None:
    told = [re.search(r"add ([0-9.]+) to the fabric's underlay", finding.fix) for finding in findings]
    world.document["fabric"]["underlay"] = sorted({f"{found[1]}/32" for found in told if found})
    world.declare()


CUT_OFF = Fault(
    "cut_off",
    "paris is given the space that paris-1's own underlay address is in",
    announce_the_underlay,
    lambda _world: [
        Expected(FABRIC, "overlay-loop", "hub-1/", "inside 192.0.2.20/30 of site paris", UNDERLAY),
        Expected("hub-1", "overlay-loop", "uplink", f"no route leads to {PARIS}, where", UNDERLAY),
    ],
    declare_the_underlay,
)


def lead_into_the_segment(world: DoctorWorld) -> None:
    """Once there is a path: ZeroTier looks for one when there is something to send."""
    far = world.node_id("paris-1")

    def direct() -> bool:
        return world.host("berlin").reaches(host_address("paris")) and far in world.services["berlin-1"].direct()

    world.run.wait_until("berlin-1 has a path to paris-1", direct, 30, lambda: world.services["berlin-1"].get("/peer"))
    do(world, "berlin-1", f"ip route add {PARIS} via {world.overlay['hub-1']}")


OVER_ITSELF = Fault(
    "over_itself",
    "somebody on berlin-1 sets a route to paris-1's underlay address through the segment",
    lead_into_the_segment,
    lambda world: [
        Expected(
            "berlin-1", "overlay-loop", "uplink", f"leads through {world.interface}: ZeroTier over itself", "remove it"
        ),
    ],
    lambda world, _: do(world, "berlin-1", f"ip route del {PARIS}"),
)
