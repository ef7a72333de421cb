"""ExaBGP under our launcher starts without asking DNS for its own name."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import os, socket

def asked(*_):
    raise SystemExit("DNS was asked")

from speaker.bgp.exabgp import launcher
socket.gethostbyaddr = asked
launcher.prepare(os.environ)
if {without}:
    launcher.without_dns()
from exabgp.util import dns
print(dns.domain())
"""


def started(*, without: bool) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM.format(without=without)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_its_own_name_costs_no_question() -> None:
    done = started(without=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip()


def test_left_alone_it_would_ask() -> None:
    assert "DNS was asked" in started(without=False).stderr
