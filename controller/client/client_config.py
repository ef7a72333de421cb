"""`client-config`: the other side's configuration, for routers that are not ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from controller.client.options import json_option, talks
from controller.client.tables import print_json

if TYPE_CHECKING:
    from controller.client.http import Controller

FORMATS = ("frr", "vyos", "bird", "routeros")


@click.command("client-config")
@click.argument("name")
@click.option("--format", "software", type=click.Choice(FORMATS), required=True, help="The software of the router.")
@json_option
@talks
def client_config(controller: Controller, name: str, software: str, as_json: bool) -> None:
    """Write the BGP configuration of a router that is not ours.

    NAME is a client of the inventory. The text has every hub as a neighbour, timers, graceful restart and BFD as the
    hubs have them, and lets out only what the site was allocated. What you have to add is marked FILL IN.

    \b
    Examples:
      leyline client-config partner --format frr > frr.conf
      leyline client-config legacy --format bird | ssh legacy tee /etc/bird/bird.conf
    """
    answer = controller.get(f"clients/{name}/config", format=software)
    if as_json:
        print_json(answer)
    else:
        click.echo(answer["text"], nl=False)
