"""Policies by number: equal ones are one, an empty one is 0."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from controller.policy.rules import Steps
from speaker.plan import PolicyPlan

_encoder = msgspec.json.Encoder(order="sorted")


class Policies:
    """All policies of a fabric. Numbers depend on the policies alone, so that all hubs have the same."""

    def __init__(self, every: Iterable[Steps]) -> None:
        distinct = sorted({steps for steps in every if steps}, key=_encoder.encode)
        self._numbers = {steps: number for number, steps in enumerate(distinct, 1)}
        self.plans = tuple(PolicyPlan(number, steps) for steps, number in self._numbers.items())

    def number(self, steps: Steps) -> int:
        return self._numbers[steps] if steps else 0
