"""`explain`: where packets to an address go, what was intended, and why every other way lost."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from controller.client.options import json_option, talks
from controller.client.tables import plain, print_json, working

if TYPE_CHECKING:
    from rich.tree import Tree

    from controller.client.http import Controller

UNBOUNDED = 10_000
"""Columns of a pipe: nothing is folded there."""

LIVE_HEADERS = ("tier", "next hop", "from", "local pref", "as path", "med", "communities", "rules", "why not")
INTENDED_HEADERS = ("tier", "uplink", "local pref", "med", "rules", "why not")

Name = Callable[[str], str]


@click.command()
@click.option("--from", "origin", metavar="SITE|GATEWAY", required=True, help="Who sends: a site, or one gateway.")
@click.argument("address")
@click.option("--tenant", metavar="NAME", default="global", show_default=True, help="Whose address it is.")
@json_option
@talks
def explain(controller: Controller, origin: str, address: str, tenant: str, as_json: bool) -> None:
    """Say where packets to an address go, and why there.

    Every gateway of the site is asked, now: which prefix has the address, which paths it knows, which step of the
    decision beat each that is not used, and what its kernel holds (next hops that are dead, detours). Beside that
    stands what the inventory intends, and by which rules; then how the two differ. A gateway that does not answer
    within five seconds is explained from the inventory alone.

    \b
    Examples:
      leyline explain --from berlin 10.2.1.7
      leyline explain --from berlin-1 2001:db8:2::7 --json | jq '.gateways[].differences'
    """
    with working(f"{origin} is asked"):
        answer = controller.get("explain", **{"from": origin, "address": address, "tenant": tenant})
    if as_json:
        print_json(answer)
        return
    _print([_gateway(each, answer) for each in answer["gateways"]])


def _print(trees: Sequence[Tree]) -> None:
    from rich.console import Console

    terminal = sys.stdout.isatty()
    console = Console(file=sys.stdout, highlight=False, width=None if terminal else UNBOUNDED)
    for tree in trees:
        if terminal:
            console.print(tree)
            continue
        with console.capture() as captured:
            console.print(tree)
        click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def _gateway(entry: Mapping[str, Any], answer: Mapping[str, Any]) -> Tree:
    uplinks = answer["uplinks"]

    def name(hop: str) -> str:
        return f"{hop} {uplinks[hop]}" if hop in uplinks else hop

    tree = _tree(f"{entry['gateway']} ({entry['role']} of {entry['site']}) to {answer['address']}", "bold")
    live, intended = entry["live"], entry["intended"]
    if live is None:
        _add(tree, entry["no_answer"], "yellow")
    else:
        _live(_add(tree, f"now: {_verdict(live['verdict'])}", "bold"), live, name)
    _intended(_add(tree, f"intended: {_verdict(intended)}", "bold"), intended)
    if live is not None:
        found = entry["differences"]
        branch = _add(tree, "differences: none" if not found else "differences:", "red" if found else "green")
        for each in found:
            _add(branch, each)
    return tree


def _verdict(verdict: Mapping[str, Any]) -> str:
    """In front of the text the prefix that takes the packet; when there is none the text says so."""
    return f"{verdict['prefix']}, {verdict['text']}" if verdict["prefix"] else str(verdict["text"])


def _live(branch: Tree, live: Mapping[str, Any], name: Name) -> None:
    for way in live["verdict"]["ways"]:
        _add(branch, f"over {_way(way, name)}", "green")
    for each in live["prefixes"]:
        mark = ">" if each["taken"] else " "
        under = _add(branch, f"{mark} {each['prefix']}: {each['text']}")
        for number, tier in enumerate(each.get("tiers", ()), 1):
            _add(under, f"tier {number}: " + "; ".join(_member(member, name) for member in tier))
        paths = each.get("paths", [])
        if paths:
            _add_table(under, LIVE_HEADERS, [_live_row(path, name) for path in paths])
        if len(paths) < each.get("paths_total", 0):
            _add(under, f"{len(paths)} of {each['paths_total']} paths")


def _way(way: Mapping[str, Any], name: Name) -> str:
    text = f"{name(way['address'])} on {way['interface']}"
    if way["label"] is not None:
        text += f", label {way['label']}"
    if way["weight"] != 1:
        text += f", weight {way['weight']}"
    if way["detour"]:
        text += ", a detour to " + " and ".join(map(name, way["towards"]))
    return text


def _member(member: Mapping[str, Any], name: Name) -> str:
    state = member["state"]
    where = ", ".join(f"{interface} {each}" for interface, each in member["interfaces"].items())
    return name(member["next_hop"]) + ("" if state == "usable" else f" ({where or state})")


def _live_row(path: Mapping[str, Any], name: Name) -> tuple[Any, ...]:
    preference = path["seen"].get("local_pref", path["local_pref"])
    rules = [*path["rules"], *path["view_rules"]]
    return (
        path["tier"] or "-",
        name(path["next_hop"]),
        path["from"],
        preference,
        path["as_path"],
        path["seen"].get("med", path["med"]),
        path["communities"],
        ", ".join(rules),
        "; ".join(_remarks(path)),
    )


def _remarks(path: Mapping[str, Any]) -> Iterator[str]:
    if path["why"]:
        kept_out = f"{path['step']}: " if path["step"] in ("refused", "withheld") else ""
        by = f" (by {path['beaten_by']})" if path["beaten_by"] else ""
        yield f"{kept_out}{path['why']}{by}"
    if path["copy_of"]:
        yield f"a copy of {path['copy_of']}"
    if path["stale"]:
        yield "stale"


def _intended(branch: Tree, intended: Mapping[str, Any]) -> None:
    for each in intended["prefixes"]:
        mark = ">" if each["taken"] else " "
        sites = f" (of {', '.join(each['sites'])})" if each["sites"] else ""
        under = _add(branch, f"{mark} {each['prefix']}{sites}: {each['text']}")
        if each["paths"]:
            _add_table(under, INTENDED_HEADERS, [_intended_row(path) for path in each["paths"]])


def _intended_row(path: Mapping[str, Any]) -> tuple[Any, ...]:
    made = f"{path['base']} -> {path['preference']}" if path["base"] != path["preference"] else path["preference"]
    uplink = path["uplink"] + (f" {path['next_hop']}" if path["next_hop"] else "")
    return path["tier"] or "-", uplink, made, path["med"], ", ".join(path["rules"]), path["why"]


# Of rich


def _tree(text: str, style: str = "") -> Tree:
    from rich.text import Text
    from rich.tree import Tree

    return Tree(Text(plain(text), style=style))


def _add(tree: Tree, text: str, style: str = "") -> Tree:
    from rich.text import Text

    return tree.add(Text(plain(text), style=style))


def _add_table(tree: Tree, headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Columns that are empty everywhere are left out."""
    from rich.table import Table
    from rich.text import Text

    texts = [[plain(value) for value in row] for row in rows]
    kept = [number for number in range(len(headers)) if any(row[number] for row in texts)]
    table = Table(box=None, pad_edge=False, header_style="dim")
    for number in kept:
        table.add_column(headers[number], overflow="fold")
    for row in texts:
        table.add_row(*(Text(row[number]) for number in kept), style="green" if row[0] == "1" else None)
    tree.add(table)
