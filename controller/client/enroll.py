"""`enroll-key`, and what operators do about gateways that come by one: `gateway pending`, `approve`, `revoke`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from controller.client.options import confirm, json_option, talks
from controller.client.tables import ago, counts, print_json, print_table
from controller.client.tokens import Duration

if TYPE_CHECKING:
    from controller.client.http import Controller

DAY_SECONDS = 86_400


@click.group("enroll-key")
def enroll_key() -> None:
    """Create, list and revoke keys by which gateways enrol.

    \b
    Example:
      leyline enroll-key create --site berlin
    """


@enroll_key.command("create")
@click.option("--site", metavar="SITE", help="Where the gateways stand: new ones.")
@click.option("--gateway", metavar="NAME", help="Or: who comes by it is this gateway, which is declared.")
@click.option(
    "--role", type=click.Choice(["spoke", "hub"]), default="spoke", show_default=True, help="Of who comes by it."
)
@click.option(
    "--class",
    "classes",
    multiple=True,
    default=["fiber"],
    show_default=True,
    metavar="CLASS",
    help="Circuit class of the first uplink, given again of the second, ...",
)
@click.option("--expires", type=Duration(), default="24h", show_default=True, help="How long it lets anybody in.")
@click.option("--uses", type=click.IntRange(1, 1000), default=1, show_default=True, help="How many gateways.")
@click.option("--approve", is_flag=True, help="Who comes by it needs no approval.")
@click.option("--ephemeral", is_flag=True, help="Who comes by it is put out when it is gone for --gone-after.")
@click.option("--gone-after", type=Duration(), default="1h", show_default=True, help="Without a report for so long.")
@click.option(
    "--token-expires",
    type=Duration(),
    default="90d",
    show_default=True,
    help="Of the gateways' tokens.",
)
@click.option("--note", default="", help="Who or what it is for.")
@click.option("--gateways-url", metavar="URL", help="How gateways reach the controller, if not as you do.")
@click.option("--fingerprint", metavar="SHA256", help="Of the certificate there; without it, of the one that is seen.")
@json_option
@talks
def create_key(
    controller: Controller, classes: tuple[str, ...], gateways_url: str | None, as_json: bool, **options: Any
) -> None:
    """Create a key and print it, once. Whoever has it can ask to become a gateway of the site, or is the gateway.

    The key alone goes to stdout. It holds the controller's URL and the fingerprint of its certificate, so the gateway
    talks to this controller and to no other. Unless --approve is given, a gateway that comes by it waits for
    `leyline gateway approve`. A key of a declared gateway lets that one in, with the node ids that are declared, at
    once: for its first start, for one whose token has expired, and for a new box. Any token that it had is over then.

    \b
    Examples:
      leyline enroll-key create --site berlin
      leyline enroll-key create --site berlin --uses 20 --expires 8h --approve --ephemeral
      leyline enroll-key create --gateway berlin-1
    """
    _check_options(options["site"], options["gateway"])
    url = gateways_url or controller.target.url
    body = {
        "expires_in": options["expires"],
        "token_seconds": options["token_expires"],
        "note": options["note"],
        "url": url,
        "fingerprint": options["fingerprint"] or _seen(url, controller.target.ca_file),
    }
    newcomers = {
        "site": options["site"],
        "role": options["role"],
        "circuit_classes": list(classes),
        "uses": options["uses"],
        "approve": options["approve"],
        "ephemeral": options["ephemeral"],
        "gone_seconds": options["gone_after"],
    }
    body |= {"gateway": options["gateway"]} if options["gateway"] else newcomers
    answer = controller.post("enroll-keys", body)
    if as_json:
        print_json(answer)
    else:
        click.echo(answer["key"])


OF_NEWCOMERS = ("role", "classes", "uses", "approve", "ephemeral", "gone_after")


def _check_options(site: str | None, gateway: str | None) -> None:
    """Raises click.UsageError."""
    if (site is None) == (gateway is None):
        raise click.UsageError("say one of --site and --gateway")
    context = click.get_current_context()
    given = [each for each in OF_NEWCOMERS if context.get_parameter_source(each) is ParameterSource.COMMANDLINE]
    if gateway is not None and given:
        words = [each.opts[0] for each in context.command.params if each.name in given]
        raise click.UsageError(f"what {gateway} is stands in the inventory: leave out {', '.join(words)}")


def _seen(url: str, ca_file: str) -> str:
    from controller.client.certificates import fingerprint_of

    return fingerprint_of(url, ca_file)


@enroll_key.command("list")
@click.option("--all", "everything", is_flag=True, help="Used up, revoked and expired ones too.")
@json_option
@talks
def list_keys(controller: Controller, everything: bool, as_json: bool) -> None:
    """List keys: for which site, how often used; never their text.

    \b
    Example:
      leyline enroll-key list
    """
    items = [each for each in controller.items("enroll-keys") if everything or each["state"] == "usable"]
    if as_json:
        print_json(items)
        return
    now = time.time()
    rows = [
        (
            k["id"],
            k["site"],
            k["role"],
            k["state"],
            f"{k['used']} of {k['uses']}",
            k["approve"],
            k["ephemeral"],
            k["gateway"],
            k["note"],
            ago(k["created_at"], now),
            k["expires_at"],
        )
        for k in items
    ]
    headers = ("id", "site", "role", "state", "used", "approves", "ephemeral", "gateway", "note", "age", "expires")
    print_table(headers, rows, empty="there are no keys")


@enroll_key.command("revoke")
@click.argument("key_id", metavar="ID")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@talks
def revoke_key(controller: Controller, key_id: str, yes: bool, as_json: bool) -> None:
    """Revoke a key, at once. ID is in `leyline enroll-key list`. Gateways that came by it stay.

    \b
    Example:
      leyline enroll-key revoke 3f9k2m1qz0aw
    """
    confirm(f"Revoke enrolment key {key_id}?", yes=yes)
    answer = controller.delete(f"enroll-keys/{key_id}")
    if as_json:
        print_json(answer)
    else:
        click.echo(f"key {answer['id']} (site {answer['site']}, used {answer['used']} of {answer['uses']}) is revoked")


@click.command("pending")
@json_option
@talks
def pending(controller: Controller, as_json: bool) -> None:
    """List gateways that have enrolled and wait for approval.

    \b
    Example:
      leyline gateway pending
    """
    items = [each for each in controller.items("enrolments") if each["state"] == "pending"]
    if as_json:
        print_json(items)
        return
    now = time.time()
    rows = [
        (e["gateway"], e["site"], e["role"], e["node_ids"], e["came_from"], e["key"], ago(e["requested_at"], now))
        for e in items
    ]
    headers = ("gateway", "site", "role", "node ids", "from", "key", "waits")
    print_table(headers, rows, empty="nobody waits for approval")


@click.command("approve")
@click.argument("name")
@click.option("--force-assertions", is_flag=True, help="Even if that breaks assertions.")
@json_option
@talks
def approve(controller: Controller, name: str, force_assertions: bool, as_json: bool) -> None:
    """Let a gateway in that has enrolled: it becomes one of the fabric, as one revision.

    Compare its node ids in `leyline gateway pending` with what `zerotier-cli info` says on the gateway.

    \b
    Example:
      leyline gateway approve berlin-2
    """
    answer = controller.post(f"gateways/{name}/approve", force=force_assertions or None)
    if as_json:
        print_json(answer)
    elif answer["changes"]:
        plans = counts(len(answer["gateways"]), "gateway")
        click.echo(f"{name} is approved: revision {answer['revision']}; {plans} with a new plan")
    else:
        click.echo(f"{name} is approved already; nothing was changed")


@click.command("revoke")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@talks
def revoke(controller: Controller, name: str, yes: bool, as_json: bool) -> None:
    """Put a gateway out of the fabric, at once, or refuse one that waits for approval.

    Its tokens are revoked, hubs stop accepting from it, and the segment lets it in no more. What only it was for goes
    with it: prefixes and rules that name no other gateway, its LAN peers and moons. The key that it came by is
    revoked too, if it could be used again. Assertions do not stand in the way; those that break are said.

    \b
    Example:
      leyline gateway revoke berlin-2
    """
    confirm(f"Put gateway {name} out of the fabric?", yes=yes)
    answer = controller.post(f"gateways/{name}/revoke")
    if as_json:
        print_json(answer)
        return
    if answer["was"] == "pending":
        click.echo(f"{name} waited for approval and is refused")
    else:
        plans = counts(len(answer["gateways"]), "gateway")
        click.echo(f"{name} is out: revision {answer['revision']}; {plans} with a new plan")
        for change in answer["changes"]:
            if change["object"] != f"gateway {name}":
                click.echo(f"  {change['action']} {change['object']}")
    if answer.get("unconfirmed"):
        nodes = ", ".join(answer["unconfirmed"])
        click.echo(f"Warning: {nodes} may still be let in by ZeroTier: {answer['reason']}", err=True)
    for broken in answer.get("assertions") or ():
        click.echo(f"Warning: assertion {broken['assertion']} does not hold: {'; '.join(broken['what'])}", err=True)
    if answer.get("key"):
        click.echo(f"the key that it came by, {answer['key']}, is revoked too")
