"""Tables for people: plain columns, never a cut name, no colour where nobody sees it."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, TextIO

import click


def print_json(value: Any) -> None:
    """For programs: one JSON document on stdout."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, sort_keys=False))


def print_table(
    headers: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    styles: Mapping[int, str] | None = None,
    empty: str = "",
    to_stderr: bool = False,
) -> None:
    """Print rows under headers. `styles`: row number -> rich style, seen on a terminal only.

    `empty` is said on stderr when there are no rows.
    """
    texts = [[plain(value) for value in row] for row in rows]
    if not texts:
        if empty:
            click.echo(empty, err=True)
        return
    stream = sys.stderr if to_stderr else sys.stdout
    if stream.isatty():
        _print_rich(headers, texts, styles or {}, stream)
    else:
        click.echo("\n".join(_columns([headers, *texts])), file=stream)


def _print_rich(headers: Sequence[str], rows: list[list[str]], styles: Mapping[int, str], stream: TextIO) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", show_edge=False)
    for header in headers:
        table.add_column(header, overflow="fold")  # A name must be whole to be copied: folded, never cut.
    for number, row in enumerate(rows):
        table.add_row(*map(Text, row), style=styles.get(number))
    Console(file=stream, highlight=False).print(table)


def _columns(rows: list[Sequence[str]]) -> Iterator[str]:
    """Aligned and unbounded, for pipes; rich would take two seconds for 5,000 rows."""
    from rich.cells import cell_len

    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()


def print_findings(findings: Iterable[Mapping[str, Any]], *, to_stderr: bool = False) -> None:
    """One line a finding: `file:line object code message`; the first column only when a finding has a file."""
    rows = [(place(f), f.get("object", ""), f.get("code", ""), f.get("message", "")) for f in findings]
    headers = ("where", "object", "code", "message")
    shown = 0 if any(row[0] for row in rows) else 1
    print_table(headers[shown:], [row[shown:] for row in rows], to_stderr=to_stderr)


def place(finding: Mapping[str, Any]) -> str:
    """`file:line`, as editors and CI systems read it; empty when the finding has no file."""
    file, line = finding.get("file"), finding.get("line")
    return f"{file}:{line}" if file and line else str(file or "")


def age(since: float, now: float | None = None) -> str:
    """How long ago a Unix time was: 12 s, 3 min, 5 h, 2 d."""
    seconds = max(0.0, (time.time() if now is None else now) - since)
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"


def ago(at: str | None, now: float) -> str:
    """`age` of a time as the controller writes it (RFC 3339); "" for none."""
    return "" if at is None else age(unix(at), now)


def unix(at: str) -> float:
    """RFC 3339 -> Unix seconds."""
    return datetime.fromisoformat(at).timestamp()


def counts(number: int, noun: str, plural: str = "") -> str:
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


@contextmanager
def working(text: str) -> Iterator[Callable[[str], None]]:
    """A spinner on stderr while one long request runs; silent when stderr is no terminal.

    Yields a function that shows another text from then on.
    """
    if not sys.stderr.isatty():
        yield lambda _text: None
        return
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True).status(Text(text)) as status:
        yield lambda text: status.update(Text(text))


@contextmanager
def advancing(title: str, total: int) -> Iterator[Callable[[int, str], None]]:
    """A progress bar on stderr; silent when stderr is no terminal. Yields a function: so many are done, and a word."""
    if not sys.stderr.isatty():
        yield lambda _done, _text: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[said]}", markup=False))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total, said="")
        yield lambda done, text: bar.update(task, completed=done, said=text)


def plain(value: Any) -> str:
    """A value as one line of text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = " ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    # What a gateway says about itself must not steer the operator's terminal.
    return text if text.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in text)
