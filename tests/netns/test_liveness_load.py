"""Nothing that arrives over BGP may cost a BFD session, hold the agent's loop up, or keep a failover waiting."""

from __future__ import annotations

import pytest

from tests.bench.liveness_load import DETECTION_SECONDS, measure
from tests.bench.routes import Load
from tests.netns.speakers import within

pytestmark = [pytest.mark.root, pytest.mark.slow]

ROUTES = 300_000
LAG_MS = 100.0
KERNEL_SECONDS = 1.0
"""How long a failover may wait for the kernel, which is busy with routes."""


def test_bfd_loop_and_failover_while_routes_arrive() -> None:
    outcome = measure(Load(ROUTES, ROUTES // 1000))
    assert outcome.failover_in_load, outcome
    assert outcome.downs == 0, outcome
    assert outcome.flaps == 0, outcome
    assert outcome.lag_ms < within(LAG_MS), outcome
    assert outcome.failover_seconds < DETECTION_SECONDS + within(KERNEL_SECONDS), outcome
