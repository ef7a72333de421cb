"""`drain` and `undrain`: a gateway out of traffic and back, and how much still flows through it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from controller.client.errors import CommandFailed, Interrupted
from controller.client.options import json_option, talks
from controller.client.tables import counts, print_json, working

if TYPE_CHECKING:
    from controller.client.http import Controller

PAUSE_SECONDS = 1.0
NEAR_ZERO = 5.0
"""Packets a second: less than that is a stray ping, or a peer's last word."""
CALM_REPORTS = 2
SHORTEST_SECONDS = 2.0
"""Between two reports that count: a gateway reads its counters once a second, so a shorter gap may show nothing."""


class Watch:
    """Whether a gateway has let go of its traffic, from its reports, one after another. Pure."""

    def __init__(self, digest: str) -> None:
        self.digest = digest  # Of the plan that drains it.
        self.report: Mapping[str, Any] | None = None
        self.rate: float | None = None  # Packets a second.
        self.calm = 0  # Reports in a row, with the plan in force, near zero.
        self.undrained = False  # By somebody else, meanwhile.

    @property
    def in_force(self) -> bool:
        report = self.report or {}
        return bool(report.get("drained")) and report["plan_digest"] == self.digest

    @property
    def done(self) -> bool:
        return self.calm >= CALM_REPORTS

    def see(self, report: Mapping[str, Any] | None) -> None:
        """The newest report that there is. None, and one that was seen before, are no news."""
        former = self.report
        if report is None or (former is not None and _seconds(former, report) < SHORTEST_SECONDS):
            return
        self.report = report
        self.rate = _rate(former, report)
        # The first one is no proof: its rate may be from before the drain, or from an agent that has just begun.
        calm = former is not None and self.in_force and self.rate < NEAR_ZERO
        self.calm = self.calm + 1 if calm else 0

    def said(self) -> str:
        """How far it is, in words."""
        if self.undrained:
            return "somebody has undrained it"
        if self.report is None:
            return "it was never heard"
        if not self.in_force:
            error = self.report.get("plan_error")
            return f"it refuses the plan: {error}" if error else "it has not taken the plan yet"
        return f"it still forwards {self.rate:.0f} packets/s" if not self.done else f"{self.rate:.0f} packets/s"


def _seconds(former: Mapping[str, Any], report: Mapping[str, Any]) -> float:
    return float(report["reported_at"] - former["reported_at"])


def _rate(former: Mapping[str, Any] | None, report: Mapping[str, Any]) -> float:
    """By the counter between two reports; by what the gateway says when there is only one, or it has rebooted."""
    if former is not None and report.get("forwarded", 0) >= former.get("forwarded", 0) > 0:
        return float(report["forwarded"] - former["forwarded"]) / _seconds(former, report)
    return float(report.get("forwarded_pps", 0.0))


@click.command()
@click.argument("gateway")
@click.option(
    "--timeout",
    type=click.IntRange(1, 86_400),
    default=120,
    show_default=True,
    metavar="SECONDS",
    help="Wait so long for its traffic to go.",
)
@click.option("--no-wait", is_flag=True, help="Only declare it; do not wait.")
@json_option
@talks
def drain(controller: Controller, gateway: str, timeout: int, no_wait: bool, as_json: bool) -> None:
    """Take a gateway out of traffic, and wait until it is.

    Its paths become the last choice of everybody (GRACEFUL_SHUTDOWN, lowest preference) while it keeps
    forwarding, so nothing is lost on the way. This waits until the gateway carries that plan out and less than 5
    packets/s pass through it, twice in a row. Exit code 1 when that does not happen in time: what still flows is
    said, and the gateway stays drained. It does so until `leyline undrain`, also over `leyline apply`.

    \b
    Examples:
      leyline drain berlin-1 && ssh berlin-1 reboot
      leyline drain berlin-1 --no-wait --json
    """
    answer = controller.post(f"gateways/{gateway}/drain")
    for warning in answer["warnings"]:
        click.echo(f"Warning: {warning}", err=True)
    if not as_json:
        click.echo(_declared(answer, "is declared drained", "is drained already"))
    if no_wait:
        if as_json:
            print_json(answer)
        return
    way_out = f"leyline undrain {gateway} ends it; until then it stays declared so"
    started = time.monotonic()
    try:
        watch = _wait(controller, answer, timeout)
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted: leyline drain {gateway} waits on, {way_out}") from None
    waited = time.monotonic() - started
    if as_json:
        state = {"in_force": watch.in_force, "forwarded_pps": watch.rate, "done": watch.done}
        print_json({**answer, **state, "waited_seconds": round(waited, 1)})
    if not watch.done:
        ways = f"leyline drain {gateway} waits on" + ("" if watch.undrained else f", {way_out}")
        raise CommandFailed(f"after {waited:.0f} s {gateway} is not drained: {watch.said()}. {ways}")
    if not as_json:
        safe = "but the warning above holds" if answer["warnings"] else "safe to switch off"
        click.echo(f"drained: {watch.said()}, {safe}")


@click.command()
@click.argument("gateway")
@json_option
@talks
def undrain(controller: Controller, gateway: str, as_json: bool) -> None:
    """Bring a drained gateway back into traffic.

    Traffic returns as soon as gateways and hubs have their new plans, within a second or two.

    \b
    Example:
      leyline undrain berlin-1
    """
    answer = controller.post(f"gateways/{gateway}/undrain")
    if as_json:
        print_json(answer)
    else:
        click.echo(_declared(answer, "takes traffic again", "is not drained"))


def _declared(answer: Mapping[str, Any], now: str, already: str) -> str:
    if not answer["changes"]:
        return f"{answer['gateway']} {already}; nothing was changed, the fabric stays at revision {answer['revision']}"
    plans = counts(len(answer["gateways"]), "gateway")
    return f"{answer['gateway']} {now}: revision {answer['revision']}; {plans} with a new plan"


def _wait(controller: Controller, answer: Mapping[str, Any], timeout: float) -> Watch:
    """Looks once a second, until it is drained or the time is over."""
    gateway, watch, trouble = answer["gateway"], Watch(answer["plan_digest"]), ""
    deadline = time.monotonic() + timeout
    with working(f"{gateway} gets its plan") as show:
        while True:
            try:
                _look(controller, gateway, watch)
            except CommandFailed as error:  # What is drained stays so while the controller restarts: look again.
                if error.message != trouble:
                    click.echo(f"Warning: {error.message}", err=True)
                trouble = error.message
            left = deadline - time.monotonic()
            if watch.done or watch.undrained or left <= 0:
                return watch
            show(f"{gateway}: {watch.said()}; {left:.0f} s left")
            time.sleep(min(PAUSE_SECONDS, left))


def _look(controller: Controller, gateway: str, watch: Watch) -> None:
    """Raises CommandFailed."""
    from controller.client.reports import latest_report

    watch.see(latest_report(controller, gateway))
    if not watch.in_force:  # Another change may have given it another plan meanwhile.
        status = controller.get(f"status/gateways/{gateway}")
        watch.digest, watch.undrained = status["plan_digest"], not status["drained"]
