"""`whatif`: what failures would cost, as the controller works it out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from controller.client.options import json_option, talks
from controller.client.tables import counts, print_json, print_table, working

if TYPE_CHECKING:
    from controller.client.http import Controller

SORTS = {
    "lost": ("prefixes", "lose reachability"),
    "below": ("over", "fall below the floor"),
    "thin": ("one left", "lose redundancy"),
}
"""Of pairs, the worst first: the word over what is said of each, and what happens to them."""


@click.command()
@click.option(
    "--fail",
    multiple=True,
    metavar="THING",
    help="What fails, as kind:name (gateway, uplink, client, site, hub, region, provider), or a name that means one"
    " thing; an uplink is GATEWAY/UPLINK. Several fail together.",
)
@click.option("--each", is_flag=True, help="Every single failure, of all things or of those named; the worst first.")
@click.option("--floor", default="", metavar="CLASS", help="Say who falls to a circuit class worse than this.")
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="Pairs or failures that are named."
)
@json_option
@talks
def whatif(controller: Controller, fail: tuple[str, ...], each: bool, floor: str, limit: int, as_json: bool) -> None:
    """Say what failures would cost.

    The answer comes from the inventory and its rules; nothing is disturbed. Pairs go one way, from the site that
    sends. With all hubs gone routes stay (24 h by default) while nobody learns new ones: that is said apart.

    \b
    Examples:
      leyline whatif --fail berlin-1
      leyline whatif --fail provider:acme --fail uplink:paris-1/main --floor broadband
      leyline whatif --each
    """
    if not (fail or each):
        raise click.UsageError("nothing fails: name something by --fail, or ask for --each")
    question = {"fail": list(fail), "each": each, "floor": floor, "limit": limit}
    with working("The controller works it out"):
        answer = controller.post("whatif", question)
    if as_json:
        print_json(answer)
    elif each:
        _print_each(answer)
    else:
        _print_one(answer["failures"][0])


def _print_each(answer: Mapping[str, Any]) -> None:
    failures = answer["failures"]
    rows = [
        (
            " ".join(one["failed"]),
            len(one["down"]),
            *(one[sort]["total"] for sort in SORTS),
            "lost" if one["control"] else "kept",
        )
        for one in failures
    ]
    headers = ["failure", "sites down", "pairs lost", "below floor", "redundancy lost", "control"]
    print_table(headers, rows, styles={n: "red" for n, one in enumerate(failures) if one["lost"]["total"]})
    more = answer["harmful"] - len(failures)
    click.echo(f"{counts(answer['harmful'], 'failure')} would do harm" + (f"; {more} more" if more else ""))


def _print_one(failure: Mapping[str, Any]) -> None:
    click.echo(f"failed: {' '.join(failure['failed'])}")
    if failure["down"]:
        click.echo(f"down: {' '.join(failure['down'])}")
    if failure["control"]:
        click.echo(f"control: {failure['control']}")
    for sort, (word, happens) in SORTS.items():
        found = failure[sort]
        if found["total"]:
            more = found["total"] - len(found["first"])
            click.echo(f"\n{counts(found['total'], 'pair')} {happens}" + (f"; {more} are not shown" if more else ""))
            print_table(
                ["from", "to", word], [(p["source"], p["target"], ", ".join(p["what"])) for p in found["first"]]
            )
    if failure["capacity"]:
        click.echo("\nbandwidth of the uplinks that are left")
        rows = [(each["site"], _bits(each["before"]), _bits(each["after"])) for each in failure["capacity"]]
        print_table(["site", "before", "after"], rows)
    if not (failure["down"] or failure["control"] or any(failure[sort]["total"] for sort in SORTS)):
        click.echo("no pair of sites loses anything")


def _bits(rate: int) -> str:
    """bit/s, with the letter that the inventory takes."""
    for size, letter in ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "K")):
        if rate >= size:
            return f"{rate / size:g}{letter}"
    return str(rate)
