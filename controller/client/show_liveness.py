"""`show liveness` and `show lans`: what gateways judge to be alive, and why not."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from controller.client.options import json_option, talks
from controller.client.reports import heard, latest_status, silent
from controller.client.tables import age, print_json, print_table

if TYPE_CHECKING:
    from controller.client.http import Controller

MOST_NEXT_HOPS = 1000
"""That a gateway reports: speaker.report.MAX_NEXT_HOPS."""


@click.command()
@click.argument("gateway", default="")
@json_option
@talks
def liveness(controller: Controller, gateway: str, as_json: bool) -> None:
    """Show which next hops live, as each gateway judges its own.

    Of all gateways as last reported (HEARD is how old that is); a GATEWAY that is named is asked now. STATE: "up";
    "down"; "held": up again, but it flapped, so it must be steady for longer; "unknown": BFD never was up, so it is
    used. DETOUR is the hub through which its traffic goes now.

    \b
    Examples:
      leyline show liveness
      leyline show liveness berlin-1
      leyline show liveness --json | jq '.[] | select(.state == "down")'
    """
    items = _reported(controller, gateway, "next_hops")
    if as_json:
        print_json(items)
        return
    now = time.time()
    headers = ("gateway", "next hop", "interface", "state", "since", "bfd", "detection", "flaps", "detour", "heard")
    bad = {n: {"down": "red", "held": "yellow"}.get(each["state"], "") for n, each in enumerate(items)}
    rows = [_next_hop_row(each, now) for each in items]
    print_table((*headers, "reason"), rows, styles=bad, empty=_nothing(gateway, "next hop"))
    _say_cut_off(items)


@click.command()
@click.argument("gateway", default="")
@json_option
@talks
def lans(controller: Controller, gateway: str, as_json: bool) -> None:
    """Show the LANs that gateways watch, and why a prefix is withdrawn.

    \b
    Examples:
      leyline show lans
      leyline show lans berlin-1
    """
    items = _reported(controller, gateway, "lans")
    if as_json:
        print_json(items)
        return
    now = time.time()
    rows = [
        (
            each["gateway"],
            each["prefix"],
            each["interface"],
            "up" if each["up"] else "withdrawn",
            heard(each, now),
            each["reason"],
        )
        for each in items
    ]
    bad = {n: "" if each["up"] else "red" for n, each in enumerate(items)}
    headers = ("gateway", "prefix", "interface", "state", "heard", "reason")
    print_table(headers, rows, styles=bad, empty=_nothing(gateway, "watched LAN"))


def _nothing(gateway: str, what: str) -> str:
    return f"{gateway} reports no {what}" if gateway else f"no gateway reports a {what}"


def _reported(controller: Controller, gateway: str, part: str) -> list[dict[str, Any]]:
    """That part of the reports, with whose it is and how old. One gateway is asked; all are not."""
    statuses = [latest_status(controller, gateway)] if gateway else list(controller.items("status/gateways"))
    now = time.time()
    return [
        {"gateway": each["gateway"], "heard_at": each["received_at"], "silent": silent(each, now), **row}
        for each in statuses
        for row in (each["report"] or {}).get(part, ())
    ]


def _say_cut_off(items: list[dict[str, Any]]) -> None:
    for name, count in Counter(each["gateway"] for each in items).items():
        if count >= MOST_NEXT_HOPS:
            click.echo(f"{name} reports {count:,} next hops at most: those that are not well come first", err=True)


def _next_hop_row(hop: Mapping[str, Any], now: float) -> tuple[Any, ...]:
    return (
        hop["gateway"],
        hop["address"],
        hop["interface"],
        hop["state"],
        age(hop["since"], now) if hop["since"] else "",
        hop["bfd"] or "-",
        f"{hop['detection_ms']:.0f} ms" if hop["detection_ms"] else "-",
        hop["flaps"],
        hop["detour"] or "-",
        heard(hop, now),
        hop["reason"],
    )
