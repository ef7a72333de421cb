"""The supervisor: each process restarted alone, with pauses that grow and end; all stopped by one signal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = """
import asyncio, sys
from pathlib import Path
from speaker.state import StateDir
from speaker.supervise import ProcessSpec, supervise

root = Path(sys.argv[1])
state = StateDir(root)
state.prepare()
steady = ProcessSpec("steady", ("sleep", "60"))
late = ProcessSpec("late", ("sleep", "61"), needs=root / "config")
asyncio.run(supervise(state, (steady, late)))
"""
PATIENCE = 20.0


def pid_in(path: Path, other_than: int = 0) -> int:
    """The pid that the file names, once it names a running process that is not `other_than`."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if path.exists():
            pid = int(path.read_text())
            if pid != other_than and Path(f"/proc/{pid}").exists():
                return pid
        time.sleep(0.02)
    raise AssertionError(f"{path} names no new process within {PATIENCE} s")


@pytest.mark.slow
def test_a_process_that_dies_is_restarted_alone_and_sigterm_ends_all(tmp_path: Path) -> None:
    supervisor = subprocess.Popen([sys.executable, "-c", PROGRAM, str(tmp_path)])
    try:
        first = pid_in(tmp_path / "steady.pid")
        assert not (tmp_path / "late.pid").exists(), "its file is not there yet"
        (tmp_path / "config").touch()
        late = pid_in(tmp_path / "late.pid")
        os.kill(first, signal.SIGKILL)
        second = pid_in(tmp_path / "steady.pid", other_than=first)
        assert pid_in(tmp_path / "late.pid") == late, "the other one was left alone"
        supervisor.terminate()
        assert supervisor.wait(PATIENCE) == 0
        assert not Path(f"/proc/{second}").exists()
        assert not Path(f"/proc/{late}").exists()
    finally:
        supervisor.kill()
        supervisor.wait()
