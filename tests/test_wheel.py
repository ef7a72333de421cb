"""What is published works: the wheel, in an empty venv, far from this work tree."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def built(directory: Path) -> Path:
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", directory, ROOT, cwd=ROOT)
    (wheel,) = directory.glob("*.whl")
    return wheel


def test_the_wheel_carries_the_migrations_and_migrates(tmp_path: Path) -> None:
    wheel = built(tmp_path)
    names = zipfile.ZipFile(wheel).namelist()
    steps = {f"controller/store/migrations/versions/{each.name}" for each in ROOT.glob("migrations/versions/*.py")}
    assert steps | {"controller/store/migrations/env.py"} <= set(names)
    assert not [name for name in names if name.startswith(("tests/", "docs/"))]

    run(sys.executable, "-m", "venv", tmp_path / "venv", cwd=tmp_path)
    run(tmp_path / "venv/bin/pip", "install", "-q", f"{wheel}[controller]", cwd=tmp_path)
    database = f"sqlite:///{tmp_path}/c.sqlite"
    leyline = tmp_path / "venv/bin/leyline"
    assert "now at" in run(leyline, "controller", "migrate", "--database", database, cwd=tmp_path)
    assert run(leyline, "controller", "token", "create", "--database", database, cwd=tmp_path).startswith("leyline_")
