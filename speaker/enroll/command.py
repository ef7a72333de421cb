"""`leyline speaker enroll KEY`, and `leyline speaker trust`."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from speaker.state import StateDir
    from speaker.zerotier.local import LocalService

MAX_UPLINKS = 8
ROOM_FOR_SECONDS = len(" (3600 s)")


class Local:
    """speaker.zerotier.local as enrolment wants it."""

    def __init__(self, service: LocalService) -> None:
        self._service = service

    def node_id(self) -> str:
        return self._service.status().node_id

    def join(self, network: str) -> str:
        joined = self._service.network(network) or self._service.join(network)
        return joined.interface


def named_homes(values: tuple[str, ...]) -> list[tuple[str, Path]]:
    """(name of the uplink, home of its service). Raises click.BadParameter."""
    if len(values) > MAX_UPLINKS:
        raise click.BadParameter(f"a gateway has at most {MAX_UPLINKS} uplinks", param_hint="--zerotier-home")
    found = []
    for number, value in enumerate(values, 1):
        name, equals, home = value.rpartition("=")
        found.append((name if equals else "main" if number == 1 else f"uplink-{number}", Path(home)))
    if len({name for name, _ in found}) < len(found) or len({home for _, home in found}) < len(found):
        raise click.BadParameter("each uplink needs a name and a home of its own", param_hint="--zerotier-home")
    return found


def run(key: str, state: StateDir, homes: tuple[str, ...], admit_seconds: float | None, **options: Any) -> None:
    """`admit_seconds`: how long to wait for the addresses, None not at all. Raises click.ClickException."""
    from speaker.enroll.access import AccessUnusable
    from speaker.enroll.admission import await_addresses, opened
    from speaker.enroll.exchange import EnrolFailed, NotReached
    from speaker.enroll.key import KeyUnreadable, parse
    from speaker.enroll.steps import Wish, enroll
    from speaker.zerotier.local import LocalError

    text = sys.stdin.readline(4096) if key == "-" else key
    named = named_homes(homes)
    services = opened(named)
    asked = [(name, Local(service)) for name, service in services]
    kept = tuple((name, str(home.absolute())) for name, home in named)
    progress = Progress()
    addresses: list[str] = []
    try:
        access = enroll(Wish(parse(text), asked, homes=kept, **options), state, progress.say)
        if admit_seconds is not None:
            addresses = await_addresses(access, state, services, progress.say, admit_seconds)
    except NotReached as error:
        raise NoController(str(error)) from None
    except (KeyUnreadable, EnrolFailed, AccessUnusable, LocalError) as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"{error.filename or state.root}: {error.strerror or error}") from None
    finally:
        progress.end()
        for _, service in services:
            service.close()
    where = f", {' and '.join(addresses)} in the segment" if addresses else ""
    click.echo(f"this is gateway {access.gateway} of {access.url}{where}: leyline speaker run starts it")


class NoController(click.ClickException):
    """As of every command of the operator's."""

    exit_code = 3


def run_trust(state: StateDir, fingerprint: str, ca_file: str) -> None:
    """Raises click.ClickException."""
    from speaker.enroll.access import AccessUnusable
    from speaker.enroll.exchange import EnrolFailed
    from speaker.enroll.trust import parse_fingerprint, trust

    try:
        access = trust(state, fingerprint=fingerprint and parse_fingerprint(fingerprint), ca_file=ca_file)
    except (EnrolFailed, AccessUnusable) as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"{error.filename or state.root}: {error.strerror or error}") from None
    whom = f"certificate {access.fingerprint}" if access.fingerprint else f"the CAs of {access.ca_file or 'the system'}"
    click.echo(f"{access.url} is trusted by {whom}. The agent knows it when it is started again, which no session")
    click.echo("notices: systemctl restart leyline-agent")


class Progress:
    """What is being done, on stderr: each text once, and on a terminal how long it has lasted."""

    def __init__(self) -> None:
        self._text = ""
        self._since = 0.0
        self._open = False

    def say(self, text: str) -> None:
        live = sys.stderr.isatty()
        long = len(text) + ROOM_FOR_SECONDS > shutil.get_terminal_size().columns
        if text != self._text:
            self.end()
            self._text, self._since = text, time.monotonic()
            if long or not live:
                click.echo(text, err=True)
        if live:  # A line that is written over must not be broken into two.
            click.echo(f"\r{'...' if long else text} ({time.monotonic() - self._since:.0f} s)", err=True, nl=False)
            self._open = True

    def end(self) -> None:
        if self._open:
            click.echo("", err=True)
        self._open = False
