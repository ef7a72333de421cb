"""docs/migration.md, walked by its user: the commands are those of cutover.txt, in its order."""

from __future__ import annotations

import re
import time
from collections import Counter
from copy import deepcopy
from typing import Any

from controller.inventory.yaml import dump_yaml
from controller.inventory.yaml_reader import read_yaml
from lab.scenarios.zerotier_import.world import GATEWAYS, OPTIONS, ROUTES, UNDERLAY, World
from lab.stack import TOKEN_FILE
from lab.zerotier import HOME

PLACE = "/run/migration"
INVENTORY = f"{PLACE}/inventory.yml"
SESSION_SECONDS = 60.0
VALIDATE, APPLY, TOKEN = "leyline validate inventory.yml", "leyline apply inventory.yml", "leyline gateway token "
ADOPT_MEMBERS, ADOPT_NETWORK = "leyline segment adopt --every", "leyline segment adopt --network"
COMMENT = re.compile(r"\s+# .*")


def read_the_network(world: World) -> list[str]:
    """`leyline import zerotier`, and the answers to what it asks; the command lines of the plan."""
    run = world.run
    world.step("leyline import zerotier: an inventory and a plan")
    world.shell(f"leyline import zerotier {world.network} {' '.join(OPTIONS)} --into {PLACE}", "/run")
    run.expect("it has changed nothing", world.managed() == set(ROUTES), world.managed())
    text = world.stack.controller.out(["cat", INVENTORY])
    run.expect(
        "it asks about the dead route, and about what hosts would lose",
        "no member has 10.42.0.99" in text and "summary-split" in text, text,
    )  # fmt: skip
    answer(world)
    return re.findall(r"^   run:  (.*)$", world.stack.controller.out(["cat", f"{PLACE}/cutover.txt"]), re.M)


def answer(world: World, **fabric: Any) -> None:
    """The file, with the operator's word in it."""
    document = read_yaml(world.stack.controller.out(["cat", INVENTORY]), INVENTORY)[0]
    world.stack.controller.write(INVENTORY, dump_yaml(answered(document, **fabric)))


def answered(document: Any, **fabric: Any) -> dict[str, Any]:
    """Both gateways of berlin have its LAN, berlin owns more than that, and this is what ZeroTier runs over."""
    found: dict[str, Any] = deepcopy(dict(document))
    found["fabric"] |= {"underlay": [UNDERLAY], **fabric}
    for prefix in found["prefixes"]:
        prefix.pop("gateways", None)
    for allocation in found["allocations"]:
        if allocation["prefix"].startswith("10.1."):
            allocation["prefix"] = "10.1.0.0/16"
    return found


def prepare(world: World, lines: list[str]) -> None:
    world.step("the controller starts, and the inventory is applied")
    run_all(world, lines, VALIDATE)
    world.stack.start_controller()
    run_all(world, lines[: lines.index(APPLY) + 1], "leyline apply")
    run = world.run
    run.wait_until("the network is held", lambda: world.segment()["condition"] == "held", 20, world.segment)
    run.expect("managed routes are as they were", world.managed() == set(ROUTES), world.managed())
    left = world.check()
    states = Counter(each["state"] for each in left["routes"])
    run.expect("the check: BGP has none of them yet", states["waiting"] and not states["announced"], left)
    tell(world, "inventory applied")


def run_all(world: World, lines: list[str], beginning: str) -> None:
    for line in lines:
        if line.startswith(beginning):
            world.shell(COMMENT.sub("", line), PLACE)


def start_speakers(world: World, lines: list[str]) -> None:
    """One gateway after another, in the order of the plan."""
    run = world.run
    tokens = [line for line in lines if line.startswith(TOKEN)]
    run.expect("the plan has a step for each gateway", len(tokens) == len(GATEWAYS), tokens)
    for line in tokens:
        gateway = COMMENT.sub("", line).split()[-1]
        world.step(f"{gateway}: its speaker starts beside the managed routes")
        world.node(gateway).write(TOKEN_FILE, world.shell(COMMENT.sub("", line), PLACE).strip())
        more = ["--controller", world.stack.url, "--token-file", TOKEN_FILE, "--zerotier-home", HOME]
        world.stack.launch(gateway, more)
        run.wait_until(
            f"{gateway}: its sessions with started gateways are up, all kernels converged", lambda: not behind(world),
            SESSION_SECONDS, lambda: f"{behind(world)}\n{world.stack.unsettled()}",
        )  # fmt: skip
        tell(world, f"{gateway} speaks BGP")
    run.wait_until(
        "BGP's routes win over managed ones in every kernel", lambda: not world.not_by_bgp(), 30, world.not_by_bgp
    )
    kernels = {name: world.in_kernel(name) for name in GATEWAYS}
    fewest = min(map(len, kernels.values()))
    run.expect(f"the managed ones still stand beneath ({fewest} and more)", fewest >= len(ROUTES) - 4, kernels)
    run.wait_until(
        "the check: BGP has all that is declared",
        lambda: not waiting(world),
        30,
        world.check,
    )


def behind(world: World) -> list[str]:
    """Started gateways that are not there yet."""
    found = []
    for name in world.stack.speakers:
        report = world.stack.report(name)
        down = [each["peer"] for each in report.get("sessions", ()) if each["state"] == "down"]
        if not report or not report["converged"] or any(peer in world.stack.speakers for peer in down):
            found.append(f"{name}: down {down}")
    return found


def adopt(world: World, lines: list[str]) -> None:
    """Members, then the network: that takes the managed routes away."""
    run = world.run
    world.step("leyline segment adopt --every")
    run_all(world, lines, ADOPT_MEMBERS)
    run.wait_until("no member is held", lambda: not world.segment()["held"]["total"], 20, world.segment)
    before = world.managed()
    world.step("leyline segment adopt --network: managed routes go")
    at = time.monotonic()
    run_all(world, lines, ADOPT_NETWORK)
    steps = watch(world, before)
    run.figure("adoption_seconds", time.monotonic() - at)
    run.expect(f"they went one at a time, in {len(steps)} steps", all(each <= 1 for each in steps), steps)
    left = world.managed()
    wanted = {(each["prefix"], each["via"]) for each in world.segment()["summaries"]["items"]}
    run.expect(f"what is left is Leyline's own, for hosts: {sorted(left)}", left == wanted, wanted)
    gone = {route for route in before if route not in left}
    run.wait_until(
        "and so it is in every kernel", lambda: not any(gone & world.in_kernel(name) for name in GATEWAYS), 30,
        lambda: {name: world.in_kernel(name) for name in GATEWAYS},
    )  # fmt: skip


def watch(world: World, before: set[tuple[str, str]]) -> list[int]:
    """How many routes went at each step that ZeroTier's controller was seen to take; until it is as declared."""
    steps: list[int] = []
    seen = before

    def done() -> bool:
        nonlocal seen
        now = world.managed()
        if gone := seen - now:
            steps.append(len(gone))
        seen = now
        return bool(world.segment()["condition"] == "settled")

    world.run.wait_until("the network is as declared", done, 90, world.segment)
    return steps


def finish(world: World) -> None:
    run = world.run
    world.step("leyline apply, with guard_default: true")
    answer(world, guard_default=True)
    world.shell(APPLY, PLACE)
    run.wait_until("every kernel has it", lambda: not world.stack.unsettled(), 30, world.stack.unsettled)
    run.wait_until("the check: nothing is left", lambda: world.check()["done"], 30, world.check)
    tell(world, "the end")


def waiting(world: World) -> list[object]:
    return [each for each in world.check()["routes"] if each["state"] == "waiting"]


def tell(world: World, stage: str) -> dict[str, int]:
    """What the check says, for the table of stages; state -> routes."""
    found = world.check()
    states = dict(Counter(each["state"] for each in found["routes"]))
    world.left.append(
        (stage, *(states.get(each, 0) for each in ("waiting", "announced", "undeclared")), len(found["kept"]))
    )
    return states
