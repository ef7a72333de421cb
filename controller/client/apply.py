"""`validate`, `apply`, `export` and `rename`: the inventory between files and the controller."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from controller.client.documents import FILES, FilesRefused, check_files, document_of, located, show_findings, summary
from controller.client.errors import CommandFailed, Refused
from controller.client.files import write_whole
from controller.client.options import confirm, json_option, talks
from controller.client.tables import counts, print_json, print_table, working

if TYPE_CHECKING:
    from controller.client.http import Controller


@click.command()
@FILES
@json_option
def validate(paths: tuple[Path, ...], as_json: bool) -> None:
    """Check inventory files offline.

    All files and directories (their *.yml and *.yaml) together are checked as one whole fabric, exactly as
    the controller checks it. Each finding has its file and line, so this suits a check of pull requests.
    Exit code 1 when there are findings.

    \b
    Example:
      leyline validate inventory/
    """
    from controller.inventory.document import to_document

    files = check_files(paths)
    if files.findings or files.inventory is None:
        show_findings(files.findings, as_json=as_json)
        raise FilesRefused(counts(len(files.findings), "finding"))
    if as_json:
        show_findings([], as_json=True)
    else:
        click.echo(f"good: {summary(to_document(files.inventory))}")


@click.command()
@FILES
@click.option("--dry-run", is_flag=True, help="Show what would change; change nothing.")
@click.option("--prune", is_flag=True, help="Remove what the files lack. Lists it, and asks.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--allow-removals",
    type=click.IntRange(min=0),
    metavar="N",
    help="Allow that up to N sites or gateways go, where that is more than 10 % of them.",
)
@click.option("--force-assertions", is_flag=True, help="Even if it breaks assertions. The audit log says so.")
@json_option
@talks
def apply(
    controller: Controller,
    paths: tuple[Path, ...],
    dry_run: bool,
    prune: bool,
    yes: bool,
    allow_removals: int | None,
    force_assertions: bool,
    as_json: bool,
) -> None:
    """Merge inventory files into the fabric.

    Objects in the files are added or changed; objects that the files lack stay, unless --prune. It is one
    change: all of it becomes the next revision, or nothing does. The files are checked here first. --dry-run
    also says which sites would use other paths to which prefixes. A change that breaks an assertion is refused.

    \b
    Examples:
      leyline apply --dry-run inventory/
      leyline apply inventory/ && leyline show gateways
      leyline apply --prune --yes --allow-removals 2 inventory/
    """
    document = document_of(paths, as_json=as_json)
    query = {"prune": prune, "allow_removals": allow_removals, "force": force_assertions}
    if_match = ""
    try:
        if prune and not dry_run:
            if_match = _agree_to_removals(controller, document, query, yes=yes)
        with working(f"The controller checks and compiles {summary(document)}"):
            answer = controller.post("apply", document, if_match=if_match, dry_run=dry_run, **query)
    except Refused as error:
        raise located(error, paths) from None
    if as_json:
        print_json(answer)
    else:
        print_changes(answer)


def _agree_to_removals(
    controller: Controller, document: Mapping[str, Any], query: Mapping[str, Any], *, yes: bool
) -> str:
    """List on stderr what --prune would remove, and ask. Returns the ETag of the state that was agreed to.

    The change is then made to that state or not at all: what somebody adds meanwhile must not go unasked.
    """
    with working("The controller compares"):
        etag = controller.request("GET", "fabric").etag
        answer = controller.post("apply", document, if_match=etag, dry_run=True, **query)
    removed = [change["object"] for change in answer["changes"] if change["action"] == "remove"]
    if removed:
        print_table(["would be removed"], [[name] for name in removed], to_stderr=True)
        confirm(f"Remove {counts(len(removed), 'object')} that the files lack?", yes=yes)
    return etag


def print_changes(answer: Mapping[str, Any]) -> None:
    """The change table, what it does to paths, and one line that sums it up."""
    for broken in answer.get("assertions") or ():
        why = f"because of {', '.join(broken['by'])}" if broken["by"] else "as before this change"
        click.echo(f"Warning: assertion {broken['assertion']} is broken, {why}: {'; '.join(broken['what'])}", err=True)
    changes = answer["changes"]
    colours = {"add": "green", "change": "yellow", "remove": "red"}
    rows = [(change["action"], change["object"], _fields(change.get("fields") or {})) for change in changes]
    print_table(["action", "object", "fields"], rows, styles={n: colours.get(row[0], "") for n, row in enumerate(rows)})
    if not changes:
        click.echo(f"nothing to change; the fabric stays at revision {answer['revision']}")
        return
    done = Counter(change["action"] for change in changes)
    what = ", ".join(
        f"{done[action]} {action}{'d' if action.endswith('e') else 'ed'}" for action in colours if done[action]
    )
    plans = f"{counts(len(answer['gateways']), 'gateway')} with a new plan"
    if answer.get("paths"):
        _print_paths(answer["paths"])
    if answer["dry_run"]:
        click.echo(f"dry run, nothing was stored: {what}; {plans}")
    else:
        click.echo(f"revision {answer['revision']}: {what}; {plans}")


def _print_paths(paths: Mapping[str, Any]) -> None:
    """Which sites use other uplinks to which prefixes, and how many there are in all."""
    if not paths["routes"]:
        click.echo("no site uses another path")
        return
    rows = [
        (
            " ".join(each["sites"]) + (f" and {each['more_sites']} more" if each["more_sites"] else ""),
            each["prefix"],
            " ".join(each["targets"]),
            " ".join(each["before"]) or "none",
            " ".join(each["after"]) or "none",
        )
        for each in paths["first"]
    ]
    print_table(["from", "prefix", "of", "path before", "path after"], rows)
    more = f"; {counts(paths['more'], 'row')} more" if paths["more"] else ""
    click.echo(f"{counts(paths['routes'], 'route')} of {counts(paths['pairs'], 'pair')} of sites change path{more}")


def _fields(fields: Mapping[str, Any]) -> str:
    def said(value: Any) -> str:
        return "-" if value in (None, "", []) else ",".join(map(str, value)) if isinstance(value, list) else str(value)

    return "; ".join(f"{name}: {said(old)} -> {said(new)}" for name, (old, new) in fields.items())


@click.command()
@click.option(
    "--format", "form", type=click.Choice(["yaml", "json"]), default="yaml", show_default=True, help="Of the text."
)
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write to FILE.")
@talks
def export(controller: Controller, form: str, output: Path | None) -> None:
    """Print the whole inventory as YAML or JSON.

    Numbers and addresses that the controller allocated are in it, so `apply` of an export gives the same
    fabric, on an empty controller too.

    \b
    Examples:
      leyline export -o inventory.yml
      leyline export --format json | jq '.sites[].name'
    """
    with working("The controller exports"):
        document = controller.get("fabric")
    if form == "json":
        text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    else:
        from controller.inventory.yaml import dump_yaml

        text = dump_yaml(document)
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        write_whole(output, text, mode=0o644)  # Half an inventory could be a valid one.
    except OSError as error:
        raise CommandFailed(f"cannot write {output}: {error}") from None
    click.echo(f"{output}: {summary(document)}", err=True)


RENAMED = (
    *("assertion", "circuit-class", "client", "fabric", "gateway", "host", "lan-peer", "moon", "region", "rule"),
    *("site", "uplink"),
)


@click.command()
@click.argument(
    "kind",
    type=click.Choice(RENAMED),
    metavar="KIND",
)
@click.argument("old")
@click.argument("new")
@json_option
@talks
def rename(controller: Controller, kind: str, old: str, new: str, as_json: bool) -> None:
    """Rename an object; its numbers and addresses stay.

    KIND is site, gateway, uplink, client, region, circuit-class, rule, assertion, lan-peer, host, moon or fabric; an
    uplink is named as GATEWAY/UPLINK. Everything that refers to the object follows. A gateway's token stays valid;
    its speaker needs the new name in its own configuration.

    \b
    Examples:
      leyline rename site berlin berlin-mitte
      leyline rename uplink berlin-1/main fiber
    """
    answer = controller.post("rename", {"kind": kind, "old": old, "new": new})
    if as_json:
        print_json(answer)
    else:
        print_changes(answer)
