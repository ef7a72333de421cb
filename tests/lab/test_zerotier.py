"""Finding ZeroTier One on this machine, without having any. What its services do is in the scenario `zerotier`."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest

from lab import zerotier
from lab.labs import LabError
from lab.scenarios.zerotier import world

IDENTITY = f"62f865ae71:0:{'ab' * 64}:{'5a' * 64}"


@pytest.fixture
def pretender(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program that answers as far as the questions need."""
    path = tmp_path / "zerotier-one"
    path.write_text(f'#!/bin/sh\n[ "$1" = -v ] && echo 1.14.1 && exit\n[ "$1" = -i ] && printf {IDENTITY}\n')
    path.chmod(0o755)
    monkeypatch.setenv(zerotier.VARIABLE, str(path))
    return path


def test_without_the_program_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(zerotier.VARIABLE, raising=False)
    assert zerotier.missing() == (
        "no zerotier-one in PATH, and LEYLINE_ZEROTIER_ONE is not set: "
        "install ZeroTier One, or name the program of a build of your own"
    )
    with pytest.raises(LabError, match="install ZeroTier One"):
        zerotier.new_identity()


def test_a_named_program_that_is_none_is_said_to_be_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(zerotier.VARIABLE, str(tmp_path / "nothing"))
    assert zerotier.missing().startswith(f"LEYLINE_ZEROTIER_ONE={tmp_path}/nothing is no program: ")


def test_the_named_program_is_asked_for_version_and_identity(pretender: Path) -> None:
    assert zerotier.program() == pretender.resolve()
    assert zerotier.version() == "1.14.1"
    assert zerotier.new_identity().node_id == "62f865ae71"


def test_what_is_found_in_path_is_used_when_nothing_is_named(pretender: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(zerotier.VARIABLE)
    monkeypatch.setenv("PATH", str(pretender.parent), prepend=":")
    assert zerotier.program() == pretender.resolve()


def test_what_the_program_says_when_it_fails_is_shown(pretender: Path) -> None:
    pretender.write_text("#!/bin/sh\necho no luck >&2\nexit 3\n")
    with pytest.raises(LabError, match="-v: no luck"):
        zerotier.version()


def test_the_scenario_declares_a_thousand_prefixes_for_every_kernel() -> None:
    everything = {site: world.prefixes(site) for site in world.SITES}
    assert len({prefix for each in everything.values() for prefix in each}) == world.PREFIXES * len(world.SITES)
    assert world.PREFIXES * (len(world.SITES) - 1) >= 1000


def test_the_scenario_has_both_families_everywhere() -> None:
    document = world.document("62f865ae71000001")
    for kind in ("allocations", "prefixes"):
        for site in world.SITES:
            there = [ip_network(each["prefix"]).version for each in document[kind] if each["site"] == site]
            assert set(there) == {4, 6}
    assert document["fabric"]["segment6"] == world.SEGMENT6
