"""What a scrape finds of paths."""

from __future__ import annotations

from msgspec.structs import replace
from prometheus_client import generate_latest

from speaker.agent.metrics import Metrics
from tests.speaker.doctor.given import NOW, PATH, PEER

RELAYED = replace(PEER, address="10.42.0.7", state="relayed", since=NOW - 300)


def scraped(metrics: Metrics) -> set[str]:
    lines = generate_latest(metrics.registry).decode().splitlines()
    return {line for line in lines if line.startswith(("leyline_path_", "leyline_peers", "leyline_relayed"))}


def test_paths_are_told_and_forgotten() -> None:
    metrics = Metrics()
    relayed = replace(RELAYED, latency_ms=-1, silent_seconds=-1, version="")
    dead = replace(PATH, address="10.42.0.7", rtt_p50_ms=-1, rtt_p95_ms=-1, loss=1.0, mtu=0)
    metrics.set_paths([PEER, relayed, replace(PEER, address="")], [PATH, dead], 1, NOW)
    assert scraped(metrics) == {
        'leyline_peers{state="direct",uplink="main"} 1.0',
        'leyline_peers{state="relayed",uplink="main"} 1.0',
        'leyline_path_relayed_seconds{address="10.42.0.7",uplink="main"} 300.0',
        "leyline_relayed_uplinks 1.0",
        'leyline_path_latency_seconds{address="10.42.0.2",uplink="main"} 0.002',
        'leyline_path_silent_seconds{address="10.42.0.2",uplink="main"} 2.5',
        'leyline_path_info{address="10.42.0.2",node_id="5f8d869aea",uplink="main",version="1.14.1"} 1.0',
        'leyline_path_info{address="10.42.0.7",node_id="5f8d869aea",uplink="main",version=""} 1.0',
        'leyline_path_rtt_seconds{address="10.42.0.2",quantile="0.5",uplink="main"} 0.002',
        'leyline_path_rtt_seconds{address="10.42.0.2",quantile="0.95",uplink="main"} 0.003',
        'leyline_path_loss_ratio{address="10.42.0.2",uplink="main"} 0.0',
        'leyline_path_loss_ratio{address="10.42.0.7",uplink="main"} 1.0',
        'leyline_path_mtu_bytes{address="10.42.0.2",uplink="main"} 2800.0',
    }
    metrics.set_paths([replace(PEER, version="1.16.0", latency_ms=3.0)], [], 0, NOW)
    assert scraped(metrics) == {
        'leyline_peers{state="direct",uplink="main"} 1.0',
        "leyline_relayed_uplinks 0.0",
        'leyline_path_latency_seconds{address="10.42.0.2",uplink="main"} 0.003',
        'leyline_path_silent_seconds{address="10.42.0.2",uplink="main"} 2.5',
        'leyline_path_info{address="10.42.0.2",node_id="5f8d869aea",uplink="main",version="1.16.0"} 1.0',
    }
    metrics.set_paths([], [], 0, NOW)
    assert scraped(metrics) == {"leyline_relayed_uplinks 0.0"}


def test_the_mtu_that_the_segment_is_to_have_is_told() -> None:
    metrics = Metrics()
    metrics.set_segment(2800)
    assert "leyline_segment_mtu_bytes 2800.0" in generate_latest(metrics.registry).decode().splitlines()
