"""`doctor`: what is wrong in the fabric, where, and how to fix it; a gateway that is named examines itself, too."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from controller.client.errors import CommandFailed, NoAnswer, NoController
from controller.client.options import json_option, talks
from controller.client.tables import print_json, print_table, working

if TYPE_CHECKING:
    from controller.client.examine.facts import Facts, Finding, Level
    from controller.client.http import Controller

COLOURS = {"error": "red", "warning": "yellow"}


@click.command()
@click.option("--gateway", "gateways", multiple=True, metavar="NAME", help="Let this gateway examine itself, too.")
@json_option
@talks
def doctor(controller: Controller, gateways: tuple[str, ...], as_json: bool) -> None:
    """Examine the fabric: what is wrong, where, and how to fix it.

    From what the controller knows: gateways' last reports, the ZeroTier network, tokens. With --gateway a gateway
    examines itself as `leyline speaker doctor` does there, and has five seconds. Nothing is changed. Exit code 1 when
    there are errors; warnings alone are 0.

    \b
    Examples:
      leyline doctor
      leyline doctor --gateway berlin-1
      leyline doctor --json | jq -r '.findings[] | select(.level == "error") | .what'
    """
    from controller.client.examine import CHECKS
    from controller.client.examine.facts import examine, in_order

    unread: dict[str, str] = {}
    with working("the controller is asked"):
        found = examine(CHECKS, _facts(controller, unread))
        found += [each for name in gateways for each in _asked(controller, name, unread)]
    findings = in_order(found)
    if as_json:
        print_json({"findings": [each._asdict() for each in findings], "unread": unread})
    else:
        _print(findings, unread, len(CHECKS))
    if any(each.level == "error" for each in findings):
        sys.exit(1)


def _print(findings: Sequence[Finding], unread: dict[str, str], checks: int) -> None:
    styles = {number: COLOURS[each.level] for number, each in enumerate(findings)}
    print_table(("level", "check", "where", "what", "fix"), findings, styles=styles)
    errors = sum(each.level == "error" for each in findings)
    click.echo(f"{checks} checks: {errors} errors, {len(findings) - errors} warnings", err=True)
    for name, why in unread.items():
        click.echo(f"not looked at: {name}: {why}", err=True)


def _facts(controller: Controller, unread: dict[str, str]) -> Facts:
    """Raises CommandFailed when the controller says nothing at all; a part that it does not say is `unread`."""
    from controller.client.examine.facts import Facts

    def read(name: str, ask: Callable[[], Any], otherwise: Any) -> Any:
        try:
            return ask()
        except CommandFailed as error:
            unread[name] = error.message
            return otherwise

    statuses = list(controller.items("status/gateways"))
    document = read("fabric", lambda: controller.get("fabric"), {})
    return Facts(
        now=time.time(),
        statuses=statuses,
        fabric=document.get("fabric") or {},
        segment=read("segment", lambda: controller.get("segment"), {}),
        paths=read("paths", lambda: list(controller.items("paths")), ()),
        tokens=read("tokens", lambda: list(controller.items("tokens")), None),
        md5=read("MD5 keys", lambda: controller.get("md5-keys"), {}),
        allocations=document.get("allocations") or (),
    )


def _asked(controller: Controller, gateway: str, unread: dict[str, str]) -> Iterator[Finding]:
    """What the gateway finds itself. Raises CommandFailed for one that is not declared."""
    from controller.client.examine.facts import Finding

    try:
        said = controller.post(f"gateways/{gateway}/asks", {"kind": "doctor"})
    except NoController:
        raise
    except NoAnswer as error:
        unread[gateway] = error.message
        return
    for each in said.get("findings", ()):
        level: Level = "error" if each.get("level") == "error" else "warning"
        texts = (str(each.get(name, "")) for name in ("check", "where", "what", "fix"))
        check, where, what, fix = texts
        yield Finding(level, check, f"{gateway}: {where}", what, fix)
    for name, why in said.get("unread", {}).items():
        unread[f"{gateway}: {name}"] = str(why)
