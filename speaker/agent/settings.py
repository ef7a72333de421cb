"""What an agent is started with, and its bounds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from speaker.agent.poll import ControllerAccess
from speaker.state import StateDir
from speaker.zerotier.local import DEFAULT_HOME


@dataclass(frozen=True, slots=True)
class AgentSettings:
    gateway: str
    state: StateDir
    access: ControllerAccess | None = None  # None: the plan comes from `plan_file`, or from the state directory.
    plan_file: Path | None = None
    metrics: tuple[str, int] | None = None  # Address and port of the Prometheus metrics; None: there are none.
    report_seconds: float = 10.0
    audit_seconds: float = 60.0  # Between two whole comparisons of the kernel with what it should be.
    patience_seconds: float = 30.0  # After a start a hub waits so long for its clients before it says End-of-RIB.
    removal_seconds: float = 120.0  # After a start kernel routes that nobody has confirmed stay so long.
    slice_routes: int = 5_000  # Changed prefixes handled before the loop looks at its sockets again.
    zerotier: tuple[tuple[str, Path], ...] = (("", DEFAULT_HOME),)  # (uplink, or "" to find it; home of its service).
    break_before_make: bool = False  # For tests: take all our routes away at the start, before anybody was heard.
