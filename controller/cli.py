"""`leyline`: one command whose subcommands are imported only when they are used.

The base installation is the operator's client. The subcommands of a controller, a gateway and a lab need
extras, so their modules must not be imported to say `leyline --help`; and nobody should wait for FastAPI to
read a help text. Therefore the names and one-line helps of our own subcommands stand here as a table (a test
compares it with the commands themselves); others are found by the entry-point group `leyline.commands`.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import click

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

DISTRIBUTION = "leyline-sdwan"
ENTRY_POINTS = "leyline.commands"
OUR_PACKAGES = frozenset({"controller", "speaker", "lab"})

EXIT_REFUSED = 1
EXIT_NO_CONTROLLER = 3  # 2 is click's, for what was typed wrongly.
EXIT_NO_ANSWER = 4
EXIT_NOT_INSTALLED = 5
EXIT_INTERRUPTED = 130  # As shells say it: 128 and the signal.
EXIT_PIPE_CLOSED = 141

EXIT_CODES = """\
\b
Exit codes:
  0  done
  1  refused: findings, a conflict, an unknown name, or you answered "no"
  2  wrong usage: an unknown option, a missing argument, a question without a terminal
  3  no controller: unreachable, failed, or it does not accept the token
  4  the controller is there, but the gateway did not answer in time
  5  a part that this command needs is not installed
  130  interrupted (Ctrl-C) after something was changed: the message says what stays so
  141  whoever read the output closed it: what was done stays done

\b
Examples:
  leyline login --url https://leyline.example
  leyline validate inventory/
  leyline apply --dry-run inventory/
  leyline show routes --gateway berlin-1 10.1.0.0/16
"""


class Builtin(NamedTuple):
    """A subcommand of ours: where it is, its one-line help, and the extra that it needs."""

    module: str
    help: str
    section: str
    extra: str = ""
    attribute: str = ""  # Of the module; empty: its COMMANDS[name].


OPERATOR, SERVICE = "Commands for operators", "Commands that need an extra"

BUILTINS: dict[str, Builtin] = {
    "apply": Builtin("controller.commands", "Merge inventory files into the fabric.", OPERATOR),
    "client-config": Builtin(
        "controller.commands", "Write the BGP configuration of a router that is not ours.", OPERATOR
    ),
    "context": Builtin("controller.commands", "List, choose and forget stored controllers.", OPERATOR),
    "doctor": Builtin("controller.commands", "Examine the fabric: what is wrong, where, and how to fix it.", OPERATOR),
    "drain": Builtin("controller.commands", "Take a gateway out of traffic, and wait until it is.", OPERATOR),
    "enroll-key": Builtin("controller.commands", "Create, list and revoke keys by which gateways enrol.", OPERATOR),
    "explain": Builtin("controller.commands", "Say where packets to an address go, and why there.", OPERATOR),
    "export": Builtin("controller.commands", "Print the whole inventory as YAML or JSON.", OPERATOR),
    "fabric": Builtin("controller.commands", "Change what the sessions of the whole fabric share: MD5 keys.", OPERATOR),
    "gateway": Builtin("controller.commands", "Let gateways in, and put them out.", OPERATOR),
    "login": Builtin("controller.commands", "Store a controller's URL and your token.", OPERATOR),
    "rename": Builtin("controller.commands", "Rename an object; its numbers and addresses stay.", OPERATOR),
    "segment": Builtin("controller.commands", "Show the ZeroTier network, compare it, adopt it.", OPERATOR),
    "show": Builtin("controller.commands", "Show sites, gateways, sessions, routes, ...", OPERATOR),
    "token": Builtin("controller.commands", "Create, list and revoke tokens.", OPERATOR),
    "undrain": Builtin("controller.commands", "Bring a drained gateway back into traffic.", OPERATOR),
    "validate": Builtin("controller.commands", "Check inventory files offline.", OPERATOR),
    "whatif": Builtin("controller.commands", "Say what failures would cost.", OPERATOR),
    "controller": Builtin(
        "controller.commands_server",
        "Run the controller; migrate its database.",
        SERVICE,
        "controller",
        "controller_group",
    ),
    "import": Builtin("controller.commands", "Read a ZeroTier network with managed routes.", SERVICE, "controller"),
    "speaker": Builtin("speaker.commands", "Run the speaker of this gateway.", SERVICE, "speaker"),
    "lab": Builtin("lab.commands", "Build a topology on this machine, and try it.", SERVICE, "lab"),
}


class PartMissing(click.ClickException):
    """A subcommand's dependencies are not installed."""

    exit_code = EXIT_NOT_INSTALLED

    def __init__(self, command: str, missing: str, extra: str) -> None:
        way_out = f"pip install '{DISTRIBUTION}[{extra}]'" if extra else f"pip install --force-reinstall {DISTRIBUTION}"
        super().__init__(f"leyline {command} needs the Python package {missing!r}, which is not installed: {way_out}")


class LazyGroup(click.Group):
    """A group that knows its commands' names and helps without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (click's signature)
        return [*BUILTINS, *sorted(strangers())]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:  # noqa: ARG002
        if name in BUILTINS:
            return load_builtin(name)
        return load_stranger(name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name.startswith("-") or ctx.resilient_parsing or self.get_command(ctx, name) is not None:
            return super().resolve_command(ctx, args)
        from difflib import get_close_matches

        close = get_close_matches(name, self.list_commands(ctx), n=1)
        hint = f" Did you mean {close[0]!r}?" if close else " `leyline --help` lists the commands."
        raise click.UsageError(f"There is no command {name!r}.{hint}", ctx)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ModuleNotFoundError as error:
            # A command may import its heavy parts only when it runs.
            missing = _part_missing(ctx.invoked_subcommand or "", error)
            if missing is None:
                raise
            raise missing from error
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.ENOSPC, errno.EIO) or error.filename is not None:
                raise
            _forget_output()
            if error.errno == errno.EPIPE:  # Whoever read has seen enough, as `head` does.
                ctx.exit(EXIT_PIPE_CLOSED)
            raise click.ClickException(
                f"cannot write the output: {error.strerror}; what the command did before stays done"
            ) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        sections: dict[str, list[tuple[str, str]]] = {}
        for name, builtin in BUILTINS.items():
            sections.setdefault(builtin.section, []).append((name, builtin.help))
        for name, point in sorted(strangers().items()):
            origin = f"{point.dist.name} {point.dist.version}" if point.dist else point.value
            sections.setdefault("Commands of other packages", []).append((name, f"From {origin}."))
        widest = max(len(name) for rows in sections.values() for name, _ in rows)
        for title, rows in sections.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(widest), text) for name, text in rows])


def load_builtin(name: str) -> click.Command:
    """Import one of our subcommands. Raises PartMissing, which names the extra to install."""
    builtin = BUILTINS[name]
    try:
        module = importlib.import_module(builtin.module)
    except ModuleNotFoundError as error:
        missing = _part_missing(name, error)
        if missing is None:
            raise
        raise missing from error
    command = getattr(module, builtin.attribute) if builtin.attribute else module.COMMANDS[name]
    assert isinstance(command, click.Command)
    return command


def strangers() -> dict[str, EntryPoint]:
    """Entry points of other distributions by command name. The name of a built-in command cannot be taken over."""
    from importlib import metadata  # Half of the time that --help takes, and our own commands do without.

    points = metadata.entry_points(group=ENTRY_POINTS)
    return {point.name: point for point in points if point.name not in BUILTINS and not _is_ours(point)}


def load_stranger(name: str) -> click.Command | None:
    """Import another distribution's subcommand: its entry point is a command, or a module with `COMMANDS`."""
    point = strangers().get(name)
    if point is None:
        return None
    try:
        loaded = point.load()
    except (ImportError, AttributeError) as error:
        owner = point.dist.name if point.dist else point.value
        raise click.ClickException(
            f"leyline {name}, which the package {owner} provides, does not load: {error}"
        ) from error
    command = loaded if isinstance(loaded, click.Command) else getattr(loaded, "COMMANDS", {}).get(name)
    if not isinstance(command, click.Command):
        raise click.ClickException(
            f"the entry point {point.name} = {point.value} is no click command and no module with COMMANDS[{name!r}]"
        )
    return command


def _is_ours(point: EntryPoint) -> bool:
    return point.dist is not None and point.dist.name.lower() == DISTRIBUTION


def _part_missing(command: str, error: ModuleNotFoundError) -> PartMissing | None:
    """None when it is our own bug, or another package's: then the traceback says more than we could."""
    missing = (error.name or "").partition(".")[0]
    if not missing or missing in OUR_PACKAGES or command not in BUILTINS:
        return None
    return PartMissing(command, missing, BUILTINS[command].extra)


def _forget_output() -> None:
    """What stdout still holds goes nowhere: written at exit it would fail once more."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _complete_streams() -> None:
    """A shell may close them (`>&-`); Python has None for such a stream then."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 (as long as the process)


def _print_version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from importlib import metadata

        click.echo(f"leyline {metadata.version(DISTRIBUTION)}")
        ctx.exit()


@click.command(
    "leyline",
    cls=LazyGroup,
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_print_version,
    help="Print the version and exit.",
)
def cli() -> None:
    """Declare sites, get routes in every gateway's kernel: BGP over ZeroTier.

    Commands that talk to a controller find it by --url and --token, by LEYLINE_URL and LEYLINE_TOKEN, or by
    what `leyline login` stored. `leyline COMMAND --help` explains each, with an example.
    """


def main() -> None:
    """The console script. Leaves by sys.exit with one of the documented exit codes."""
    _complete_streams()
    cli.main(prog_name="leyline")


if __name__ == "__main__":
    main()
