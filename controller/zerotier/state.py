"""What is known of the segment after a pass, and when the next one is due. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from controller.zerotier.difference import Difference
from controller.zerotier.port import Network, Service
from controller.zerotier.rules_check import RulesFinding
from controller.zerotier.summaries import Summaries

Condition = Literal["unmanaged", "waiting", "settled", "busy", "held", "failing"]
"""unmanaged  no network declared, or no service configured
waiting    no pass yet
settled    all is as declared
busy       the last pass left something to be written
held       something waits for the operator: see `held`, `conflicts`
failing    the service did not do what it was asked"""

EVERY_SECONDS = 60.0
SOON_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 300.0
LEAVE_SECONDS = 30.0
"""The longest pause while somebody must be put out, also when the service has asked for a longer one: who was revoked
talks in the segment until then, and one try in so long is no burden."""
FORGET_SECONDS = 86_400.0
"""From putting out a member of ours until its record is deleted. It shows as revoked that long, and whoever takes a
declaration back finds its record as it was; certificates that it has are long since worth nothing then."""
REMOVAL_SECONDS = 3.0
"""Between two passes that take managed routes away: members stall for one of them, and catch up in the others."""
REST_SECONDS, REST_SECONDS_PER_MEMBER = 5.0, 0.01
"""From taking a managed route away until it comes back by another gateway. A service signs what it tells each member,
one after another, and tells what is so at that moment: who is told too late never hears that the route was gone."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One object that could not be brought to what is declared; the others were."""

    object: str
    message: str


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass. `difference`: what is left after it; None: it did not get so far. `error`: what ended it."""

    at: float
    service: Service | None = None
    written: int = 0
    difference: Difference | None = None
    failures: tuple[Failure, ...] = ()
    rules: tuple[RulesFinding, ...] = ()
    error: str = ""
    after: float = 0.0  # The service asked for so long a pause, in seconds.
    members: int = 0  # That the service has.
    removed: tuple[Network, ...] = ()  # Targets of managed routes that it took away.
    summaries: Summaries = field(default_factory=Summaries)
    left: Mapping[str, float] = field(default_factory=dict)  # Node ids of ours that were put out, and when.
    failed_in_a_row: int = 0  # Passes, this one included.

    @property
    def condition(self) -> Condition:
        if self.error or self.failures:
            return "failing"
        if self.difference is None or not self.difference.settled:
            return "busy"
        return "settled" if self.difference.as_declared else "held"


def pause_after(done: Pass) -> float:
    """Seconds until the next pass when nothing changes: soon while there is more to write, longer while it fails."""
    if done.condition == "busy":
        return SOON_SECONDS
    if done.condition != "failing":
        return EVERY_SECONDS
    backoff = min(2.0 ** min(done.failed_in_a_row, 10), LONGEST_PAUSE_SECONDS)
    return max(backoff, done.after)


def rest_seconds(members: int) -> float:
    return REST_SECONDS + REST_SECONDS_PER_MEMBER * members
