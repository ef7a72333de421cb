"""`segment`: how the ZeroTier network is kept, and what somebody else has set up in it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from controller.client.errors import CommandFailed
from controller.client.options import json_option, talks
from controller.client.tables import age, ago, counts, print_json, print_table, unix, working

if TYPE_CHECKING:
    from controller.client.http import Controller

WHO = ("node id", "object", "reason")
WORDS = {
    "unmanaged": "is not kept by this controller",
    "waiting": "waits for its first pass",
    "settled": "is as declared",
    "busy": "is being written",
    "held": "waits for your word: see below",
    "failing": "is not as declared",
}


@click.group()
def segment() -> None:
    """Show the ZeroTier network, compare it, adopt it.

    \b
    Examples:
      leyline segment show
      leyline segment adopt --network
    """


@segment.command("show")
@json_option
@talks
def show_segment(controller: Controller, as_json: bool) -> None:
    """Show whether the ZeroTier network is as declared, and what is not.

    HELD is what somebody else has set up: it is left alone until it is adopted. STRANGERS are members that nobody
    declared; they are left alone for good. Who was let in once, and put out, is `revoked`; whom Leyline has put out
    itself is deleted a day later. RULES are flow rules that break routing, with what is missing.

    \b
    Examples:
      leyline segment show
      leyline segment show --json | jq .condition
    """
    _print(controller.get("segment"), as_json)


@segment.command("sync")
@json_option
@talks
def synchronise(controller: Controller, as_json: bool) -> None:
    """Compare the ZeroTier network now, and write what differs.

    This happens by itself after each change and once a minute. Exit code 1 when it fails.

    \b
    Example:
      leyline segment sync
    """
    with working("the segment is compared"):
        answer = controller.post("segment/sync")
    _print(answer, as_json)
    if answer["condition"] == "failing":
        raise CommandFailed("the segment is not as declared; the controller tries again by itself")


@segment.command("adopt")
@click.argument("node_ids", nargs=-1, metavar="[NODE]...")
@click.option("--every", is_flag=True, help="All members that are declared.")
@click.option("--network", is_flag=True, help="The network's settings: name, routes, MTU, no auto-assign.")
@json_option
@talks
def adopt(controller: Controller, node_ids: tuple[str, ...], every: bool, network: bool, as_json: bool) -> None:
    """Let Leyline write members, or the network's settings, that somebody else has set up.

    NODE is the node id of a member that is declared. What is written can be seen before: `leyline segment show`
    lists what is held and which fields differ.

    \b
    Examples:
      leyline segment adopt a1b2c3d4e5
      leyline segment adopt --every --network
    """
    if not (node_ids or every or network):
        raise click.UsageError("name node ids, or --every, or --network")
    body = {"members": list(node_ids), "every": every, "network": network}
    with working("the segment is written"):
        answer = controller.post("segment/adopt", body)
    if as_json:
        print_json(answer)
        return
    click.echo(f"adopted: {', '.join(answer['adopted']) or 'nothing new'}")
    _print(answer["segment"], as_json)


def _print(status: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(status)
        return
    for line in summary(status, time.time()):
        click.echo(line)
    for title, headers, rows in _tables(status):
        if rows:
            click.echo(f"\n{title}")
            print_table(headers, rows)
    for remark in status.get("summaries", {}).get("remarks", ()):
        click.echo(f"\n{remark['code']}: {remark['message']}")
    for finding in status.get("rules", ()):
        click.echo(f"\n{finding['code']}: {finding['message']}")
        if finding["snippet"]:
            click.echo("\n".join(f"  {line}" for line in finding["snippet"].splitlines()))


def summary(status: Mapping[str, Any], now: float) -> Iterator[str]:
    """What stands above the tables."""
    name = f"network {status['network']}" if status["network"] else "the segment"
    yield f"{name} {WORDS.get(status['condition'], status['condition'])}"
    if status["reason"]:
        yield status["reason"]
    if status.get("service"):
        service = status["service"]
        yield f"kept by: {service['kind']} {service['version']} at {service['url']}".replace("  ", " ")
    if status.get("last_pass"):
        settled = f"; as declared {ago(status['settled_at'], now)} ago" if status["settled_at"] else ""
        yield f"last pass: {ago(status['last_pass'], now)} ago{settled}"
    if status.get("members"):
        members = status["members"]
        known = members["in_service"] is not None
        there = f", {members['in_service']} in ZeroTier" if known else "; how many are in ZeroTier is not known"
        yield f"members: {members['declared']} declared{there}"
        if members["without_node_id"]:
            yield f"without a node id, so not let in: {', '.join(members['without_node_id'])}"
    if (routes := status.get("summaries", {})).get("total"):
        more = routes.get("left_out", {}).get("total", 0)
        yield f"managed summaries: {routes['total']}" + (
            f" of {routes['total'] + more} that are needed" if more else ""
        )
    if status.get("error"):
        yield f"error: {status['error']}"
    if status["condition"] == "failing" and status.get("next_pass"):
        yield f"next try in {age(now, unix(status['next_pass']))}"
    if status.get("read_at") and status["read_at"] != status.get("last_pass"):
        yield f"what else is said of ZeroTier was read {ago(status['read_at'], now)} ago"


def _tables(status: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, ...], list[tuple[Any, ...]]]]:
    """(title, headers, rows) of what is not as it should be."""
    yield "failed", ("object", "reason"), [(e["object"], e["message"]) for e in _items(status, "failures")]
    pending = status.get("pending", {})
    rows: list[tuple[Any, ...]] = [(each, "", "leaves") for each in pending.get("leaving", ())]
    rows += [("", "network", pending["network"])] if pending.get("network") else []
    rows += [(e["node_id"], e["object"], e["fields"]) for e in _items(pending, "members")]
    yield "still to be written", ("node id", "object", "fields"), rows
    held = status.get("held", {})
    rows = [("", "network", held["network"])] if held.get("network") else []
    rows += [(e["node_id"], e["object"], e["differs"]) for e in held.get("members", ())]
    yield "held: `leyline segment adopt` lets Leyline write it", ("node id", "object", "differs"), rows
    conflicts = [(e["object"], e["address"], e["holder"]) for e in _items(status, "conflicts")]
    yield "addresses that another member has", ("object", "address", "held by"), conflicts
    unreadable = [(e["node_id"], e["object"] or "not declared", e["reason"]) for e in _items(status, "unreadable")]
    yield "records that cannot be read, left alone: put them right in ZeroTier", WHO, unreadable
    left_out = [(each,) for each in status.get("summaries", {}).get("left_out", {}).get("items", ())]
    yield "hosts do not reach", ("prefix",), left_out
    strangers = status.get("strangers", {})
    rows = [(e["node_id"], e["name"], _let_in(e, time.time()), e["addresses"]) for e in strangers.get("items", ())]
    revoked = strangers.get("revoked", 0)
    numbers = {"stranger": strangers.get("total", 0) - revoked, "revoked member": revoked}
    title = " and ".join(counts(number, what) for what, number in numbers.items() if number)
    yield f"{title}, left alone", ("node id", "name", "authorised", "addresses"), rows


def _let_in(stranger: Mapping[str, Any], now: float) -> str:
    if at := stranger.get("deleted_at"):
        return f"revoked, deleted in {age(now, unix(at))}"
    return "yes" if stranger["authorised"] else "revoked" if stranger.get("revoked") else "no"


def _items(status: Mapping[str, Any], what: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = status.get(what, {}).get("items", [])
    return found
