"""Prometheus metrics of the agent, on an address of their own; off unless asked for."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Any

from prometheus_client import CollectorRegistry, Gauge, Histogram, start_http_server
from prometheus_client import Counter as Total

from speaker.report import PathProbeReport, PeerReport

STATES = ("unknown", "up", "down", "held")
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class BadAddress(ValueError):
    """Not ADDRESS:PORT; the text says what would be."""


def parse_address(text: str) -> tuple[str, int]:
    """("127.0.0.1", 9100) of "127.0.0.1:9100", or of "[::1]:9100". Raises BadAddress."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        if not colon or not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536):
            raise ValueError
        return str(ip_address(host)), int(port)
    except ValueError:
        raise BadAddress(f"{text!r}: write ADDRESS:PORT, like 127.0.0.1:9641 or [::1]:9641") from None


class Metrics:
    """A registry of its own: nothing of the interpreter's is exported unasked."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._lag = Histogram(
            "leyline_loop_lag_seconds", "Lateness of the agent's event loop", buckets=BUCKETS, registry=self.registry
        )
        self._p999 = Gauge(
            "leyline_loop_lag_p999_seconds", "The same, 99.9th percentile of 3 minutes", registry=self.registry
        )
        self._hops = Gauge(
            "leyline_next_hops", "Pairs of local interface and next hop, by liveness", ["state"], registry=self.registry
        )
        self._routes = Gauge("leyline_kernel_routes", "Our routes in the kernel", ["family"], registry=self.registry)
        self._failovers = Total("leyline_failovers", "Pairs that were up and died", registry=self.registry)
        self._failed_over = 0
        self._segment_mtu = Gauge(
            "leyline_segment_mtu_bytes", "MTU of the segment as declared; 0: not ours to say", registry=self.registry
        )
        self._paths = PathMetrics(self.registry)

    def serve(self, address: str, port: int) -> None:
        """In a thread of its own, until the process ends. Raises OSError."""
        start_http_server(port, address, registry=self.registry)

    def observe_lag(self, seconds: float) -> None:
        self._lag.observe(seconds)

    def set(self, *, p999_ms: float, states: Tally[str], routes: dict[str, int], failovers: int) -> None:
        """As things stand now. Call it once a second or so: a scrape reads what was set last."""
        self._p999.set(p999_ms / 1000)
        for state in STATES:
            self._hops.labels(state).set(states[state])
        for family, count in routes.items():
            self._routes.labels(family).set(count)
        self._failovers.inc(failovers - self._failed_over)
        self._failed_over = failovers

    def set_segment(self, mtu: int) -> None:
        """What the fabric wants of it; 0 where it is somebody else's business."""
        self._segment_mtu.set(mtu)

    def set_paths(self, peers: Sequence[PeerReport], paths: Sequence[PathProbeReport], costly: int, now: float) -> None:
        """As `leyline show paths` has them; `costly`: far uplinks whose relayed paths cost preference here."""
        self._paths.set(peers, paths, costly, now)


class PathMetrics:
    """Of members whose address is known, and of paths in use, both bounded. Who goes leaves no series behind."""

    def __init__(self, registry: CollectorRegistry) -> None:
        pair = ["uplink", "address"]
        self._peers = Gauge(
            "leyline_peers", "Members, as ZeroTier reaches them", ["uplink", "state"], registry=registry
        )
        self._relayed = Gauge(
            "leyline_path_relayed_seconds", "For how long ZeroTier has relayed a path", pair, registry=registry
        )
        self._latency = Gauge("leyline_path_latency_seconds", "Latency as ZeroTier has it", pair, registry=registry)
        self._silent = Gauge(
            "leyline_path_silent_seconds", "Age of the last packet by ZeroTier's own path", pair, registry=registry
        )
        self._info = Gauge(
            "leyline_path_info", "Who is at the far end, and its ZeroTier", [*pair, "node_id", "version"],
            registry=registry,
        )  # fmt: skip
        self._costly = Gauge(
            "leyline_relayed_uplinks", "Far uplinks that cost preference here: relayed for too long", registry=registry
        )
        self._rtt = Gauge("leyline_path_rtt_seconds", "Round trip of echoes", [*pair, "quantile"], registry=registry)
        self._loss = Gauge("leyline_path_loss_ratio", "Echoes that were not answered", pair, registry=registry)
        self._mtu = Gauge(
            "leyline_path_mtu_bytes", "Largest packet that passes; once it is known", pair, registry=registry
        )

    def set(self, peers: Sequence[PeerReport], paths: Sequence[PathProbeReport], costly: int, now: float) -> None:
        known = [peer for peer in peers if peer.address]
        answered = [path for path in paths if path.rtt_p50_ms >= 0]
        self._costly.set(costly)
        _replace(self._peers, Tally((peer.uplink, peer.state) for peer in known))
        relayed = [peer for peer in known if peer.state == "relayed"]
        _replace(self._relayed, {(peer.uplink, peer.address): max(0.0, now - peer.since) for peer in relayed})
        _replace(self._latency, {(p.uplink, p.address): p.latency_ms / 1000 for p in known if p.latency_ms >= 0})
        _replace(self._silent, {(p.uplink, p.address): p.silent_seconds for p in known if p.silent_seconds >= 0})
        _replace(self._info, {(p.uplink, p.address, p.node_id, p.version): 1.0 for p in known})
        quantiles = {(path.uplink, path.address, "0.5"): path.rtt_p50_ms / 1000 for path in answered}
        quantiles |= {(path.uplink, path.address, "0.95"): path.rtt_p95_ms / 1000 for path in answered}
        _replace(self._rtt, quantiles)
        _replace(self._loss, {(path.uplink, path.address): path.loss for path in paths})
        _replace(self._mtu, {(path.uplink, path.address): path.mtu for path in paths if path.mtu})


def _replace(gauge: Gauge, values: Mapping[Any, float]) -> None:
    """These series and no others. A scrape meanwhile misses none of those that stay."""
    for labels, value in values.items():
        gauge.labels(*labels).set(value)
    former = {tuple(sample.labels.values()) for metric in gauge.collect() for sample in metric.samples}
    for labels in former - values.keys():
        gauge.remove(*labels)
