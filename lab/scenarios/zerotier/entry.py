"""From nothing to a fabric: the segment is made by declaring it, gateways come by keys."""

from __future__ import annotations

import time
from typing import Any

from lab.scenarios.zerotier.world import HUBS, MTU, SEGMENT, SETTLED_SECONDS, SPOKES, World
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
    run.expect("its one managed route is the segment", targets == [(SEGMENT, None)], targets)
    run.expect(f"its MTU is {MTU}", made.get("mtu") == MTU, made.get("mtu"))
    automatic = {**made.get("v4AssignMode", {}), **made.get("v6AssignMode", {})}
    run.expect("it assigns no address by itself", automatic and not any(automatic.values()), automatic)
    return started


def segment(world: World) -> dict[str, Any]:
    answer: dict[str, Any] = world.stack.rest.get("/segment")
    return answer


def enter(world: World) -> None:
    """Every gateway, hubs first: a key is made on the controller's node, and used on the gateway."""
    run = world.run
    for role, gateways in (("hub", HUBS), ("spoke", SPOKES)):
        run.step(f"{', '.join(gateways)}: `leyline enroll-key create`, `leyline speaker enroll`, `leyline speaker run`")
        for gateway, site in gateways.items():
            at = time.monotonic()
            words = ["--site", site, "--role", role, "--approve", "--gateways-url", world.stack.url]
            enroll(world, gateway, world.stack.leyline("enroll-key", "create", *words).strip())
            run.wait_until(
                f"{gateway} has its address in the segment", lambda name=gateway: world.address(name),  # type: ignore[misc]
                ENROLLED_SECONDS, lambda name=gateway: world.services[name].network(world.network), at,
            )  # fmt: skip
            world.overlay[gateway] = world.address(gateway)
    world.stack.wait_for_sessions(SETTLED_SECONDS)


def enroll(world: World, gateway: str, key: str) -> None:
    """As the operator of that box does it. Raises CommandFailed."""
    state = ["--state-dir", STATE_DIR]
    command = [*leyline(), "speaker", "enroll", "-", "--name", gateway, "--zerotier-home", HOME, *state]
    world.node(gateway).run(command, stdin=f"{key}\n")
    world.stack.launch(gateway, ["--zerotier-home", HOME])
