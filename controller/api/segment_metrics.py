"""Prometheus: how the segment is kept. Asked of the database at each scrape, so every controller says the same."""

from __future__ import annotations

from collections.abc import Iterable
from typing import get_args

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from controller.segment import Segment
from controller.zerotier.state import Condition


class SegmentMetrics(Collector):
    def __init__(self, segment: Segment) -> None:
        self._segment = segment

    def describe(self) -> Iterable[Metric]:
        """Named without asking: the registry must not need a database."""
        return ()

    def collect(self) -> Iterable[Metric]:
        status = self._segment.status()
        condition = GaugeMetricFamily("leyline_segment_condition", "1 for what it is", labels=["condition"])
        for each in get_args(Condition):
            condition.add_metric([each], float(status["condition"] == each))
        yield condition
        if "last_pass" not in status:
            return
        yield GaugeMetricFamily("leyline_segment_last_pass_seconds", "When the last pass was", status["last_pass"])
        yield GaugeMetricFamily(
            "leyline_segment_settled_seconds", "When all was as declared last; 0: never", status["settled_at"] or 0.0
        )
        members = GaugeMetricFamily("leyline_segment_members", "Members of the ZeroTier network", labels=["state"])
        members.add_metric(["declared"], float(status["members"]["declared"]))
        if status.get("read_at") is not None:  # What nobody knows is not 0.
            yield GaugeMetricFamily("leyline_segment_read_seconds", "When ZeroTier was read last", status["read_at"])
            yield GaugeMetricFamily(
                "leyline_segment_rules_findings", "Network rules that break routing", float(len(status["rules"]))
            )
            members.add_metric(["failing"], float(status["failures"]["total"]))
            for state in ("held", "conflicts", "unreadable", "strangers"):
                members.add_metric([state], float(status.get(state, {}).get("total", 0)))
        yield members
