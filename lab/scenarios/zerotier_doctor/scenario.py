"""Faults that are really made on a network of real ZeroTier: the doctors say what, where and how to fix it, and are
silent when that is done. They are silent before, too."""

from __future__ import annotations

import time
from collections.abc import Sequence

from lab.expect import Run
from lab.scenarios.zerotier.entry import come
from lab.scenarios.zerotier_doctor import boxes, network
from lab.scenarios.zerotier_doctor.doctors import EVERYBODY, Doctors, Expected, Finding, Said, told
from lab.scenarios.zerotier_doctor.fault import Fault
from lab.scenarios.zerotier_doctor.world import GATEWAYS, GUEST, HUBS, SPOKES, DoctorWorld
from lab.zerotier import HOME, missing, version

__all__ = ["EVIDENCE", "missing", "scenario"]

EVIDENCE = {name: {"local.conf": f"cat {HOME}/local.conf"} for name in (*GATEWAYS, "controller")}
SETTLED_SECONDS = 60.0
FOUND_SECONDS = 60.0
SILENT_SECONDS = 300.0
"""Most faults are over in seconds. But members find a controller that comes back when ZeroTier looks for it again."""

ROUNDS: tuple[tuple[Fault, ...], ...] = (
    (boxes.LOCAL_CONF, network.CONTROLLER_GONE, boxes.UDP_BLOCKED, network.EXPIRED),
    (network.NETWORK_MTU, network.NO_CONTROLLER, boxes.OVER_ITSELF),
    (network.RULES, network.NOT_DELIVERED, boxes.CUT_OFF, boxes.SPEAKER_GONE),
    (
        boxes.ROUTES,
        boxes.FOREIGN_ROUTE,
        boxes.NO_FORWARDING,
        boxes.STRICT,
        boxes.INTERFACE_MTU,
        boxes.HUB_FORWARDS_NOTHING,
        boxes.HUB_TAKES_NO_BGP,
        network.TWO_MEMBERS,
        network.BY_HAND,
    ),
)
"""Those of one round are there at the same time, at different places. The last that is made is undone first."""


def scenario(run: Run) -> None:
    world = DoctorWorld(run)
    doctors = Doctors(world)
    try:
        run.step(f"ZeroTier One {version()} on six nodes; a hub and two spokes come by keys, a guest asks to come in")
        settle(world)
        run.step("a healthy network")
        silent(doctors, "nothing is wrong: no doctor finds anything, and each has looked at everything")
        for faults in ROUNDS:
            suffer(doctors, faults)
    finally:
        world.keep_evidence()


def settle(world: DoctorWorld) -> None:
    world.start_services()
    world.stack.start_controller()
    world.declare()
    for gateway, site in {**HUBS, **SPOKES}.items():
        role = ["--role", "hub"] if gateway in HUBS else []
        come(world, gateway, ["--site", site, "--approve", *role])
    world.services[GUEST].post(f"/network/{world.network}", {})
    world.stack.wait_for_sessions(SETTLED_SECONDS)


def silent(doctors: Doctors, what: str) -> None:
    """Every doctor is asked until all have been silent; who has been is not asked again."""
    until = time.monotonic() + SILENT_SECONDS
    loud = doctors.say(EVERYBODY)
    while (loud := {who: said for who, said in loud.items() if not said.silent}) and time.monotonic() < until:
        loud = doctors.say(loud)
    doctors.world.run.expect(f"{what} (within {SILENT_SECONDS:g} s)", not loud, told(loud))


def suffer(doctors: Doctors, faults: Sequence[Fault]) -> None:
    """All at once; each is found, and undone as its finding says; then all is well again."""
    run = doctors.world.run
    made = {}
    for fault in faults:
        run.step(fault.what)
        fault.make(doctors.world)
        made[fault.name] = time.monotonic()
    found = find(doctors, faults, made)
    for fault in reversed(faults):
        run.step(f"{fault.name}: undone as the finding says")
        fault.undo(doctors.world, [found[each] for each in fault.expected(doctors.world) if each in found])
    names = ", ".join(fault.name for fault in faults)
    silent(doctors, f"{names}: no doctor finds anything any more")


def find(doctors: Doctors, faults: Sequence[Fault], made: dict[str, float]) -> dict[Expected, Finding]:
    """What was expected and came in time. `made`: when each was made."""
    run = doctors.world.run
    wanted = {fault.name: fault.expected(doctors.world) for fault in faults}
    found: dict[Expected, Finding] = {}
    said: dict[str, Said] = {}
    until = time.monotonic() + FOUND_SECONDS
    while any(wanted.values()) and time.monotonic() < until:
        said |= doctors.say(dict.fromkeys(each.who for those in wanted.values() for each in those))
        new = {each: fits[0] for those in wanted.values() for each in those if (fits := said[each.who].fitting(each))}
        for name, those in wanted.items():
            wanted[name] = [each for each in those if each not in new]
            if not wanted[name] and name in made:
                run.figure(f"{name}_found_seconds", time.monotonic() - made.pop(name))
        for who in dict.fromkeys(each.who for each in new):
            show(doctors, who, {each: finding for each, finding in new.items() if each.who == who}, said[who])
        found |= new
    for name, those in wanted.items():
        run.expect(f"{name} is found (within {FOUND_SECONDS:g} s)", not those, f"{those}\n{told(said)}")
    return found


def show(doctors: Doctors, who: str, found: dict[Expected, Finding], said: Said) -> None:
    """What was found, and that it is in the table for people, too: now, for some faults do not last."""
    text = doctors.text(who)
    for expected, finding in found.items():
        code = said.code == 1 or finding.level == "warning"
        doctors.world.run.expect(
            f"{who}: {finding.level}: {finding.check}: {finding.where}: {finding.what} | {finding.fix}",
            code and expected.what in text and expected.fix in text, f"exit code {said.code}\n{text}",
        )  # fmt: skip
