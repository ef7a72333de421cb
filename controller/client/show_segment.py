"""`show hosts` and `show moons`: what is declared of the segment beside gateways and clients."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from controller.client.options import json_option, talks
from controller.client.tables import print_json, print_table

if TYPE_CHECKING:
    from controller.client.http import Controller


@click.command()
@click.option("--site", metavar="NAME", help="Only those of this site.")
@json_option
@talks
def hosts(controller: Controller, site: str | None, as_json: bool) -> None:
    """Show the hosts: members of the segment without BGP.

    \b
    Examples:
      leyline show hosts
      leyline show hosts --site berlin --json
    """
    items = list(controller.items("hosts", site=site))
    if as_json:
        print_json(items)
        return
    rows = [(h["name"], h.get("site"), h["node_id"], h.get("address"), h.get("address6")) for h in items]
    print_table(("host", "site", "node id", "address", "address6"), rows, empty="there are no hosts")


@click.command()
@json_option
@talks
def moons(controller: Controller, as_json: bool) -> None:
    """Show the moons: gateways that others use as a root of ZeroTier.

    \b
    Example:
      leyline show moons
    """
    items = list(controller.items("moons"))
    if as_json:
        print_json(items)
        return
    rows = [(m["name"], m["gateway"], m.get("uplink") or "the first", m["endpoints"]) for m in items]
    print_table(("moon", "gateway", "uplink", "endpoints"), rows, empty="there are no moons")
