"""What operators and ZeroTier get wrong: a file that is overlooked, one that is no JSON, a list without the segment."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from lab.scenarios.zerotier_gateway.world import ALLOWED, LTE, World

OVERLOOKED, BROKEN = "paris-2/main", "berlin-2/main"
NO_JSON = '{"settings": {"primaryPort": 9993,}}'
ELSEWHERE = "allowManaged=10.99.0.0/16\n"
SAID_SECONDS = 60.0
READ_SECONDS = 80.0
"""Overlooked for 25 s, seen at a look each 30 s, read within 10 s."""


def _as_old(path: Path, text: str) -> None:
    """So that the service overlooks it, as it does when a change falls between two of its looks."""
    path.write_text(text)
    os.utime(path, (time.time() - 20, time.time() - 20))


def all_at_once(world: World) -> None:
    run = world.run
    run.step(
        "a service overlooks its local.conf; another file is no JSON; the list of the LTE service misses the segment"
    )
    overlooked, broken = (world.services[key].path("local.conf") for key in (OVERLOOKED, BROKEN))
    good = broken.read_text()
    conf = world.local_conf(OVERLOOKED)
    conf["settings"]["interfacePrefixBlacklist"].append("unused")
    _as_old(overlooked, json.dumps(conf))
    at = time.monotonic()
    _as_old(broken, NO_JSON)
    world.services[LTE].stop()
    world.settings_file(LTE).write_text(ELSEWHERE)
    world.services[LTE].start()
    run.wait_until(
        "the broken file is named", lambda: "local.conf is no JSON" in world.problem(BROKEN), SAID_SECONDS,
        lambda: world.problem(BROKEN),
    )  # fmt: skip
    run.expect("and left as it is", broken.read_text() == NO_JSON, broken.read_text)
    broken.write_text(good)
    said = "allows 10.99.0.0/16: add what holds 10.42.0.26, and restart zerotier-one"
    run.wait_until(
        "the list is named, with what is missing there", lambda: said in world.problem(LTE), SAID_SECONDS,
        lambda: world.problem(LTE),
    )  # fmt: skip
    text = world.settings_file(LTE).read_text()
    run.expect("and left as it is", text == ELSEWHERE, text)
    run.expect("ZeroTier gives no address that the list leaves out", not world.addresses(LTE), world.addresses(LTE))
    world.services[LTE].stop()
    world.settings_file(LTE).write_text(f"allowManaged={ALLOWED}\n")
    world.services[LTE].start()

    def in_force() -> bool:
        config = world.services[OVERLOOKED].get("/status").get("config", {})
        return "unused" in config.get("settings", {}).get("interfacePrefixBlacklist", ())

    taken = run.wait_until("what was overlooked is in force without a restart", in_force, READ_SECONDS, since=at)
    run.figure("overlooked_to_in_force_seconds", taken)
    run.wait_until("the LTE has its address again", lambda: world.addresses(LTE) == ["10.42.0.26"], 30)
