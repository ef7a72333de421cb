"""`import zerotier`: from a network with managed routes to an inventory, a cut-over plan, and what is left."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, TypeVar

import click

from controller.client.errors import CommandFailed, NoController
from controller.client.files import write_whole
from controller.client.options import connect, connection_options, find_target, json_option
from controller.client.reports import silent
from controller.client.tables import counts, print_json, print_table, working
from controller.client.target import Flags

if TYPE_CHECKING:
    from controller.client.http import Controller
    from controller.inventory.model import Inventory
    from controller.zerotier.imported import Imported
    from controller.zerotier.leftover import Left
    from controller.zerotier.port import MemberState, Network, NetworkState, SegmentApi, Service

Function = TypeVar("Function", bound=Callable[..., Any])
INVENTORY, PLAN = "inventory.yml", "cutover.txt"


@click.group("import")
def import_group() -> None:
    """Read a ZeroTier network with managed routes.

    \b
    Example:
      leyline import zerotier 8056c2e21c000001 --zerotier-central --zerotier-token-file FILE --into migration
    """


def zerotier_options(function: Function) -> Function:
    """As those of `leyline controller serve`."""
    for option in reversed(
        [
            click.option(
                "--zerotier-url",
                metavar="URL",
                default="",
                envvar="LEYLINE_ZEROTIER_URL",
                help="A self-hosted ZeroTier controller, http://127.0.0.1:9993.  [env: LEYLINE_ZEROTIER_URL]",
            ),
            click.option(
                "--zerotier-central",
                is_flag=True,
                envvar="LEYLINE_ZEROTIER_CENTRAL",
                help="ZeroTier Central keeps the network.  [env: LEYLINE_ZEROTIER_CENTRAL]",
            ),
            click.option(
                "--zerotier-token-file",
                metavar="FILE",
                type=click.Path(path_type=Path),
                envvar="LEYLINE_ZEROTIER_TOKEN_FILE",
                help="authtoken.secret, or an API token of Central.  [env: LEYLINE_ZEROTIER_TOKEN_FILE]",
            ),
        ]
    ):
        function = option(function)
    return function


@import_group.command()
@click.argument("network")
@zerotier_options
@click.option(
    "--into", metavar="DIR", type=click.Path(file_okay=False, path_type=Path), help="Write the files there; new ones."
)
@click.option("--check", is_flag=True, help="Ask the Leyline controller, too, and say what is left to do.")
@json_option
@connection_options
def zerotier(
    network: str,
    zerotier_url: str,
    zerotier_central: bool,
    zerotier_token_file: Path | None,
    into: Path | None,
    check: bool,
    as_json: bool,
    **target: str | None,
) -> None:
    """Read a network that has managed routes, and write an inventory that does the same by BGP.

    Members that managed routes lead to become gateways, other authorised members hosts; addresses stay. --into writes
    inventory.yml, where every guess is a comment with TODO; cutover.txt, the steps; and routes.json, the managed routes
    as they are, for the way back. Nothing is changed in ZeroTier.

    --check compares the network with the inventory and the reports of a Leyline controller (--url, --token, --context),
    and asks a hub for its routes: managed routes that BGP has by now, those that nobody announces yet, and members that
    are not declared. Exit code 1 while such a route is left.

    \b
    Examples:
      leyline import zerotier 8056c2e21c000001 --zerotier-url http://127.0.0.1:9993 \\
          --zerotier-token-file /var/lib/zerotier-one/authtoken.secret --into migration
      leyline import zerotier 8056c2e21c000001 --zerotier-central --zerotier-token-file FILE --check
    """
    if check and into:
        raise click.UsageError("--check writes no files: leave --into out")
    if bool(zerotier_url) == zerotier_central or zerotier_token_file is None:
        raise click.UsageError("say who keeps the network: --zerotier-url or --zerotier-central; --zerotier-token-file")
    with _plain_errors(), working("ZeroTier is asked"):
        api = _service(network, zerotier_url, zerotier_central, zerotier_token_file)
        state, members, service = api.network(), api.members(), api.describe()
    for node_id, why in members.unreadable.items():
        click.echo(f"member {node_id} is left out, for its record cannot be read: {why}", err=True)
    if check:
        _check(state, members, Flags(**target), as_json=as_json)
        return
    whom = "--zerotier-central" if zerotier_central else f"--zerotier-url {zerotier_url}"
    token_file = str(zerotier_token_file)
    _import(
        state, members, service, f"{whom} --zerotier-token-file {quote(token_file)}", token_file, into, as_json=as_json
    )


@contextmanager
def _plain_errors() -> Iterator[None]:
    """One line and an exit code for what the service does wrong."""
    from controller.zerotier.port import NoSuchNetwork, Refused, ZeroTierError

    try:
        yield
    except (NoSuchNetwork, Refused) as error:
        raise CommandFailed(str(error)) from None
    except ZeroTierError as error:
        raise NoController(str(error)) from None


def _service(network: str, url: str, central: bool, token_file: Path) -> SegmentApi:
    from controller.zerotier.central import Central
    from controller.zerotier.selfhosted import SelfHosted
    from controller.zerotier.token_file import read_token

    token = read_token(token_file)
    return Central(token, network) if central else SelfHosted(url, token, network)


def _import(
    state: NetworkState,
    members: Mapping[str, MemberState],
    service: Service,
    flags: str,
    token_file: str,
    into: Path | None,
    *,
    as_json: bool,
) -> None:
    from controller.zerotier.imported import imported, to_yaml

    found = imported(state, members)
    files = {INVENTORY: to_yaml(found), **_plan(state, service, flags, token_file, found)}
    if into is not None:
        _write(into, files)
    if as_json:
        questions = [{"section": each.section, "what": each.what, "why": each.why} for each in found.questions]
        print_json({"inventory": found.document, "questions": questions, "files": files})
        return
    rows = [(each.section or "network", each.what, each.why) for each in found.questions]
    print_table(("section", "waits for your word", "why"), rows)
    sizes = [(len(found.document.get(each, ())), each) for each in ("gateways", "prefixes", "hosts")]
    click.echo(f"{', '.join(f'{number} {what}' for number, what in sizes)}; {counts(len(rows), 'question')}", err=True)
    if into is None:
        click.echo("nothing was written: --into DIR writes the inventory and the cut-over plan", err=True)
    else:
        click.echo(f"written into {into}: {', '.join(files)}", err=True)


def _plan(state: NetworkState, service: Service, flags: str, token_file: str, found: Imported) -> dict[str, str]:
    """cutover.txt and routes.json; nothing while the inventory is not sound, for then it is not known what may go."""
    from controller.zerotier.cutover import bodies, removals, steps, to_text

    if found.inventory is None:
        return {}
    plan = removals(state, found.inventory)
    text = to_text(state, steps(state, found.inventory, service, plan, flags, token_file))
    return {PLAN: text, **bodies(service, state)}


def _write(into: Path, files: Mapping[str, str]) -> None:
    """New files only: an inventory that has been worked on must not be lost."""
    there = [name for name in files if (into / name).exists()]
    if there:
        raise CommandFailed(f"{into / there[0]} is there already: choose another directory")
    try:
        into.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            write_whole(into / name, text, mode=0o644)
    except OSError as error:
        raise CommandFailed(f"cannot write into {into}: {error}") from None


def _check(state: NetworkState, members: Mapping[str, MemberState], flags: Flags, *, as_json: bool) -> None:
    from controller.inventory.document import parse_document
    from controller.zerotier.leftover import left

    with connect(find_target(flags)) as controller:
        document = controller.get("fabric")
        statuses = list(controller.items("status/gateways"))
        inventory: Inventory = parse_document(document)[0]
        quiet = silences(statuses, time.time())
        found = left(state, members, inventory, quiet)
        if targets := [each.route.target for each in found.routes if each.state == "announced"]:
            found = left(state, members, inventory, _confirmed(controller, statuses, inventory, targets, quiet))
    if as_json:
        print_json(_plain(found))
    else:
        _print(found)
    if not found.done:
        sys.exit(1)


def silences(statuses: Iterable[Mapping[str, Any]], now: float) -> dict[str, frozenset[str]]:
    """Gateway -> its prefixes that it does not announce ("*": all), by what it reported last.

    It announces when it is heard, carries its newest plan out, and has a session; but for LANs that it says are dead.
    """
    from controller.zerotier.summaries import ALL

    found = {}
    for status in statuses:
        report = status["report"]
        talks = report is not None and any(each["state"] == "up" for each in report["sessions"])
        if not talks or silent(status, now) or not status["in_force"]:
            found[status["gateway"]] = frozenset({ALL})
        else:
            found[status["gateway"]] = frozenset(lan["prefix"] for lan in report["lans"] if lan["reason"])
    return found


def _confirmed(
    controller: Controller,
    statuses: Iterable[Mapping[str, Any]],
    inventory: Inventory,
    targets: Collection[Network],
    quiet: Mapping[str, frozenset[str]],
) -> dict[str, frozenset[str]]:
    """`quiet`, and what hubs do not have by BGP whatever gateways should announce: a rule denies it, say."""
    from controller.client.hub_routes import lacking
    from controller.zerotier.summaries import ALL

    def ask(hub: str, prefix: str) -> Any:
        return controller.post(f"gateways/{hub}/asks", {"kind": "routes", "arguments": {"prefix": prefix}})["routes"]

    hubs = [each["gateway"] for each in statuses if each["role"] == "hub" and ALL not in quiet[each["gateway"]]]
    with working("hubs are asked"):
        lacks = lacking(inventory, targets, hubs, ask)
    if lacks is None:
        click.echo("no hub answers, so it is not known what BGP has: nothing is called announced", err=True)
        return dict.fromkeys(quiet, frozenset({ALL}))
    return {name: each | lacks.get(name, frozenset()) for name, each in quiet.items()}


def _plain(found: Left) -> dict[str, Any]:
    routes = [
        {"prefix": str(e.route.target), "via": str(e.route.via or ""), "state": e.state, "gateways": list(e.gateways)}
        for e in found.routes
    ]
    members = [
        {"node_id": each.node_id, "name": each.name, "addresses": [str(address) for address in each.addresses]}
        for each in found.members
    ]
    kept = [{"prefix": str(each.target), "via": str(each.via)} for each in found.kept]
    return {"done": found.done, "routes": routes, "members": members, "kept": kept}


def _print(found: Left) -> None:
    from controller.zerotier.leftover import WORDS

    rows = [(e.route.target, e.route.via, e.state, " ".join(e.gateways), WORDS[e.state]) for e in found.routes]
    print_table(("managed route", "via", "state", "gateways", "meaning"), rows)
    if found.members:
        said = "members that are not declared, and that Leyline leaves alone"
        click.echo(f"\n{said}" if rows else said)
        strangers = [(each.node_id, each.name, " ".join(map(str, each.addresses))) for each in found.members]
        print_table(("node id", "name", "addresses"), strangers)
    click.echo("nothing is left" if found.done else f"{counts(len(found.routes), 'managed route')} left", err=True)
    if found.kept:
        click.echo(f"{counts(len(found.kept), 'managed route')} of Leyline's own for hosts: these stay", err=True)
