"""The speaker's options: what reaches the agent, and what is refused at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from speaker import commands, supervise


def settings(*homes: str, place: Path) -> Any:
    hidden = ("audit_seconds", "break_before_make", "removal_seconds")
    options = dict.fromkeys(("controller", "token_file", "cacert", "metrics", *hidden))
    return commands._settings(place, "berlin-1", plan=place / "plan.json", zerotier_home=homes, **options)


def test_homes_of_zerotier_services(tmp_path: Path) -> None:
    assert settings(place=tmp_path).zerotier == (("", Path("/var/lib/zerotier-one")),)
    assert settings("/a", "lte=/b", place=tmp_path).zerotier == (("", Path("/a")), ("lte", Path("/b")))


@pytest.mark.parametrize(("homes", "words"), [(("lte=",), "write DIR, or UPLINK=DIR"), (("/a", "x=/a"), "named twice")])
def test_homes_that_make_no_sense(homes: tuple[str, ...], words: str, tmp_path: Path) -> None:
    with pytest.raises(click.BadParameter, match=words):
        settings(*homes, place=tmp_path)


def test_run_hands_every_home_to_the_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    async def supervised(_: Any, processes: Any) -> None:
        seen.extend(processes)

    monkeypatch.setattr(supervise, "supervise", supervised)
    arguments = ["run", "--gateway", "berlin-1", "--plan", "plan.json", "--state-dir", str(tmp_path)]
    arguments += ["--zerotier-home", "/a", "--zerotier-home", "lte=/b"]
    result = CliRunner().invoke(commands.speaker, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    command = seen[0].command
    assert [each for each in command if "zerotier" in each] == ["--zerotier-home=/a", "--zerotier-home=lte=/b"]
    assert "--plan=plan.json" in command


def test_homes_come_from_the_environment_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr("speaker.agent.main.main", seen.append)
    monkeypatch.setenv("LEYLINE_ZEROTIER_HOMES", "/a lte=/b")
    arguments = ["agent", "--gateway", "berlin-1", "--plan", "plan.json", "--state-dir", str(tmp_path)]
    assert CliRunner().invoke(commands.speaker, arguments, catch_exceptions=False).exit_code == 0
    assert seen[0].zerotier == (("", Path("/a")), ("lte", Path("/b")))
