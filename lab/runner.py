"""Runs scenarios: build the lab, let the scenario act and expect, keep evidence of what failed, remove the lab."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import shutil
import signal
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lab import labs, standstill, topology
from lab.expect import Expectation, Figure, Run, Unmet
from lab.labs import LabError
from lab.node import CommandFailed, Node

SCENARIOS = Path(__file__).parent / "scenarios"
SKIPPED = 77
"""The exit code when nothing that was asked for can run here; automake's, and that of others since."""
MOST_VOID = 2
"""So often a run that a standstill of the machine spoilt is made again; then what it says counts all the same."""


@dataclass
class Outcome:
    """One run of one scenario."""

    scenario: str
    ok: bool
    figures: dict[str, Any]
    failed: list[Expectation] = field(default_factory=list)
    evidence: str = ""

    def to_json(self) -> dict[str, Any]:
        plain: dict[str, Any] = {"scenario": self.scenario, "ok": self.ok, "figures": self.figures}
        if not self.ok:
            plain["failed"] = [expectation.what for expectation in self.failed]
            plain["evidence"] = self.evidence
        return plain


def names() -> list[str]:
    """The scenarios that come with the house."""
    return sorted(called(path.parent) for path in SCENARIOS.glob("*/scenario.py"))


def called(place: Path) -> str:
    """The name of the scenario in a directory. A package cannot have the hyphen that a name may."""
    return place.name.replace("_", "-") if place.parent == SCENARIOS else place.name


def load(name: str) -> tuple[Path, ModuleType]:
    """A scenario by its name, or by the path of its directory: (directory, module). Raises LabError for a stranger."""
    place = Path(name).resolve() if "/" in name else SCENARIOS / name.replace("-", "_")
    if not (place / "scenario.py").is_file():
        raise LabError(f"no scenario {name!r}; there is {', '.join(names())}, or name a directory with a scenario.py")
    if place.parent == SCENARIOS:
        return place, importlib.import_module(f"lab.scenarios.{place.name}.scenario")
    spec = importlib.util.spec_from_file_location(f"scenario_{place.name}", place / "scenario.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return place, module


def run(wanted: Sequence[str], *, runs: int, as_json: bool, keep: bool) -> int:
    """Run each of `wanted` `runs` times; the exit code. Raises LabError, as `load`.

    One that cannot run on this machine is said to be skipped, with the reason, and is neither good nor bad.
    """
    scenarios = [load(name) for name in wanted]
    labs.need_root()
    console = Console(stderr=as_json, highlight=False)
    good, skipped = True, 0
    with _terminated_as_interrupted():
        for place, module in scenarios:
            if reason := getattr(module, "missing", str)():
                skipped += 1
                _skip(called(place), reason, console, as_json)
                continue
            outcomes = [run_believably(place, module, console, keep) for _ in range(runs)]
            outcome = outcomes[0] if runs == 1 else together(outcomes)
            good = good and outcome.ok
            if as_json:
                print(json.dumps(outcome.to_json()), flush=True)
    if not good:
        return 1
    return SKIPPED if scenarios and skipped == len(scenarios) else 0


def _skip(name: str, reason: str, console: Console, as_json: bool) -> None:
    console.print(f"{name}: [yellow]skipped[/]: {escape(reason)}")
    if as_json:
        print(json.dumps({"scenario": name, "ok": None, "skipped": reason, "figures": None}), flush=True)


def together(outcomes: list[Outcome]) -> Outcome:
    """Several runs as one: every figure as its median and its worst, which is its largest."""
    keys = sorted({key for outcome in outcomes for key in outcome.figures})
    values = {key: [outcome.figures[key] for outcome in outcomes if key in outcome.figures] for key in keys}
    figures: dict[str, Any] = {key: _summed(of) for key, of in values.items()}
    bad = [outcome for outcome in outcomes if not outcome.ok]
    return Outcome(
        outcomes[0].scenario,
        not bad,
        {"runs": len(outcomes), "failed_runs": len(bad), **figures},
        [expectation for outcome in bad for expectation in outcome.failed],
        " ".join(outcome.evidence for outcome in bad),
    )


def _summed(values: list[Figure]) -> dict[str, Any]:
    """One figure of several runs. What never came (None) is worse than any number; yes and no are counted."""
    if any(isinstance(value, bool) for value in values):
        return {"true": values.count(True), "false": values.count(False), "runs": len(values)}
    numbers = [value for value in values if value is not None]
    never = len(values) - len(numbers)
    median = round(statistics.median(numbers), 4) if numbers else None
    worst = None if never else max(numbers)
    return {"median": median, "worst": worst, "runs": len(values), **({"never": never} if never else {})}


def run_believably(place: Path, scenario: ModuleType, console: Console, keep: bool = False) -> Outcome:
    """As `run_once`, but made again when it failed and the machine stood still meanwhile. Both are said."""
    void = 0
    while True:
        with standstill.watched() as machine:
            outcome = run_once(place, scenario, console, keep)
        outcome.figures["standstill_ms"] = round(machine.seconds * 1000, 1)
        outcome.figures |= {"void_runs": void} if void else {}
        if outcome.ok or keep or not machine.void or void == MOST_VOID:
            return outcome
        void += 1
        console.print(
            f"{outcome.scenario}: [yellow]void[/]: a processor of this machine ran nobody for "
            f"{machine.seconds * 1000:.0f} ms, not even real-time processes; once more"
        )


def run_once(place: Path, scenario: ModuleType, console: Console, keep: bool = False) -> Outcome:
    """Build, run, take apart. What goes wrong on the way is an expectation that did not hold, with its evidence."""
    name = called(place)
    wanted = topology.read((place / getattr(scenario, "TOPOLOGY", f"{name}.clab.yml")).resolve(), os.environ)
    console.rule(f"[bold]{name}")
    with labs.locked(wanted.name):
        if any(
            state["complete"] and not state.get("running")
            for state in labs.states()
            if state["topology"]["name"] == wanted.name
        ):
            raise LabError(f"lab {wanted.name} was left up; `leyline lab down {wanted.name}` first")
        started = time.monotonic()
        try:
            lab = labs.up(wanted, running=True)
            console.print(f"  {len(lab.nodes)} nodes, {len(wanted.links)} links in {time.monotonic() - started:.1f} s")
            return _act(name, scenario, lab, console, started)
        finally:
            if keep:
                labs.keep(wanted.name)
                console.print(f"  kept; `leyline lab exec NODE COMMAND`, `leyline lab down {wanted.name}`")
            else:
                labs.down(wanted.name)


def _act(name: str, scenario: ModuleType, lab: labs.Lab, console: Console, started: float) -> Outcome:
    run = Run(lab, _printer(console), _expectation_printer(console))
    try:
        scenario.scenario(run)
    except Unmet:
        pass  # Noted by the run already.
    except (CommandFailed, LabError, OSError, ValueError, KeyError) as error:
        run.expect(
            f"the scenario runs to its end ({type(error).__name__}: {str(error)[:300]})", False, traceback.format_exc()
        )
    run.figure("seconds", time.monotonic() - started)
    failed = [expectation for expectation in run.expectations if not expectation.ok]
    outcome = Outcome(name, run.ok, run.figures, failed)
    if not run.ok:
        outcome.evidence = str(keep_evidence(run, getattr(scenario, "EVIDENCE", {})))
    _summary(console, run, outcome)
    return outcome


def _printer(console: Console) -> Any:
    return lambda text: console.print(f"[cyan]·[/] {escape(text)}")


def _expectation_printer(console: Console) -> Any:
    def show(expectation: Expectation) -> None:
        if expectation.ok:
            console.print(f"  [green]✓[/] {escape(expectation.what)}")
            return
        console.print(f"  [bold red]✗ {escape(expectation.what)}[/]")
        for line in expectation.evidence.splitlines()[:12]:
            console.print(f"      {escape(line[:200])}")

    return show


def _summary(console: Console, run: Run, outcome: Outcome) -> None:
    for wanted in run.tables:
        table = Table(*wanted.columns, title=wanted.title, title_justify="left")
        for row in wanted.rows:
            table.add_row(*(escape(cell) for cell in row))
        console.print(table)
    table = Table("figure", "value", title="figures", title_justify="left")
    for key, value in outcome.figures.items():
        table.add_row(key, str(value))
    console.print(table)
    held = sum(expectation.ok for expectation in run.expectations)
    verdict = "[bold green]ok[/]" if outcome.ok else "[bold red]FAILED[/]"
    console.print(f"{outcome.scenario}: {verdict}, {held} of {len(run.expectations)} expectations held")
    if outcome.evidence:
        console.print(f"evidence: {outcome.evidence}")


LOOK = {
    "addresses": "ip -d address",
    "routes4": "ip route show table all",
    "routes6": "ip -6 route show table all",
    "nexthops": "ip nexthop",
    "neighbours": "ip neighbour",
    "sockets": "ss -tanp",
    "processes": "ps axo pid,ppid,etime,time,rss,args",
    "nftables": "nft list ruleset",
}


def keep_evidence(run: Run, more: dict[str, dict[str, str]]) -> Path:
    """Tables of every node, all logs, and what failed, in a directory of their own. `more`: node -> name -> command."""
    base = Path(os.environ.get("LEYLINE_LAB_EVIDENCE", tempfile.gettempdir()))
    base.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix=f"leyline-evidence-{run.lab.name}-", dir=base))
    text = [f"{'ok  ' if e.ok else 'FAIL'} {e.what}\n{e.evidence}" for e in run.expectations]
    (place / "expectations.txt").write_text("\n".join(text))
    for name, node in run.lab.nodes.items():
        for what, command in {**LOOK, **more.get(name, {})}.items():
            (place / f"{name}.{what}.txt").write_text(_look(node, command))
    shutil.copytree(run.lab.state / "logs", place / "logs", dirs_exist_ok=True)
    return place


def _look(node: Node, command: str) -> str:
    try:
        result = node.run(command, check=False, seconds=20)
    except CommandFailed as error:
        return str(error)
    return result.stdout + result.stderr


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM ends a run as Ctrl-C does: through every `finally`."""

    def stop(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    former = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        print("leyline lab: interrupted; the lab has been removed", file=sys.stderr)
        raise SystemExit(130) from None
    finally:
        signal.signal(signal.SIGTERM, former)
