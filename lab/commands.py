"""`leyline lab`: build a topology file on this machine, look into it, run scenarios."""

from __future__ import annotations

import click


@click.group()
def lab() -> None:
    """Build a containerlab topology on this machine, without Docker, and run scenarios in it (root).

    \b
    Example:
      sudo leyline lab run demo
    """


@lab.command()
@click.argument("file", type=click.Path(dir_okay=False))
@click.option("--name", default="", help="Another name for the lab than the file says.")
def up(file: str, name: str) -> None:
    """Build the topology in FILE: namespaces, links, and what its `exec` says.

    \b
    Example:
      sudo leyline lab up lab/scenarios/fabric/fabric.clab.yml
    """
    import os
    import time
    from pathlib import Path

    from lab import labs, topology

    with _plain_errors():
        wanted = topology.read(Path(file), os.environ, name)
        labs.need_root()
        with labs.locked(wanted.name):
            if any(state["complete"] for state in labs.states() if state["topology"]["name"] == wanted.name):
                raise labs.LabError(f"lab {wanted.name} is up already; `leyline lab down {wanted.name}` first")
            started = time.monotonic()
            made = labs.up(wanted)
        click.echo(
            f"lab {made.name}: {len(made.nodes)} nodes, {len(wanted.links)} links, {time.monotonic() - started:.1f} s"
        )


@lab.command()
@click.argument("names", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every lab on this machine, crashed ones too.")
def down(names: tuple[str, ...], everything: bool) -> None:
    """Remove labs, by their names or topology files, with every process in them.

    \b
    Example:
      sudo leyline lab down --all
    """
    import os
    from pathlib import Path

    from lab import labs, topology

    if bool(names) == everything:
        raise click.UsageError("say which labs, by name or file, or --all")
    with _plain_errors():
        labs.need_root()
        given = (topology.read(Path(n), os.environ).name if n.endswith((".yml", ".yaml")) else n for n in names)
        for name in labs.everything() if everything else given:
            with labs.locked(name):
                click.echo(f"lab {name}: removed, {labs.down(name)} processes")


@lab.command(name="exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("--lab", "name", default="", help="Which lab; not needed while there is only one.")
@click.argument("node")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def execute(name: str, node: str, command: tuple[str, ...]) -> None:
    """Run COMMAND in NODE; its exit code is ours.

    \b
    Example:
      sudo leyline lab exec berlin-1 ip route show proto 76
    """
    import os

    from lab import labs

    with _plain_errors():
        labs.need_root()
        there = labs.find(name).node(node)
        os.execvpe("nsenter", there.argv(command), there.environ())


@lab.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON list on stdout.")
def ps(as_json: bool) -> None:
    """Labs on this machine, their nodes, and how many processes each has.

    \b
    Example:
      leyline lab ps
    """
    import json
    from collections import Counter

    from rich.console import Console
    from rich.table import Table

    from lab import labs, leftovers

    rows = []
    processes = leftovers.scan()
    for name in labs.everything():
        inodes = leftovers.namespaces(name, processes)
        counts = Counter(process.netns for process in processes)
        rows += [{"lab": name, "netns": netns, "processes": counts[inode]} for netns, inode in inodes.items()]
    if as_json:
        click.echo(json.dumps(rows))
        return
    table = Table("lab", "network namespace", "processes")
    for row in rows:
        table.add_row(str(row["lab"]), str(row["netns"]), str(row["processes"]))
    Console().print(table)


@lab.command()
@click.option("--lab", "name", default="", help="Which lab; not needed while there is only one.")
@click.argument("node")
@click.argument("process", default="")
def logs(name: str, node: str, process: str) -> None:
    """What the processes of NODE have printed; only PROCESS if named.

    \b
    Example:
      leyline lab logs berlin-1
    """
    from lab import labs

    with _plain_errors():
        there = labs.find(name)
        paths = sorted(there.state.glob(f"logs/{there.node(node).name}.{process or '*'}.log"))
        if not paths:
            raise labs.LabError(f"{node} has no log{f' of {process}' if process else ''}")
        for path in paths:
            click.echo(f"==> {path.name} <==\n{path.read_text(errors='replace')}")


@lab.command()
@click.argument("names", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every scenario.")
@click.option("--runs", type=click.IntRange(1, 1000), default=1, help="How often; figures are then medians and worst.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per scenario on stdout.")
@click.option("--keep", is_flag=True, help="Leave the lab up afterwards, to look around.")
def run(names: tuple[str, ...], everything: bool, runs: int, as_json: bool, keep: bool) -> None:
    """Run scenarios, by name or by the path of a directory: build, act, expect, measure, remove.

    Exit code 0 only if every expectation held, in every run. A scenario that needs what this machine does not have
    is skipped, with the reason; 77 when none of them could run.

    \b
    Examples:
      sudo leyline lab run demo
      sudo leyline lab run --all --runs 10 --json
    """
    import sys

    from lab import runner

    if bool(names) == everything:
        raise click.UsageError(f"say which scenarios, or --all: {', '.join(runner.names())}")
    if keep and (runs > 1 or everything or len(names) > 1):
        raise click.UsageError("--keep goes with one run of one scenario")
    with _plain_errors():
        sys.exit(runner.run(list(names) or runner.names(), runs=runs, as_json=as_json, keep=keep))


def _plain_errors() -> _PlainErrors:
    return _PlainErrors()


class _PlainErrors:
    """What a person did wrong, or the machine cannot do, is a message and exit code 1, not a traceback."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        from lab.labs import LabError
        from lab.node import CommandFailed
        from lab.topology import TopologyError

        if isinstance(error, LabError | CommandFailed | TopologyError):
            raise click.ClickException(str(error)) from None


COMMANDS = {"lab": lab}
