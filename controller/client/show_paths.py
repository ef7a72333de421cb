"""`show paths`: direct or relayed, round trip, loss and MTU, path by path or site by site."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from controller.client.options import json_option, talks
from controller.client.reports import SILENT_SECONDS
from controller.client.tables import age, ago, print_json, print_table, unix

if TYPE_CHECKING:
    from controller.client.http import Controller

COLOURS = {"relayed": "yellow", "unknown": "", "direct": ""}


@click.command()
@click.argument("gateway", default="")
@click.option("--matrix", is_flag=True, help="Site by site: the best path of each pair.")
@json_option
@talks
def paths(controller: Controller, gateway: str, matrix: bool, as_json: bool) -> None:
    """Show the paths between members: direct or relayed, round trip, loss, MTU.

    As last reported by all gateways, or by GATEWAY. PATH is what ZeroTier says: "direct", "relayed" (through a root or
    moon) or "unknown"; SINCE when. RTT (median and 95th percentile), LOSS and MTU are the speaker's own probes over
    the last minutes, of paths in use. LATENCY is ZeroTier's own figure, SILENT the age of the last packet by the
    direct path, ZEROTIER the far end's version.

    \b
    Examples:
      leyline show paths
      leyline show paths berlin-1 --json | jq '.[] | select(.state == "relayed") | .to'
      leyline show paths --matrix
    """
    if matrix and gateway:
        raise click.UsageError("--matrix is of all gateways: leave the GATEWAY out")
    items = (
        list(controller.items("paths/matrix")) if matrix else list(controller.items("paths", gateway=gateway or None))
    )
    if as_json:
        print_json(items)
    elif matrix:
        _print_matrix(items)
    else:
        _print_paths(items, gateway)


def _print_paths(items: list[dict[str, Any]], gateway: str) -> None:
    now = time.time()
    headers = ("gateway", "uplink", "to", "address", "path", "since", "rtt p50", "p95", "loss", "mtu", "latency")
    rows = [_path_row(each, now) for each in items]
    styles = {n: "red" if each["findings"] else COLOURS.get(each["state"], "") for n, each in enumerate(items)}
    nothing = f"{gateway} reports no path" if gateway else "no gateway reports a path"
    print_table((*headers, "silent", "zerotier", "heard", "finding"), rows, styles=styles, empty=nothing)


def _path_row(path: Mapping[str, Any], now: float) -> tuple[Any, ...]:
    heard = ago(path["heard_at"], now)
    late = path["heard_at"] is None or now - unix(path["heard_at"]) > SILENT_SECONDS
    return (
        path["gateway"],
        path["uplink"],
        path["to"],
        path["address"],
        path["state"],
        age(path["since"], now) if path["since"] else "-",
        *_figures(path),
        path["mtu"] or "-",
        _ms(path["latency_ms"]),
        "-" if path["silent_seconds"] is None else f"{path['silent_seconds']:.0f} s",
        path["version"] or "-",
        f"{heard}, silent" if late else heard,
        "; ".join(path["findings"]),
    )


def _print_matrix(items: list[dict[str, Any]]) -> None:
    headers = ("site", "to site", "by", "to", "path", "rtt p50", "p95", "loss", "paths", "relayed")
    rows = [
        (
            each["site"],
            each["to_site"],
            f"{each['gateway']}/{each['uplink']}",
            each["to"],
            each["state"],
            *_figures(each),
            each["paths"],
            each["relayed"],
        )
        for each in items
    ]
    styles = {n: COLOURS.get(each["state"], "") for n, each in enumerate(items)}
    print_table(headers, rows, styles=styles, empty="no gateway reports a path to another site")


def _figures(each: Mapping[str, Any]) -> tuple[str, str, str]:
    return _ms(each["rtt_p50_ms"]), _ms(each["rtt_p95_ms"]), "-" if each["loss"] is None else f"{each['loss']:.1%}"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} ms"
