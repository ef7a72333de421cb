"""Tables: whole names, no colour in a pipe, nothing that steers the operator's terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from controller.client.tables import age, counts, place, print_findings, print_table

ROOT = Path(__file__).resolve().parents[3]
LONG = "prefix a-site-with-a-very-long-name-indeed/global/fd42:4242:4242:4242:4242::/80" * 3


def test_columns_are_aligned_and_never_cut_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["name", "n"], [["a", 1], [LONG, None], ["日本", True]], styles={0: "red"})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "name".ljust(len(LONG)) + "  n"
    assert lines[2] == LONG
    assert lines[3] == "日本" + " " * (len(LONG) - 4) + "  yes"
    assert "\x1b" not in "".join(lines)


def test_control_characters_of_others_are_harmless(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["error"], [["\x1b[2Jgone\n\x07[red]not a style[/red]"]])
    assert capsys.readouterr().out == "error\n\ufffd[2Jgone\ufffd\ufffd[red]not a style[/red]\n"


def test_no_rows_are_said_beside_the_output(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["a"], [], empty="there are no sites")
    assert capsys.readouterr() == ("", "there are no sites\n")


def test_findings_lead_with_file_and_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_findings([{"object": "site a", "code": "c", "message": "m", "file": "x.yml", "line": 3}])
    assert capsys.readouterr().out.splitlines()[1] == "x.yml:3  site a  c     m"


def test_findings_without_files_have_no_such_column(capsys: pytest.CaptureFixture[str]) -> None:
    print_findings([{"object": "site a", "code": "c", "message": "m", "file": None, "line": None}])
    assert capsys.readouterr().out.splitlines() == ["object  code  message", "site a  c     m"]


def test_place() -> None:
    assert place({"file": "a.yml", "line": None}) == "a.yml"
    assert place({}) == ""


@pytest.mark.parametrize(
    ("seconds", "said"), [(-5, "0 s"), (0, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (2 * 86_400, "2 d")]
)
def test_age(seconds: float, said: str) -> None:
    assert age(1000.0, 1000.0 + seconds) == said


def test_counts() -> None:
    assert (counts(1, "site"), counts(2, "site"), counts(2, "prefix", "prefixes")) == (
        "1 site",
        "2 sites",
        "2 prefixes",
    )


def on_terminal(code: str, columns: int) -> str:
    """What `code` prints to a terminal so wide."""
    ours, theirs = pty.openpty()
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": str(columns), "TERM": "xterm-256color"}
    environ.pop("NO_COLOR", None)
    with subprocess.Popen([sys.executable, "-c", code], stdout=theirs, env=environ):
        os.close(theirs)
        parts = []
        try:
            while data := os.read(ours, 65536):
                parts.append(data)
        except OSError:  # Linux says EIO when the other end is closed.
            pass
    os.close(ours)
    return b"".join(parts).decode()


def test_on_a_terminal_there_is_colour_and_long_names_fold() -> None:
    code = "from controller.client.tables import print_table; print_table(['name'], [['a' * 100]], styles={0: 'red'})"
    text = on_terminal(code, columns=40)
    assert "\x1b[31m" in text
    assert text.count("a") - "name".count("a") == 100
    assert "…" not in text
