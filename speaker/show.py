"""`leyline speaker show`: this gateway's own view, asked from the agent over its socket."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from speaker.agent.control import ask
from speaker.report import Ask, ReportUnreadable


class NoAnswer(Exception):
    """The agent did not answer, or refused; the text says what to do."""


def fetch(socket: Path, kind: str, arguments: dict[str, str]) -> Any:
    """The body of the agent's answer. Raises NoAnswer."""
    question = Ask(id="local", kind=kind, arguments=arguments, expires=time.time() + 10)
    try:
        answer = asyncio.run(ask(socket, question))
    except FileNotFoundError:
        raise NoAnswer(f"{socket} is not there: no agent runs with this --state-dir") from None
    except (OSError, TimeoutError) as error:
        raise NoAnswer(f"{socket}: {error or 'no answer in time'}; does the agent run, and are you root?") from None
    except ReportUnreadable as error:
        raise NoAnswer(f"the agent's answer is unreadable: {error}; are agent and command of one version?") from None
    if not answer.ok:
        raise NoAnswer(str(answer.body.get("error", answer.body)))
    return answer.body


def print_report(report: dict[str, Any], console: Console) -> None:
    """Plan, sessions, uplinks and kernel, for people."""
    plan = report["plan_digest"] or "none yet"
    console.print(f"{report['gateway']}: plan {plan}, {'converged' if report['converged'] else 'not converged'}")
    if report["plan_error"]:
        console.print(f"plan error: {report['plan_error']}", markup=False)
    console.print(_table(("peer", "address", "state", "for", "paths", "refused", "stale", "reason"), _sessions(report)))
    uplinks = [(u["name"], u["interface"], "up" if u["up"] else "down", u["detail"]) for u in report["uplinks"]]
    console.print(_table(("uplink", "interface", "state", "detail"), uplinks))
    kernel = report["kernel"]
    counts = ", ".join(f"{count} {family}" for family, count in kernel["routes"].items()) or "none"
    console.print(f"kernel: routes {counts}; {kernel['groups']} groups; {kernel['failed']} refused", highlight=False)
    if kernel["last_error"]:
        console.print(f"kernel error: {kernel['last_error']}", markup=False)
    for name, change in kernel["sysctls"].items():
        console.print(f"sysctl {name}: {change}", markup=False, highlight=False)


def liveness_of(report: dict[str, Any]) -> dict[str, Any]:
    """The part of a report that is about liveness."""
    names = ("gateway", "reported_at", "drained", "next_hops", "lans", "forwarded", "forwarded_pps", "loop_lag_ms")
    return {name: report[name] for name in names}


def print_liveness(report: dict[str, Any], console: Console) -> None:
    """Next hops, those that are not well first, and LANs, for people."""
    drained = "drained; " if report["drained"] else ""
    console.print(
        f"{report['gateway']}: {drained}forwards {report['forwarded_pps']:.0f} packets a second;"
        f" loop lag {report['loop_lag_ms']:.0f} ms (99.9 %)",
        highlight=False,
    )
    columns = ("next hop", "interface", "state", "for", "BFD", "detects in", "flaps", "detour", "reason")
    console.print(_table(columns, [_next_hop(hop, report["reported_at"]) for hop in report["next_hops"]]))
    if report["lans"]:
        lans = [(n["prefix"], n["interface"], "up" if n["up"] else "withdrawn", n["reason"]) for n in report["lans"]]
        console.print(_table(("prefix", "interface", "state", "reason"), lans))


def _next_hop(hop: dict[str, Any], now: float) -> tuple[str, ...]:
    since = f"{max(0, now - hop['since']):.0f} s"
    detects = f"{hop['detection_ms']:.0f} ms" if hop["detection_ms"] else ""
    named = (hop["address"], hop["interface"], hop["state"], since, hop["bfd"], detects)
    return (*named, str(hop["flaps"]), hop["detour"], hop["reason"])


def paths_of(report: dict[str, Any]) -> dict[str, Any]:
    """The part of a report that is about paths."""
    return {name: report[name] for name in ("gateway", "reported_at", "zerotier", "peers", "paths")}


def print_paths(report: dict[str, Any], console: Console) -> None:
    """ZeroTier's services and members, and what our own echoes measured, for people."""
    services = [
        (s["uplink"], s["node_id"], s["version"], "online" if s["online"] else "offline", s["status"], s["problem"])
        for s in report["zerotier"]
    ]
    console.print(_table(("uplink", "node", "zerotier", "", "network", "problem"), services))
    measured = {(path["uplink"], path["address"]): path for path in report["paths"]}
    members = {(peer["uplink"], peer["address"]): peer for peer in report["peers"] if peer["address"]}
    rows = [
        _path(*pair, members.get(pair), measured.get(pair), report["reported_at"])
        for pair in dict.fromkeys((*members, *measured))
    ]
    columns = (
        "uplink",
        "address",
        "node",
        "zerotier",
        "path",
        "for",
        "latency",
        "silent",
        "rtt p50",
        "p95",
        "loss",
        "mtu",
        "physical",
    )
    console.print(_table(columns, rows))


def _path(
    uplink: str, address: str, peer: dict[str, Any] | None, probe: dict[str, Any] | None, now: float
) -> tuple[str, ...]:
    node = version = state = lasted = latency = silent = physical = p50 = p95 = loss = mtu = ""
    if peer is not None:
        node, version, state, physical = peer["node_id"], peer["version"], peer["state"], peer["physical"]
        latency = f"{peer['latency_ms']:.1f} ms" if peer["latency_ms"] >= 0 else ""
        lasted = f"{max(0, now - peer['since']):.0f} s"
        silent = f"{peer['silent_seconds']:.0f} s" if peer["silent_seconds"] >= 0 else ""
    if probe is not None:
        p50, p95 = (f"{probe[name]:.1f} ms" if probe[name] >= 0 else "-" for name in ("rtt_p50_ms", "rtt_p95_ms"))
        loss, mtu = f"{probe['loss']:.1%}", str(probe["mtu"] or "")
    named = (uplink, address, node, version, state or "unknown", lasted)
    return (*named, latency, silent, p50, p95, loss, mtu, physical)


def print_routes(body: dict[str, Any], console: Console) -> None:
    """All paths, the used ones marked by a star."""
    rows = [
        (
            "*" if route["best"] else "",
            route["prefix"],
            route["next_hop"],
            route["from"],
            str(route["path_id"]),
            str(route["local_pref"]),
            " ".join(route["communities"]),
            "; ".join(filter(None, (route["rejected"], "stale" if route["stale"] else ""))),
        )
        for route in body["routes"]
    ]
    console.print(_table(("", "prefix", "next hop", "from", "id", "pref", "communities", "note"), rows))
    if body["truncated"]:
        console.print(f"{len(rows)} of {body['total']} paths; ask for more with --limit, or for one prefix")


def _sessions(report: dict[str, Any]) -> list[tuple[str, ...]]:
    rows = []
    for session in report["sessions"]:
        counts = [sum(session[what].values()) for what in ("received", "rejected", "stale")]
        since = f"{max(0, report['reported_at'] - session['since']):.0f} s"
        named = (session["peer"], session["peer_address"], session["state"], since)
        rows.append((*named, *map(str, counts), session["reason"]))
    return rows


def _table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table
