"""MD5 keys with real packets: a real controller, whole agents, two hubs, and pings that none of it may cost."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.netns.namespaces import Namespace, segment, wait_until
from tests.netns.speakers import ASN, PATIENCE, ROOT, Speaker, address, connections
from tests.netns.test_revocation import PORT, Controller, gateway

pytestmark = pytest.mark.root

HUBS = {"hub-1": 1, "hub-2": 2}
SPOKES = {"left": 3, "right": 4}
GATEWAYS = {**HUBS, **SPOKES}
CONTROLLER = 100
SESSIONS = {"hub-1": 2, "hub-2": 3}
"""That each waits for: hub-1 has the lower address, so it dials hub-2."""
FABRIC: dict[str, Any] = {"name": "demo", "asn": ASN, "segment": "10.42.0.0/16", "permanent_neighbours": False}


def inventory(*, md5: bool) -> dict[str, Any]:
    return {
        "fabric": {**FABRIC, "md5": md5},
        "regions": [{"name": "eu"}],
        "sites": [{"name": name, "region": "eu"} for name in GATEWAYS],
        "allocations": [{"site": name, "prefix": f"20.{number}.0.0/16"} for name, number in SPOKES.items()],
        "prefixes": [{"site": name, "prefix": lan(name)} for name in SPOKES],
        "gateways": [gateway(name, number, "hub" if name in HUBS else "spoke") for name, number in GATEWAYS.items()],
    }


def lan(name: str) -> str:
    return f"20.{SPOKES[name]}.0.0/24"


def host(name: str) -> str:
    return f"20.{SPOKES[name]}.0.1"


class World:
    def __init__(self, members: dict[str, Namespace], place: Path, *, md5: bool) -> None:
        self.members = members
        self.controller = Controller(members["controller"], place)
        self.declare(md5=md5)
        self.speakers = {name: Speaker(members[name], name, place) for name in GATEWAYS}
        for name, speaker in self.speakers.items():
            if name in SPOKES:
                members[name].run("ip", "address", "add", f"{host(name)}/24", "dev", "lo")
            token = place / f"{name}.token"
            token.write_text(self.controller.post(f"/gateways/{name}/token")["token"])
            speaker.start(source=("--controller", f"http://{address(CONTROLLER)}:{PORT}", "--token-file", str(token)))

    def declare(self, *, md5: bool) -> None:
        self.controller.post("/apply", inventory(md5=md5))

    def leyline(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """As an operator on the controller's box."""
        target = ("--url", f"http://127.0.0.1:{PORT}", "--token", str(self.controller.admin))
        inside = ("ip", "netns", "exec", self.controller.name, sys.executable, "-m", "controller.cli")
        command = (*inside, *arguments, *target)
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=200, check=False)

    def keys(self) -> dict[str, Any]:
        return {each["hub"]: each for each in json.loads(self.leyline("fabric", "md5-keys", "--json").stdout)["hubs"]}

    def settled(self) -> bool:
        routes = self.speakers["left"].has([lan("right")]) and self.speakers["right"].has([lan("left")])
        return routes and all(self.count(hub) == SESSIONS[hub] and not self.keys()[hub]["missing"] for hub in HUBS)

    def until_settled(self) -> None:
        wait_until(self.settled, PATIENCE, self.evidence)

    def count(self, hub: str) -> int:
        """Established sessions that it waits for."""
        own = f"{address(HUBS[hub])}:179"
        return sum(near == own for near, _ in connections(self.members[hub]))

    def secret(self, hub: str) -> str:
        """Its key, as the controller has it; "" without."""
        key = self.controller.context.store.md5_keys().get(hub)
        return key.secret if key is not None else ""

    def signed(self, hub: str) -> tuple[int, int]:
        """Of the established sessions that it waits for: how many the kernel signs, and how many by its key."""
        shown = self.members[hub].run("ss", "-tnHi", "state", "established", "sport", "=", ":179")
        secret = self.secret(hub)
        return shown.count("md5keys:"), shown.count(secret) if secret else 0

    def evidence(self) -> str:
        said = self.leyline("fabric", "md5-keys")
        return said.stdout + said.stderr + "\n".join(each.evidence() for each in self.speakers.values())


@dataclass
class Watched:
    """What was seen while the block ran."""

    sent: int = 0
    received: int = 0
    both_down: int = 0  # Looks at which sessions of both hubs were missing.
    down: dict[str, float] = field(default_factory=lambda: dict.fromkeys(HUBS, 0.0))  # Seconds, of each hub.
    looks: int = 0


@contextmanager
def watching(world: World, place: Path) -> Iterator[Watched]:
    """Pings from LAN to LAN every 20 ms, and a look at both hubs' sessions ten times a second or more."""
    found, stop, file = Watched(), threading.Event(), place / "pings"
    with file.open("wb") as output:
        command = ("ping", "-n", "-i", "0.02", "-I", host("left"), host("right"))
        ping = world.members["left"].start(*command, output=output)

    def look() -> None:
        last = time.monotonic()
        while not stop.is_set():
            missing = [hub for hub in HUBS if world.count(hub) < SESSIONS[hub]]
            now = time.monotonic()
            for hub in missing:
                found.down[hub] += now - last
            found.both_down += len(missing) == len(HUBS)
            found.looks += 1
            last = now

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield found
    finally:
        stop.set()
        thread.join()
        world.members["left"].stop(ping, signal.SIGINT)
    said = re.search(r"(\d+) packets transmitted, (\d+) received", file.read_text())
    assert said is not None, file.read_text()[-2000:]
    found.sent, found.received = int(said[1]), int(said[2])


@contextmanager
def made(*, md5: bool) -> Iterator[tuple[World, Path]]:
    addresses = {name: [f"{address(number)}/16"] for name, number in {**GATEWAYS, "controller": CONTROLLER}.items()}
    with TemporaryDirectory(prefix="ll-md5-") as name, segment("md5", addresses) as members:  # type: ignore[arg-type]
        world = World(members, Path(name), md5=md5)
        try:
            world.until_settled()
            yield world, Path(name)
        finally:
            world.controller.close()


def doctor(world: World) -> str:
    """Of hub-1."""
    command = (sys.executable, "-m", "controller.cli", "speaker", "doctor")
    state = world.speakers["hub-1"].state.root
    return world.members["hub-1"].run(*command, "--state-dir", str(state), check=False)


def rotated(world: World, record_property: Any, what: str) -> None:
    """All hubs, by the command."""
    done = world.leyline("fabric", "rotate-md5", "--json")
    assert done.returncode == 0, done.stderr + world.evidence()
    hubs = json.loads(done.stdout)["hubs"]
    assert [(each["hub"], each["sessions"], each["missing"]) for each in hubs] == [("hub-1", 2, []), ("hub-2", 3, [])]
    for each in hubs:
        record_property(f"{what}_{each['hub']}_seconds", each["seconds"])
        print(f"{what}: {each['hub']} back after {each['seconds']} s")


def test_keys_come_change_and_go_hub_by_hub_and_no_packet_is_lost(record_property: Any) -> None:
    with made(md5=False) as (world, place):
        assert world.signed("hub-1") == world.signed("hub-2") == (0, 0)
        used = []
        with watching(world, place) as watched:
            for md5, what in ((True, "first key"), (True, "another key"), (False, "no key")):
                world.declare(md5=md5)
                world.until_settled()
                rotated(world, record_property, what)
                for hub, sessions in SESSIONS.items():
                    assert world.signed(hub) == ((sessions, sessions) if md5 else (0, 0)), (what, hub)
                    used += [world.secret(hub)] if md5 else []
        print(f"{watched}")
        assert len(set(used)) == 4, "one key a hub, and another one each time"
        assert [world.secret(hub) for hub in HUBS] == ["", ""]
        assert watched.looks > 50
        assert watched.both_down == 0
        assert all(seconds > 0 for seconds in watched.down.values()), "the sessions did restart"
        assert watched.sent > 500
        assert watched.received == watched.sent
        logs = "".join(each.log() for each in world.speakers.values())
        assert not [key for key in used if key in logs]
        world.until_settled()
        world.declare(md5=True)
        with watching(world, place) as both:  # What the command is for: by hand, and by force, both go at once.
            for hub in HUBS:
                world.controller.post(f"/gateways/{hub}/rotate-md5?force=true")
            wait_until(lambda: both.both_down > 0, PATIENCE, world.evidence)
            world.until_settled()
        print(f"by force: {both}")
        assert both.received == both.sent, "graceful restart holds the routes all the same"


def test_a_gateway_that_hears_nothing_of_the_key_stops_the_rotation_and_keeps_its_other_hub(
    record_property: Any,
) -> None:
    with made(md5=True) as (world, place):
        assert (world.signed("hub-1"), world.signed("hub-2")) == ((2, 2), (3, 3)), "keys from the first plan on"
        left = world.members["left"]
        with watching(world, place) as watched:
            left.run("ip", "route", "add", "blackhole", f"{address(CONTROLLER)}/32")
            stopped = world.leyline("fabric", "rotate-md5", "--timeout", "15")
            assert stopped.returncode == 1, stopped.stdout
            print(stopped.stdout, stopped.stderr)
            assert "sessions of hub-1 are missing: left has not taken its plan yet" in stopped.stderr
            assert "Not touched: hub-2. Then: leyline fabric rotate-md5 --hub hub-2" in stopped.stderr
            assert (world.count("hub-1"), world.count("hub-2")) == (1, 3)
            refused = world.leyline("fabric", "rotate-md5", "--hub", "hub-2")
            assert refused.returncode == 1
            assert "a new key for hub-2 now may cost gateways their last session" in refused.stderr
            assert re.search(
                r"since boot the kernel has dropped [1-9]\d* TCP segments for their MD5 key", doctor(world)
            )
            left.run("ip", "route", "del", "blackhole", f"{address(CONTROLLER)}/32")
            world.until_settled()
            assert world.leyline("fabric", "rotate-md5", "--hub", "hub-2").returncode == 0, world.evidence()
        print(f"{watched}")
        record_property("hub-1_down_seconds", round(watched.down["hub-1"], 1))
        assert watched.both_down == 0
        assert watched.received == watched.sent > 500
