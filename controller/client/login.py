"""`login` and `context`: which controllers this user knows."""

from __future__ import annotations

import os
import sys

import click

from controller.client import config as config_file
from controller.client.config import DEFAULT_CONTEXT, Config, ConfigUnusable, StoredContext, config_path
from controller.client.errors import CommandFailed
from controller.client.options import connect, json_option, load_config
from controller.client.tables import print_json, print_table
from controller.client.target import NoTarget, Target, clean_url

MAX_TOKEN = 4096
"""Characters read from stdin."""


@click.command()
@click.option("--url", metavar="URL", help="The controller's URL; asked for when it is not given.  [env: LEYLINE_URL]")
@click.option("--token-stdin", is_flag=True, help="Read the token from stdin, for scripts.")
@click.option(
    "--context", "name", metavar="NAME", default=DEFAULT_CONTEXT, show_default=True, help="The name to store it under."
)
@click.option(
    "--cacert",
    "ca_file",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, resolve_path=True),
    help="Trust only the CAs in this PEM file; its path is stored.",
)
@json_option
def login(url: str | None, token_stdin: bool, name: str, ca_file: str | None, as_json: bool) -> None:
    """Store a controller's URL and your token.

    Asks for what is missing; the token is never shown. Nothing is stored unless the controller accepts it.
    The context becomes the current one: commands use it when no other controller is named.

    \b
    Examples:
      leyline login --url https://leyline.example
      leyline login --context lab --url http://127.0.0.1:8642 --token-stdin < token
    """
    path = config_path()
    try:
        config = load_config(path)
        config.with_context(name, StoredContext("", ""))  # A bad name is said before anybody types a token.
        address = clean_url(url or _ask_url(config, name))
        target = Target(address, _read_token(token_stdin), ca_file or "", "--url", name)
    except (ConfigUnusable, NoTarget) as error:
        raise click.UsageError(str(error)) from None
    with connect(target) as controller:
        who = controller.get("whoami")
    stored = StoredContext(target.url, target.token, target.ca_file)
    _save(config.with_context(name, stored))
    if as_json:
        print_json({"context": name, "url": target.url, "whoami": who})
    else:
        click.echo(f"{target.url} accepts you as {who['role']}; stored as context {name!r} in {path}")


@click.group()
def context() -> None:
    """List, choose and forget stored controllers.

    \b
    Example:
      leyline context use prod
    """


@context.command("list")
@json_option
def list_contexts(as_json: bool) -> None:
    """List the stored contexts; tokens are not shown.

    \b
    Example:
      leyline context list
    """
    config = _load()
    rows = [(name, name == config.current, each.url, each.ca_file) for name, each in sorted(config.contexts.items())]
    if as_json:
        print_json([dict(zip(("name", "current", "url", "ca_file"), row, strict=True)) for row in rows])
    else:
        print_table(("name", "current", "url", "ca file"), rows, empty="no context is stored: leyline login")


@context.command("use")
@click.argument("name")
def use_context(name: str) -> None:
    """Make a context the current one.

    \b
    Example:
      leyline context use prod
    """
    config = _load()
    try:
        _save(config.using(name))
    except ConfigUnusable as error:
        raise CommandFailed(str(error)) from None
    click.echo(f"commands now talk to {config.contexts[name].url}")


@context.command("forget")
@click.argument("name")
def forget_context(name: str) -> None:
    """Forget a context. Its token stays valid: `leyline token revoke` ends it.

    \b
    Example:
      leyline context forget lab
    """
    try:
        _save(_load().without(name))
    except ConfigUnusable as error:
        raise CommandFailed(str(error)) from None
    click.echo(f"context {name!r} is forgotten; its token stays valid until it is revoked")


def _load() -> Config:
    try:
        return load_config(config_path())
    except ConfigUnusable as error:
        raise click.UsageError(str(error)) from None


def _save(config: Config) -> None:
    try:
        config_file.save(config_path(), config)
    except ConfigUnusable as error:
        raise CommandFailed(str(error)) from None


def _ask_url(config: Config, name: str) -> str:
    if os.environ.get("LEYLINE_URL"):
        return os.environ["LEYLINE_URL"]
    known = config.contexts.get(name)
    if not sys.stdin.isatty():
        raise NoTarget("which controller? give --url")
    return str(click.prompt("URL", default=known.url if known else None, err=True))


def _read_token(from_stdin: bool) -> str:
    if from_stdin:
        token = sys.stdin.readline(MAX_TOKEN).strip()
        if not token:
            raise NoTarget("stdin has no token")
        return token
    if not sys.stdin.isatty():
        raise NoTarget("nobody is there to ask for the token: give --token-stdin")
    return str(click.prompt("Token", hide_input=True, err=True)).strip()
