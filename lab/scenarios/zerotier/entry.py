"""From nothing to a fabric: the segment is made by declaring it, gateways come by keys."""

from __future__ import annotations

import time
from typing import Any

from lab.scenarios.zerotier.world import HUBS, MTU, SEGMENT, SEGMENT6, SETTLED_SECONDS, SPOKES, World
from lab.speakers import STATE_DIR, leyline
from lab.zerotier import HOME

SEGMENT_SECONDS = 20.0
ENROLLED_SECONDS = 60.0


def make_segment(world: World) -> float:
    """The controller runs, the document is applied, and ZeroTier's controller has the network. When it began."""
    run = world.run
    run.step("start the controller and declare the fabric: that makes the network")
    world.stack.start_controller()
    started = time.monotonic()
    world.declare()
    run.wait_until(
        "the segment is as declared", lambda: segment(world)["condition"] == "settled", SEGMENT_SECONDS,
        lambda: segment(world),
    )  # fmt: skip
    run.figure("network_made_seconds", time.monotonic() - started)
    made = world.root.get(f"/controller/network/{world.network}")
    run.expect("it is private", made.get("private") is True, made)
    targets = [(route["target"], route["via"]) for route in made.get("routes", ())]
    segments = [(SEGMENT, None), (SEGMENT6, None)]
    run.expect("its managed routes are the segment, once for each family", sorted(targets) == segments, targets)
    run.expect(f"its MTU is {MTU}", made.get("mtu") == MTU, made.get("mtu"))
    automatic = {**made.get("v4AssignMode", {}), **made.get("v6AssignMode", {})}
    run.expect("it assigns no address by itself", automatic and not any(automatic.values()), automatic)
    return started


def segment(world: World) -> dict[str, Any]:
    answer: dict[str, Any] = world.stack.rest.get("/segment")
    return answer


def enter(world: World) -> None:
    """Hubs wait for an operator's approval, spokes come by keys that approve; each key is used on its gateway."""
    for gateway, site in HUBS.items():
        world.run.step(f"{gateway}: leyline enroll-key create, leyline speaker enroll, leyline gateway approve")
        come(world, gateway, ["--site", site, "--role", "hub"])
    for gateway, site in SPOKES.items():
        world.run.step(f"{gateway}: leyline enroll-key create --approve, leyline speaker enroll")
        come(world, gateway, ["--site", site, "--approve"])
    world.overlay6 = {gateway: world.address(gateway, 6) for gateway in world.gateways}
    world.stack.wait_for_sessions(SETTLED_SECONDS)


def come(world: World, gateway: str, words: list[str]) -> None:
    """As the operators of the controller and of that box do it; until it has its address. Raises Unmet."""
    run = world.run
    key = world.stack.leyline("enroll-key", "create", "--gateways-url", world.stack.url, *words).strip()
    state = ["--state-dir", STATE_DIR]
    command = [*leyline(), "speaker", "enroll", key, "--name", gateway, "--zerotier-home", HOME, *state]
    process = world.node(gateway).start(command, name="enroll")
    if "--approve" not in words:
        run.wait_until(f"{gateway} waits for approval", lambda: waits(world, gateway), 20, process.log.read_text)
        world.stack.leyline("gateway", "approve", gateway)
    run.wait_until(f"{gateway} is enrolled", lambda: not process.alive(), ENROLLED_SECONDS, process.log.read_text)
    said = process.log.read_text()
    run.wait_until(
        f"{gateway} has its addresses in the segment, and its enrolment has said so",
        lambda: world.enrolled(gateway, said), 2, lambda: f"{world.addresses(gateway)}\n{said}",
    )  # fmt: skip
    world.stack.launch(gateway, ["--zerotier-home", HOME])
    world.overlay[gateway] = world.address(gateway)


def waits(world: World, gateway: str) -> bool:
    return gateway in world.stack.leyline("gateway", "pending")
