"""Help everywhere: every command has an example, docs/cli.md knows every command and every exit code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import controller.cli
from controller.cli import BUILTINS, cli, load_builtin

CLI_MD = (Path(__file__).resolve().parents[3] / "docs" / "cli.md").read_text()


def walk(path: tuple[str, ...], command: click.Command) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name, sub in command.commands.items():
            if not sub.hidden:
                yield from walk((*path, name), sub)


EVERY = [each for name in BUILTINS for each in walk((name,), load_builtin(name))]


@pytest.mark.parametrize(("path", "command"), EVERY, ids=[" ".join(path) for path, _ in EVERY])
def test_every_command_has_help_with_an_example(path: tuple[str, ...], command: click.Command) -> None:
    done = CliRunner().invoke(cli, [*path, "--help"])
    assert done.exit_code == 0, done.output
    found = re.search(r"\n  Examples?:\n    (?:sudo )?leyline ([^\n]+)", done.stdout)
    assert found is not None, done.stdout
    assert found[1].startswith(path[0]), "the example is of another command"
    assert command.get_short_help_str(), path


@pytest.mark.parametrize("path", [path for path, _ in EVERY if not BUILTINS[path[0]].extra], ids=" ".join)
def test_docs_know_every_command_of_operators(path: tuple[str, ...]) -> None:
    rows = [row for row in CLI_MD.splitlines() if row.startswith(f"| `leyline {path[0]}")]
    assert any(all(re.search(rf"\b{word}\b", row) for word in path) for row in rows), path


def test_exit_codes_are_the_same_in_help_docs_and_code() -> None:
    in_code = {
        value
        for name, value in vars(controller.cli).items()
        if re.fullmatch(r"EXIT_[A-Z]+(_[A-Z]+)?", name) and isinstance(value, int)
    }
    in_help = {
        int(code) for code in re.findall(r"^ +(\d+)  \S", CliRunner().invoke(cli, ["--help"]).stdout, re.MULTILINE)
    }
    in_docs = {int(code) for code in re.findall(r"^\| (\d+) \|", CLI_MD, re.MULTILINE)}
    assert in_help == in_docs == in_code | {0, 2}  # 2 is click's.


def test_every_option_says_what_it_is_for() -> None:
    silent = [
        f"{' '.join(path)} {option.opts[0]}"
        for path, command in EVERY
        if not BUILTINS[path[0]].extra
        for option in command.params
        if isinstance(option, click.Option) and not option.help
    ]
    assert silent == []
