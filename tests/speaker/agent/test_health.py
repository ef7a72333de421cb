"""Loop lag, forwarding counters, metrics, and what `show liveness` prints."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest
from rich.console import Console

from speaker.agent.counters import Rate, forwarded
from speaker.agent.lag import SAMPLE_SECONDS, LoopLag, percentile
from speaker.agent.metrics import BadAddress, Metrics, parse_address
from speaker.show import liveness_of, print_liveness

SNMP = """Ip: Forwarding DefaultTTL InReceives ForwDatagrams InUnknownProtos
Ip: 1 64 1000 42 0
Icmp: InMsgs InErrors
Icmp: 3 0
"""
SNMP6 = "Ip6InReceives                   \t22\nIp6OutForwDatagrams              \t17\n"


def test_forwarded_adds_both_families(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    assert forwarded(tmp_path) == 0
    (tmp_path / "net/snmp").write_text(SNMP)
    assert forwarded(tmp_path) == 42
    (tmp_path / "net/snmp6").write_text(SNMP6)
    assert forwarded(tmp_path) == 59


def test_this_kernels_counters_can_be_read() -> None:
    assert "ForwDatagrams" in Path("/proc/net/snmp").read_text()
    assert "Ip6OutForwDatagrams" in Path("/proc/net/snmp6").read_text()


def test_rate() -> None:
    rate = Rate()
    rate.note(10.0, 100)
    assert rate.per_second == 0
    rate.note(15.0, 600)
    assert rate.per_second == 100
    rate.note(20.0, 5)
    assert rate.per_second == 0, "counters that begin anew"


def test_percentile() -> None:
    assert percentile([], 0.999) == 0
    assert percentile([3.0], 0.999) == 3.0
    thousand = [float(number) for number in range(1, 1001)]
    assert percentile(thousand, 0.999) == 999.0
    assert percentile(thousand, 0.5) == 500.0


def test_a_busy_loop_is_seen() -> None:
    seen: list[float] = []

    async def story() -> float:
        lag = LoopLag(seen.append)
        sampling = asyncio.create_task(lag.run())
        await asyncio.sleep(SAMPLE_SECONDS / 2)
        time.sleep(0.2)  # This is what is measured.
        while not seen:
            await asyncio.sleep(0.01)
        sampling.cancel()
        return lag.p999_ms

    assert asyncio.run(story()) >= 150
    assert seen[0] >= 0.15


def test_metrics() -> None:
    metrics = Metrics()
    metrics.observe_lag(0.02)
    metrics.set(p999_ms=20.0, states=Counter({"up": 3, "down": 1}), routes={"ipv4": 7}, failovers=2)
    metrics.set(p999_ms=30.0, states=Counter({"up": 4}), routes={"ipv4": 8}, failovers=3)
    lines = generate_latest(metrics.registry).decode().splitlines()
    for line in (
        "leyline_loop_lag_seconds_count 1.0",
        "leyline_loop_lag_p999_seconds 0.03",
        'leyline_next_hops{state="up"} 4.0',
        'leyline_next_hops{state="down"} 0.0',
        'leyline_kernel_routes{family="ipv4"} 8.0',
        "leyline_failovers_total 3.0",
    ):
        assert line in lines, lines


@pytest.mark.parametrize(("text", "address"), [("127.0.0.1:9641", ("127.0.0.1", 9641)), ("[::1]:9641", ("::1", 9641))])
def test_metrics_address(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", "9641", ":9641", "localhost:9641", "127.0.0.1:0", "127.0.0.1:65536", "::1"])
def test_metrics_address_that_is_none(text: str) -> None:
    with pytest.raises(BadAddress, match="ADDRESS:PORT"):
        parse_address(text)


REPORT: dict[str, Any] = {
    "gateway": "berlin-1",
    "reported_at": 1000.0,
    "drained": True,
    "forwarded": 7,
    "forwarded_pps": 12.4,
    "loop_lag_ms": 3.2,
    "next_hops": [
        {
            "address": "10.42.0.9",
            "interface": "zt0",
            "state": "down",
            "since": 990.0,
            "reason": "nothing heard for the detection time",
            "flaps": 2,
            "bfd": "Down",
            "detection_ms": 300.0,
            "detour": "hub-eu",
        }
    ],
    "lans": [{"prefix": "10.1.0.0/24", "interface": "lan0", "up": False, "reason": "lan0: down or without carrier"}],
    "kernel": {},
}


def test_show_liveness() -> None:
    output = StringIO()
    print_liveness(REPORT, Console(file=output, width=200))
    head, _, hop, _, lan = output.getvalue().splitlines()
    assert head == "berlin-1: drained; forwards 12 packets a second; loop lag 3 ms (99.9 %)"
    assert hop.split("  ")[0] == "10.42.0.9"
    assert " ".join(hop.split()) == "10.42.0.9 zt0 down 10 s Down 300 ms 2 hub-eu nothing heard for the detection time"
    assert " ".join(lan.split()) == "10.1.0.0/24 lan0 withdrawn lan0: down or without carrier"
    assert "kernel" not in liveness_of(REPORT)
