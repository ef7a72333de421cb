"""What every command that talks to a controller shares: its options, and how failures end it."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from controller.client import config as config_file
from controller.client.config import ConfigUnusable
from controller.client.errors import CommandFailed, NoController, Refused
from controller.client.tables import print_json
from controller.client.target import Flags, NoTarget, Target, is_loopback, resolve

if TYPE_CHECKING:
    from controller.client.http import Controller

Function = TypeVar("Function", bound=Callable[..., Any])


def json_option(function: Function) -> Function:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs, instead of tables.")(
        function
    )


def connection_options(function: Function) -> Function:
    """--url, --token, --context, --cacert. Environment variables are read by `resolve`, which knows the order."""
    for option in reversed(
        [
            click.option("--url", metavar="URL", help="The controller's URL.  [env: LEYLINE_URL]"),
            click.option(
                "--token",
                metavar="TOKEN",
                help="Your token; others on this machine may see it: prefer leyline login.  [env: LEYLINE_TOKEN]",
            ),
            click.option("--context", metavar="NAME", help="A controller stored by login.  [env: LEYLINE_CONTEXT]"),
            click.option(
                "--cacert",
                "ca_file",
                metavar="FILE",
                type=click.Path(exists=True, dir_okay=False),
                help="Trust only the CAs in this PEM file.  [env: LEYLINE_CACERT]",
            ),
        ]
    ):
        function = option(function)
    return function


def talks(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command the connection options, and a `Controller` as its first argument."""

    @functools.wraps(function)
    def command(
        *args: Any, url: str | None, token: str | None, context: str | None, ca_file: str | None, **rest: Any
    ) -> None:
        target = find_target(Flags(url, token, context, ca_file))
        with connect(target) as controller:
            try:
                function(controller, *args, **rest)
            except Refused as error:
                if rest.get("as_json"):
                    print_json(error.problem)
                raise

    return connection_options(command)


def find_target(flags: Flags) -> Target:
    """The target of this command line. Raises click.UsageError and CommandFailed."""
    path = config_file.config_path()
    try:
        target = resolve(flags, os.environ, lambda: load_config(path))
    except (NoTarget, ConfigUnusable) as error:
        raise click.UsageError(str(error)) from None
    if not target.token:
        raise NoController(
            f"there is no token for {target.url}: leyline login --url {target.url}, or set LEYLINE_TOKEN"
        )
    return target


def load_config(path: Path) -> config_file.Config:
    """The stored contexts; says so when others may read the tokens in them. Raises ConfigUnusable."""
    config = config_file.load(path)
    if any(context.token for context in config.contexts.values()) and config_file.readable_by_others(path):
        click.echo(f"Warning: other users may read the tokens in {path}: chmod 600 {path}", err=True)
    return config


def connect(target: Target) -> AbstractContextManager[Controller]:
    """A connection; says so when the token will cross a network unencrypted."""
    from controller.client.http import Controller  # It takes 100 ms, and `validate` does not need it.

    if target.url.startswith("http://") and not is_loopback(target.url):
        click.echo(f"Warning: {target.url} is not encrypted: anybody on the way can read your token", err=True)
    return Controller(target)


def confirm(question: str, *, yes: bool) -> None:
    """Ask, unless --yes. Without a terminal nobody can answer, so that is a usage error; no is a refusal."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(f"{question} Nobody is there to ask: give --yes")
    if not click.confirm(question, err=True):
        raise CommandFailed("nothing was changed")
