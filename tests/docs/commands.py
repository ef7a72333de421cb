"""Command lines of the docs against the commands themselves: parsed as click would, and not run."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Iterator

import click
from click.exceptions import Exit, NoArgsIsHelpError

from controller.cli import cli

PLACEHOLDERS = {
    "ADDRESS": "10.1.1.7",
    "CLASS": "broadband",
    "COMMAND": "apply",
    "DIR": "inventory",
    "DIRECTORY": "./scenario",
    "FILE": "inventory.yml",
    "FILE.clab.yml": "two.clab.yml",
    "FINGERPRINT": "ab" * 32,
    "GATEWAY": "berlin-1",
    "HUB": "hub-1",
    "ID": "7",
    "KEY": "leyline-key.1.x",
    "KIND": "site",
    "N": "3",
    "NAME": "berlin-1",
    "NETWORK": "8056c2e21c000001",
    "NEW": "bonn",
    "NODE": "a1b2c3d4e5",
    "OLD": "berlin",
    "PREFIX": "10.1.0.0/24",
    "SITE": "berlin",
    "THING": "berlin-1/main",
}


class Untrue(AssertionError):
    """The docs show what the command line refuses."""


def written_out(usage: str) -> Iterator[list[str]]:
    """Every command line that a usage text stands for.

    `[X]` is X or nothing, `A|B` one of them (also as words of their own), `X...` is X; what is in capitals is replaced.
    A redirection is the shell's.
    """
    text = re.sub(r"^(sudo )?(\.venv/bin/)?leyline\b", "", re.sub(r"\s+>\s.*", "", usage)).replace("\\|", "|")
    words = shlex.split(text.replace(" | ", "|"))
    choices = [_choices(word) for word in words if word != "..."]
    for chosen in itertools.product(*choices):
        yield [word for word in chosen if word]


def _choices(word: str) -> list[str]:
    optional = word.startswith("[") and word.endswith("]")
    found = []
    for each in word.strip("[]").split("|"):
        bare = each.removesuffix("...")
        if bare.isupper() or bare in PLACEHOLDERS:
            bare = PLACEHOLDERS[bare]  # A KeyError is a placeholder that nobody has explained to this test.
        found.append(bare)
    return [*found, ""] if optional else found


def parse(arguments: list[str], *, whole: bool = True) -> click.Command:
    """The command that these arguments are for. `whole`: nothing that it needs may be missing. Raises Untrue.

    What is there is judged before what is missing is noticed, so half a command line may be wrong too.
    """
    command: click.Command = cli
    name, rest, parent = "leyline", arguments, None
    while True:
        try:
            context = command.make_context(name, list(rest), parent=parent)
        except (Exit, NoArgsIsHelpError):
            return command  # --help, --version; a group that is named alone.
        except click.MissingParameter as error:
            if whole:
                raise Untrue(f"leyline {shlex.join(arguments)}: {error.format_message()}") from None
            return command
        except click.UsageError as error:
            raise Untrue(f"leyline {shlex.join(arguments)}: {error.format_message()}") from None
        rest = [*context._protected_args, *context.args]
        if not isinstance(command, click.Group) or not rest:
            return command
        try:
            found, resolved, rest = command.resolve_command(context, rest)
        except click.UsageError as error:
            raise Untrue(f"leyline {shlex.join(arguments)}: {error.format_message()}") from None
        assert found is not None
        assert resolved is not None
        name, command, parent = found, resolved, context
