"""What the shell does to our streams: closed, full, read by somebody who stops reading."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.controller.cli.conftest import ROOT, Leyline


def in_shell(user: Leyline, script: str) -> tuple[int, str]:
    """(exit code, stderr). `leyline` is a function of the shell."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("LEYLINE_")}
    function = f'leyline() {{ "{sys.executable}" -m controller.cli "$@"; }}\n'
    done = subprocess.run(
        ["bash", "-c", function + script],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        check=False,
        env={**environ, **user.environ, "PYTHONPATH": str(ROOT)},
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("command", ["export", "show sites", "show sites --json", "token create --role viewer"])
def test_a_full_disk_is_said_in_a_line(declared: Leyline, command: str) -> None:
    code, stderr = in_shell(declared, f"leyline {command} > /dev/full")
    assert (code, "cannot write the output: No space left on device" in stderr) == (1, True), stderr
    assert "Traceback" not in stderr
    assert "Exception ignored" not in stderr


@pytest.mark.parametrize("command", ["export", "show sites"])
def test_a_reader_that_has_seen_enough_is_no_refusal(declared: Leyline, command: str) -> None:
    assert in_shell(declared, f"leyline {command} | true; exit ${{PIPESTATUS[0]}}") == (141, "")


@pytest.mark.parametrize("redirection", [">&-", "<&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_nobody_and_no_error(declared: Leyline, redirection: str) -> None:
    assert in_shell(declared, f"leyline show sites {redirection}") == (0, "")
