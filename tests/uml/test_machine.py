"""The test machine itself: what it hands out, and that nothing stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.netns.namespaces import wait_until
from tests.uml import machine

pytestmark = pytest.mark.root


def kernels() -> list[str]:
    """Command lines of the test machines that run on this machine."""
    lines = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(process.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue  # It ended meanwhile.
    return [line for line in lines if line.startswith(machine.KERNEL)]


def of(pid: int) -> list[str]:
    return [line for line in kernels() if f"ll-uml-{pid}-" in line]


def directories(pid: int) -> list[Path]:
    return list(Path(tempfile.gettempdir()).glob(f"ll-uml-{pid}-*"))


def test_a_command_runs_on_another_kernel_and_its_status_comes_out() -> None:
    script = "uname -r; test -e /proc/sys/net/mpls/platform_labels || exit 1; ls /run; exit 7"
    result = machine.run(["sh", "-c", script])
    assert result.status == 7, result.output
    assert os.uname().release not in result.output
    assert not of(os.getpid())
    assert not directories(os.getpid())


def test_a_module_that_is_not_there_is_told() -> None:
    result = machine.run(["true"], modules=["no_such_module"])
    assert result.status == 125
    assert "no_such_module" in result.output


def test_a_panic_ends_the_machine_at_once() -> None:
    result = machine.run(["sh", "-c", "echo c > /proc/sysrq-trigger"], timeout=60)
    assert result.status is None
    assert "panic" in result.output


def test_a_command_that_hangs_is_ended() -> None:
    result = machine.run(["sh", "-c", "echo here; sleep 600"], timeout=6)
    assert result.status is None
    assert "here" in result.output
    # Its namespace dies with its first process, but not in the same moment.
    wait_until(lambda: not of(os.getpid()), timeout=10, evidence=lambda: "\n".join(kernels()))
    assert not directories(os.getpid())


def test_the_machine_dies_with_its_caller_and_the_next_one_tidies() -> None:
    code = "from tests.uml import machine; machine.run(['sleep', '600'])"
    caller = subprocess.Popen([sys.executable, "-c", code], cwd=machine.REPOSITORY)
    wait_until(lambda: bool(of(caller.pid)), timeout=20, evidence=lambda: "\n".join(kernels()))
    caller.send_signal(signal.SIGKILL)
    caller.wait()
    wait_until(lambda: not of(caller.pid), timeout=10, evidence=lambda: "\n".join(kernels()))
    assert directories(caller.pid)
    machine.remove_leftovers()
    assert not directories(caller.pid)
