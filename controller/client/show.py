"""`show`: what is declared, and what the gateways say of themselves."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from controller.client.options import json_option, talks
from controller.client.reports import heard, silent
from controller.client.show_filtered import filtered
from controller.client.show_liveness import lans, liveness
from controller.client.show_paths import paths
from controller.client.show_segment import hosts, moons
from controller.client.tables import age, ago, counts, print_json, print_table, working

if TYPE_CHECKING:
    from controller.client.http import Controller

SITE = click.option("--site", metavar="NAME", help="Only those of this site.")
GATEWAY = click.option("--gateway", metavar="NAME", help="Only this gateway's.")


@click.group()
def show() -> None:
    """Show sites, gateways, sessions, routes, ...

    What is declared comes from the controller; sessions and kernel counters from each gateway's last report,
    with its age; routes from the gateway itself, asked now.

    \b
    Examples:
      leyline show gateways
      leyline show routes --gateway berlin-1
    """


show.add_command(liveness)
show.add_command(lans)
show.add_command(filtered)
show.add_command(paths)
show.add_command(hosts)
show.add_command(moons)


@show.command()
@json_option
@talks
def sites(controller: Controller, as_json: bool) -> None:
    """Show the sites.

    \b
    Example:
      leyline show sites
    """
    items = list(controller.items("sites"))
    if as_json:
        print_json(items)
        return
    gateways: dict[str, list[str]] = {}
    for each in controller.items("gateways"):
        gateways.setdefault(each["site"], []).append(each["name"])
    rows = [
        (s["name"], s.get("number"), s["region"], s.get("provider"), s.get("tags"), gateways.get(s["name"]))
        for s in items
    ]
    print_table(("site", "number", "region", "provider", "tags", "gateways"), rows, empty="there are no sites")


@show.command()
@SITE
@json_option
@talks
def prefixes(controller: Controller, site: str | None, as_json: bool) -> None:
    """Show the prefixes that sites announce.

    \b
    Examples:
      leyline show prefixes --site berlin
      leyline show prefixes --json | jq length
    """
    items = list(controller.items("prefixes", site=site))
    if as_json:
        print_json(items)
        return
    rows = [(p["site"], p["prefix"], p.get("tenant"), p.get("gateways") or "all of the site") for p in items]
    print_table(("site", "prefix", "tenant", "gateways"), rows, empty="there are no prefixes")


@show.command()
@click.option("--last", type=click.IntRange(1, 1000), default=20, show_default=True, metavar="N", help="How many.")
@json_option
@talks
def revisions(controller: Controller, last: int, as_json: bool) -> None:
    """Show who changed what, and when; the newest first.

    \b
    Example:
      leyline show revisions --last 5
    """
    items = controller.get("revisions", limit=last)["items"]
    if as_json:
        print_json(items)
        return
    now = time.time()
    rows = [(r["revision"], ago(r["created_at"], now), r["actor"], r["summary"]) for r in items]
    print_table(("revision", "age", "by", "summary"), rows, empty="nothing was declared yet: leyline apply")


@show.command()
@SITE
@json_option
@talks
def gateways(controller: Controller, site: str | None, as_json: bool) -> None:
    """Show the gateways, and how each of them does.

    STATE is "ok"; "converging" while routes are on their way; "no token" or "never heard" before the first
    report; "silent" when it was not heard for more than 30 s (which says nothing about its forwarding); or what
    keeps it from the newest plan. A drained one is marked "drained".

    \b
    Examples:
      leyline show gateways
      leyline show gateways --json | jq '.[] | select(.state != "ok") | .gateway'
    """
    now = time.time()
    items = [with_state(each, now) for each in controller.items("status/gateways") if site in (None, each["site"])]
    if as_json:
        print_json(items)
        return
    rows = [_gateway_row(each, now) for each in items]
    bad = {number: _style(each["state"]) for number, each in enumerate(items)}
    headers = ("gateway", "site", "role", "state", "heard", "sessions", "routes", "speaker")
    print_table(headers, rows, styles=bad, empty="there are no gateways")


@show.command()
@GATEWAY
@json_option
@talks
def sessions(controller: Controller, gateway: str | None, as_json: bool) -> None:
    """Show the BGP sessions, as last reported.

    HEARD is how old a gateway's report is; one older than 30 s is marked "silent", and its sessions may have changed.

    \b
    Examples:
      leyline show sessions
      leyline show sessions --gateway hub-1 --json
    """
    now = time.time()
    items = [
        {"gateway": each["gateway"], "heard_at": each["received_at"], "silent": silent(each, now), **session}
        for each in ([controller.get(f"status/gateways/{gateway}")] if gateway else controller.items("status/gateways"))
        for session in (each["report"] or {}).get("sessions", ())
    ]
    if as_json:
        print_json(items)
        return
    headers = ("gateway", "peer", "address", "state", "since", "received", "rejected", "stale", "heard", "reason")
    rows = [_session_row(each, now) for each in items]
    bad = {n: "yellow" if each["silent"] else "" if each["state"] == "up" else "red" for n, each in enumerate(items)}
    print_table(headers, rows, styles=bad, empty="no gateway has reported a session yet")


@show.command()
@click.option("--gateway", metavar="NAME", required=True, help="The gateway to ask.")
@click.argument("prefix", default="")
@click.option("--family", type=click.Choice(["ipv4", "ipv6"]), help="Only routes of this family.")
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=1000, show_default=True, metavar="N", help="At most N paths."
)
@json_option
@talks
def routes(controller: Controller, gateway: str, prefix: str, family: str | None, limit: int, as_json: bool) -> None:
    """Ask a gateway for its routes, now.

    Every path is shown, also those that lost or were rejected (and why): ">" is best or equal to it, "*" is in
    the kernel. "overruled" is what a client said of its path that the hub did not take its word for. PREFIX selects
    that prefix. Exit code 4 when the gateway does not answer within five seconds.

    \b
    Examples:
      leyline show routes --gateway berlin-1
      leyline show routes --gateway berlin-1 10.2.1.0/24
    """
    arguments = {"family": family or "", "prefix": network(prefix), "limit": str(limit)}
    with working(f"{gateway} is asked"):
        answer = controller.post(f"gateways/{gateway}/asks", {"kind": "routes", "arguments": arguments})
    if as_json:
        print_json(answer)
        return
    headers = ("", "prefix", "next hop", "from", "path id", "local pref", "as path", "communities", "remark")
    nothing = f"{gateway} has no route to {prefix}" if prefix else f"{gateway} has no routes"
    print_table(headers, map(_route_row, answer["routes"]), empty=nothing)
    if answer["truncated"]:
        click.echo(f"{len(answer['routes'])} of {answer['total']} paths; --limit or a PREFIX shows others", err=True)


def network(text: str) -> str:
    """A prefix in canonical form; "" stays "". Raises click.UsageError."""
    from ipaddress import ip_network

    try:
        return str(ip_network(text)) if text else ""
    except ValueError as error:
        raise click.UsageError(f"{text!r} is no prefix: {error}") from None


def with_state(status: Mapping[str, Any], now: float) -> dict[str, Any]:
    return {**status, "state": state_of(status, now)}


def state_of(status: Mapping[str, Any], now: float) -> str:
    """One word, or one reason, for a gateway. The gravest first; whether it is drained comes with it."""
    state = _state_of(status, now)
    if not status.get("drained"):
        return state
    return "drained" if state == "ok" else f"{state}, drained"


def _state_of(status: Mapping[str, Any], now: float) -> str:
    report = status["report"]
    if report is None:
        return "never heard" if status["token"]["state"] == "usable" else "no token"
    if silent(status, now):
        return "silent"
    if report["plan_error"]:
        return f"plan refused: {report['plan_error']}"
    if not status["in_force"]:
        return "plan pending"
    down = [session for session in report["sessions"] if session["state"] == "down"]
    if down:
        return f"{counts(len(down), 'session')} down"
    return "ok" if report["converged"] else "converging"


def _gateway_row(status: Mapping[str, Any], now: float) -> tuple[Any, ...]:
    report = status["report"]
    name, site, role, state = status["gateway"], status["site"], status["role"], status["state"]
    if report is None:
        return name, site, role, state, "-", "-", "-", "-"
    states = [session["state"] for session in report["sessions"]]
    up = states.count("up")
    return (
        name,
        site,
        role,
        state,
        ago(status["received_at"], now),
        f"{up}/{len(states) - states.count('standby')}",
        _families(report["kernel"]["routes"]),
        report["speaker_version"],
    )


def _session_row(session: Mapping[str, Any], now: float) -> tuple[Any, ...]:
    return (
        session["gateway"],
        session["peer"],
        session["peer_address"],
        session["state"],
        age(session["since"], now),
        _families(session["received"]),
        _families(session["rejected"]),
        _families(session["stale"]),
        heard(session, now),
        session["reason"],
    )


def _route_row(route: Mapping[str, Any]) -> tuple[Any, ...]:
    marks = (">" if route["best"] else " ") + ("*" if route["installed"] else " ")
    remarks = (
        f"rejected: {route['rejected']}" if route["rejected"] else "",
        "stale" if route["stale"] and not route["rejected"] else "",
        f"overruled: {', '.join(route['overruled'])}" if route.get("overruled") else "",
    )
    values = (
        route[field] for field in ("prefix", "next_hop", "from", "path_id", "local_pref", "as_path", "communities")
    )
    return (marks, *values, "; ".join(filter(None, remarks)))


def _families(found: Mapping[str, int]) -> str:
    """{"ipv4": 5, "ipv6": 0} -> "5"; with both "5 + 3 v6"."""
    four, six = found.get("ipv4", 0), found.get("ipv6", 0)
    return f"{four} + {six} v6" if six else str(four)


def _style(state: str) -> str:
    plain = {"ok": "", "drained": "cyan", "converging": "yellow", "plan pending": "yellow", "silent": "yellow"}
    return plain.get(state.removesuffix(", drained"), "red")
