"""Moons: made once, changed when their endpoints do, orbited and let go; the operator's own are left alone."""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path

import pytest

from speaker.plan import MoonPlan
from speaker.zerotier.local import LocalService
from speaker.zerotier.moons import DEFINITION, MoonError, make, orbit, unmake
from tests.speaker.zerotier.fake_service import FakeService

NODE = "456efad81a"
WORLD = f"000000{NODE}"
HERE, MOVED = ("203.0.113.7/9993",), ("198.51.100.7/9993", "2001:db8::7/9993")
HOME = MoonPlan("home", "000000deadbeef42", "deadbeef42")

IDTOOL = f"""#!{sys.executable}
import json, sys
command, argument = sys.argv[1:]
if command == "initmoon":
    node = argument.partition(":")[0]
    print(json.dumps({{"id": node, "objtype": "world", "worldType": "moon", "signingKey": "k",
        "signingKey_SECRET": "s", "updatesMustBeSignedBy": "k",
        "roots": [{{"identity": argument, "stableEndpoints": []}}]}}))
else:
    moon = json.load(open(argument))
    world = moon["id"].rjust(16, "0")
    open(world + ".moon", "w").write(json.dumps({{"id": world, "timestamp": 1, "roots": moon["roots"]}}))
    print("wrote", world + ".moon")
"""


@pytest.fixture
def idtool(tmp_path: Path) -> str:
    path = tmp_path / "zerotier-idtool"
    path.write_text(IDTOOL)
    path.chmod(0o755)
    return str(path)


def broken(path: str, text: str) -> None:
    Path(path).write_text(f"#!/bin/sh\n{text}\n")


def test_a_moon_is_made_once(fake: FakeService, service: LocalService, idtool: str) -> None:
    assert make(service, HERE, idtool) == WORLD
    assert service.moons()[WORLD].endpoints == HERE
    definition = fake.home / DEFINITION
    assert stat.S_IMODE(definition.stat().st_mode) == 0o600
    assert json.loads(definition.read_text())["roots"][0]["stableEndpoints"] == list(HERE)
    before = definition.read_bytes(), (fake.home / "moons.d" / f"{WORLD}.moon").stat().st_mtime_ns
    fake.log.clear()
    broken(idtool, "exit 1")
    assert make(service, HERE, idtool) == WORLD
    assert fake.log == ["GET /status", "GET /moon"]
    assert (definition.read_bytes(), (fake.home / "moons.d" / f"{WORLD}.moon").stat().st_mtime_ns) == before


def test_one_that_moves_keeps_its_key(fake: FakeService, service: LocalService, idtool: str) -> None:
    make(service, HERE, idtool)
    definition = json.loads((fake.home / DEFINITION).read_text()) | {"signingKey_SECRET": "only once"}
    (fake.home / DEFINITION).write_text(json.dumps(definition))
    assert make(service, MOVED, idtool) == WORLD
    assert set(service.moons()[WORLD].endpoints) == set(MOVED)
    assert json.loads((fake.home / DEFINITION).read_text())["signingKey_SECRET"] == "only once"


def test_a_run_that_was_broken_off_goes_on(fake: FakeService, service: LocalService, idtool: str) -> None:
    make(service, HERE, idtool)
    fake.moons.clear()
    (fake.home / "moons.d" / f"{WORLD}.moon").unlink()
    assert make(service, HERE, idtool) == WORLD
    assert service.moons()[WORLD].endpoints == HERE


def test_a_service_with_a_new_identity_is_a_new_moon(fake: FakeService, service: LocalService, idtool: str) -> None:
    make(service, HERE, idtool)
    fake.status |= {"address": "a000000001", "publicIdentity": "a000000001:0:ab"}
    assert make(service, HERE, idtool) == "000000a000000001"
    assert json.loads((fake.home / DEFINITION).read_text())["id"] == "a000000001"


@pytest.mark.parametrize("known", [True, False])
def test_a_moon_of_somebody_else_is_left_alone(
    fake: FakeService, service: LocalService, idtool: str, known: bool
) -> None:
    file = fake.home / "moons.d" / f"{WORLD}.moon"
    file.parent.mkdir()
    file.write_text("theirs")
    if known:
        fake.moons[WORLD] = {"id": WORLD, "roots": []}
    with pytest.raises(MoonError, match="which somebody else made: remove"):
        make(service, HERE, idtool)
    assert file.read_text() == "theirs"
    assert not (fake.home / DEFINITION).exists()
    unmake(service)
    assert (WORLD in fake.moons) is known


def test_one_that_is_no_longer_wanted_ends_and_can_begin_again(
    fake: FakeService, service: LocalService, idtool: str
) -> None:
    make(service, HERE, idtool)
    key = (fake.home / DEFINITION).read_bytes()
    unmake(service)
    assert service.moons() == {}
    unmake(service)
    make(service, HERE, idtool)
    assert (fake.home / DEFINITION).read_bytes() == key


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo no such command >&2; exit 1", "initmoon: no such command"),
        ("echo hello", "printed no definition"),
        ('echo "{}"', "printed no definition"),
    ],
)
def test_an_idtool_that_fails_is_named(service: LocalService, idtool: str, script: str, words: str) -> None:
    broken(idtool, script)
    with pytest.raises(MoonError, match=words):
        make(service, HERE, idtool)
    assert service.moons() == {}


def test_without_idtool_the_way_out_is_named(service: LocalService) -> None:
    with pytest.raises(MoonError, match="no-such-idtool is not installed: it comes with zerotier-one"):
        make(service, HERE, "no-such-idtool")


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_key_that_cannot_be_read_is_never_replaced(
    fake: FakeService, service: LocalService, idtool: str, text: str
) -> None:
    (fake.home / DEFINITION).write_text(text)
    with pytest.raises(MoonError, match=DEFINITION):
        make(service, HERE, idtool)
    assert (fake.home / DEFINITION).read_text() == text


def test_others_orbit_it_and_let_it_go(fake: FakeService, service: LocalService) -> None:
    found = orbit(service, [HOME], ())
    assert found.ours == {HOME.world}
    assert "has not come yet from deadbeef42" in found.problems[0]
    fake.moons[HOME.world] = {"id": HOME.world, "roots": []}
    again = orbit(service, [HOME], found.ours)
    assert (again.ours, again.problems) == ({HOME.world}, [])
    gone = orbit(service, [], again.ours)
    assert (gone.ours, service.moons()) == (frozenset(), {})


def test_what_the_operator_orbits_stays(fake: FakeService, service: LocalService) -> None:
    fake.moons[HOME.world] = {"id": HOME.world, "roots": []}
    assert orbit(service, [HOME], ()).ours == frozenset()
    assert orbit(service, [], ()).ours == frozenset()
    assert HOME.world in fake.moons


def test_a_moon_whose_node_is_not_known_waits(service: LocalService) -> None:
    assert orbit(service, [MoonPlan("home", "", "")], ()).ours == frozenset()
