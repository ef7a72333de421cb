"""Faults of the network: its rules, its controller, its MTU, its addresses; and of what the controller lets in."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace

from lab.scenarios.zerotier_doctor import stand_in
from lab.scenarios.zerotier_doctor.doctors import FABRIC, Expected, Finding
from lab.scenarios.zerotier_doctor.fault import Fault, do, synchronise
from lab.scenarios.zerotier_doctor.world import GUEST, MTU, WRONG_MTU, DoctorWorld
from lab.speakers import STATE_DIR, leyline
from lab.stack import DATABASE
from lab.zerotier import HOME, PORT

STAND_IN_PORT = 9990
IPAUTH = 1 << 60

# Rules of the network


def drop_not_ipauth(world: DoctorWorld) -> None:
    rules = [
        {"type": "MATCH_CHARACTERISTICS", "mask": f"{IPAUTH:016x}", "not": True, "or": False},
        {"type": "ACTION_DROP"},
        {"type": "ACTION_ACCEPT"},
    ]
    world.keeper.post(f"/controller/network/{world.network}", {"rules": rules})
    synchronise(world)


def own_the_rules(world: DoctorWorld, _findings: Sequence[Finding]) -> None:
    world.document["fabric"]["segment_rules"] = "owned"
    world.declare()
    synchronise(world)


RULES = Fault(
    "rules",
    "`drop not chr ipauth` is written into the network's rules, past Leyline",
    drop_not_ipauth,
    lambda world: [
        Expected(
            FABRIC, "network-rules", f"network {world.network}", "that is all routed traffic", "segment_rules: owned"
        ),
        Expected("berlin-1", "network-rules", "towards hub-1", "and not 10.1.0.1", "`drop not chr ipauth`"),
    ],
    own_the_rules,
)


# The network's controller


def lead_aside(world: DoctorWorld, how: dict[str, object]) -> None:
    """Whoever talks to the ZeroTier service of the controller's node talks to a stand-in; those who do already, too."""
    node = world.node("controller")
    command = [sys.executable, stand_in.__file__, str(STAND_IN_PORT), str(PORT), json.dumps(how)]
    world.stand_in = node.start(command, name="stand-in")
    there = replace(world.keeper, port=STAND_IN_PORT, process=None)
    world.run.wait_until("the stand-in answers", there.answers, 20, world.stand_in.log.read_text)
    others = f"ip daddr 127.0.0.1 tcp dport {PORT} meta mark != {stand_in.MARK}"
    aside = f"chain aside {{ type nat hook output priority -100; {others} redirect to :{STAND_IN_PORT}; }}"
    old = f"chain old {{ type filter hook output priority 0; {others} reject with tcp reset; }}"
    node.run(["nft", "-f", "-"], stdin=f"table ip lab {{\n{aside}\n{old}\n}}")
    synchronise(world)  # On a connection that was there before it fails.


def lead_back(world: DoctorWorld) -> None:
    world.node("controller").run(["nft", "delete", "table", "ip", "lab"])
    if world.stand_in is not None:
        world.stand_in.kill(signal.SIGTERM)
        world.stand_in.wait(5)
    synchronise(world)  # As above.
    synchronise(world)


def without_controller(world: DoctorWorld) -> None:
    lead_aside(world, {"controller": False})
    synchronise(world)


NO_CONTROLLER = Fault(
    "no_controller",
    "the ZeroTier service is a build without a controller: /controller is 404",
    without_controller,
    lambda world: [
        Expected(FABRIC, "segment", f"network {world.network}", "is a ZeroTier node without a controller", "names"),
    ],
    lambda world, _: lead_back(world),
)


def kill_controller(world: DoctorWorld) -> None:
    assert world.keeper.process is not None
    world.keeper.process.kill(signal.SIGKILL)
    world.keeper.process.wait(5)
    synchronise(world)


def start_controller(world: DoctorWorld, _findings: Sequence[Finding]) -> None:
    world.keeper.start()
    world.run.wait_until("the network's controller answers", world.keeper.answers, 20)
    synchronise(world)


CONTROLLER_GONE = Fault(
    "controller_gone",
    "zerotier-one of the network's controller is killed",
    kill_controller,
    lambda world: [
        Expected(FABRIC, "segment", f"network {world.network}", f"127.0.0.1:{PORT}", "segment sync"),
        Expected("hub-1", "service", "uplink", f"{world.network[:10]} has not been heard for", "runs"),
    ],
    start_controller,
)


def store_and_not_deliver(world: DoctorWorld) -> None:
    lead_aside(world, {"network": {"mtu": MTU}})
    world.keeper.post(f"/controller/network/{world.network}", {"mtu": WRONG_MTU})
    synchronise(world)


NOT_DELIVERED = Fault(
    "not_delivered",
    f"the API says MTU {MTU} as it was written, and members are told {WRONG_MTU}",
    store_and_not_deliver,
    lambda _world: [
        Expected("berlin-1", "mtu", "uplink", f"network's MTU is {WRONG_MTU}, and the plan says {MTU}", "segment sync"),
        Expected(FABRIC, "delivery", "berlin-1/", f"{WRONG_MTU}", "restart zerotier-one"),
    ],
    lambda world, _: lead_back(world),
)


# MTU of the network


def wrong_mtu(world: DoctorWorld) -> None:
    synchronise(world)  # So that the next pass, which puts it right, is a minute away.
    world.keeper.post(f"/controller/network/{world.network}", {"mtu": WRONG_MTU})


NETWORK_MTU = Fault(
    "network_mtu",
    f"an MTU of {WRONG_MTU} is written into the network",
    wrong_mtu,
    lambda _world: [
        Expected(each, "mtu", "uplink", f"network's MTU is {WRONG_MTU}, and the plan says {MTU}", "segment sync")
        for each in ("hub-1", "berlin-1", "paris-1")
    ],
    lambda world, _: synchronise(world),
)


# Addresses


def give_berlins_address_to_the_guest(world: DoctorWorld) -> None:
    world.keeper.post(world.member(GUEST), {"authorized": True, "ipAssignments": [world.overlay["berlin-1"]]})
    synchronise(world)


def take_it_from_the_guest(world: DoctorWorld, _findings: Sequence[Finding]) -> None:
    world.keeper.post(world.member(GUEST), {"ipAssignments": []})
    synchronise(world)


TWO_MEMBERS = Fault(
    "two_members",
    "ZeroTier gives berlin-1's address to the guest, too",
    give_berlins_address_to_the_guest,
    lambda world: [
        Expected(FABRIC, "address", "berlin-1/", f"{world.overlay['berlin-1']} is also member {world.node_id(GUEST)}'s",
                 f"take it from {world.node_id(GUEST)} in ZeroTier"),
        Expected("berlin-1", "address", "uplink", f"which is node {world.node_id(GUEST)}: a duplicate", "take it from"),
    ],
    take_it_from_the_guest,
)  # fmt: skip
BY_HAND = Fault(
    "by_hand",
    "somebody gives the guest's interface paris-1's address by hand",
    lambda world: do(world, GUEST, f"ip address add {world.overlay['paris-1']}/32 dev {world.interface}"),
    lambda world: [
        Expected(
            "paris-1", "address", "uplink", f"which is node {world.node_id(GUEST)}: a duplicate", "ip address del"
        ),
    ],
    lambda world, _: do(world, GUEST, f"ip address del {world.overlay['paris-1']}/32 dev {world.interface}"),
)


# Tokens


def age_the_token(world: DoctorWorld) -> None:
    """90 days go by."""
    script = (
        "import sqlite3, sys, time; base = sqlite3.connect(sys.argv[1], timeout=20); "
        "base.execute('UPDATE tokens SET expires_at = ? WHERE gateway = ?', (time.time() - 60, sys.argv[2]));"
        "base.commit()"
    )
    database = DATABASE.removeprefix("sqlite:///")
    world.node("controller").run([sys.executable, "-c", script, database, "berlin-1"])


def enrol_again(world: DoctorWorld, findings: Sequence[Finding]) -> None:
    for finding in findings[:1]:
        create = finding.fix.partition(",")[0].removeprefix("leyline ").split()
        key = world.stack.leyline(*create, "--gateways-url", world.stack.url).strip()
        enroll = ["speaker", "enroll", key, "--zerotier-home", HOME, "--state-dir", STATE_DIR]
        world.node("berlin-1").run([*leyline(), *enroll])
        world.stack.kill("berlin-1", "agent")  # Its supervisor starts it again.


EXPIRED = Fault(
    "token_expired",
    "berlin-1's token has expired",
    age_the_token,
    lambda _world: [
        Expected(
            "berlin-1", "keys", "token", "accept the token (401)", "leyline enroll-key create --gateway berlin-1,"
        ),
        Expected(FABRIC, "keys", "berlin-1", "its last token is expired", "enroll-key create --gateway berlin-1,"),
    ],
    enrol_again,
)
