"""`leyline speaker`: what runs on a gateway, and how to look at it there."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

DEFAULT_STATE_DIR = "/var/lib/leyline"

state_option = click.option(
    "--state-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=DEFAULT_STATE_DIR,
    envvar="LEYLINE_STATE_DIR",
    show_default=True,
    help="Where the speaker keeps its plan and its sockets.",
)


def agent_options(command: Decorated) -> Decorated:
    """What the agent must know: who it is, and where its plan comes from."""
    for option in reversed(
        (
            click.option(
                "--gateway", envvar="LEYLINE_GATEWAY", help="This gateway's name; one that has enrolled knows it."
            ),
            click.option(
                "--controller", envvar="LEYLINE_URL", help="URL of the controller; one that has enrolled knows it."
            ),
            click.option(
                "--token-file",
                type=click.Path(dir_okay=False, path_type=Path),
                envvar="LEYLINE_TOKEN_FILE",
                help="File with this gateway's token.",
            ),
            click.option(
                "--cacert", type=click.Path(dir_okay=False), envvar="LEYLINE_CACERT", help="The controller's CA."
            ),
            click.option(
                "--plan",
                type=click.Path(dir_okay=False, path_type=Path),
                help="Carry out this plan file; ask no controller. SIGHUP reads it again.",
            ),
            click.option(
                "--metrics",
                metavar="ADDRESS:PORT",
                envvar="LEYLINE_METRICS",
                help="Serve Prometheus metrics there, like 127.0.0.1:9641. Off by default.",
            ),
            click.option(
                "--zerotier-home",
                multiple=True,
                envvar="LEYLINE_ZEROTIER_HOMES",
                metavar="[UPLINK=]DIR",
                help="Home of a ZeroTier service, once for each uplink that has one of its own."
                " Without an uplink's name it is found by its node id.  [default: /var/lib/zerotier-one]",
            ),
            click.option("--audit-seconds", type=click.FloatRange(min=0.1), hidden=True),
            click.option("--break-before-make", type=bool, hidden=True),
            click.option("--removal-seconds", type=click.FloatRange(min=0.1), hidden=True),
            state_option,
        )
    ):
        command = option(command)
    return command


@click.group()
def speaker() -> None:
    """The speaker: runs on every gateway and carries its plan out.

    \b
    Examples:
      leyline speaker enroll KEY && leyline speaker run
      leyline speaker run --controller https://leyline.example:8642 \\
          --gateway berlin-1 --token-file /etc/leyline/token
    """


@speaker.command()
@click.argument("key", envvar="LEYLINE_ENROLL_KEY")
@click.option("--name", default="", help="Of this gateway; without it the controller chooses one.")
@click.option(
    "--zerotier-home",
    "homes",
    multiple=True,
    default=["/var/lib/zerotier-one"],
    show_default=True,
    metavar="[NAME=]DIR",
    help="Home of a ZeroTier service; each one given is an uplink.",
)
@click.option(
    "--cacert",
    "ca_file",
    type=click.Path(exists=True, dir_okay=False, resolve_path=True),
    help="The controller's CA: then its certificate may be replaced by another one of that CA.",
)
@click.option(
    "--wait",
    "wait_seconds",
    type=click.FloatRange(min=0),
    default=3600.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for approval.",
)
@click.option(
    "--timeout",
    "admit_seconds",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for an address in the segment, once approved.",
)
@click.option("--no-wait", is_flag=True, help="Do not wait for an address in the segment.")
@state_option
def enroll(
    key: str, homes: tuple[str, ...], state_dir: Path, admit_seconds: float, no_wait: bool, **options: Any
) -> None:
    """Make this box a gateway: ask the controller that KEY is of, join the segment, wait for approval and address.

    KEY comes from `leyline enroll-key create`; - reads it from stdin, so that it is in no list of processes. What the
    speaker needs is kept in the state directory. A run that was broken off goes on when it is started again. Exit code
    1 without approval or address in time, 3 without a controller.

    \b
    Examples:
      leyline speaker enroll - < key
      leyline speaker enroll KEY --name berlin-2 --zerotier-home fiber=/var/lib/zerotier-one \\
          --zerotier-home lte=/var/lib/zerotier-lte
    """
    from speaker.enroll.command import run as enroll_now

    options["ca_file"] = options["ca_file"] or ""
    enroll_now(key, _prepared(state_dir), homes, None if no_wait else admit_seconds, **options)


@speaker.command()
@click.argument("fingerprint", default="")
@click.option(
    "--cacert",
    "ca_file",
    type=click.Path(exists=True, dir_okay=False, resolve_path=True),
    help="Trust the CAs in this PEM file instead.",
)
@click.option("--system", is_flag=True, help="Trust the system's CAs instead.")
@state_option
def trust(fingerprint: str, ca_file: str | None, system: bool, state_dir: Path) -> None:
    """Trust another certificate of the controller that this box has enrolled with.

    FINGERPRINT is the certificate's SHA-256, as openssl prints it where the controller runs: openssl x509 -noout
    -fingerprint -sha256 -in CERTIFICATE. It is stored if the controller shows that very certificate now, and else
    nothing is changed.

    \b
    Examples:
      leyline speaker trust 7cb1d1c5556c17c8d147eb3925b581dc9760e22455eb4959d25679b617aa96aa
      leyline speaker trust --system
    """
    from speaker.enroll.command import run_trust
    from speaker.state import StateDir

    if (bool(fingerprint), ca_file is not None, system).count(True) != 1:
        raise click.UsageError("say one of FINGERPRINT, --cacert and --system")
    run_trust(StateDir(state_dir), fingerprint, ca_file or "")


@speaker.command()
@agent_options
def run(state_dir: Path, **options: Any) -> None:
    """Run the whole speaker in the foreground: agent, ExaBGP, BFD and keepalived, each restarted alone.

    \b
    Examples:
      leyline speaker run
      leyline speaker run --controller https://leyline.example:8642 \\
          --gateway berlin-1 --token-file /etc/leyline/token
    """
    import asyncio

    from speaker.supervise import ProcessSpec, supervise

    state = _prepared(state_dir)
    _settings(state_dir, **options)  # A wrong option is said once, here, and not by an agent that dies for ever.
    arguments = [f"--state-dir={state_dir}"]
    for name, value in options.items():
        values = value if isinstance(value, tuple) else () if value is None else (value,)
        arguments += [f"--{name.replace('_', '-')}={each}" for each in values]
    python = (sys.executable, "-m", "controller.cli", "speaker")
    agent_process = ProcessSpec("agent", (*python, "agent", *arguments))
    exabgp_process = ProcessSpec("exabgp", (*python, "exabgp", f"--state-dir={state_dir}"), needs=state.exabgp_config)
    bfd_process = ProcessSpec("bfd", (*python, "bfd", f"--state-dir={state_dir}"))
    keepalived_process = ProcessSpec(
        "keepalived", (*python, "keepalived", f"--state-dir={state_dir}"), needs=state.keepalived_config
    )
    asyncio.run(supervise(state, (agent_process, exabgp_process, bfd_process, keepalived_process)))


@speaker.command()
@agent_options
def agent(**options: Any) -> None:
    """Run the agent alone: plan, routing table, kernel. Stopping it changes nothing on the wire.

    \b
    Example:
      leyline speaker agent --gateway berlin-1 --plan plan.json --state-dir /run/leyline
    """
    from speaker.agent.main import main

    _prepared(options["state_dir"])
    main(_settings(**options))


@speaker.command()
@state_option
def exabgp(state_dir: Path) -> None:
    """Run ExaBGP alone, with the configuration that the agent wrote.

    \b
    Example:
      leyline speaker exabgp --state-dir /run/leyline
    """
    from speaker.bgp.exabgp.launcher import main

    state = _prepared(state_dir)
    if not state.exabgp_config.exists():
        raise click.ClickException(f"{state.exabgp_config} is not there yet: start the agent first, it writes it")
    sys.exit(main([str(state.exabgp_config)]))


@speaker.command()
@state_option
def bfd(state_dir: Path) -> None:
    """Run BFD alone: it keeps its sessions while the agent restarts. Ended by SIGTERM it says AdminDown to its peers,
    or Down when systemd says that the whole box goes down.

    \b
    Example:
      leyline speaker bfd --state-dir /run/leyline
    """
    import os

    _prepared(state_dir)
    os.execv(sys.executable, [sys.executable, "-m", "speaker.liveness.bfd", str(state_dir)])


@speaker.command()
@state_option
def keepalived(state_dir: Path) -> None:
    """Run keepalived alone, with the configuration that the agent wrote: the first hops of this gateway's LANs.

    \b
    Example:
      leyline speaker keepalived --state-dir /run/leyline
    """
    from speaker.liveness.keepalived import become_keepalived
    from speaker.logs import configure_logging

    state = _prepared(state_dir)
    if not state.keepalived_config.exists():
        raise click.ClickException(
            f"{state.keepalived_config} is not there: the agent writes it once its plan has first hops"
        )
    configure_logging()
    become_keepalived(state)


@speaker.command()
@state_option
def hook(state_dir: Path) -> None:
    """Be the process hook of an ExaBGP that is not ours: slower, over its documented text API.

    ExaBGP starts it; the agent of the same --state-dir finds it there. It needs `encoder json`, and per neighbour
    `api { processes [ leyline ]; neighbor-changes; receive { parsed; update; refresh; } }`.

    \b
    Example:
      leyline speaker hook --state-dir /var/lib/leyline
    \b
    In exabgp.conf:
      process leyline {
          run /opt/leyline/bin/leyline speaker hook --state-dir /var/lib/leyline;
          encoder json;
      }
    """
    import os

    from speaker.bgp import bridge

    state = _prepared(state_dir)
    os.execv(sys.executable, [sys.executable, "-I", str(Path(bridge.__file__).resolve()), str(state.bridge)])


@speaker.command()
@click.argument("what", type=click.Choice(["status", "routes", "liveness", "paths"]), default="status")
@click.argument("prefix", default="")
@click.option("--family", type=click.Choice(["ipv4", "ipv6"]), help="Only routes of this family.")
@click.option("--limit", type=click.IntRange(1, 20_000), default=1000, show_default=True, help="Paths at most.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@state_option
def show(what: str, prefix: str, family: str | None, limit: int, as_json: bool, state_dir: Path) -> None:
    """Show this gateway's sessions, uplinks and kernel; its routes; its next hops' liveness; or its paths.

    \b
    Examples:
      leyline speaker show
      leyline speaker show liveness
      leyline speaker show paths
      leyline speaker show routes 10.1.0.0/16 --json
    """
    import json

    from rich.console import Console

    from speaker.show import (
        NoAnswer,
        fetch,
        liveness_of,
        paths_of,
        print_liveness,
        print_paths,
        print_report,
        print_routes,
    )
    from speaker.state import StateDir

    kind = "routes" if what == "routes" else "report"
    try:
        body = fetch(StateDir(state_dir).control, kind, {"prefix": prefix, "family": family or "", "limit": str(limit)})
    except NoAnswer as error:
        raise click.ClickException(str(error)) from None
    if as_json:
        part = {"liveness": liveness_of, "paths": paths_of}.get(what)
        click.echo(json.dumps(body if part is None else part(body)))
        return
    prints = {"status": print_report, "routes": print_routes, "liveness": print_liveness, "paths": print_paths}
    prints[what](body, Console(soft_wrap=not sys.stdout.isatty()))


@speaker.command()
@click.option("--gateway", envvar="LEYLINE_GATEWAY", help="This gateway's name.")
@click.option("--controller", envvar="LEYLINE_URL", help="URL of the controller.")
@click.option(
    "--token-file",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="LEYLINE_TOKEN_FILE",
    help="File with this gateway's token.",
)
@click.option("--cacert", type=click.Path(dir_okay=False), envvar="LEYLINE_CACERT", help="The controller's CA.")
@click.option(
    "--zerotier-home",
    "homes",
    multiple=True,
    metavar="[UPLINK=]DIR",
    envvar="LEYLINE_ZEROTIER_HOMES",
    help="Home of a ZeroTier service; name each one.  [default: as enrolled, or /var/lib/zerotier-one]",
)
@click.option(
    "--plan",
    "plan_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The plan file that the speaker carries out, where it asks no controller.",
)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@state_option
def doctor(
    state_dir: Path,
    homes: tuple[str, ...],
    plan_file: Path | None,
    as_json: bool,
    gateway: str | None,
    **options: Any,
) -> None:
    """Examine this gateway: what is wrong, where, and how to fix it.

    Run it as root, on the gateway, with what the speaker is run with. It changes nothing. Exit code 1 when there are
    errors; warnings alone are 0.

    \b
    Examples:
      leyline speaker doctor
      leyline speaker doctor --json | jq -r '.findings[] | .what'
    """
    from dataclasses import replace

    from speaker.doctor.command import run as examine_now
    from speaker.doctor.gather import Patient
    from speaker.state import StateDir

    state = StateDir(state_dir)
    access, unusable = None, ""
    if options["controller"] or state.access.exists():
        try:
            access = _access(state, gateway, **options)
        except click.ClickException as error:  # Of a sick gateway: the rest can be examined all the same.
            unusable = error.message
    patient = Patient(state, access, plan_file=plan_file)
    if homes:
        patient = replace(patient, homes=_homes(homes))
    elif access is not None and access.homes:
        patient = replace(patient, homes=[(name, Path(home)) for name, home in access.homes])
    examine_now(patient, as_json=as_json, unread={"controller": unusable} if unusable else {})


def _prepared(state_dir: Path) -> Any:
    from speaker.state import StateDir

    state = StateDir(state_dir)
    try:
        state.prepare()
    except OSError as error:
        raise click.ClickException(
            f"{state_dir}: {error.strerror}. Name another directory with --state-dir, or run as root."
        ) from None
    return state


def _settings(state_dir: Path, gateway: str | None, **options: Any) -> Any:
    from dataclasses import replace

    from speaker.agent.settings import AgentSettings
    from speaker.state import StateDir

    state = StateDir(state_dir)
    access = None if options["plan"] else _access(state, gateway, **options)
    gateway = gateway or (access.gateway if access is not None else None)
    if not gateway:
        raise click.UsageError("say which gateway this is: --gateway NAME")
    metrics = None
    if options["metrics"]:
        from speaker.agent.metrics import BadAddress, parse_address

        try:
            metrics = parse_address(options["metrics"])
        except BadAddress as error:
            raise click.BadParameter(str(error), param_hint="--metrics") from None
    settings = AgentSettings(gateway=gateway, state=state, access=access, plan_file=options["plan"], metrics=metrics)
    if options["zerotier_home"]:
        settings = replace(settings, zerotier=_homes(options["zerotier_home"]))
    elif access is not None and access.homes:
        settings = replace(settings, zerotier=tuple((name, Path(home)) for name, home in access.homes))
    hidden = ("audit_seconds", "break_before_make", "removal_seconds")
    return replace(settings, **{name: options[name] for name in hidden if options[name] is not None})


def _homes(values: tuple[str, ...]) -> tuple[tuple[str, Path], ...]:
    """(name of the uplink or "", home of its service)."""
    found = []
    for value in values:
        name, _, home = value.rpartition("=")
        if not home:
            raise click.BadParameter(f"{value!r}: write DIR, or UPLINK=DIR", param_hint="--zerotier-home")
        found.append((name, Path(home)))
    if len({home for _, home in found}) < len(found):
        raise click.BadParameter("one home is named twice", param_hint="--zerotier-home")
    return tuple(found)


def _enrolled(state: Any, gateway: str | None, url: str | None) -> Any:
    """What enrolment has stored."""
    from speaker.agent.poll import ControllerAccess
    from speaker.enroll import access as stored

    try:
        held = stored.load(state)
    except stored.AccessUnusable as error:
        raise click.ClickException(str(error)) from None
    if held is None or not held.approved:
        if url:
            raise click.UsageError("--controller needs --token-file: the file with this gateway's token")
        raise click.UsageError(
            "say where the plan comes from: --controller URL, or --plan FILE; a box that has enrolled knows it"
            " (leyline speaker enroll)"
        )
    for option, given, known in (("--gateway", gateway, held.gateway), ("--controller", url, held.url)):
        if given not in (None, known):
            raise click.UsageError(f"{option} is {given}, and this box has enrolled with {known}: leave it out")
    return ControllerAccess(
        held.url, held.token, held.gateway, held.ca_file or None, held.fingerprint, homes=held.homes
    )


def _access(state: Any, gateway: str | None, **options: Any) -> Any:
    """From the options, or from what enrolment has stored."""
    from speaker.agent.poll import ControllerAccess
    from speaker.enroll import access as stored

    if options["token_file"] is None:
        return _enrolled(state, gateway, options["controller"])
    if not options["controller"]:
        raise click.UsageError("--token-file needs --controller: the URL of the controller that the token is of")
    if not gateway:
        raise click.UsageError("--controller needs --gateway: this gateway's name")
    try:
        token = options["token_file"].read_text().strip()
    except OSError as error:
        raise click.ClickException(f"{options['token_file']}: {error.strerror}") from None
    renewed = stored.token_instead_of(state, gateway, token)
    return ControllerAccess(options["controller"], renewed, gateway, options["cacert"], replaces=stored.mark_of(token))


COMMANDS: dict[str, click.Command] = {"speaker": speaker}
