"""What `leyline speaker show paths` prints of a report."""

from __future__ import annotations

from io import StringIO
from typing import Any

import msgspec
from msgspec.structs import replace
from rich.console import Console

from speaker.report import ServiceReport
from speaker.show import paths_of, print_paths
from tests.speaker.doctor.given import NOW, PATH, PEER, REPORT

SERVICE = ServiceReport("main", "456efad81a", "1.14.1", True, "OK", 2800, "")


def shown(**changes: Any) -> list[list[str]]:
    """Words of each line."""
    report = msgspec.to_builtins(replace(REPORT, zerotier=(SERVICE,), **changes))
    screen = StringIO()
    print_paths(paths_of(report), Console(file=screen, width=200))
    return [line.split() for line in screen.getvalue().splitlines()]


def test_services_members_and_figures() -> None:
    relayed = replace(PEER, address="10.42.0.7", state="relayed", since=NOW - 60, silent_seconds=-1, physical="")
    relayed = replace(relayed, latency_ms=-1, version="")
    dead = replace(PATH, address="10.42.0.9", rtt_p50_ms=-1, rtt_p95_ms=-1, loss=1.0, mtu=0)
    lines = shown(peers=(relayed, PEER, replace(PEER, address="")), paths=(PATH, dead))
    assert lines[1] == ["main", "456efad81a", "1.14.1", "online", "OK"]
    assert lines[3] == ["main", "10.42.0.7", "5f8d869aea", "relayed", "60", "s"]
    words = "main 10.42.0.2 5f8d869aea 1.14.1 direct 900 s 2.0 ms 2 s 2.0 ms 3.0 ms 0.0% 2800 192.0.2.21/9994"
    assert lines[4] == words.split()
    assert lines[5] == ["main", "10.42.0.9", "unknown", "-", "-", "100.0%"]
    assert len(lines) == 6
