"""Another ExaBGP than the one the replacements were written for is refused, by name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from speaker.bgp.exabgp import symbols
from speaker.bgp.exabgp.launcher import ENVIRONMENT, MODE, main, prepare

ROOT = Path(__file__).parents[3]


def run(script: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: ExaBGP keeps what it reads and what is put into it."""
    return subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )


def test_the_installed_exabgp_is_the_one() -> None:
    result = run("from speaker.bgp.exabgp import symbols; symbols.verify()")
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("name", sorted(symbols.KNOWN))
def test_every_symbol_is_watched(name: str) -> None:
    assert symbols.source_hash(name) == symbols.KNOWN[name]


def test_a_changed_symbol_is_refused_by_name() -> None:
    result = run(
        "from exabgp.rib.outgoing import OutgoingRIB\n"
        "def pending(self): return False\n"
        "OutgoingRIB.pending = OutgoingRIB.clear\n"
        "from speaker.bgp.exabgp import symbols; symbols.verify()"
    )
    assert "exabgp.rib.outgoing:OutgoingRIB.pending is not what it was" in result.stderr


def test_a_symbol_that_is_gone_is_refused_by_name() -> None:
    result = run(
        "from exabgp.reactor.peer import Peer\n"
        "del Peer.resend\n"
        "from speaker.bgp.exabgp import symbols; symbols.verify()"
    )
    assert "exabgp 5.0.15 has no exabgp.reactor.peer:Peer.resend" in result.stderr


def test_another_release_is_refused() -> None:
    result = run(
        "import exabgp.version\n"
        "exabgp.version.version = '5.0.16'\n"
        "from speaker.bgp.exabgp import symbols; symbols.verify()"
    )
    assert "exabgp 5.0.16 is installed; Leyline runs 5.0.15 only" in result.stderr


def test_every_replacement_is_of_a_watched_symbol() -> None:
    """Assignments to ExaBGP's classes in patches.py; each of the names must stand in KNOWN."""
    result = run(
        "import inspect, os\n"
        "from speaker.bgp.exabgp import launcher; launcher.prepare(os.environ)\n"
        "from speaker.bgp.exabgp import patches, resilience, symbols\n"
        "everything = [*vars(patches).values(), *vars(resilience).values()]\n"
        "classes = [v for v in everything if inspect.isclass(v) and v.__module__.startswith('exabgp')]\n"
        "before = {(c, n): f for c in classes for n, f in vars(c).items() if callable(f)}\n"
        "patches.apply('/nonexistent')\n"
        "known = {n.partition(':')[2] for n in symbols.KNOWN}\n"
        "for (c, n), f in before.items():\n"
        "    if vars(c).get(n) is not f and c.__name__ != 'log':\n"
        "        print(f'{c.__name__}.{n}' if not {c.__name__, f'{c.__name__}.{n}'} & known else 'ok')\n"
    )
    assert result.stderr == ""
    replaced = result.stdout.split()
    assert set(replaced) == {"ok"}
    assert len(replaced) >= 15


def test_the_callers_settings_of_exabgp_do_not_reach_it() -> None:
    environment = {"exabgp.tcp.bind": "0.0.0.0", "exabgp_api_ack": "false", "exabgp_tcp_port": "1790", "PATH": "/bin"}
    prepare(environment)
    assert environment == {**ENVIRONMENT, "exabgp_tcp_port": "1790", "PATH": "/bin", MODE: "raw"}


def test_the_launcher_names_what_it_lacks(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main([str(tmp_path / "absent.conf")]) == 1
    assert "absent.conf: no such file; the agent writes it" in capsys.readouterr().err
    assert main([]) == 2
    assert "usage:" in capsys.readouterr().err


@pytest.mark.parametrize("option", [(), ("--check",)])
def test_a_configuration_with_a_mistake_is_refused_with_its_line(tmp_path: Path, option: tuple[str, ...]) -> None:
    file = tmp_path / "bad.conf"
    file.write_text("neighbor 10.0.0.1 {\n    hold-time 1;\n}\n")
    result = subprocess.run(
        [sys.executable, "-m", "speaker.bgp.exabgp.launcher", *option, str(file)],
        cwd=ROOT,
        env={**os.environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 1
    assert "holdtime must be zero or at least 3 seconds" in result.stderr
    assert "bad.conf" in result.stderr
