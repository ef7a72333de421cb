"""`show filtered`: what gateways refuse of what they are told, from whom and why."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import click

from controller.client.options import json_option, talks
from controller.client.reports import heard, silent
from controller.client.tables import print_json, print_table, working

if TYPE_CHECKING:
    from controller.client.http import Controller


USUAL = ("own-originator-id", "connected")
"""With these nothing is wrong: a hub sends every gateway its own routes, and its site's other gateways', too."""


@click.command()
@click.argument("gateway", default="")
@click.option("--peer", metavar="NAME", default="", help="Only what this peer announces.")
@click.option("--reason", metavar="CODE", default="", help="Only what is refused for this reason, like over-limit.")
@click.option(
    "--limit", type=click.IntRange(1, 20_000), default=1000, show_default=True, metavar="N", help="At most N paths."
)
@json_option
@talks
def filtered(controller: Controller, gateway: str, peer: str, reason: str, limit: int, as_json: bool) -> None:
    """Show what is refused, from whom and why.

    Without GATEWAY: how many paths every gateway refuses, by peer and reason, as last reported (HEARD is how old that
    is); routes to its own site (own-originator-id, connected) only when --reason says so. A GATEWAY that is named,
    usually a hub, is asked now for the paths themselves.

    \b
    Examples:
      leyline show filtered
      leyline show filtered hub-1
      leyline show filtered hub-1 --peer legacy --reason prefix-not-allocated --json
    """
    if gateway:
        _paths(controller, gateway, {"peer": peer, "reason": reason, "limit": str(limit)}, as_json)
    else:
        _numbers(controller, peer, reason, as_json)


def _numbers(controller: Controller, peer: str, reason: str, as_json: bool) -> None:
    now = time.time()
    items = list(_reported(controller.items("status/gateways"), peer, reason, now))
    if as_json:
        print_json(items)
        return
    rows = [
        (each["gateway"], each["peer"], each["rejected"], each["paths"], heard(each, now), each["warning"])
        for each in items
    ]
    headers = ("gateway", "peer", "rejected", "paths", "heard", "remark")
    print_table(headers, rows, empty="no gateway reports that it refuses anything")


def _reported(statuses: Iterable[Mapping[str, Any]], peer: str, reason: str, now: float) -> Iterable[dict[str, Any]]:
    """A row for each gateway, peer and reason. A speaker of an older version says no reasons."""
    for status in statuses:
        for session in (status["report"] or {}).get("sessions", ()):
            for code, count in session.get("reasons", {}).items():
                if peer in ("", session["peer"]) and (code == reason if reason else code not in USUAL):
                    yield {
                        "gateway": status["gateway"],
                        "heard_at": status["received_at"],
                        "silent": silent(status, now),
                        "peer": session["peer"],
                        "rejected": code,
                        "paths": count,
                        "warning": session.get("warning", ""),
                    }


def _paths(controller: Controller, gateway: str, arguments: dict[str, str], as_json: bool) -> None:
    with working(f"{gateway} is asked"):
        answer = controller.post(f"gateways/{gateway}/asks", {"kind": "filtered", "arguments": arguments})
    if as_json:
        print_json(answer)
        return
    headers = ("prefix", "next hop", "from", "rejected", "reason", "communities", "overruled")
    rows = [
        (*(row[name] for name in ("prefix", "next_hop", "from", "rejected", "reason", "communities")), _said(row))
        for row in answer["filtered"]
    ]
    print_table(headers, rows, empty=f"{gateway} refuses nothing of this")
    if answer["truncated"]:
        click.echo(f"{len(rows)} of {answer['total']} paths; --limit, --peer or --reason shows others", err=True)
    for name, number in answer["unkept"].items():
        click.echo(f"{number} more refused announcements of {name} were counted only", err=True)


def _said(row: Mapping[str, Any]) -> str:
    """What the hub did not take the peer's word for."""
    return ", ".join(row["overruled"])
