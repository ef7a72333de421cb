from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from speaker.bgp.exabgp.config import Unrenderable, descriptions, listens, render
from speaker.bgp.exabgp.listen import listen_address
from speaker.bgp.exabgp.reconfigure import NEIGHBOR
from tests.speaker.bgp_exabgp.plans import PLANS, TO_HUB, TO_SPOKE, plan_of

GOLDEN = Path(__file__).with_name("golden")
NAMES = sorted(PLANS)
EXABGP = Path(sys.executable).with_name("exabgp")


def rendered(name: str) -> str:
    """With paths that are the same everywhere; ExaBGP looks whether the first is a program."""
    return render(PLANS[name], "/run/leyline/exabgp", "/usr/bin/env", "/usr/lib/leyline/bridge.py")


@pytest.mark.parametrize("name", NAMES)
def test_golden(name: str) -> None:
    file = GOLDEN / f"{name}.conf"
    if os.environ.get("LEYLINE_GOLDEN") == "rewrite":
        file.write_text(rendered(name))
    assert file.read_text() == rendered(name)


def test_golden_files_are_those_of_the_plans() -> None:
    assert sorted(file.stem for file in GOLDEN.glob("*.conf")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_real_exabgp_accepts_every_golden_file(name: str) -> None:
    result = subprocess.run(
        [EXABGP, "validate", "-n", GOLDEN / f"{name}.conf"], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stderr
    assert re.findall("✓ neighbor +(.*)", result.stderr) == [session.peer_address for session in PLANS[name].sessions]


def test_only_a_hub_that_is_called_listens() -> None:
    assert listens(PLANS["hub"]) == "10.42.0.1"
    assert listens(PLANS["spoke"]) is None
    assert listens(plan_of(TO_HUB, role="hub")) is None
    assert listens(plan_of(TO_SPOKE, role="spoke")) is None


def test_the_launcher_reads_the_address_to_listen_on(tmp_path: Path) -> None:
    for name, expected in (("hub", "10.42.0.1"), ("spoke", None)):
        file = tmp_path / name
        file.write_text(rendered(name))
        assert listen_address(str(file)) == expected
    (tmp_path / "junk").write_text("# leyline listen nowhere\n")
    assert listen_address(str(tmp_path / "junk")) is None
    assert listen_address(str(tmp_path / "absent")) is None


@pytest.mark.parametrize(
    "change",
    [
        {"hold_time": 10},
        {"restart_time": 60},
        {"password": "x"},
        {"families": ("ipv4",)},
        {"add_path": False},
        {"passive": True},
        {"local_address": "10.42.0.4"},
        {"peer_asn": 1},
    ],
    ids=lambda change: str(*change),
)
def test_the_description_tells_every_change_of_a_session(change: dict[str, object]) -> None:
    before = descriptions(plan_of(TO_HUB))
    assert descriptions(plan_of(replace(TO_HUB, **change)))["10.42.0.1"] != before["10.42.0.1"]


def test_other_sessions_do_not_change_a_description() -> None:
    alone = descriptions(plan_of(TO_HUB))
    both = descriptions(plan_of(replace(TO_HUB, peer="x", peer_address="10.42.0.7"), TO_HUB))
    assert both["10.42.0.1"] == alone["10.42.0.1"]


def test_the_descriptions_can_be_read_from_the_text() -> None:
    assert dict(NEIGHBOR.findall(rendered("hub"))) == descriptions(PLANS["hub"])


@pytest.mark.parametrize("bad", ['quote"', "quote'", "back\\slash", "new\nline", "unicode é", "tab\t"])
def test_what_exabgp_could_misread_is_refused_by_name(bad: str) -> None:
    with pytest.raises(Unrenderable, match="password of session 'paris-hub'"):
        render(plan_of(replace(TO_HUB, password=bad)), "/run/x", "/usr/bin/python3")
    with pytest.raises(Unrenderable, match="session"):
        render(plan_of(replace(TO_HUB, peer=bad)), "/run/x", "/usr/bin/python3")
    with pytest.raises(Unrenderable, match="path"):
        render(plan_of(TO_HUB), bad, "/usr/bin/python3")
