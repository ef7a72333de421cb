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


class Duration(click.ParamType):  # type: ignore[type-arg]  # Not generic before click 8.4.
    """ "90d", "12h", "30m" -> seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, int):
            return value
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


@click.group()
def gateway() -> None:
    """Prepare gateways: issue their tokens.

    \b
    Example:
      leyline gateway token berlin-1
    """


@gateway.command("token")
@click.argument("name")
@click.option("--note", default="", help="What it is for.")
@click.option("--expires", type=Duration(), metavar="90d|12h|30m", help="How long it is valid; without it, for ever.")
@json_option
@talks
def gateway_token(controller: Controller, name: str, note: str, expires: int | None, as_json: bool) -> None:
    """Issue a gateway's token and print it, once.

    The token alone goes to stdout; it is good for this gateway's plan and reports and for nothing else. Former
    tokens of the gateway stay good until they are revoked, so that one can be replaced without a gap.

    \b
    Example:
      leyline gateway token berlin-1 | ssh berlin-1 'cat > /etc/leyline/token'
    """
    _print_token(controller.post(f"gateways/{name}/token", {"note": note, "expires_in": expires}), as_json)


def _print_token(answer: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(answer)
        return
    click.echo(answer["token"])
