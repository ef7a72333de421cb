"""`fabric rotate-md5` and `fabric md5-keys`: hubs' keys, one hub at a time, and how their sessions stand."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from controller.client.errors import CommandFailed, Interrupted
from controller.client.options import json_option, talks
from controller.client.tables import advancing, ago, counts, plain, print_json, print_table

if TYPE_CHECKING:
    from controller.client.http import Controller

PAUSE_SECONDS = 0.5
MOST_NAMED = 5


@click.group()
def fabric() -> None:
    """Change what the sessions of the whole fabric share: MD5 keys.

    \b
    Example:
      leyline fabric rotate-md5
    """


@fabric.command("md5-keys")
@json_option
@talks
def md5_keys(controller: Controller, as_json: bool) -> None:
    """Show which hubs have MD5 keys, how old they are, and how their sessions stand; never a key.

    UP counts the sessions that the hub waits for, as both ends say. AWAY are gateways that are off: they are not
    counted, and get the key with their plan.

    \b
    Example:
      leyline fabric md5-keys
    """
    found = controller.get("md5-keys")
    if as_json:
        print_json(found)
        return
    now = time.time()
    rows = [
        (
            each["hub"],
            each["key"],
            ago(each["changed_at"], now),
            f"{each['sessions'] - len(each['missing'])} of {each['sessions']}",
            each["away"],
        )
        for each in found["hubs"]
    ]
    click.echo(f"the inventory says md5: {'true' if found['wanted'] else 'false'}")
    print_table(("hub", "key", "age", "up", "away"), rows, empty="there are no hubs")
    missing = [(e["hub"], m["gateway"], m["reason"]) for e in found["hubs"] for m in e["missing"]]
    if missing:
        click.echo("\nnot up")
        print_table(("hub", "gateway", "reason"), missing)


@fabric.command("rotate-md5")
@click.option("--hub", "names", multiple=True, metavar="HUB", help="Only this one; may be given again. Else all.")
@click.option(
    "--timeout",
    type=click.IntRange(1, 3_600),
    default=120,
    show_default=True,
    metavar="SECONDS",
    help="Wait so long for the sessions of one hub.",
)
@click.option("--force", is_flag=True, help="Even while sessions of other hubs are down: gateways may lose their last.")
@json_option
@talks
def rotate_md5(controller: Controller, names: tuple[str, ...], timeout: int, force: bool, as_json: bool) -> None:
    """Change the MD5 keys of the sessions, hub by hub.

    A hub gets another key, or its first one, or, where `md5` of the fabric is false, none any more. Its sessions
    restart under graceful restart, and no packet is lost. The next hub's turn comes when all of them are up again. If
    they are not in time, this stops: what is missing and which hubs are left is said, and the exit code is 1.

    \b
    Examples:
      leyline fabric rotate-md5
      leyline fabric rotate-md5 --hub hub-1 --timeout 300
    """
    hubs = _chosen(controller.get("md5-keys"), names)
    done: list[dict[str, Any]] = []
    trouble = ""
    for hub in hubs:
        try:
            done.append(_rotate(controller, hub, timeout, force=force))
        except CommandFailed as error:
            if not done:
                raise
            trouble = error.message
            break
        except KeyboardInterrupt:
            untouched = _way_on(hubs[hubs.index(hub) + 1 :])
            raise Interrupted(
                f"interrupted: {hub} may have its new key; leyline fabric md5-keys shows who is back{untouched}"
            ) from None
        if not as_json:
            click.echo(_said(done[-1]))
        if done[-1]["missing"]:
            trouble = _still_missing(done[-1])
            break
    left = list(hubs[len(done) :])
    if as_json:
        print_json({"hubs": done, "left": left})
    if trouble:
        raise CommandFailed(trouble + _way_on(left))


def _chosen(found: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """The hubs, in the order in which they are to be changed. Raises CommandFailed."""
    known = {each["hub"]: each for each in found["hubs"]}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise CommandFailed(f"there is no hub {', '.join(unknown)}; hubs: {', '.join(known) or 'none'}")
    hubs = list(dict.fromkeys(names)) or [name for name, each in known.items() if found["wanted"] or each["key"]]
    if not hubs:
        raise CommandFailed(
            "there is nothing to change: "
            + ("there are no hubs" if found["wanted"] else "no hub has a key; declare `md5: true` of the fabric first")
        )
    return hubs


def _rotate(controller: Controller, hub: str, timeout: float, *, force: bool) -> dict[str, Any]:
    """What was done, and who is still missing when the time is over. Raises CommandFailed when nothing was."""
    answer = controller.post(f"gateways/{hub}/rotate-md5", force=force or None)
    started = time.monotonic()
    with advancing(hub, len(answer["waited_for"])) as show:
        missing = _wait(controller, answer, started + timeout, show)
    return {
        "hub": hub,
        "key": answer["key"],
        "changed_at": answer["changed_at"],
        "sessions": len(answer["waited_for"]),
        "seconds": round(time.monotonic() - started, 1),
        "missing": missing,
        "away": answer["away"],
    }


def _wait(
    controller: Controller, answer: Mapping[str, Any], deadline: float, show: Callable[[int, str], None]
) -> list[dict[str, str]]:
    """Who is missing: nobody, as soon as that is so."""
    waited_for, said = answer["waited_for"], ""
    missing = [{"gateway": name, "reason": "not heard of since"} for name in waited_for]
    while True:
        try:
            missing = missing_of(controller.get("md5-keys"), answer["hub"], waited_for)
        except CommandFailed as error:  # The key is changed, whether or not the controller answers now: look again.
            if error.message != said:
                click.echo(f"Warning: {error.message}", err=True)
            said = error.message
        left = deadline - time.monotonic()
        if not missing or left <= 0:
            return missing
        back = len(waited_for) - len(missing)
        show(back, f"{back} of {counts(len(waited_for), 'session')} back; {left:.0f} s left")
        time.sleep(min(PAUSE_SECONDS, left))


def missing_of(found: Mapping[str, Any], hub: str, waited_for: Sequence[str]) -> list[dict[str, str]]:
    """Of those who were there when the key was changed."""
    for each in found["hubs"]:
        if each["hub"] == hub:
            reasons = {one["gateway"]: one["reason"] for one in each["missing"]}
            reasons |= dict.fromkeys(each["away"], "it is off, or cut off")
            return [{"gateway": name, "reason": reasons[name]} for name in waited_for if name in reasons]
    return []  # It is no hub any more.


def _said(done: Mapping[str, Any]) -> str:
    what = "has a new key" if done["key"] else "has no key any more"
    back = done["sessions"] - len(done["missing"])
    away = f"; away: {', '.join(done['away'])}" if done["away"] else ""
    return f"{done['hub']} {what}: {back} of {counts(done['sessions'], 'session')} up after {done['seconds']} s{away}"


def _still_missing(done: Mapping[str, Any]) -> str:
    named = "; ".join(map(_named, done["missing"][:MOST_NAMED]))
    more = len(done["missing"]) - MOST_NAMED
    return (
        f"after {done['seconds']:.0f} s sessions of {done['hub']} are missing: {named}"
        + (f"; and {more} more" if more > 0 else "")
        + ". A gateway that does not reach the controller has the former key: see leyline doctor there; what comes"
        " back takes the new key by itself"
    )


def _named(missing: Mapping[str, Any]) -> str:
    """Reasons say at which end; one that begins with the gateway needs its name no second time."""
    gateway, reason = missing["gateway"], plain(missing["reason"])
    return reason if reason.startswith(f"{gateway} ") else f"{gateway}: {reason}"


def _way_on(left: Sequence[str]) -> str:
    if not left:
        return ""
    return f". Not touched: {', '.join(left)}. Then: leyline fabric rotate-md5 --hub {' --hub '.join(left)}"
