"""Every command line in README.md and docs/*.md is one that the program takes."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from controller.cli import BUILTINS, load_builtin
from lab import runner
from tests.bench.__main__ import BENCHES
from tests.docs.commands import Untrue, parse, written_out
from tests.docs.pages import PAGES, ROOT, command_lines, inline, rows

OURS = re.compile(r"(sudo )?(\.venv/bin/)?leyline(?= |$)")
SHOWN = sorted({(page, line) for page in PAGES for line in command_lines(page)})
MENTIONED = sorted({(page, code) for page in PAGES for code in inline(page)})
TOLD = [(page, code) for page, code in MENTIONED if OURS.match(code)]
OTHERS = ("make", "python3", "vtysh", "ip", "nft", "pip", "modprobe", "eval", "kill", "alembic", "python")


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What example commands name, so that click finds it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "inventory").mkdir()
    for name in ("inventory.yml", "rule.yml", "rules.yml", "tls.pem", "key.pem"):
        (tmp_path / name).touch()
    for name in [each for each in os.environ if each.startswith("LEYLINE_")]:
        monkeypatch.delenv(name)


def ids(cases: list[tuple[str, str]]) -> list[str]:
    return [f"{page}: {text}" for page, text in cases]


@pytest.mark.parametrize(("page", "line"), SHOWN, ids=ids(SHOWN))
def test_a_command_in_a_block_can_be_typed(page: str, line: str) -> None:
    if OURS.match(line):
        for arguments in written_out(line):
            parse(arguments)
            names_a_scenario(arguments)
    else:
        assert shlex.split(line)[0] in OTHERS, f"{page} shows a command that no test knows: {line}"


@pytest.mark.parametrize(("page", "code"), TOLD, ids=ids(TOLD))
def test_a_command_in_the_prose_exists_with_what_it_is_given(page: str, code: str) -> None:
    """It may lack something, as `leyline apply --dry-run` does: what is there must be right."""
    del page
    for arguments in written_out(code):
        parse(arguments, whole=False)
        names_a_scenario(arguments)


def names_a_scenario(arguments: list[str]) -> None:
    if arguments[:2] == ["lab", "run"]:
        named = [word for word in arguments[2:] if not word.startswith("-") and not word.isdigit() and "/" not in word]
        assert set(named) <= set(runner.names())


def test_the_table_of_commands_is_of_commands_that_exist() -> None:
    """In a cell the first command is whole, and others continue it: `use NAME` after `leyline context list`."""
    cells = [re.findall(r"`([^`]+)`", cell) for cell, _ in rows("cli.md", "command")]
    assert len(cells) > 15
    for first, *others in cells:
        path = re.match(r"leyline( [a-z][a-z-]*)*", first)
        assert path is not None
        for arguments in written_out(first):
            parse(arguments)
        for other in others:
            before = path[0] if other.startswith("-") else path[0].rpartition(" ")[0]
            for arguments in written_out(f"{before} {other}"):
                parse(arguments)


@pytest.mark.parametrize("page", PAGES)
def test_an_option_in_the_prose_is_an_option_of_some_command(page: str) -> None:
    theirs = {"dependencies.md": {"--strict"}}.get(page, set())  # mypy's.
    named = {code.split()[0] for code in inline(page) if re.match(r"--[a-z]", code)}
    assert named - theirs <= every_option() | {"--help", "--version"}


def every_option() -> set[str]:
    found: set[str] = set()
    waiting = [load_builtin(name) for name in BUILTINS]
    while waiting:
        command = waiting.pop()
        found |= {word for option in command.params if isinstance(option, click.Option) for word in option.opts}
        waiting += command.commands.values() if isinstance(command, click.Group) else ()
    return found


@pytest.mark.parametrize("page", PAGES)
def test_an_environment_variable_is_one_that_is_read(page: str) -> None:
    named = set(re.findall(r"\bLEYLINE_[A-Z_]+\b", PAGES[page]))
    sources = [path for part in ("controller", "speaker", "lab") for path in (ROOT / part).rglob("*.py")]
    read = {name for path in sources for name in re.findall(r"\bLEYLINE_[A-Z_]+\b", path.read_text())}
    assert named <= read


@pytest.mark.parametrize("word", ["explain", "whatif", "client-config", "--force-assertions"])
def test_what_intent_brings_is_in_the_page_of_the_command(word: str) -> None:
    assert re.search(rf"`[^`]*(?<![\w-]){word}(?![\w-])[^`]*`", PAGES["cli.md"])


def test_what_make_is_told_to_make_can_be_made() -> None:
    makefile = (ROOT / "Makefile").read_text()
    lines = {text for _, text in (*SHOWN, *MENTIONED) if text.startswith("make ")}
    assert len(lines) > 5
    for line in lines:
        _, target, *variables = line.split()
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), line
        assert {name.partition("=")[0] for name in variables} <= {"ONLY"}
    for page, text in PAGES.items():
        assert set(re.findall(r"\bONLY=(\w+)", text)) <= set(BENCHES), page


def test_modules_that_are_run_exist() -> None:
    modules = [words[2] for words in (text.split() for _, text in MENTIONED) if words[:2] == ["python", "-m"]]
    assert modules
    assert [module for module in modules if importlib.util.find_spec(module) is None] == []


def test_the_console_of_communities_says_what_python_says() -> None:
    (command,) = command_lines("communities.md")
    (_, code) = shlex.split(command)[1:]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert f"$ {command}\n{done.stdout}```" in PAGES["communities.md"]


def test_the_kernels_modules_are_those_that_the_speaker_asks_for() -> None:
    (command,) = [code for code in inline("liveness.md") if code.startswith("modprobe")]
    _, every, *modules = command.split()
    assert every == "-a", "without it all but the first are parameters of the first"
    asked = re.findall(r"here: modprobe (\w+)|labels: modprobe (\w+)", (ROOT / "speaker/kernel/mpls.py").read_text())
    assert modules == [first or second for first, second in asked]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_comes_as_the_page_says(shell: str) -> None:
    assert f"`{shell}_source`" in PAGES["cli.md"] or f"={shell}_source leyline" in PAGES["cli.md"]
    code = "from controller.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "_LEYLINE_COMPLETE": f"{shell}_source", "PYTHONPATH": str(ROOT)},
    )
    assert (done.returncode, "_LEYLINE_COMPLETE" in done.stdout) == (0, True), done.stderr


@pytest.mark.parametrize(
    "line",
    [
        "leyline whatiff --fail berlin-1",
        "leyline whatif --fails berlin-1",
        "leyline client-config partner --format ios",
        "leyline explain --from berlin",
        "leyline show liveness GATEWAY twice",
        "leyline lab run --runs none demo",
    ],
)
def test_what_the_program_does_not_take_is_found(line: str) -> None:
    for arguments in written_out(line):
        with pytest.raises(Untrue):
            parse(arguments)
