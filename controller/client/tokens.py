"""`token` and `gateway token`: who may talk to the controller. A token's text is shown once and stored nowhere."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

import click

from controller.client.options import confirm, json_option, talks
from controller.client.tables import ago, print_json, print_table

if TYPE_CHECKING:
    from controller.client.http import Controller

DURATION = re.compile(r"([1-9][0-9]{0,5})([mhd])", re.ASCII)
SECONDS = {"m": 60, "h": 3_600, "d": 86_400}
NEVER = 0


class Duration(click.ParamType):  # type: ignore[type-arg]  # Not generic before click 8.4.
    """ "90d", "12h", "30m" -> seconds; with `or_never` also "never" -> NEVER."""

    name = "duration"

    def __init__(self, or_never: bool = False) -> None:
        self._or_never = or_never

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, int):
            return value
        if self._or_never and value == "never":
            return NEVER
        found = DURATION.fullmatch(value)
        if found is None:
            self.fail(f"{value!r} is no duration; it looks like 90d, 12h or 30m", param, ctx)
        return int(found[1]) * SECONDS[found[2]]


@click.group()
def token() -> None:
    """Create, list and revoke tokens.

    \b
    Example:
      leyline token create --role viewer --note "wall display"
    """


@token.command("create")
@click.option("--role", type=click.Choice(["viewer", "operator", "admin"]), required=True, help="What it may do.")
@click.option("--note", default="", help="Who or what it is for; in revisions and the audit log.")
@click.option("--expires", type=Duration(), metavar="90d|12h|30m", help="How long it is valid; without it, for ever.")
@json_option
@talks
def create_token(controller: Controller, role: str, note: str, expires: int | None, as_json: bool) -> None:
    """Create a token and print it, once.

    A viewer reads, an operator changes the fabric, an admin also makes tokens. The token alone goes to
    stdout, so that it can be piped; it cannot be shown again.

    \b
    Examples:
      leyline token create --role operator --note "CI of the network team" --expires 90d
      leyline token create --role viewer --note display > token
    """
    _print_token(controller.post("tokens", {"role": role, "note": note, "expires_in": expires}), as_json)


@token.command("list")
@click.option("--all", "everything", is_flag=True, help="Revoked and expired ones too.")
@json_option
@talks
def list_tokens(controller: Controller, everything: bool, as_json: bool) -> None:
    """List tokens: who holds them, and when they were last used; never their text.

    \b
    Example:
      leyline token list
    """
    items = [each for each in controller.items("tokens") if everything or each["state"] == "usable"]
    if as_json:
        print_json(items)
        return
    now = time.time()
    rows = [
        (
            t["id"],
            t["role"],
            t["gateway"],
            t["note"],
            t["state"],
            ago(t["created_at"], now),
            t["expires_at"],
            ago(t["last_used_at"], now) or "never",
        )
        for t in items
    ]
    headers = ("id", "role", "gateway", "note", "state", "age", "expires", "last used")
    print_table(headers, rows, empty="there are no tokens")


@token.command("revoke")
@click.argument("token_id", metavar="ID")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@talks
def revoke_token(controller: Controller, token_id: str, yes: bool, as_json: bool) -> None:
    """Revoke a token, at once. ID is in `leyline token list`.

    A gateway whose token is revoked keeps forwarding by its last good plan, and gets no new one.

    \b
    Example:
      leyline token revoke 3f9k2m1qz0aw
    """
    confirm(f"Revoke token {token_id}?", yes=yes)
    answer = controller.delete(f"tokens/{token_id}")
    if as_json:
        print_json(answer)
    else:
        whose = answer["gateway"] or answer["note"]
        click.echo(f"token {answer['id']} ({answer['role']}{', ' + whose if whose else ''}) is revoked")


@token.command("rotate")
@click.argument("token_id", metavar="[ID]", default="")
@click.option("--grace", type=Duration(), default="1h", show_default=True, help="How long the former token stays good.")
@json_option
@talks
def rotate_token(controller: Controller, token_id: str, grace: int, as_json: bool) -> None:
    """Replace a token: yours, or for an admin anybody's by its ID. The new one is printed, once.

    It has the same role and note, for as long as the former was made for. A token that `leyline login` stored is
    replaced there too, when it is the one that was used.

    \b
    Examples:
      leyline token rotate
      leyline token rotate 3f9k2m1qz0aw --grace 12h > token
    """
    own = controller.get("whoami")["id"]
    answer = controller.post(f"tokens/{token_id or own}/rotate", {"grace_seconds": grace})
    stored = _replace_stored(controller, answer["token"]) if token_id in ("", own) else ""
    _print_token(answer, as_json)
    if stored:
        click.echo(f"context {stored!r} has the new token", err=True)


def _replace_stored(controller: Controller, text: str) -> str:
    """The context in which the used token was stored, and now the new one is; "" when there is none."""
    from dataclasses import replace

    from controller.client.config import ConfigUnusable, config_path, load, save

    name, path = controller.target.context, config_path()
    try:
        config = load(path)
        if name not in config.contexts or config.contexts[name].token != controller.target.token:
            return ""
        contexts = {**config.contexts, name: replace(config.contexts[name], token=text)}
        save(path, replace(config, contexts=contexts))
    except ConfigUnusable as error:
        click.echo(f"Warning: the stored token is still the former one: {error}", err=True)
        return ""
    return name


@click.group()
def gateway() -> None:
    """Let gateways in, and put them out.

    \b
    Examples:
      leyline gateway approve berlin-2
      leyline gateway token berlin-1
    """


@gateway.command("token")
@click.argument("name")
@click.option("--note", default="", help="What it is for.")
@click.option(
    "--expires",
    type=Duration(or_never=True),
    default="90d",
    show_default=True,
    metavar="90d|12h|30m|never",
    help="How long it is valid.",
)
@json_option
@talks
def gateway_token(controller: Controller, name: str, note: str, expires: int, as_json: bool) -> None:
    """Issue a gateway's token and print it, once.

    The token alone goes to stdout; it is good for this gateway's plan and reports and for nothing else. The gateway
    renews it by itself, well before it expires. Former tokens of the gateway stay good until they are revoked, so
    that one can be replaced without a gap.

    \b
    Example:
      leyline gateway token berlin-1 | ssh berlin-1 'cat > /etc/leyline/token'
    """
    body = {"note": note, "expires_in": None if expires == NEVER else expires}
    _print_token(controller.post(f"gateways/{name}/token", body), as_json)


def _print_token(answer: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(answer)
        return
    click.echo(answer["token"])
